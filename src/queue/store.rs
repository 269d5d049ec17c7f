//! Every statement of the queue, one function each. The statements are files in `sql/`, named after
//! the function that runs them.
//!
//! All that a worker writes for a job is guarded by the job's fence (G4), and tells whether the job
//! was still its own.

use std::time::Duration;

use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::QueueError;
use super::attempt::{AttemptOutcome, EndedAttempt};
use super::claim_floor::Lane;
use super::enqueue::NewJob;
use super::job::{Fence, FollowUp, JobId};
use super::trace_context::TraceContext;

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

/// A job that this worker holds the lease of.
#[derive(Debug)]
pub(super) struct ClaimedJob {
    pub(super) id: JobId,
    pub(super) queue: String,
    pub(super) kind: String,
    pub(super) attempt: i16,
    pub(super) max_attempts: i16,
    pub(super) crash_count: i16,
    pub(super) prior_attempts: i16,
    pub(super) fence: Fence,
    pub(super) run_at: OffsetDateTime,
    pub(super) claimed_at: OffsetDateTime,
    pub(super) args: Box<RawValue>,
    pub(super) trace_context: Option<TraceContext>,
    pub(super) last_traceparent: Option<String>,
    /// Which lane of the claim it came from, from 0.
    pub(super) lane: usize,
}

impl ClaimedJob {
    /// The attempts that count against the job's bound, this one included: those whose worker was
    /// lost do not, the rescue caps them.
    pub(super) fn counted_attempts(&self) -> i16 {
        self.attempt - self.crash_count
    }

    /// The attempts that its waits follow from: a redriven job begins them anew.
    pub(super) fn backoff_attempt(&self) -> i16 {
        self.counted_attempts() - self.prior_attempts
    }

    /// Whether the job is discarded if this attempt fails.
    pub(super) fn is_last_attempt(&self) -> bool {
        self.counted_attempts() >= self.max_attempts
    }
}

/// What a claim brought, and what its snapshot says of transactions that are still open.
#[derive(Debug)]
pub(super) struct Claim {
    /// In the order in which they are due, lane by lane.
    pub(super) jobs: Vec<ClaimedJob>,
    /// The database's clock when the claim began.
    pub(super) at: OffsetDateTime,
    /// Every transaction with a lower id had ended, those aside that the request ignores.
    pub(super) oldest_running_xid: i64,
    /// The id of the claim's own transaction, if it took one: ids that are higher were given out
    /// after `at`.
    pub(super) own_xid: Option<i64>,
}

/// What a claim asks for.
pub(super) struct ClaimRequest<'a> {
    pub(super) lanes: &'a [Lane],
    pub(super) kinds: &'a [String],
    pub(super) limit: usize,
    pub(super) worker_id: Uuid,
    pub(super) lease: Duration,
    /// Take a transaction id even when nothing is due.
    pub(super) take_xid: bool,
    /// Transactions with this id or a lower one are not waited for, though they may still run.
    pub(super) ignored_xid: i64,
}

pub(super) async fn claim(
    executor: impl PgExecutor<'_>,
    request: &ClaimRequest<'_>,
) -> Result<Claim, QueueError> {
    let queues: Vec<String> = request.lanes.iter().map(|lane| lane.queue.clone()).collect();
    let priorities: Vec<i16> = request.lanes.iter().map(|lane| lane.priority).collect();
    let floors: Vec<OffsetDateTime> = request.lanes.iter().map(|lane| lane.floor).collect();
    let rows = sqlx::query_file!(
        "src/queue/sql/claim.sql",
        &queues,
        &priorities,
        &floors,
        request.kinds,
        request.limit as i64,
        request.worker_id,
        request.lease.as_secs_f64(),
        request.take_xid,
        request.ignored_xid,
    )
    .fetch_all(executor)
    .await?;

    let first = rows.first().ok_or(QueueError::Database(sqlx::Error::RowNotFound))?;
    let mut claim = Claim {
        jobs: Vec::with_capacity(rows.len()),
        at: first.claimed_at,
        oldest_running_xid: first.oldest_running_xid,
        own_xid: first.own_xid,
    };
    for row in rows {
        // The one row that says that nothing was due has no job in it.
        let Some(id) = row.id else { continue };
        let missing = || QueueError::Database(sqlx::Error::RowNotFound);
        claim.jobs.push(ClaimedJob {
            id: JobId(id),
            queue: row.queue.ok_or_else(missing)?,
            kind: row.kind.ok_or_else(missing)?,
            attempt: row.attempt.ok_or_else(missing)?,
            max_attempts: row.max_attempts.ok_or_else(missing)?,
            crash_count: row.crash_count.ok_or_else(missing)?,
            prior_attempts: row.prior_attempts.ok_or_else(missing)?,
            fence: Fence(row.fence.ok_or_else(missing)?),
            run_at: row.run_at.ok_or_else(missing)?,
            claimed_at: row.claimed_at,
            args: row.args.ok_or_else(missing)?.0,
            trace_context: row.trace_context.map(|context| context.0),
            last_traceparent: row.last_traceparent,
            lane: row.lane.ok_or_else(missing)? as usize - 1,
        });
    }
    Ok(claim)
}

pub(super) async fn enqueue_many(
    conn: &mut PgConnection,
    jobs: &[NewJob],
    trace_contexts: Vec<Option<TraceContext>>,
) -> Result<Vec<JobId>, QueueError> {
    let queues: Vec<String> = jobs.iter().map(|job| job.queue.to_owned()).collect();
    let kinds: Vec<String> = jobs.iter().map(|job| job.kind.to_owned()).collect();
    let priorities: Vec<i16> = jobs.iter().map(|job| job.priority).collect();
    let max_attempts: Vec<i16> = jobs.iter().map(|job| job.max_attempts).collect();
    let delays: Vec<f64> = jobs.iter().map(|job| job.delay.as_secs_f64()).collect();
    let args: Vec<serde_json::Value> = jobs.iter().map(|job| job.args.clone()).collect();
    let on_discard: Vec<Option<Json<FollowUp>>> =
        jobs.iter().map(|job| job.on_discard.map(Json)).collect();
    let trace_contexts: Vec<Option<Json<TraceContext>>> =
        trace_contexts.into_iter().map(|context| context.map(Json)).collect();
    let ids = sqlx::query_file_scalar!(
        "src/queue/sql/enqueue_many.sql",
        &queues,
        &kinds,
        &priorities,
        &max_attempts,
        &delays,
        &args,
        &trace_contexts as _,
        &on_discard as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(JobId).collect())
}

/// Returns the jobs that were completed; the others belong to another worker by now.
pub(super) async fn complete(
    executor: impl PgExecutor<'_>,
    claims: &[(JobId, Fence)],
) -> Result<Vec<JobId>, QueueError> {
    let (ids, fences) = unzip(claims);
    let done = sqlx::query_file_scalar!("src/queue/sql/complete.sql", &ids, &fences)
        .fetch_all(executor)
        .await?;
    Ok(done.into_iter().map(JobId).collect())
}

/// Lets the job run again after `delay`. False when it belongs to another worker by now.
pub(super) async fn retry(
    pool: &PgPool,
    ended: &EndedAttempt,
    delay: Duration,
) -> Result<bool, QueueError> {
    let row = sqlx::query_file!(
        "src/queue/sql/retry.sql",
        ended.id.0,
        ended.fence.0,
        delay.as_secs_f64(),
        ended.outcome as AttemptOutcome,
        ended.error,
        ended.traceparent,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.is_some())
}

/// Locks the job's row, so that nobody else can take the job until the transaction ends. False when
/// it belongs to another worker by now.
pub(super) async fn lock_lease(
    conn: &mut PgConnection,
    id: JobId,
    fence: Fence,
) -> Result<bool, QueueError> {
    let locked = sqlx::query_scalar!(
        r#"
        select true as "locked!"
        from queue.jobs
        where id = $1 and fence = $2 and running
        for no key update
        "#,
        id.0,
        fence.0,
    )
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
        "src/queue/sql/finish.sql",
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
/// False when it belongs to another worker by now.
pub(super) async fn hand_back(
    pool: &PgPool,
    id: JobId,
    fence: Fence,
    delay: Duration,
    wait_reason: Option<&str>,
) -> Result<bool, QueueError> {
    let row = sqlx::query_file!(
        "src/queue/sql/hand_back.sql",
        id.0,
        fence.0,
        delay.as_secs_f64(),
        wait_reason,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.is_some())
}

/// Renews leases. Returns the jobs that are still this worker's.
pub(super) async fn heartbeat(
    executor: impl PgExecutor<'_>,
    claims: &[(JobId, Fence)],
    lease: Duration,
) -> Result<Vec<JobId>, QueueError> {
    let (ids, fences) = unzip(claims);
    let renewed =
        sqlx::query_file_scalar!("src/queue/sql/heartbeat.sql", &ids, &fences, lease.as_secs_f64())
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
    let rows = sqlx::query_file!("src/queue/sql/rescue.sql", limit, i32::from(max_crashes))
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
    let row = sqlx::query_file!("src/queue/sql/attempt_outcome.sql", id.0, fence.0)
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|row| row.outcome))
}

fn unzip(claims: &[(JobId, Fence)]) -> (Vec<i64>, Vec<i64>) {
    claims.iter().map(|(id, fence)| (id.0, fence.0)).unzip()
}
