//! The statements that claim jobs.

use std::time::Duration;

use serde_json::value::RawValue;
use sqlx::PgExecutor;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::unheard::Bounds;
use crate::QueueError;
use crate::ids::{Fence, JobId};
use crate::telemetry::TraceContext;
use crate::worker::slots::{Rooms, may_take_own_slots};

/// A job that this worker holds the lease of.
#[derive(Debug)]
pub(crate) struct ClaimedJob {
    pub(crate) id: JobId,
    pub(crate) queue: String,
    pub(crate) kind: String,
    pub(crate) attempt: i16,
    pub(crate) max_attempts: i16,
    pub(crate) crash_count: i16,
    pub(crate) prior_attempts: i16,
    pub(crate) fence: Fence,
    pub(crate) run_at: OffsetDateTime,
    pub(crate) claimed_at: OffsetDateTime,
    /// The time from its claim until its run began, in which it waited for its batch.
    pub(crate) held_for: Duration,
    pub(crate) args: Box<RawValue>,
    pub(crate) trace_context: Option<TraceContext>,
    pub(crate) last_traceparent: Option<String>,
    pub(crate) key: Option<String>,
    /// The id of the key that the arguments are sealed with.
    pub(crate) args_key: Option<String>,
    pub(crate) checkpoint: Option<Box<RawValue>>,
    /// The lane of the claim that it came from, from 0; jobs that were claimed by key have none.
    pub(crate) lane: usize,
    /// Others may be waiting for it to end: it has a key, or its queue has limits.
    pub(crate) by_key: bool,
    /// It has counted for a slot of its queue's own, if there was one.
    pub(crate) may_take_own_slot: bool,
}

impl ClaimedJob {
    /// The bytes of its arguments and of its checkpoint, in the claim's answer.
    pub(crate) fn bytes(&self) -> usize {
        let checkpoint = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.get().len());
        self.args.get().len() + checkpoint
    }

    /// The time from when the job was due until its run began.
    pub(crate) fn waited(&self) -> Duration {
        (self.begun_at() - self.run_at).try_into().unwrap_or_default()
    }

    /// The moment at which its run began, by the database's clock.
    pub(crate) fn begun_at(&self) -> OffsetDateTime {
        self.claimed_at + self.held_for
    }

    /// The attempts that count against the job's bound, this one included: those whose worker was
    /// lost do not, the rescue caps them.
    pub(crate) fn counted_attempts(&self) -> i16 {
        self.attempt - self.crash_count
    }

    /// The attempts that its waits follow from: a redriven job begins them anew.
    pub(crate) fn backoff_attempt(&self) -> i16 {
        self.counted_attempts() - self.prior_attempts
    }

    /// Tells whether the job is discarded if this attempt fails.
    pub(crate) fn is_last_attempt(&self) -> bool {
        self.counted_attempts() >= self.max_attempts
    }
}

/// A column of a job that was claimed is null, which it never is.
const MISSING: QueueError = QueueError::Database(sqlx::Error::RowNotFound);

/// The job in a row of either claim. Each statement has a row type of its own, whose job has the
/// same columns.
macro_rules! claimed_job {
    ($row:ident, $id:ident, $lane:expr, by_key: $by_key:literal, own: $may_take_own:expr) => {
        ClaimedJob {
            id: JobId($id),
            queue: $row.queue.ok_or(MISSING)?,
            kind: $row.kind.ok_or(MISSING)?,
            attempt: $row.attempt.ok_or(MISSING)?,
            max_attempts: $row.max_attempts.ok_or(MISSING)?,
            crash_count: $row.crash_count.ok_or(MISSING)?,
            prior_attempts: $row.prior_attempts.ok_or(MISSING)?,
            fence: Fence($row.fence.ok_or(MISSING)?),
            run_at: $row.run_at.ok_or(MISSING)?,
            claimed_at: $row.claimed_at,
            held_for: Duration::ZERO,
            args: $row.args.ok_or(MISSING)?.0,
            trace_context: $row.trace_context.map(|context| context.0),
            last_traceparent: $row.last_traceparent,
            key: $row.key,
            args_key: $row.args_key,
            checkpoint: $row.checkpoint.map(|checkpoint| checkpoint.0),
            lane: $lane,
            by_key: $by_key,
            may_take_own_slot: $may_take_own,
        }
    };
}

/// The jobs that a claim took, and the state of open transactions in its snapshot.
#[derive(Debug)]
pub(crate) struct Claim {
    /// In the order in which they are due, lane by lane.
    pub(crate) jobs: Vec<ClaimedJob>,
    /// The database's clock when the claim began.
    pub(crate) at: OffsetDateTime,
    /// Every transaction with a lower id had ended, those aside that the request ignores.
    pub(crate) oldest_running_xid: i64,
    /// The id of the claim's own transaction, if it took one: ids that are higher were given out
    /// after `at`.
    pub(crate) own_xid: Option<i64>,
    /// The lanes, from 0, that were passed over: their queues are paused or have limits.
    pub(crate) closed_lanes: Vec<usize>,
    /// The queues to claim from by key, if they were asked for: they have limits, or jobs with keys
    /// that are due.
    pub(crate) by_key: Vec<String>,
    /// As many jobs were found as there was room for, or more than there was room for in bytes:
    /// nothing was looked at beyond the last.
    pub(crate) is_cut: bool,
}

/// The waiting jobs of one priority of one queue, from a moment on.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Lane {
    pub(crate) queue: String,
    pub(crate) priority: i16,
    pub(crate) floor: OffsetDateTime,
}

/// The parameters of a claim.
pub(crate) struct ClaimRequest<'a> {
    pub(crate) lanes: &'a [Lane],
    pub(crate) kinds: &'a [String],
    /// The free slots, and the most jobs.
    pub(crate) slots: &'a Rooms,
    pub(crate) max_bytes: usize,
    /// The queues to claim from by key are to be told.
    pub(crate) look_for_keys: bool,
    pub(crate) worker_id: Uuid,
    pub(crate) lease: Duration,
    /// Take a transaction id even when nothing is due.
    pub(crate) take_xid: bool,
    /// Transactions with this id or a lower one are not waited for, though they may still run.
    pub(crate) ignored_xid: i64,
}

pub(crate) async fn claim(
    executor: impl PgExecutor<'_>,
    request: &ClaimRequest<'_>,
) -> Result<Claim, QueueError> {
    let queues: Vec<String> = request.lanes.iter().map(|lane| lane.queue.clone()).collect();
    let priorities: Vec<i16> = request.lanes.iter().map(|lane| lane.priority).collect();
    let floors: Vec<OffsetDateTime> = request.lanes.iter().map(|lane| lane.floor).collect();
    let own_slots = request.lanes.iter().map(|lane| match may_take_own_slots(lane.priority) {
        true => request.slots.own_of(&lane.queue) as i32,
        false => 0,
    });
    let own_slots: Vec<i32> = own_slots.collect();
    let rows = sqlx::query_file!(
        "src/sql/claim.sql",
        &queues,
        &priorities,
        &floors,
        request.kinds,
        request.slots.jobs as i32,
        request.worker_id,
        request.lease.as_secs_f64(),
        request.take_xid,
        request.ignored_xid,
        request.max_bytes as i64,
        &own_slots,
        request.slots.common as i32,
        request.look_for_keys,
    )
    .fetch_all(executor)
    .await?;

    let first = rows.first().ok_or(QueueError::Database(sqlx::Error::RowNotFound))?;
    let mut claim = Claim {
        jobs: Vec::with_capacity(rows.len()),
        at: first.claimed_at,
        oldest_running_xid: first.oldest_running_xid,
        own_xid: first.own_xid,
        closed_lanes: first.closed_lanes.iter().flatten().map(|lane| *lane as usize - 1).collect(),
        by_key: first.by_key.clone().unwrap_or_default(),
        is_cut: first.is_cut,
    };
    for row in rows {
        // The one row that says that nothing was due has no job in it.
        let Some(id) = row.id else { continue };
        let lane = row.lane.ok_or(MISSING)? as usize - 1;
        let own = may_take_own_slots(request.lanes[lane].priority);
        claim.jobs.push(claimed_job!(row, id, lane, by_key: false, own: own));
    }
    Ok(claim)
}

/// The parameters of a claim by key, from one queue.
pub(crate) struct ClaimByKeyRequest<'a> {
    pub(crate) queue: &'a str,
    pub(crate) kinds: &'a [String],
    pub(crate) max_jobs: usize,
    pub(crate) max_bytes: usize,
    pub(crate) worker_id: Uuid,
    pub(crate) lease: Duration,
    /// The key at which the last claim ended.
    pub(crate) after_key: Option<&'a str>,
}

/// The result of a claim by key.
#[derive(Debug, Default)]
pub(crate) struct ClaimByKey {
    pub(crate) jobs: Vec<ClaimedJob>,
    /// The key from which the next claim should go on.
    pub(crate) turn: Option<String>,
    /// The time after which a rate allows the next job, if only that is in the way.
    pub(crate) again_in: Option<Duration>,
    /// More jobs may start than there was room for in bytes.
    pub(crate) is_cut: bool,
}

pub(crate) async fn claim_by_key(
    executor: impl PgExecutor<'_>,
    request: &ClaimByKeyRequest<'_>,
) -> Result<ClaimByKey, QueueError> {
    let rows = sqlx::query_file!(
        "src/sql/claim_by_key.sql",
        request.queue,
        request.kinds,
        request.max_jobs as i32,
        request.worker_id,
        request.lease.as_secs_f64(),
        request.after_key,
        request.max_bytes as i64,
    )
    .fetch_all(executor)
    .await?;
    let mut claim = ClaimByKey::default();
    for row in rows {
        // The last row.
        let Some(id) = row.id else {
            claim.turn = row.key;
            claim.again_in = row.again_in.map(Duration::from_secs_f64);
            claim.is_cut = row.is_cut.unwrap_or_default();
            continue;
        };
        claim.jobs.push(claimed_job!(row, id, 0, by_key: true, own: true));
    }
    Ok(claim)
}

/// Hands back the worker's jobs within these bounds. Returns how many.
pub(crate) async fn hand_back_unheard(
    executor: impl PgExecutor<'_>,
    worker_id: Uuid,
    bounds: &Bounds,
) -> Result<usize, QueueError> {
    let handed_back =
        sqlx::query_file!("src/sql/hand_back_unheard.sql", worker_id, bounds.since, &bounds.heard,)
            .fetch_all(executor)
            .await?;
    Ok(handed_back.len())
}
