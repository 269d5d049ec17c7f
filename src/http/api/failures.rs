//! Failures: what failed and waits for its next attempt or for a decision, by fingerprint.

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;
use sqlx::PgPool;
use time::OffsetDateTime;

use super::ApiTags;
use crate::http::edge::caller::{self, Caller, Right};
use crate::http::edge::database::within_seconds;
use crate::http::edge::reads::{Reads, read_recent};
use crate::http::wire::lists::{DEFAULT_LIMIT, refuse_unknown_parameters};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::{Refusals, Refused};
use crate::operations::failures::{self, FailureView, Fingerprint, MAX_COUNTED};

/// The API of failures.
#[derive(Clone)]
pub struct FailuresApi {
    /// The database of jobs.
    pub pool: PgPool,
    /// Where the list is read.
    pub reads: Reads,
}

#[OpenApi]
impl FailuresApi {
    /// List the failures
    ///
    /// Jobs that have failed and wait or run again, and jobs that were given up and that nobody has
    /// decided over, grouped by kind and by what their errors say without numbers, ids, addresses
    /// and quoted texts; the latest first. For viewers and above. The jobs of a group are those
    /// with its `fingerprint`.
    #[oai(
        path = "/v1/failures",
        method = "get",
        operation_id = "list_failures",
        tag = "ApiTags::Failures"
    )]
    async fn list_failures(
        &self,
        caller: Caller,
        uri: &Uri,
        /// The most groups; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
    ) -> Result<Listed, Refused<ListFailures>> {
        caller.require(Right::Read)?;
        refuse_unknown_parameters(uri, &["limit"])?;
        let limit = u32::from(limit.0.unwrap_or(DEFAULT_LIMIT));
        let found = read_recent(&self.reads, move |mut conn| async move {
            Ok(failures::list(&mut conn, limit).await?)
        });
        let (found, age) = found.await?;
        let may_have_more = found.len() >= limit as usize;
        let failures = found.into_iter().map(FailureOut::from).collect();
        let list = FailureList { failures, may_have_more, counted_up_to: MAX_COUNTED };
        Ok(Listed::Ok(Json(list), age))
    }

    /// Get a failure
    ///
    /// The group with this fingerprint as it stands; for viewers and above.
    #[oai(
        path = "/v1/failures/:fingerprint",
        method = "get",
        operation_id = "get_failure",
        tag = "ApiTags::Failures"
    )]
    async fn get_failure(
        &self,
        caller: Caller,
        /// The fingerprint: 16 hexadecimal digits.
        fingerprint: Path<String>,
    ) -> Result<Found, Refused<GetFailure>> {
        caller.require(Right::Read)?;
        let not_found = || Problem::new(Code::FailureNotFound);
        let fingerprint: Fingerprint = fingerprint.0.parse().map_err(|_| not_found())?;
        let found =
            within_seconds(&self.pool, async |conn| Ok(failures::find(conn, fingerprint).await?));
        Ok(Found::Ok(Json(found.await?.ok_or_else(not_found)?.into())))
    }
}

/// Jobs of one kind whose last errors say the same.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Failure")]
struct FailureOut {
    /// The fingerprint that the jobs share.
    fingerprint: String,
    /// The kind of the jobs.
    kind: String,
    /// The error, with an ellipsis for what differs; `no error was kept` if there is none any more.
    error: String,
    /// The number of jobs.
    jobs: i64,
    /// True if there are more jobs than were counted.
    jobs_capped: bool,
    /// The earliest of these failures.
    #[serde(with = "time::serde::rfc3339")]
    first_at: OffsetDateTime,
    /// The latest of these failures.
    #[serde(with = "time::serde::rfc3339")]
    last_at: OffsetDateTime,
    /// The job of the latest failure.
    sample_job: i64,
    /// The number of jobs that wait for their next attempt, or are in it.
    waiting: i64,
    /// The number of jobs that were given up, and that nobody has decided over.
    discarded: i64,
}

impl From<FailureView> for FailureOut {
    fn from(view: FailureView) -> Self {
        Self {
            fingerprint: view.fingerprint,
            kind: view.kind,
            error: view.error,
            jobs: view.jobs,
            jobs_capped: view.jobs_capped,
            first_at: view.first_at,
            last_at: view.last_at,
            sample_job: view.sample_job,
            waiting: view.waiting,
            discarded: view.discarded,
        }
    }
}

/// Failures, the latest first.
#[derive(Debug, Serialize, Object)]
struct FailureList {
    /// The groups.
    failures: Vec<FailureOut>,
    /// True if there may be more groups than were asked for.
    may_have_more: bool,
    /// The most jobs of a group that are counted.
    counted_up_to: i64,
}

#[derive(ApiResponse)]
enum Listed {
    /// The failures.
    #[oai(status = 200)]
    Ok(
        Json<FailureList>,
        /// The greatest age of what is shown, in seconds; absent when it is up to the moment.
        #[oai(header = "Data-Age")]
        Option<f64>,
    ),
}

#[derive(ApiResponse)]
enum Found {
    /// The failure as it stands.
    #[oai(status = 200)]
    Ok(Json<FailureOut>),
}

/// The refusals of `list_failures`.
#[derive(Debug)]
struct ListFailures;

impl Refusals for ListFailures {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden]];
}

/// The refusals of `get_failure`.
#[derive(Debug)]
struct GetFailure;

impl Refusals for GetFailure {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::Forbidden, Code::FailureNotFound]];
}
