//! The writes that end a claim or keep its progress: one function for each statement.
//! Every end of a job is `queue.end_jobs` (`schema/functions/end_jobs.sql`).
//!
//! Each is guarded by the fence of the claim (G4), and its result says whether the job was still
//! this worker's. Leases are renewed in `worker/leases.rs`, jobs are claimed in `worker/claim`.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::attempt::{AttemptOutcome, EndedAttempt};
use super::error::JobError;
use super::run_transaction::RunTransaction;
use crate::QueueError;
use crate::activity::Activity;
use crate::commits;
use crate::deadline::within;
use crate::ids::{Fence, JobId};
use crate::telemetry::engine_spans::record_completion;

/// The terminal states of a job, as `queue.finished_jobs` keeps them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "queue.finished_state", rename_all = "snake_case")]
pub(crate) enum FinishedState {
    /// Done.
    Completed,
    /// No longer wanted.
    Cancelled,
    /// Failed for good; kept with every attempt's error.
    Discarded,
}

/// A claim whose job is to be completed.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) id: JobId,
    pub(crate) fence: Fence,
    pub(crate) traceparent: Option<String>,
    pub(crate) output: Option<Value>,
}

/// A job that was completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Completed {
    pub(crate) id: JobId,
    /// It is in a batch, or other jobs wait for it.
    pub(crate) wakes: bool,
}

/// Returns the jobs that were completed; the others belong to another worker by now.
pub(crate) async fn complete(
    executor: impl PgExecutor<'_>,
    completions: &[Completion],
) -> Result<Vec<Completed>, QueueError> {
    let ids: Vec<i64> = completions.iter().map(|completion| completion.id.0).collect();
    let fences: Vec<i64> = completions.iter().map(|completion| completion.fence.0).collect();
    // An array that would hold nothing but nulls is not sent.
    let traceparents = some_of(completions, |completion| &completion.traceparent);
    let outputs = some_of(completions, |completion| &completion.output);
    let done = sqlx::query!(
        r#"select id as "id!", wakes as "wakes!"
           from queue.end_jobs(
             $1, $2, 'completed', 'completed', traceparents => $3, outputs => $4
           )"#,
        &ids,
        &fences,
        traceparents as _,
        outputs as _,
    )
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

/// Completes these jobs in the transaction and commits it. Says whether others wait for one.
pub(crate) async fn complete_and_commit(
    mut tx: RunTransaction,
    (pool, activity): (&PgPool, &Activity),
    completions: &[Completion],
) -> Result<bool, JobError> {
    tx.require_whole()?;
    let (began, began_at) = (Instant::now(), SystemTime::now());
    let done = within(complete(&mut *tx, completions)).await?;
    if done.len() < completions.len() {
        within(tx.rollback()).await?;
        activity.engine().writes_refused.add(completions.len() - done.len());
        return Err(JobError::LeaseLost);
    }
    let claims: Vec<_> = completions.iter().map(|one| (one.id, one.fence)).collect();
    let committed = commit(tx, pool, &claims, AttemptOutcome::Completed).await;
    let runs = completions.iter().map(|run| (run.id, run.traceparent.as_deref()));
    record_completion(began_at, runs, committed.is_ok());
    match committed {
        Ok(()) => activity.engine().completed(done.len(), began.elapsed()),
        Err(error) => {
            activity.engine().failed_completions.add(1);
            return Err(error);
        }
    }
    Ok(done.iter().any(|job| job.wakes))
}

/// Commits a transaction in which these claims end so.
pub(crate) async fn commit(
    tx: RunTransaction,
    pool: &PgPool,
    claims: &[(JobId, Fence)],
    outcome: AttemptOutcome,
) -> Result<(), JobError> {
    let committed: Result<(), sqlx::Error> = within(tx.commit()).await;
    match committed {
        Ok(()) => Ok(()),
        // That it is here says nothing about what is left after a failover.
        Err(error) if commits::is_unconfirmed(&error) => Err(error.into()),
        // The commit may have happened although its answer was lost. The fence tells.
        Err(error) => {
            let jobs = claims.len();
            tracing::warn!(%error, jobs, "the answer to a commit was lost, asking by fence");
            let resolved = committed_after_all(pool, claims, outcome).await;
            resolved.map_err(|_unresolved| error.into())
        }
    }
}

/// Resolves a commit whose answer was lost. The claims were ended by one statement, so one of them
/// speaks for all.
pub(crate) async fn committed_after_all(
    pool: &PgPool,
    claims: &[(JobId, Fence)],
    outcome: AttemptOutcome,
) -> Result<(), QueueError> {
    let Some((id, fence)) = claims.first() else { return Ok(()) };
    if within(attempt_outcome(pool, *id, *fence)).await? == Some(outcome) {
        Ok(())
    } else {
        Err(QueueError::CommitLost)
    }
}

/// The result of a write that makes a job wait again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Recorded {
    /// The transition was written.
    Done,
    /// The transition was written, and the job is to be cancelled now that it waits.
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
pub(crate) async fn retry(
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
pub(crate) async fn lock_lease(
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
pub(crate) async fn finish(
    pool: &PgPool,
    ended: &EndedAttempt,
    state: FinishedState,
) -> Result<bool, QueueError> {
    finish_with(pool, ended, state, true).await
}

/// Ends the job for good in the transaction of its handler, who has seen to all that this entails.
/// False when it belongs to another worker by now.
pub(crate) async fn finish_in(
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
    let id = sqlx::query_scalar!(
        "select id
         from queue.end_jobs(
           array[$1::bigint], array[$2::bigint], $3, $4, array[$5::text], array[$6::text],
           follow_up => $7
         )",
        ended.id.0,
        ended.fence.0,
        state as FinishedState,
        ended.outcome as AttemptOutcome,
        ended.error,
        ended.traceparent,
        follow_up,
    )
    .fetch_optional(executor)
    .await?;
    Ok(id.is_some())
}

/// Hands the job back as if it had never been claimed, to wait for this reason if there is one.
pub(crate) async fn hand_back(
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

/// Progress and checkpoint that a handler records while it runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Percent, and a text; null leaves neither.
    pub(crate) progress: Option<(i16, Option<String>)>,
    pub(crate) checkpoint: Option<Value>,
}

/// Keeps what a handler tells. False when the job belongs to another worker by now.
pub(crate) async fn record_progress(
    executor: impl PgExecutor<'_>,
    id: JobId,
    fence: Fence,
    progress: &Progress,
) -> Result<bool, QueueError> {
    let (percent, text) = progress.progress.clone().unzip();
    let row = sqlx::query_file!(
        "src/sql/record_progress.sql",
        id.0,
        fence.0,
        percent,
        text.flatten(),
        progress.checkpoint,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.is_some())
}

/// Cancels a waiting job whose cancelling was requested while it ran.
pub(crate) async fn cancel_waiting(pool: &PgPool, id: JobId) -> Result<(), QueueError> {
    sqlx::query_scalar!("select queue.cancel_waiting($1)", id.0).fetch_one(pool).await?;
    Ok(())
}

/// The recorded end of a claim, none if there is none: read when the answer to a COMMIT was lost.
pub(crate) async fn attempt_outcome(
    pool: &PgPool,
    id: JobId,
    fence: Fence,
) -> Result<Option<AttemptOutcome>, QueueError> {
    let row = sqlx::query_file!("src/sql/attempt_outcome.sql", id.0, fence.0)
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|row| row.outcome))
}
