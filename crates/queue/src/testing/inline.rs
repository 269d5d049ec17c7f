//! One job, enqueued and run at once.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::TestingError;
use crate::enqueue::{Enqueued, NewJob, enqueue};
use crate::handler::{AttemptOutcome, Job};
use crate::ids::JobId;
use crate::state::JobState;
use crate::worker::{Registry, Slots, Worker, WorkerSettings};

/// The result of a job that was run inline.
#[derive(Clone, PartialEq, Debug)]
pub struct InlineRun {
    /// Its number.
    pub job: JobId,
    /// The end of its attempt.
    pub ended: Ended,
}

/// The end of an attempt.
#[derive(Clone, PartialEq, Debug)]
pub enum Ended {
    /// The job is done.
    Completed {
        /// The recorded output; none if its kind keeps no history.
        output: Option<Value>,
    },
    /// The attempt failed, and there will be another one.
    Failed {
        /// The kind of failure: a failed handler or its timeout.
        outcome: AttemptOutcome,
        /// The whole error chain.
        error: String,
        /// The moment of the next attempt.
        retry_at: OffsetDateTime,
    },
    /// The job was discarded: by its handler, or because this was its last attempt.
    Discarded {
        /// The whole error chain.
        error: String,
    },
    /// The job is no longer wanted.
    Cancelled {
        /// The reason that was given.
        reason: String,
    },
    /// Not now; it cost no attempt.
    Snoozed {
        /// The reason that the handler gave.
        reason: Option<String>,
        /// The moment at which it is due again.
        until: OffsetDateTime,
    },
    /// The lease was lost, or the end of the attempt could not be recorded.
    Unrecorded,
}

/// Enqueues a job, commits that, and runs its first attempt at once, with a worker that knows its
/// kind only. The job goes through all that any other goes through, the claim, the lease and its
/// fence, by the same code, and is in the history afterwards. It is alone in a queue of its own, so
/// other jobs are left as they are, and limits of the kind's queue do not count; a pause of all
/// queues does.
///
/// For kinds with batch handlers, sealed kinds, and jobs that differ from what their kind says,
/// there is [`run_inline_by`].
///
/// # Errors
///
/// [`TestingError`]. That the handler fails is no error, but an [`Ended`].
pub async fn run_inline<J: Job>(
    pool: &PgPool,
    state: J::State,
    job: &J,
) -> Result<InlineRun, TestingError> {
    let registry = Registry::new(state).register::<J>();
    let worker = Worker::new(pool.clone(), registry, WorkerSettings::default())?;
    run_inline_by(&worker, NewJob::new(job)?).await
}

/// The same by a worker of the test's own, which must know the kind. The job's delay and queue are
/// ignored. Of a kind with a batch handler it runs as a batch of one does, by [`Job::run`].
///
/// # Errors
///
/// As [`run_inline`]; [`TestingError::Exists`] for a unique job that is there already.
pub async fn run_inline_by<S: Clone + Send + Sync + 'static>(
    worker: &Worker<S>,
    job: NewJob,
) -> Result<InlineRun, TestingError> {
    worker.declare_kinds().await?;
    let queue = format!("inline-{}", Uuid::now_v7());
    let mut conn = worker.pool().acquire().await?;
    let job = match enqueue(&mut conn, job.queue(&*queue).delay(Duration::ZERO)).await? {
        Enqueued::New(id) => id,
        Enqueued::Existing(id) => return Err(TestingError::Exists(id)),
    };
    drop(conn);
    let queues = [queue];
    let slots = Slots::new(1, &queues);
    match worker.run_one_claim(&mut worker.turns(&queues), &slots).await? {
        1.. => Ok(InlineRun { job, ended: ended(worker.pool(), job).await? }),
        0 => Err(TestingError::NotClaimed(job)),
    }
}

async fn ended(pool: &PgPool, job: JobId) -> Result<Ended, TestingError> {
    let found = sqlx::query!(
        r#"
        select
          job.state as "state!: JobState", job.wait_reason, job.run_at as "run_at!", job.output,
          attempt.outcome as "outcome?: AttemptOutcome", attempt.error
        from queue.all_jobs as job
        left join lateral (
          select outcome, error
          from queue.attempts
          where attempts.job_id = job.id
          order by attempts.attempt desc
          limit 1
        ) as attempt on true
        where job.id = $1
        "#,
        job.0,
    )
    .fetch_optional(pool)
    .await?;
    // A kind without history leaves nothing behind once it is done.
    let Some(found) = found else { return Ok(Ended::Completed { output: None }) };
    let error = found.error.unwrap_or_default();
    Ok(match (found.state, found.outcome) {
        (JobState::Completed, _) => Ended::Completed { output: found.output },
        (JobState::Discarded, _) => Ended::Discarded { error },
        (JobState::Cancelled, _) => Ended::Cancelled { reason: error },
        (JobState::Running, _) => Ended::Unrecorded,
        (JobState::Scheduled | JobState::Available | JobState::Retryable, Some(outcome)) => {
            Ended::Failed { outcome, error, retry_at: found.run_at }
        }
        (JobState::Scheduled | JobState::Available | JobState::Retryable, None) => {
            Ended::Snoozed { reason: found.wait_reason, until: found.run_at }
        }
    })
}
