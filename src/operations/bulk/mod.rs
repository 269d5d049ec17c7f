//! Bulk operations: one action on all jobs that match a filter, done in the background.
//!
//! What is meant is frozen when it is asked for, by the filter, the newest job and the moment: what
//! arrives or fails later is left alone. [`crate::jobs::bulk_operations`] carries it out. A dry run
//! counts by the rules of [`crate::jobs::changes`], as the change itself does.
//!
//! - Here: the operations.
//! - `views`: an operation as callers see it.
//! - `filter_text`: a filter in words.

mod filter_text;
mod views;

pub use self::filter_text::filter_text;
pub use self::views::{BulkState, BulkView};
pub use crate::ids::BulkOperationId;
pub use crate::jobs::bulk_operations::store::SampleJob;
pub use crate::jobs::changes::forecast::Skipped;
pub use crate::jobs::changes::scope::{JobCount, JobScope, MAX_COUNTED};
pub use crate::jobs::changes::{JobAction, UnsuitableState};

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Connection as _, PgConnection, PgPool};

use super::jobs::{JobSelection, JobsError};
use super::{Actor, Mode, database_now};
use crate::audit::{self, Subject};
use crate::jobs::RunBulkOperation;
use crate::jobs::bulk_operations::store::{self, NewOperation};
use crate::queue::commits::commit;
use crate::queue::operate::JobFilter;
use crate::queue::{NewJob, QueueError, enqueue};

/// The most operations that are not finished at a time.
pub const MAX_UNFINISHED: i64 = 100;

/// The most operations of one [`list`].
pub const MAX_LISTED: u16 = 200;

/// The time from one look at an operation that is waited for to the next.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The most characters of a filter in words.
const MAX_FILTER_CHARS: usize = 2_000;

/// A bulk operation that is asked for.
#[derive(Clone, Debug)]
pub struct NewBulk {
    /// The action.
    pub action: JobAction,
    /// The jobs; without states, those that usually undergo the action.
    pub selection: JobSelection,
    /// The most jobs, the newest first; none for all of them.
    pub limit: Option<u64>,
    /// The mode: the operation begins, or is only counted.
    pub mode: Mode,
}

/// A bulk operation that could not be begun, found or cancelled.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// No job in that state can undergo the action.
    #[error(transparent)]
    UnsuitableState(#[from] UnsuitableState),
    /// The selection is every job: that must be asked for by states.
    #[error("a bulk operation needs a filter")]
    NoFilter,
    /// The filter is longer than anybody reads.
    #[error("the filter is too long")]
    FilterTooLong,
    /// Nothing would be changed.
    #[error("no job would be changed")]
    NothingEligible(Box<BulkView>),
    /// As many as there may be are not finished yet.
    #[error("{MAX_UNFINISHED} bulk operations are not finished yet")]
    TooMany,
    /// There is no such operation.
    #[error("there is no such bulk operation")]
    NotFound,
    /// The operation is finished.
    #[error("the bulk operation is finished")]
    Finished,
    /// The database refused or did not answer.
    #[error(transparent)]
    Failed(#[from] JobsError),
}

impl From<sqlx::Error> for BulkError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<QueueError> for BulkError {
    fn from(error: QueueError) -> Self {
        Self::Failed(error.into())
    }
}

/// Begins a bulk operation, after a count of what it will do; of a dry run, that count alone.
///
/// Workers are not woken; see [`super::wake_workers`].
///
/// # Errors
///
/// [`BulkError`]; [`BulkError::NothingEligible`] not of a dry run.
pub async fn start(pool: &PgPool, new: NewBulk, actor: &Actor) -> Result<BulkView, BulkError> {
    let mut conn = pool.acquire().await?;
    start_on(&mut conn, new, actor).await
}

/// [`start`], on a connection.
///
/// # Errors
///
/// As [`start`].
pub async fn start_on(
    conn: &mut PgConnection,
    new: NewBulk,
    actor: &Actor,
) -> Result<BulkView, BulkError> {
    let NewBulk { action, mut selection, limit, mode } = new;
    if selection.is_everything() {
        return Err(BulkError::NoFilter);
    }
    selection.states = action.states(&selection.states)?;
    let filter = selection.into_filter(&mut *conn).await?;
    let text = filter_text(&filter);
    if text.chars().count() > MAX_FILTER_CHARS {
        return Err(BulkError::FilterTooLong);
    }
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let (scope, count) = take_and_count(&mut *conn, action, filter, limit).await?;
    let planned = BulkView::planned(action, &text, count, actor, database_now(&mut *conn).await?);
    match mode {
        Mode::DryRun => Ok(planned),
        Mode::Commit if planned.eligible == 0 && !planned.eligible_is_more => {
            Err(BulkError::NothingEligible(Box::new(planned)))
        }
        Mode::Commit => begin(conn, action, &scope, &planned, actor).await,
    }
}

async fn take_and_count(
    conn: &mut PgConnection,
    action: JobAction,
    filter: JobFilter,
    limit: usize,
) -> Result<(JobScope, JobCount), BulkError> {
    let taken = JobScope::take(&mut *conn, action, filter.clone(), limit).await?;
    let scope = taken.unwrap_or(JobScope { filter, before: None, left: 0 });
    let count = scope.count(conn, action).await?;
    Ok((scope, count))
}

async fn begin(
    conn: &mut PgConnection,
    action: JobAction,
    scope: &JobScope,
    planned: &BulkView,
    actor: &Actor,
) -> Result<BulkView, BulkError> {
    let mut tx = conn.begin().await?;
    if store::count_unfinished(&mut tx, MAX_UNFINISHED).await? >= MAX_UNFINISHED {
        tx.rollback().await?;
        return Err(BulkError::TooMany);
    }
    let id = store::insert(
        &mut tx,
        &NewOperation {
            action,
            scope,
            filter_text: &planned.filter,
            eligible: planned.eligible,
            eligible_is_more: planned.eligible_is_more,
            sample: &planned.sample,
            made_by: actor.identity.as_str(),
            reason: actor.reason.as_str(),
            request_id: actor.identity.request_id(),
        },
    )
    .await?;
    let job = enqueue(&mut tx, NewJob::new(&RunBulkOperation { operation: id })?).await?.id();
    store::set_job(&mut tx, id, job).await?;
    let entry = actor.entry("bulk_operation.start", subject(id)).data(&json!({
        "action": action.name(), "filter": planned.filter, "eligible": planned.eligible,
        "job": job,
    }));
    audit::record(&mut tx, &[entry]).await?;
    let begun = store::find(&mut tx, id).await?.ok_or(BulkError::NotFound)?;
    commit(tx).await?;
    Ok(begun.into())
}

/// The bulk operations, newest first: at most `limit`, which is capped at [`MAX_LISTED`], of those
/// before `before`.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(
    conn: &mut PgConnection,
    before: Option<BulkOperationId>,
    limit: u16,
) -> sqlx::Result<Vec<BulkView>> {
    let found = store::list(conn, before, limit.clamp(1, MAX_LISTED + 1)).await?;
    Ok(found.into_iter().map(BulkView::from).collect())
}

/// The bulk operation with this number, if there is one.
///
/// # Errors
///
/// When the database refuses.
pub async fn find(conn: &mut PgConnection, id: BulkOperationId) -> sqlx::Result<Option<BulkView>> {
    Ok(store::find(conn, id).await?.map(BulkView::from))
}

/// Cancels a bulk operation that is not finished, between two of its chunks. What it has done stays
/// done.
///
/// # Errors
///
/// [`BulkError::NotFound`], [`BulkError::Finished`], [`BulkError::Failed`].
pub async fn cancel(
    conn: &mut PgConnection,
    id: BulkOperationId,
    actor: &Actor,
) -> Result<BulkView, BulkError> {
    let mut tx = conn.begin().await?;
    let (by, reason) = (actor.identity.as_str(), actor.reason.as_str());
    let is_cancelled = store::cancel(&mut tx, id, by, reason).await?;
    let found = store::find(&mut tx, id).await?;
    match (found, is_cancelled) {
        (Some(operation), true) => {
            let counts = json!({ "done": operation.done, "failed": operation.failed });
            let entry = actor.entry("bulk_operation.cancel", subject(id)).data(&counts);
            audit::record(&mut tx, &[entry]).await?;
            commit(tx).await?;
            Ok(operation.into())
        }
        (found, _) => {
            tx.rollback().await?;
            Err(if found.is_some() { BulkError::Finished } else { BulkError::NotFound })
        }
    }
}

/// Waits until a bulk operation is finished or stopped, at most for `timeout`; for ever without.
/// Gives it as it is then; none if there is none. `tell` is called whenever it is looked at.
///
/// # Errors
///
/// When the database refuses.
pub async fn wait(
    pool: &PgPool,
    id: BulkOperationId,
    timeout: Option<Duration>,
    mut tell: impl FnMut(&BulkView),
) -> sqlx::Result<Option<BulkView>> {
    let begun = Instant::now();
    loop {
        let Some(operation) = find(&mut *pool.acquire().await?, id).await? else {
            return Ok(None);
        };
        tell(&operation);
        let is_over = timeout.is_some_and(|timeout| begun.elapsed() >= timeout);
        if is_over || operation.state.is_finished() || operation.state == BulkState::Stopped {
            return Ok(Some(operation));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn subject(id: BulkOperationId) -> Subject {
    Subject::new("bulk_operation", id)
}
