//! From a claim to its outcome: look up the handler, run it under its lease and timeout, settle
//! what it says.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::QueueError;
use super::attempt::{AttemptOutcome, EndedAttempt, storable};
use super::context::{BatchContext, Committed, CommittedOutcome, Completion, JobContext};
use super::job::JobError;
use super::leases::{HeldLease, Leases};
use super::registry::{Handler, Registry};
use super::spans::{self, Ending, Failure, ProcessSpan};
use super::store::{self, ClaimedJob, FinishedState};

/// The reason of a wait is cut at so many bytes: it is in the hot table.
const MAX_WAIT_REASON_BYTES: usize = 500;

/// How often, and how long apart, the end of a failed attempt is tried to be recorded. What cannot
/// be recorded is found by the rescue when the lease runs out.
const RECORD_TRIES: u32 = 5;
const RECORD_PAUSE: Duration = Duration::from_millis(500);

/// How a run ended, in the worker's view.
enum Outcome {
    /// The handler has committed it, nothing is left to record.
    Committed(CommittedOutcome),
    Failed {
        failure: Failure,
        error: String,
        delay: Option<Duration>,
    },
    Discarded(String),
    Cancelled(String),
    Snoozed {
        delay: Duration,
        reason: Option<String>,
    },
    /// Another worker has the job, or will have: nothing may be recorded.
    LeaseLost,
    /// This worker stops and cannot wait for the run.
    HandedBack,
}

/// How many attempts ended how, since the worker started.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) completed: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) discarded: AtomicU64,
    pub(super) lease_lost: AtomicU64,
    pub(super) handed_back: AtomicU64,
}

/// Runs claimed jobs.
pub(super) struct Executor<S> {
    pub(super) worker_id: Uuid,
    pub(super) registry: Registry<S>,
    pub(super) completion: Arc<Completion>,
    /// The engine's own connections, so that handlers cannot starve the recording of outcomes.
    pub(super) pool: PgPool,
    pub(super) leases: Arc<Leases>,
    /// Cancelled when runs must end now, because the worker stops.
    pub(super) hand_back: CancellationToken,
    pub(super) counts: Counts,
}

/// A job with the lease that it is run under, and the span of its run.
struct LeasedJob {
    job: ClaimedJob,
    lease: HeldLease,
    span: ProcessSpan,
}

impl<S: Clone + Send + Sync + 'static> Executor<S> {
    /// Runs one job, claimed not earlier than `since`, and records how that ended.
    pub(super) async fn execute(&self, job: ClaimedJob, since: Instant) {
        let leased = self.hold(job, since, None);
        self.execute_leased(leased).await;
    }

    /// Runs jobs of one kind as a batch. If the batch fails as a whole, runs them one by one, so
    /// that a poison job costs only its own attempt.
    pub(super) async fn execute_batch(&self, jobs: Vec<ClaimedJob>, since: Instant) {
        let batch_lost = CancellationToken::new();
        let leased: Vec<LeasedJob> =
            jobs.into_iter().map(|job| self.hold(job, since, Some(batch_lost.clone()))).collect();
        let batch_completed = leased.len() > 1 && self.run_batch(&leased, batch_lost).await;
        for leased in leased {
            if batch_completed {
                self.settle(leased, Outcome::Committed(CommittedOutcome::Completed)).await;
            } else {
                self.execute_leased(leased).await;
            }
        }
    }

    fn hold(
        &self,
        job: ClaimedJob,
        since: Instant,
        batch_lost: Option<CancellationToken>,
    ) -> LeasedJob {
        let lease = self.leases.hold(job.id, job.fence, since, batch_lost);
        let span = ProcessSpan::start(&self.run_of(&job));
        LeasedJob { job, lease, span }
    }

    async fn execute_leased(&self, leased: LeasedJob) {
        let outcome = match self.registry.handler(&leased.job.kind) {
            Some(handler) => self.run(&leased, handler.as_ref()).await,
            // The claim asks for known kinds only.
            None => Outcome::HandedBack,
        };
        self.settle(leased, outcome).await;
    }

    async fn run(&self, leased: &LeasedJob, handler: &dyn Handler<S>) -> Outcome {
        let LeasedJob { job, lease, span } = leased;
        let cx = JobContext {
            id: job.id,
            fence: job.fence,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            is_last_attempt: job.is_last_attempt(),
            backoff_attempt: job.backoff_attempt(),
            traceparent: span.traceparent(),
            stop: lease.lost.clone(),
            engine: Arc::clone(&self.completion),
        };
        let timeout = handler.traits().timeout;
        let run = match handler.run(&job.args, self.registry.state(), cx) {
            Ok(run) => span.scope(&self.run_of(job), run),
            Err(error) => return outcome_of(Err(error)),
        };
        self.watch(run, &lease.lost, timeout).await
    }

    /// True when the batch completed all its jobs.
    async fn run_batch(&self, leased: &[LeasedJob], batch_lost: CancellationToken) -> bool {
        let kind = &leased[0].job.kind;
        let Some(handler) = self.registry.handler(kind) else { return false };
        let cx = BatchContext {
            claims: leased.iter().map(|leased| (leased.job.id, leased.job.fence)).collect(),
            stop: batch_lost.clone(),
            engine: Arc::clone(&self.completion),
        };
        let args: Vec<_> = leased.iter().map(|leased| leased.job.args.as_ref()).collect();
        let outcome = match handler.run_batch(&args, self.registry.state(), cx) {
            Ok(run) => self.watch(run, &batch_lost, handler.traits().timeout).await,
            Err(error) => outcome_of(Err(error)),
        };
        match outcome {
            Outcome::Committed(_) => true,
            Outcome::Failed { error, .. }
            | Outcome::Discarded(error)
            | Outcome::Cancelled(error) => {
                tracing::warn!(
                    kind,
                    jobs = leased.len(),
                    error,
                    "a batch failed, running its jobs one by one"
                );
                false
            }
            Outcome::Snoozed { .. } | Outcome::LeaseLost | Outcome::HandedBack => false,
        }
    }

    /// Lets a run go on until it ends, loses its lease, exceeds its time or must be handed back. A
    /// run is stopped by being dropped at its next await.
    async fn watch(
        &self,
        run: impl Future<Output = Result<Committed, JobError>>,
        lost: &CancellationToken,
        timeout: Duration,
    ) -> Outcome {
        tokio::select! {
            biased;
            () = lost.cancelled() => Outcome::LeaseLost,
            () = self.hand_back.cancelled() => Outcome::HandedBack,
            result = AssertUnwindSafe(run).catch_unwind() => match result {
                Ok(result) => outcome_of(result),
                Err(panic) => Outcome::Failed {
                    failure: Failure::Panicked,
                    error: format!("the handler panicked: {}", panic_message(panic.as_ref())),
                    delay: None,
                },
            },
            () = tokio::time::sleep(timeout) => Outcome::Failed {
                failure: Failure::TimedOut,
                error: format!("the handler was stopped after its timeout of {timeout:?}"),
                delay: None,
            },
        }
    }

    /// Records how a run ended: the one place where a job that was not completed changes its state.
    async fn settle(&self, leased: LeasedJob, outcome: Outcome) {
        let LeasedJob { job, lease: _until_recorded, span } = leased;
        let run = self.run_of(&job);
        let traceparent = span.traceparent();
        self.counts.count(&outcome);
        match outcome {
            Outcome::Committed(outcome) => span.end(&run, ending_of(&outcome)),
            Outcome::Failed { failure, error, delay } => {
                let ended = ended_attempt(&job, outcome_in_history(failure), error, traceparent);
                if job.is_last_attempt() {
                    self.counts.discarded.fetch_add(1, Ordering::Relaxed);
                    self.discard(&job, &ended).await;
                    span.end(&run, Ending::Discarded { failure, error: &ended.error });
                } else {
                    let delay = delay.unwrap_or_else(|| self.backoff(&job));
                    self.record(&job, || store::retry(&self.pool, &ended, delay)).await;
                    span.end(&run, Ending::Retried { failure, error: &ended.error, delay });
                }
            }
            Outcome::Discarded(error) => {
                let ended = ended_attempt(&job, AttemptOutcome::Discarded, error, traceparent);
                self.discard(&job, &ended).await;
                span.end(&run, Ending::Discarded { failure: Failure::Failed, error: &ended.error });
            }
            Outcome::Cancelled(reason) => {
                let ended = ended_attempt(&job, AttemptOutcome::Cancelled, reason, traceparent);
                self.record(&job, || store::finish(&self.pool, &ended, FinishedState::Cancelled))
                    .await;
                span.end(&run, Ending::Cancelled { reason: &ended.error });
            }
            Outcome::Snoozed { delay, reason } => {
                let reason = reason.map(|reason| storable(reason, MAX_WAIT_REASON_BYTES));
                self.hand_back(&job, delay, reason.as_deref()).await;
                span.end(&run, Ending::Snoozed { delay, reason: reason.as_deref() });
            }
            Outcome::HandedBack => {
                self.hand_back(&job, Duration::ZERO, None).await;
                span.end(&run, Ending::HandedBack);
            }
            Outcome::LeaseLost => span.end(&run, Ending::LeaseLost),
        }
    }

    async fn discard(&self, job: &ClaimedJob, ended: &EndedAttempt) {
        self.record(job, || store::finish(&self.pool, ended, FinishedState::Discarded)).await;
    }

    async fn hand_back(&self, job: &ClaimedJob, delay: Duration, reason: Option<&str>) {
        self.record(job, || store::hand_back(&self.pool, job.id, job.fence, delay, reason)).await;
    }

    fn backoff(&self, job: &ClaimedJob) -> Duration {
        let backoff = self.registry.handler(&job.kind).map(|handler| handler.traits().backoff);
        backoff.unwrap_or_default().delay(job.backoff_attempt())
    }

    /// Writes the end of an attempt, again if the database is away for a moment. A job that is
    /// another worker's by now is left to it.
    async fn record<F>(&self, job: &ClaimedJob, write: impl Fn() -> F)
    where
        F: Future<Output = Result<bool, QueueError>>,
    {
        for _ in 0..RECORD_TRIES {
            match write().await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!(
                        job_id = job.id.0,
                        fence = job.fence.0,
                        "the end of a run changed nothing: its job is settled or not ours"
                    );
                    return;
                }
                Err(error) => {
                    tracing::warn!(job_id = job.id.0, error = %super::chain(&error),
                        "the end of a run could not be recorded, trying again");
                    tokio::time::sleep(RECORD_PAUSE).await;
                }
            }
        }
    }

    fn run_of<'a>(&self, job: &'a ClaimedJob) -> spans::Run<'a> {
        spans::Run {
            job_id: job.id,
            queue: &job.queue,
            kind: &job.kind,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            worker_id: self.worker_id,
            waited: (job.claimed_at - job.run_at).try_into().unwrap_or_default(),
            trace_context: job.trace_context.as_ref(),
            last_traceparent: job.last_traceparent.as_deref(),
        }
    }
}

impl Counts {
    fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Committed(CommittedOutcome::Completed) => &self.completed,
            Outcome::Failed { .. } => &self.failed,
            Outcome::Committed(CommittedOutcome::Discarded(_)) | Outcome::Discarded(_) => {
                &self.discarded
            }
            Outcome::LeaseLost => &self.lease_lost,
            Outcome::HandedBack => &self.handed_back,
            Outcome::Committed(CommittedOutcome::Cancelled(_))
            | Outcome::Cancelled(_)
            | Outcome::Snoozed { .. } => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn outcome_of(result: Result<Committed, JobError>) -> Outcome {
    match result {
        Ok(committed) => Outcome::Committed(committed.outcome),
        Err(JobError::Retry { error, delay }) => {
            Outcome::Failed { failure: Failure::Failed, error: format!("{error:#}"), delay }
        }
        Err(JobError::Discard(error)) => Outcome::Discarded(format!("{error:#}")),
        Err(JobError::Cancel(reason)) => Outcome::Cancelled(reason),
        Err(JobError::Snooze { delay, reason }) => Outcome::Snoozed { delay, reason },
        Err(JobError::LeaseLost) => Outcome::LeaseLost,
    }
}

fn ending_of(outcome: &CommittedOutcome) -> Ending<'_> {
    match outcome {
        CommittedOutcome::Completed => Ending::Completed,
        CommittedOutcome::Discarded(error) => Ending::Discarded { failure: Failure::Failed, error },
        CommittedOutcome::Cancelled(reason) => Ending::Cancelled { reason },
    }
}

fn outcome_in_history(failure: Failure) -> AttemptOutcome {
    match failure {
        Failure::Failed | Failure::Panicked => AttemptOutcome::Failed,
        Failure::TimedOut => AttemptOutcome::TimedOut,
    }
}

fn ended_attempt(
    job: &ClaimedJob,
    outcome: AttemptOutcome,
    error: String,
    traceparent: Option<String>,
) -> EndedAttempt {
    EndedAttempt::new(job.id, job.fence, outcome, error, traceparent)
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
