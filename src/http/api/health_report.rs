//! The health report: what is amiss with the database and the queue in it, and what mends it.

use std::time::Duration;

use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Serialize;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::ApiTags;
use crate::http::edge::caller::{self, Caller, Right};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::{Refusals, Refused};
use crate::operations::health::{self, Examine, Finding, HealthError, HealthReport, Level};

/// An examination that takes longer is given up: each of its looks has a bound of its own, but a
/// server in trouble may make all of them slow.
const WITHIN: Duration = Duration::from_secs(15);

/// However often it is asked for, the database is examined only so often.
const REMEMBERED_FOR: Duration = Duration::from_secs(2);

/// The API of the health report.
pub struct HealthReportApi {
    pool: PgPool,
    last: Mutex<Option<(Instant, HealthReport)>>,
}

impl HealthReportApi {
    /// Examines this database.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, last: Mutex::new(None) }
    }

    /// One examination at a time, shared by all who ask meanwhile: it takes several connections.
    async fn examine(&self) -> Result<HealthReport, Problem> {
        let mut last = self.last.lock().await;
        if let Some((at, report)) = &*last
            && at.elapsed() < REMEMBERED_FOR
        {
            return Ok(report.clone());
        }
        let examining = health::examine(&self.pool, Examine::default());
        let report = tokio::time::timeout(WITHIN, examining)
            .await
            .map_err(|_| Problem::new(Code::Unavailable))??;
        *last = Some((Instant::now(), report.clone()));
        Ok(report)
    }
}

#[OpenApi]
impl HealthReportApi {
    /// Get the health report
    ///
    /// What `app doctor` says: each finding with what mends it, the database's settings, backlog,
    /// workers, failing kinds, dead letters and storage among them. It only reads. For viewers and
    /// above.
    #[oai(
        path = "/v1/health-report",
        method = "get",
        operation_id = "get_health_report",
        tag = "ApiTags::System"
    )]
    async fn get_health_report(
        &self,
        caller: Caller,
    ) -> Result<Reported, Refused<GetHealthReport>> {
        caller.require(Right::Read)?;
        Ok(Reported::Ok(Json(self.examine().await?.into())))
    }
}

impl From<HealthError> for Problem {
    fn from(error: HealthError) -> Self {
        Self::new(Code::Unavailable).cause(error)
    }
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
enum FindingLevel {
    /// As it should be.
    Ok,
    /// Not to be seen by the role of this server; it may be good or bad.
    Unseen,
    /// It works, but somebody should look.
    Warn,
    /// Something is lost, stands still, or soon will.
    Fail,
}

impl From<Level> for FindingLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Ok => Self::Ok,
            Level::Unseen => Self::Unseen,
            Level::Warn => Self::Warn,
            Level::Fail => Self::Fail,
        }
    }
}

/// One line of a health report.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "HealthFinding")]
struct FindingOut {
    /// The stable name of what was looked at; several findings may share one.
    check: String,
    /// The severity.
    level: FindingLevel,
    /// The finding in words.
    found: String,
    /// The remedy in words; null where there is nothing to mend.
    #[oai(nullable)]
    fix: Option<String>,
}

impl From<Finding> for FindingOut {
    fn from(finding: Finding) -> Self {
        Self {
            check: finding.check.to_owned(),
            level: finding.level.into(),
            found: finding.found,
            fix: finding.fix.map(|fix| fix.to_string()),
        }
    }
}

/// A report of what is amiss with the database and the queue in it, and what mends it.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "HealthReport")]
struct HealthReportOut {
    /// The worst level of all findings.
    level: FindingLevel,
    /// The name of the database.
    database: String,
    /// The version of PostgreSQL.
    server_version: String,
    /// The moment of the examination.
    #[serde(with = "time::serde::rfc3339")]
    checked_at: OffsetDateTime,
    /// The findings, in the order in which they were made.
    findings: Vec<FindingOut>,
}

impl From<HealthReport> for HealthReportOut {
    fn from(report: HealthReport) -> Self {
        Self {
            level: report.worst().into(),
            database: report.database,
            server_version: report.server_version,
            checked_at: report.checked_at,
            findings: report.findings.into_iter().map(Into::into).collect(),
        }
    }
}

#[derive(ApiResponse)]
enum Reported {
    /// The report.
    #[oai(status = 200)]
    Ok(Json<HealthReportOut>),
}

/// The refusals of `get_health_report`.
#[derive(Debug)]
struct GetHealthReport;

impl Refusals for GetHealthReport {
    const CODES: &'static [&'static [Code]] = &[caller::REFUSALS, &[Code::Forbidden]];
}
