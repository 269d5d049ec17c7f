//! Bulk operations: one action on all jobs that match a filter, done by a worker.

mod bodies;
mod refusals;

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;

use self::bodies::{CancelIn, OperationIn, OperationOut, OperationPage};
use self::refusals::{CancelOperation, GetOperation, ListOperations, StartOperation};
use super::ApiTags;
use crate::http::edge::caller::{Caller, Right};
use crate::http::edge::database::within_seconds;
use crate::http::wire::id::Id;
use crate::http::wire::json_body::JsonBody;
use crate::http::wire::lists::{self, DEFAULT_LIMIT, read_cursor, refuse_unknown_parameters};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::Refused;
use crate::operations::bulk::{self, BulkError, BulkOperationId, BulkView, NewBulk};
use crate::operations::jobs::JobsError;
use crate::operations::{Actor, Mode};
use crate::queue::Notifier;

/// The API of bulk operations.
#[derive(Clone)]
pub struct BulkOperationsApi {
    /// The database of operations.
    pub pool: PgPool,
    /// Wakes a worker when an operation is to be carried out.
    pub notifier: Notifier,
}

#[OpenApi]
impl BulkOperationsApi {
    /// Start a bulk operation
    ///
    /// One action on all jobs that match; for operators, and for admins alone where it decides over
    /// discarded jobs, which can move money. What is meant is frozen at this moment: jobs that
    /// arrive or fail later are left alone. With `dry_run` it is only counted: how many jobs are
    /// eligible, how many would be passed over and why, and some of them. Otherwise a worker does
    /// it in chunks, and goes on after a crash; who asked for it and why is kept with each job.
    #[oai(
        path = "/v1/operations",
        method = "post",
        operation_id = "start_operation",
        tag = "ApiTags::Operations"
    )]
    async fn start_operation(
        &self,
        caller: Caller,
        body: JsonBody<OperationIn>,
    ) -> Result<Started, Refused<StartOperation>> {
        caller.require(Right::Operate)?;
        let (new, reason) = body.read()?;
        if decides(&new)? {
            caller.require(Right::Decide)?;
        }
        let mode = new.mode;
        let actor = Actor { identity: caller.into(), reason };
        let started =
            within_seconds(&self.pool, async |conn| Ok(bulk::start_on(conn, new, &actor).await?));
        let started = Json(started.await?.into());
        match mode {
            Mode::DryRun => Ok(Started::Counted(started)),
            Mode::Commit => {
                self.notifier.notify();
                Ok(Started::Accepted(started))
            }
        }
    }

    /// List the bulk operations
    ///
    /// Newest first, with their progress; for viewers and above. A page that is not the last has a
    /// `next_cursor`.
    #[oai(
        path = "/v1/operations",
        method = "get",
        operation_id = "list_operations",
        tag = "ApiTags::Operations"
    )]
    async fn list_operations(
        &self,
        caller: Caller,
        uri: &Uri,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<ListOperations>> {
        caller.require(Right::Read)?;
        refuse_unknown_parameters(uri, &["limit", "cursor"])?;
        let before = cursor.0.map(|text| read_cursor(&text, LIST)).transpose()?;
        let before = before.map(i64::from_be_bytes).map(BulkOperationId);
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        let found =
            within_seconds(&self.pool, async |conn| Ok(bulk::list(conn, before, limit + 1).await?));
        let (found, last) = lists::page(found.await?, limit);
        let last = last.and_then(|last: BulkView| last.id);
        Ok(Listed::Ok(Json(OperationPage::new(found, last, LIST))))
    }

    /// Get a bulk operation
    ///
    /// With its progress; for viewers and above.
    #[oai(
        path = "/v1/operations/:operation_id",
        method = "get",
        operation_id = "get_operation",
        tag = "ApiTags::Operations"
    )]
    async fn get_operation(
        &self,
        caller: Caller,
        /// The number of the operation.
        operation_id: Path<Id<i64>>,
    ) -> Result<Found, Refused<GetOperation>> {
        caller.require(Right::Read)?;
        let id = BulkOperationId(operation_id.0.0);
        let found =
            within_seconds(&self.pool, async |conn| Ok(bulk::find(conn, id).await?)).await?;
        let found = found.ok_or_else(|| Problem::new(Code::OperationNotFound))?;
        Ok(Found::Ok(Json(found.into())))
    }

    /// Cancel a bulk operation
    ///
    /// Between two of its chunks; what it has done stays done. For operators and admins; who, when
    /// and why is kept.
    #[oai(
        path = "/v1/operations/:operation_id/cancel",
        method = "post",
        operation_id = "cancel_operation",
        tag = "ApiTags::Operations"
    )]
    async fn cancel_operation(
        &self,
        caller: Caller,
        /// The number of the operation.
        operation_id: Path<Id<i64>>,
        body: JsonBody<CancelIn>,
    ) -> Result<Found, Refused<CancelOperation>> {
        caller.require(Right::Operate)?;
        let actor = Actor { identity: caller.into(), reason: body.read()? };
        let id = BulkOperationId(operation_id.0.0);
        let cancelled =
            within_seconds(&self.pool, async |conn| Ok(bulk::cancel(conn, id, &actor).await?));
        Ok(Found::Ok(Json(cancelled.await?.into())))
    }
}

/// The list that a cursor is bound to.
const LIST: &str = "list_operations 1";

/// Tells if the operation may decide over discarded jobs.
fn decides(new: &NewBulk) -> Result<bool, Problem> {
    let states = new.action.states(&new.selection.states).map_err(BulkError::from)?;
    Ok(new.action.decides(&states))
}

impl From<BulkError> for Problem {
    fn from(error: BulkError) -> Self {
        match error {
            BulkError::UnsuitableState(_) | BulkError::NoFilter | BulkError::FilterTooLong => {
                Self::new(Code::UnacceptableValues).detail(format!("{error}."))
            }
            BulkError::NothingEligible(planned) => {
                let skipped: u64 = planned.skipped.iter().map(|skipped| skipped.jobs).sum();
                Self::new(Code::NothingEligible)
                    .detail(format!("No job would be changed; {skipped} would be passed over."))
            }
            BulkError::TooMany => Self::new(Code::TooManyOperations),
            BulkError::NotFound => Self::new(Code::OperationNotFound),
            BulkError::Finished => Self::new(Code::OperationFinished),
            BulkError::Failed(JobsError::Queue(error)) => error.into(),
            BulkError::Failed(JobsError::Money(error)) => error.into(),
        }
    }
}

#[derive(ApiResponse)]
enum Started {
    /// The operation as it would be.
    #[oai(status = 200)]
    Counted(Json<OperationOut>),
    /// The operation will be carried out.
    #[oai(status = 202)]
    Accepted(Json<OperationOut>),
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<OperationPage>),
}

#[derive(ApiResponse)]
enum Found {
    /// The operation as it stands.
    #[oai(status = 200)]
    Ok(Json<OperationOut>),
}
