//! The rows of bulk operations: how far each got, and what became of its jobs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use crate::ids::BulkOperationId;
use crate::jobs::changes::JobAction;
use crate::jobs::changes::forecast::Tally;
use crate::jobs::changes::scope::JobScope;
use crate::queue::operate::JobFilter;
use crate::queue::operate::list::JobSummary;
use crate::queue::{JobId, JobState};

/// The state of a bulk operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "operations.bulk_state", rename_all = "snake_case")]
pub enum StoredState {
    /// Its job has not begun.
    Waiting,
    /// Its job works through its scope.
    Running,
    /// All of its scope was seen to.
    Completed,
    /// Somebody stopped it.
    Cancelled,
}

/// A job of the sample that is shown before an operation begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SampleJob {
    /// The number of the job.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its state at that moment.
    pub state: JobState,
    /// Its last error, cut at 200 characters; null if it has none.
    pub error: Option<String>,
}

impl From<JobSummary> for SampleJob {
    fn from(job: JobSummary) -> Self {
        let error = job.error.map(|error| error.chars().take(200).collect());
        Self { id: job.id, kind: job.kind, state: job.state, error }
    }
}

/// An operation that is to be carried out.
#[derive(Clone, Debug)]
pub struct NewOperation<'a> {
    /// The action.
    pub action: JobAction,
    /// The jobs that are meant.
    pub scope: &'a JobScope,
    /// The filter for people.
    pub filter_text: &'a str,
    /// The number of jobs that were found to be eligible.
    pub eligible: u64,
    /// There are more than were counted.
    pub eligible_is_more: bool,
    /// Some of them.
    pub sample: &'a [SampleJob],
    /// The author, as the audit log has it.
    pub made_by: &'a str,
    /// The reason.
    pub reason: &'a str,
    /// The id of the request by which it was asked for.
    pub request_id: Option<&'a str>,
}

/// Adds an operation.
///
/// # Errors
///
/// When the database refuses.
pub async fn insert(
    conn: &mut PgConnection,
    new: &NewOperation<'_>,
) -> sqlx::Result<BulkOperationId> {
    let newest = new.scope.before.map_or(0, |before| before.0);
    sqlx::query_scalar!(
        r#"
        insert into operations.bulk_operations (
          action, filter, filter_text, newest, next_before, eligible, eligible_is_more, sample,
          jobs_left, made_by, reason, request_id
        )
        values ($1, $2, $3, $4, $4, $5, $6, $7, $8, $9, $10, $11)
        returning id as "id: BulkOperationId"
        "#,
        new.action.name(),
        Json(&new.scope.filter) as _,
        new.filter_text,
        newest,
        number(new.eligible),
        new.eligible_is_more,
        Json(new.sample) as _,
        i64::try_from(new.scope.left).unwrap_or(i64::MAX),
        new.made_by,
        new.reason,
        new.request_id,
    )
    .fetch_one(conn)
    .await
}

/// Notes the job that carries an operation out.
///
/// # Errors
///
/// When the database refuses.
pub async fn set_job(conn: &mut PgConnection, id: BulkOperationId, job: JobId) -> sqlx::Result<()> {
    sqlx::query!("update operations.bulk_operations set job_id = $2 where id = $1", id.0, job.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// An operation while it is carried out, locked: nobody cancels it meanwhile.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its number.
    pub id: BulkOperationId,
    /// The action.
    pub action: JobAction,
    /// The jobs that are still to be looked at.
    pub scope: JobScope,
    /// Jobs that were looked at, and need a transaction each.
    pub pending: Vec<JobId>,
    /// The changes so far.
    pub tally: Tally,
    /// The number of jobs that could not be changed because of an error.
    pub failed: u64,
    /// The last such error.
    pub last_error: Option<String>,
    /// The number of jobs that were found to be eligible when it was asked for.
    pub eligible: u64,
    /// The author.
    pub made_by: String,
    /// The reason.
    pub reason: String,
    /// The id of the request by which it was asked for.
    pub request_id: Option<String>,
}

/// Locks an operation that is not finished, until the transaction ends; one that waits is running
/// from now on. None if it is finished, there is none, or this program does not know its action.
///
/// # Errors
///
/// When the database refuses.
pub async fn lock(conn: &mut PgConnection, id: BulkOperationId) -> sqlx::Result<Option<Running>> {
    let row = sqlx::query!(
        r#"
        update operations.bulk_operations
        set state = 'running', started_at = coalesce(started_at, clock_timestamp())
        where id = $1 and state in ('waiting', 'running')
        returning
          action, filter as "filter: Json<JobFilter>", next_before as "next_before: JobId",
          pending as "pending: Vec<JobId>", jobs_left, done, failed,
          skipped as "skipped: Json<BTreeMap<String, u64>>", last_error, eligible, made_by, reason,
          request_id
        "#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let Some(action) = action_of(&row.action) else { return Ok(None) };
    let left = usize::try_from(row.jobs_left).unwrap_or(usize::MAX);
    Ok(Some(Running {
        id,
        action,
        scope: JobScope { filter: row.filter.0, before: row.next_before, left },
        pending: row.pending,
        tally: Tally { changed: count(row.done), skipped: row.skipped.0 },
        failed: count(row.failed),
        last_error: row.last_error,
        eligible: count(row.eligible),
        made_by: row.made_by,
        reason: row.reason,
        request_id: row.request_id,
    }))
}

/// Keeps how far an operation got, to be committed with what it did. If all is done, it is
/// completed.
///
/// # Errors
///
/// When the database refuses.
pub async fn keep(conn: &mut PgConnection, operation: &Running) -> sqlx::Result<()> {
    let pending: Vec<i64> = operation.pending.iter().map(|id| id.0).collect();
    sqlx::query!(
        "
        update operations.bulk_operations
        set
          next_before = $2, pending = $3, jobs_left = $4, done = $5, failed = $6, skipped = $7,
          last_error = $8,
          state = case when $9 then 'completed' else state end,
          finished_at = case when $9 then clock_timestamp() end
        where id = $1 and state = 'running'
        ",
        operation.id.0,
        operation.scope.before.map(|before| before.0),
        &pending,
        i64::try_from(operation.scope.left).unwrap_or(i64::MAX),
        number(operation.tally.changed),
        number(operation.failed),
        Json(&operation.tally.skipped) as _,
        operation.last_error,
        operation.is_done(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

impl Running {
    /// True once there is nothing left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.scope.is_exhausted() && self.pending.is_empty()
    }
}

/// Cancels an operation that is not finished, after the chunk that is under way. False if there is
/// none.
///
/// # Errors
///
/// When the database refuses.
pub async fn cancel(
    conn: &mut PgConnection,
    id: BulkOperationId,
    by: &str,
    reason: &str,
) -> sqlx::Result<bool> {
    let cancelled = sqlx::query!(
        "
        update operations.bulk_operations
        set
          state = 'cancelled', finished_at = clock_timestamp(), cancelled_by = $2,
          cancel_reason = $3
        where id = $1 and state in ('waiting', 'running')
        ",
        id.0,
        by,
        reason,
    )
    .execute(conn)
    .await?;
    Ok(cancelled.rows_affected() > 0)
}

/// An operation as it is stored.
#[derive(Clone, Debug)]
pub struct StoredOperation {
    /// Its number.
    pub id: BulkOperationId,
    /// The name of its action.
    pub action: String,
    /// The filter for people.
    pub filter_text: String,
    /// Its state.
    pub state: StoredState,
    /// The state of its job; none if that is gone.
    pub job_state: Option<JobState>,
    /// The job that carries it out.
    pub job_id: Option<JobId>,
    /// The number of jobs that were found to be eligible.
    pub eligible: i64,
    /// There are more than were counted.
    pub eligible_is_more: bool,
    /// Some of them.
    pub sample: Json<Vec<SampleJob>>,
    /// The number of jobs that were changed.
    pub done: i64,
    /// The number of jobs that could not be, because of an error.
    pub failed: i64,
    /// The jobs that were passed over, by the code of the reason.
    pub skipped: Json<BTreeMap<String, u64>>,
    /// The last error.
    pub last_error: Option<String>,
    /// The author.
    pub made_by: String,
    /// The reason.
    pub reason: String,
    /// The moment at which it was asked for.
    pub created_at: OffsetDateTime,
    /// The moment at which it began; none until then.
    pub started_at: Option<OffsetDateTime>,
    /// The moment at which it ended; none until then.
    pub finished_at: Option<OffsetDateTime>,
    /// The person who cancelled it.
    pub cancelled_by: Option<String>,
    /// The reason for that.
    pub cancel_reason: Option<String>,
}

/// The operations before this one, or from the newest on; at most `limit`.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(
    conn: &mut PgConnection,
    before: Option<BulkOperationId>,
    limit: u16,
) -> sqlx::Result<Vec<StoredOperation>> {
    read(conn, None, before, limit).await
}

/// The operation with this number, if there is one.
///
/// # Errors
///
/// When the database refuses.
pub async fn find(
    conn: &mut PgConnection,
    id: BulkOperationId,
) -> sqlx::Result<Option<StoredOperation>> {
    Ok(read(conn, Some(id), None, 1).await?.pop())
}

async fn read(
    conn: &mut PgConnection,
    only: Option<BulkOperationId>,
    before: Option<BulkOperationId>,
    limit: u16,
) -> sqlx::Result<Vec<StoredOperation>> {
    sqlx::query_as!(
        StoredOperation,
        r#"
        select
          id as "id: BulkOperationId", action, filter_text, state as "state: StoredState",
          -- Only while it matters: it is looked for in all of the history.
          case when finished_at is null then queue.state_of(job_id) end as "job_state: JobState",
          job_id as "job_id: JobId", eligible, eligible_is_more,
          sample as "sample: Json<Vec<SampleJob>>", done, failed,
          skipped as "skipped: Json<BTreeMap<String, u64>>", last_error, made_by, reason,
          created_at, started_at, finished_at, cancelled_by, cancel_reason
        from operations.bulk_operations
        where ($1::bigint is null or id = $1) and id < coalesce($2, 9223372036854775807)
        order by id desc
        limit $3
        "#,
        only.map(|id| id.0),
        before.map(|id| id.0),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}

/// The number of operations that are not finished, counted up to `most`.
///
/// # Errors
///
/// When the database refuses.
pub async fn count_unfinished(conn: &mut PgConnection, most: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"
        select count(*) as "count!"
        from (
          select from operations.bulk_operations where finished_at is null limit $1
        ) as unfinished
        "#,
        most,
    )
    .fetch_one(conn)
    .await
}

/// The action of this name.
#[must_use]
pub fn action_of(name: &str) -> Option<JobAction> {
    JobAction::ALL.into_iter().find(|action| action.name() == name)
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
