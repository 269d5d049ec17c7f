//! The system's own routes: is it there, is it ready, which build is it.

use std::time::Duration;

use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ApiTags;
use crate::bank::breaker::{self, Phase};
use crate::db::{self, DbError};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, FieldError, Problem};
use crate::http::wire::refused::{NoRefusals, Refusals, Refused};
use crate::jobs::BANK_BREAKER;
use crate::queue::schema::SchemaState;

/// A database that does not answer for so long is away, for the purposes of readiness.
const DATABASE_WITHIN: Duration = Duration::from_secs(1);
/// However often it is asked, readiness asks the database only so often.
const REMEMBERED_FOR: Duration = Duration::from_millis(250);

/// The API of the system's own routes.
pub struct SystemApi {
    pool: PgPool,
    /// Cancelled when the process is about to stop.
    draining: CancellationToken,
    last_check: Mutex<Option<(Instant, DatabaseCheck)>>,
}

/// The result of a check of the database.
#[derive(Clone, Debug)]
struct DatabaseCheck {
    reasons: Vec<Unready>,
    /// The phase of the bank's circuit breaker; not known when the database is away.
    bank: Option<Phase>,
}

/// A reason for not being ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unready {
    Draining,
    DatabaseAway,
    Schema(SchemaState),
}

#[OpenApi]
impl SystemApi {
    /// Get the status of the service
    ///
    /// Says that the service is there, and what time it has. Looks at nothing; see `/readyz` for
    /// that.
    #[oai(path = "/", method = "get", operation_id = "get_status", tag = "ApiTags::System")]
    async fn get_status(&self) -> Result<StatusGiven, Refused<NoRefusals>> {
        let current_time = OffsetDateTime::now_utc();
        Ok(StatusGiven::Ok(Json(ServiceStatus { status: "HEALTHY".to_owned(), current_time })))
    }

    /// Check that the process lives
    ///
    /// Answers as long as the process can answer at all, whatever state the database is in: restart
    /// it when this fails, and only then.
    #[oai(
        path = "/healthz",
        method = "get",
        operation_id = "check_health",
        tag = "ApiTags::System"
    )]
    async fn check_health(&self) -> Result<HealthGiven, Refused<CheckHealth>> {
        Ok(HealthGiven::Ok(Json(Health { status: "ok".to_owned() })))
    }

    /// Check that the process can serve
    ///
    /// Ready means: the database answers within a second, its schema is the one this build needs,
    /// and the process is not about to stop. Send traffic only to processes that are ready.
    #[oai(
        path = "/readyz",
        method = "get",
        operation_id = "check_readiness",
        tag = "ApiTags::System"
    )]
    async fn check_readiness(&self) -> Result<ReadinessGiven, Refused<CheckReadiness>> {
        let DatabaseCheck { mut reasons, bank } = self.look_at_database().await;
        if self.draining.is_cancelled() {
            reasons.insert(0, Unready::Draining);
        }
        if reasons.is_empty() {
            let bank = bank.unwrap_or(Phase::Closed).as_str().to_owned();
            let status = "ready".to_owned();
            return Ok(ReadinessGiven::Ok(Json(Readiness { status, bank_breaker: bank })));
        }
        let errors: Vec<FieldError> = reasons.into_iter().map(Unready::into_error).collect();
        let details: Vec<&str> = errors.iter().map(|it| it.detail.as_str()).collect();
        Err(Problem::new(Code::NotReady).detail(details.join(" ")).errors(errors).into())
    }

    /// Get the version
    ///
    /// Which build this is.
    #[oai(path = "/version", method = "get", operation_id = "get_version", tag = "ApiTags::System")]
    async fn get_version(&self) -> Result<VersionGiven, Refused<NoRefusals>> {
        Ok(VersionGiven::Ok(Json(Version {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })))
    }
}

impl SystemApi {
    /// `draining` is cancelled when the process is about to stop.
    pub fn new(pool: PgPool, draining: CancellationToken) -> Self {
        Self { pool, draining, last_check: Mutex::new(None) }
    }

    /// One look at a time, shared by all who ask meanwhile.
    async fn look_at_database(&self) -> DatabaseCheck {
        let mut last_check = self.last_check.lock().await;
        if let Some((at, look)) = &*last_check
            && at.elapsed() < REMEMBERED_FOR
        {
            return look.clone();
        }
        let look = match tokio::time::timeout(DATABASE_WITHIN, self.look()).await {
            Ok(Ok(look)) => look,
            Ok(Err(_)) | Err(_) => {
                DatabaseCheck { reasons: vec![Unready::DatabaseAway], bank: None }
            }
        };
        *last_check = Some((Instant::now(), look.clone()));
        look
    }

    async fn look(&self) -> anyhow::Result<DatabaseCheck> {
        let state = db::schema_state(&self.pool).await?;
        if state != SchemaState::Current {
            return Ok(DatabaseCheck { reasons: vec![Unready::Schema(state)], bank: None });
        }
        let mut conn = self.pool.acquire().await?;
        let bank = breaker::phase_of(&mut conn, BANK_BREAKER).await?;
        Ok(DatabaseCheck { reasons: Vec::new(), bank: Some(bank) })
    }
}

impl Unready {
    fn into_error(self) -> FieldError {
        let (check, code, detail) = match self {
            Self::Draining => ("process", "draining", "The process is about to stop.".to_owned()),
            Self::DatabaseAway => ("database", "away", "The database does not answer.".to_owned()),
            Self::Schema(state) => {
                ("schema", "not-current", format!("{}.", DbError::Schema(state)))
            }
        };
        FieldError { pointer: check.to_owned(), code: code.to_owned(), detail }
    }
}

/// The service is there.
#[derive(Serialize, Object)]
struct ServiceStatus {
    /// Always `HEALTHY`.
    status: String,
    /// The time of the server, in UTC.
    #[serde(with = "time::serde::rfc3339")]
    current_time: OffsetDateTime,
}

/// The process lives.
#[derive(Serialize, Object)]
struct Health {
    /// Always `ok`.
    status: String,
}

/// The process can serve.
#[derive(Serialize, Object)]
struct Readiness {
    /// Always `ready`.
    status: String,
    /// The circuit breaker of the bank, which all workers share: `closed`, `open` or `half_open`.
    /// While it is not closed, deposits and withdrawals are taken and wait.
    bank_breaker: String,
}

/// The build of the program.
#[derive(Serialize, Object)]
struct Version {
    /// The name of the program.
    name: String,
    /// The version of the program.
    version: String,
}

#[derive(ApiResponse)]
enum StatusGiven {
    /// The service is there.
    #[oai(status = 200)]
    Ok(Json<ServiceStatus>),
}

#[derive(ApiResponse)]
enum HealthGiven {
    /// The process lives.
    #[oai(status = 200)]
    Ok(Json<Health>),
}

#[derive(ApiResponse)]
enum ReadinessGiven {
    /// The process can serve.
    #[oai(status = 200)]
    Ok(Json<Readiness>),
}

#[derive(ApiResponse)]
enum VersionGiven {
    /// The build.
    #[oai(status = 200)]
    Ok(Json<Version>),
}

/// The refusals of `check_health`, which is answered to anybody.
#[derive(Debug)]
struct CheckHealth;

impl Refusals for CheckHealth {
    const GENERAL: &'static [Code] = &[Code::InternalError];
    const CODES: &'static [&'static [Code]] = &[];
}

/// The refusals of `check_readiness`.
#[derive(Debug)]
struct CheckReadiness;

impl Refusals for CheckReadiness {
    const GENERAL: &'static [Code] = &[Code::InternalError];
    const CODES: &'static [&'static [Code]] = &[&[Code::NotReady]];
}
