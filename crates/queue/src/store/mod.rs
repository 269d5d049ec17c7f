//! Every statement of the queue, one function each. The statements are files in `sql/`, named after
//! the function that runs them.
//!
//! Here is all that a worker writes for a job that it has: guarded by the job's fence (G4), and
//! telling whether the job was still its own. [`claims`] are how it gets one, [`enqueueing`] is how
//! one comes to be.

use std::time::Duration;

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use super::QueueError;
use super::attempt::{AttemptOutcome, EndedAttempt};
use super::job::{Fence, JobId};

pub(super) use claims::{Claim, ClaimByKeyRequest, ClaimRequest, ClaimedJob, claim, claim_by_key};
pub(super) use enqueueing::{enqueue, enqueue_unique};

mod claims;
mod enqueueing;

/// The terminal states of a job, as `queue.finished_jobs` keeps them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "queue.finished_state", rename_all = "snake_case")]
pub(super) enum FinishedState {
    /// Done.
    Completed,
    /// No longer wanted.
    Cancelled,
    /// Failed for good; kept with every attempt's error.
    Discarded,
}

/// A claim whose job is to be completed.
#[derive(Clone, Debug)]
pub(super) struct Completion {
    pub(super) id: JobId,
    pub(super) fence: Fence,
    pub(super) traceparent: Option<String>,
    pub(super) output: Option<Value>,
}

/// A job that was completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Completed {
    pub(super) id: JobId,
    /// It is in a batch, or other jobs wait for it.
    pub(super) wakes: bool,
}

/// Returns the jobs that were completed; the others belong to another worker by now.
pub(super) async fn complete(
    executor: impl PgExecutor<'_>,
    completions: &[Completion],
) -> Result<Vec<Completed>, QueueError> {
    let ids: Vec<i64> = completions.iter().map(|completion| completion.id.0).collect();
    let fences: Vec<i64> = completions.iter().map(|completion| completion.fence.0).collect();
    // An array that would hold nothing but nulls is not sent.
    let traceparents = some_of(completions, |completion| &completion.traceparent);
    let outputs = some_of(completions, |completion| &completion.output);
    let done =
        sqlx::query_file!("src/sql/complete.sql", &ids, &fences, traceparents as _, outputs as _,)
            .fetch_all(executor)
            .await?;
    Ok(done.into_iter().map(|row| Completed { id: JobId(row.id), wakes: row.wakes }).collect())
}

fn some_of<T: Clone>(
    completions: &[Completion],
    of: fn(&Completion) -> &Option<T>,
) -> Option<Vec<Option<T>>> {
    let any = completions.iter().any(|completion| of(completion).is_some());
    any.then(|| completions.iter().map(|completion| of(completion).clone()).collect())
}

/// What a write for a job that goes on to wait has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Recorded {
    /// What it says.
    Done,
    /// What it says; and the job is to be cancelled now that it waits.
    ToBeCancelled,
    /// Nothing: the job belongs to another worker by now.
    NotOurs,
}

impl Recorded {
    /// From the one column of the row, if there was one.
    fn of(row: Option<bool>) -> Self {
        match row {
            None => Self::NotOurs,
            Some(true) => Self::ToBeCancelled,
            Some(false) => Self::Done,
        }
    }
}

/// Lets the job run again after `delay`.
pub(super) async fn retry(
    pool: &PgPool,
    ended: &EndedAttempt,
    delay: Duration,
) -> Result<Recorded, QueueError> {
    let row = sqlx::query_file_scalar!(
        "src/sql/retry.sql",
        ended.id.0,
        ended.fence.0,
        delay.as_secs_f64(),
        ended.outcome as AttemptOutcome,
        ended.error,
        ended.traceparent,
    )
    .fetch_optional(pool)
    .await?;
    Ok(Recorded::of(row))
}

/// Locks the job's row, so that nobody else can take the job until the transaction ends. False when
/// it belongs to another worker by now.
pub(super) async fn lock_lease(
    conn: &mut PgConnection,
    id: JobId,
    fence: Fence,
) -> Result<bool, QueueError> {
    let locked = sqlx::query_file_scalar!("src/sql/lock_lease.sql", id.0, fence.0)
        .fetch_optional(conn)
        .await?;
    Ok(locked.is_some())
}

/// Ends the job for good, and enqueues its follow-up if it was discarded. False when it belongs to
/// another worker by now.
pub(super) async fn finish(
    pool: &PgPool,
    ended: &EndedAttempt,
    state: FinishedState,
) -> Result<bool, QueueError> {
    finish_with(pool, ended, state, true).await
}

/// Ends the job for good in the transaction of its handler, who has seen to all that this entails.
/// False when it belongs to another worker by now.
pub(super) async fn finish_in(
    conn: &mut PgConnection,
    ended: &EndedAttempt,
    state: FinishedState,
) -> Result<bool, QueueError> {
    finish_with(conn, ended, state, false).await
}

async fn finish_with(
    executor: impl PgExecutor<'_>,
    ended: &EndedAttempt,
    state: FinishedState,
    follow_up: bool,
) -> Result<bool, QueueError> {
    let id = sqlx::query_file_scalar!(
        "src/sql/finish.sql",
        ended.id.0,
        ended.fence.0,
        state as FinishedState,
        ended.outcome as AttemptOutcome,
        ended.error,
        ended.traceparent,
        follow_up,
    )
    .fetch_one(executor)
    .await?;
    Ok(id.is_some())
}

/// Hands the job back as if it had never been claimed, to wait for this reason if there is one.
pub(super) async fn hand_back(
    pool: &PgPool,
    id: JobId,
    fence: Fence,
    delay: Duration,
    wait_reason: Option<&str>,
) -> Result<Recorded, QueueError> {
    let row = sqlx::query_file_scalar!(
        "src/sql/hand_back.sql",
        id.0,
        fence.0,
        delay.as_secs_f64(),
        wait_reason,
    )
    .fetch_optional(pool)
    .await?;
    Ok(Recorded::of(row))
}

/// What a handler tells of its job while it runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Percent, and a text; null leaves neither.
    pub(super) progress: Option<(i16, Option<String>)>,
    pub(super) checkpoint: Option<Value>,
}

/// Keeps what a handler tells. False when the job belongs to another worker by now.
pub(super) async fn tell(
    executor: impl PgExecutor<'_>,
    id: JobId,
    fence: Fence,
    told: &Told,
) -> Result<bool, QueueError> {
    let (percent, text) = told.progress.clone().unzip();
    let row = sqlx::query_file!(
        "src/sql/tell.sql",
        id.0,
        fence.0,
        percent,
        text.flatten(),
        told.checkpoint,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.is_some())
}

/// Which of the worker's jobs are to be stopped, and why.
pub(super) async fn cancel_requests(
    executor: impl PgExecutor<'_>,
    worker_id: Uuid,
) -> Result<Vec<(JobId, Fence, String)>, QueueError> {
    let rows =
        sqlx::query_file!("src/sql/cancel_requests.sql", worker_id).fetch_all(executor).await?;
    let requests = rows.into_iter().map(|row| (JobId(row.id), Fence(row.fence), row.reason));
    Ok(requests.collect())
}

/// Cancels a waiting job whose cancelling was requested while it ran.
pub(super) async fn cancel_waiting(pool: &PgPool, id: JobId) -> Result<(), QueueError> {
    sqlx::query_scalar!("select queue.cancel_waiting($1)", id.0).fetch_one(pool).await?;
    Ok(())
}

/// Forgets reservations of unique jobs that refuse nobody any more; at most `limit`.
pub(super) async fn prune_unique_keys(pool: &PgPool, limit: i64) -> Result<u64, QueueError> {
    let pruned = sqlx::query_file!("src/sql/prune_unique_keys.sql", limit).execute(pool).await?;
    Ok(pruned.rows_affected())
}

/// Cancels waiting jobs whose worker ended before it could see that they were to be cancelled.
pub(super) async fn cancel_left_over(pool: &PgPool) -> Result<(), QueueError> {
    sqlx::query_file!("src/sql/cancel_left_over.sql").fetch_all(pool).await?;
    Ok(())
}

/// Renews leases. Returns the jobs that are still this worker's.
pub(super) async fn heartbeat(
    executor: impl PgExecutor<'_>,
    claims: &[(JobId, Fence)],
    lease: Duration,
) -> Result<Vec<JobId>, QueueError> {
    let (ids, fences) = unzip(claims);
    let renewed =
        sqlx::query_file_scalar!("src/sql/heartbeat.sql", &ids, &fences, lease.as_secs_f64())
            .fetch_all(executor)
            .await?;
    Ok(renewed.into_iter().map(JobId).collect())
}

/// A job whose worker was lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rescued {
    pub(super) id: JobId,
    /// It has taken too many workers down, and was discarded instead of being run again.
    pub(super) poison: bool,
}

pub(super) async fn rescue(
    pool: &PgPool,
    limit: i64,
    max_crashes: i16,
) -> Result<Vec<Rescued>, QueueError> {
    let rows = sqlx::query_file!("src/sql/rescue.sql", limit, i32::from(max_crashes))
        .fetch_all(pool)
        .await?;
    Ok(rows.into_iter().map(|row| Rescued { id: JobId(row.id), poison: row.poison }).collect())
}

/// How the claim ended, if its end was recorded: what to ask when the answer to a COMMIT was lost.
pub(super) async fn attempt_outcome(
    pool: &PgPool,
    id: JobId,
    fence: Fence,
) -> Result<Option<AttemptOutcome>, QueueError> {
    let row = sqlx::query_file!("src/sql/attempt_outcome.sql", id.0, fence.0)
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|row| row.outcome))
}

fn unzip(claims: &[(JobId, Fence)]) -> (Vec<i64>, Vec<i64>) {
    claims.iter().map(|(id, fence)| (id.0, fence.0)).unzip()
}
