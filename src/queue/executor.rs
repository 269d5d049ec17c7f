//! From a claim to its outcome: look up the handler, run it under its lease and timeout, settle what it says.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::QueueError;
use super::context::{BatchContext, Completed, Completion, JobContext};
use super::job::JobError;
use super::leases::{HeldLease, Leases};
use super::registry::{Handler, Registry, Run};
use super::store::{self, AttemptOutcome, ClaimedJob, FailedAttempt, FinishedState};

/// An attempt's error is cut at so many bytes: a job must not bloat the history by failing.
const MAX_ERROR_BYTES: usize = 8 * 1024;

/// How often, and how long apart, the end of a failed attempt is tried to be recorded. What cannot be recorded is
/// found by the rescue when the lease runs out.
const RECORD_TRIES: u32 = 5;
const RECORD_PAUSE: Duration = Duration::from_millis(500);

/// How a run ended, in the worker's view.
enum Outcome {
    Completed,
    Failed {
        error: String,
        delay: Option<Duration>,
        outcome: AttemptOutcome,
    },
    Discarded(String),
    Cancelled(String),
    Snoozed(Duration),
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
    pub(super) registry: Registry<S>,
    pub(super) completion: Arc<Completion>,
    /// The engine's own connections, so that handlers cannot starve the recording of outcomes.
    pub(super) pool: PgPool,
    pub(super) leases: Arc<Leases>,
    /// Cancelled when runs must end now, because the worker stops.
    pub(super) hand_back: CancellationToken,
    pub(super) counts: Counts,
}

/// A job with the lease that it is run under.
struct LeasedJob {
    job: ClaimedJob,
    lease: HeldLease,
}

impl<S: Clone + Send + Sync + 'static> Executor<S> {
    /// Runs one job, claimed not earlier than `since`, and records how that ended.
    pub(super) async fn execute(&self, job: ClaimedJob, since: Instant) {
        let lease = self.leases.hold(job.id, job.fence, since, None);
        self.execute_leased(LeasedJob { job, lease }).await;
    }

    /// Runs jobs of one kind as a batch. If the batch fails as a whole, runs them one by one, so that a poison job
    /// costs only its own attempt.
    pub(super) async fn execute_batch(&self, jobs: Vec<ClaimedJob>, since: Instant) {
        let batch_lost = CancellationToken::new();
        let leased: Vec<LeasedJob> = jobs
            .into_iter()
            .map(|job| {
                let lease = self.leases.hold(job.id, job.fence, since, Some(batch_lost.clone()));
                LeasedJob { job, lease }
            })
            .collect();
        if leased.len() > 1 && self.run_batch(&leased, batch_lost, since).await {
            return;
        }
        for job in leased {
            self.execute_leased(job).await;
        }
    }

    async fn execute_leased(&self, LeasedJob { job, lease }: LeasedJob) {
        let started = Instant::now();
        let outcome = match self.registry.handler(&job.kind) {
            Some(handler) => self.run(&job, &lease, handler.as_ref()).await,
            // The claim asks for known kinds only.
            None => Outcome::HandedBack,
        };
        self.settle(&job, outcome, started.elapsed()).await;
    }

    async fn run(&self, job: &ClaimedJob, lease: &HeldLease, handler: &dyn Handler<S>) -> Outcome {
        let cx = JobContext {
            id: job.id,
            fence: job.fence,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            stop: lease.lost.clone(),
            engine: Arc::clone(&self.completion),
        };
        match handler.run(&job.args, self.registry.state(), cx) {
            Ok(run) => self.watch(run, &lease.lost, handler.traits().timeout).await,
            Err(error) => outcome_of(Err(error)),
        }
    }

    /// True when the batch completed all its jobs.
    async fn run_batch(
        &self,
        leased: &[LeasedJob],
        batch_lost: CancellationToken,
        since: Instant,
    ) -> bool {
        let kind = &leased[0].job.kind;
        let Some(handler) = self.registry.handler(kind) else { return false };
        let cx = BatchContext {
            ids: leased.iter().map(|leased| leased.job.id).collect(),
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
            Outcome::Completed => {
                self.counts.completed.fetch_add(leased.len() as u64, Ordering::Relaxed);
                for LeasedJob { job, .. } in leased {
                    log_completed(job, since.elapsed());
                }
                true
            }
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
            Outcome::Snoozed(_) | Outcome::LeaseLost | Outcome::HandedBack => false,
        }
    }

    /// Lets a run go on until it ends, loses its lease, exceeds its time or must be handed back. A run is stopped by
    /// being dropped at its next await.
    async fn watch(&self, run: Run, lost: &CancellationToken, timeout: Duration) -> Outcome {
        tokio::select! {
            biased;
            () = lost.cancelled() => Outcome::LeaseLost,
            () = self.hand_back.cancelled() => Outcome::HandedBack,
            result = AssertUnwindSafe(run).catch_unwind() => match result {
                Ok(result) => outcome_of(result),
                Err(panic) => Outcome::Failed {
                    error: format!("the handler panicked: {}", panic_message(panic.as_ref())),
                    delay: None,
                    outcome: AttemptOutcome::Failed,
                },
            },
            () = tokio::time::sleep(timeout) => Outcome::Failed {
                error: format!("the handler was stopped after its timeout of {timeout:?}"),
                delay: None,
                outcome: AttemptOutcome::TimedOut,
            },
        }
    }

    /// Records how a run ended: the one place where a job that was not completed changes its state.
    async fn settle(&self, job: &ClaimedJob, outcome: Outcome, took: Duration) {
        match outcome {
            Outcome::Completed => {
                self.counts.completed.fetch_add(1, Ordering::Relaxed);
                log_completed(job, took);
            }
            Outcome::Failed { error, delay, outcome } => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                // Attempts whose worker was lost are capped by the rescue, not here.
                if job.attempt - job.crash_count >= job.max_attempts {
                    self.discard(job, outcome, error).await;
                } else {
                    self.retry(job, outcome, error, delay).await;
                }
            }
            Outcome::Discarded(error) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                self.discard(job, AttemptOutcome::Discarded, error).await;
            }
            Outcome::Cancelled(reason) => {
                let ended = failed_attempt(job, AttemptOutcome::Cancelled, reason);
                let cancel = || store::finish(&self.pool, &ended, FinishedState::Cancelled);
                self.record(job, "cancelled", cancel).await;
                tracing::info!(target: "surety::job", job_id = job.id.0, kind = job.kind, attempt = job.attempt,
                    reason = ended.error, "job cancelled");
            }
            Outcome::Snoozed(delay) => {
                let snooze = || store::hand_back(&self.pool, job.id, job.fence, delay);
                self.record(job, "snoozed", snooze).await;
                tracing::debug!(target: "surety::job", job_id = job.id.0, kind = job.kind,
                    delay_secs = delay.as_secs_f64(), "job snoozed");
            }
            Outcome::HandedBack => {
                self.counts.handed_back.fetch_add(1, Ordering::Relaxed);
                let hand_back = || store::hand_back(&self.pool, job.id, job.fence, Duration::ZERO);
                self.record(job, "handed back", hand_back).await;
                tracing::info!(target: "surety::job", job_id = job.id.0, kind = job.kind,
                    "job handed back unfinished");
            }
            Outcome::LeaseLost => {
                self.counts.lease_lost.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(target: "surety::job", job_id = job.id.0, kind = job.kind, fence = job.fence.0,
                    "lease lost: what this run wrote is rolled back");
            }
        }
    }

    async fn retry(
        &self,
        job: &ClaimedJob,
        outcome: AttemptOutcome,
        error: String,
        delay: Option<Duration>,
    ) {
        let backoff = self
            .registry
            .handler(&job.kind)
            .map(|handler| handler.traits().backoff)
            .unwrap_or_default();
        let delay = delay.unwrap_or_else(|| backoff.delay(job.attempt - job.crash_count));
        let ended = failed_attempt(job, outcome, error);
        self.record(job, "retryable", || store::retry(&self.pool, &ended, delay)).await;
        tracing::warn!(target: "surety::job", job_id = job.id.0, kind = job.kind, attempt = job.attempt,
            max_attempts = job.max_attempts, retry_secs = delay.as_secs_f64(), error = ended.error, "job failed");
    }

    async fn discard(&self, job: &ClaimedJob, outcome: AttemptOutcome, error: String) {
        self.counts.discarded.fetch_add(1, Ordering::Relaxed);
        let ended = failed_attempt(job, outcome, error);
        self.record(job, "discarded", || {
            store::finish(&self.pool, &ended, FinishedState::Discarded)
        })
        .await;
        tracing::error!(target: "surety::job", job_id = job.id.0, kind = job.kind, attempt = job.attempt,
            error = ended.error, "job discarded");
    }

    /// Writes the end of an attempt, again if the database is away for a moment. A job that is another worker's by
    /// now is left to it.
    async fn record<F>(&self, job: &ClaimedJob, what: &str, write: impl Fn() -> F)
    where
        F: Future<Output = Result<bool, QueueError>>,
    {
        for _ in 0..RECORD_TRIES {
            match write().await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!(target: "surety::job", job_id = job.id.0, kind = job.kind, fence = job.fence.0,
                        "not recorded as {what}: the job was settled or is another worker's by now");
                    return;
                }
                Err(error) => {
                    tracing::warn!(target: "surety::job", job_id = job.id.0, kind = job.kind,
                        error = %super::chain(&error), "could not be recorded as {what}, trying again");
                    tokio::time::sleep(RECORD_PAUSE).await;
                }
            }
        }
    }
}

fn outcome_of(result: Result<Completed, JobError>) -> Outcome {
    match result {
        Ok(_completed) => Outcome::Completed,
        Err(JobError::Retry { error, delay }) => {
            Outcome::Failed { error: format!("{error:#}"), delay, outcome: AttemptOutcome::Failed }
        }
        Err(JobError::Discard(error)) => Outcome::Discarded(format!("{error:#}")),
        Err(JobError::Cancel(reason)) => Outcome::Cancelled(reason),
        Err(JobError::Snooze(delay)) => Outcome::Snoozed(delay),
        Err(JobError::LeaseLost) => Outcome::LeaseLost,
    }
}

fn failed_attempt(job: &ClaimedJob, outcome: AttemptOutcome, error: String) -> FailedAttempt {
    FailedAttempt {
        id: job.id,
        fence: job.fence,
        outcome,
        error: storable(error),
        traceparent: None,
    }
}

/// PostgreSQL refuses NUL in text, and a job must not fail at saying how it failed.
fn storable(mut error: String) -> String {
    if error.len() > MAX_ERROR_BYTES {
        error.truncate(error.floor_char_boundary(MAX_ERROR_BYTES));
        error.push('…');
    }
    if error.contains('\0') { error.replace('\0', "\u{fffd}") } else { error }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

fn log_completed(job: &ClaimedJob, took: Duration) {
    tracing::debug!(target: "surety::job", job_id = job.id.0, kind = job.kind, attempt = job.attempt,
        duration_ms = took.as_secs_f64() * 1000.0, "job completed");
}
