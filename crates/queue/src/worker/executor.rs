//! From a claim to its outcome: look up the handler, run it under its lease and timeout, settle
//! what it says.

use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use serde_json::value::RawValue;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::claim::ClaimedJob;
use super::leases::{HeldLease, Leases, Signals};
use super::registry::{Handler, Registry};
use super::run_outcome::{
    Counts, RunOutcome, ended_attempt, ending_of, outcome_in_history, outcome_of, outcome_of_run,
};
use crate::QueueError;
use crate::deadline::within;
use crate::groups::Resolver;
use crate::handler::{
    AttemptOutcome, BatchContext, Committed, CommittedOutcome, Completion, EndedAttempt, Engine,
    FinishedState, JobContext, JobError, Recorded, storable, transitions,
};
use crate::ids::JobId;
use crate::sealing::{Keyring, open_args};
use crate::telemetry::{self, Ending, Failure, ProcessSpan};

/// The reason of a wait is cut at so many bytes: it is in the hot table.
const MAX_WAIT_REASON_BYTES: usize = 500;

/// Tries to record the end of a failed attempt, and the pause between them. An end that cannot be
/// recorded is found by the rescue when the lease runs out.
const RECORD_TRIES: u32 = 5;
const RECORD_PAUSE: Duration = Duration::from_millis(500);

/// The time that a handler has after its job was cancelled, to clean up or to finish.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// The average wait of a job whose arguments this worker cannot open, for a worker that can.
const OTHER_WORKER_WAIT: Duration = Duration::from_secs(10);

/// Runs claimed jobs.
pub(crate) struct Executor<S> {
    pub(crate) worker_id: Uuid,
    pub(crate) registry: Registry<S>,
    pub(crate) engine: Arc<Engine>,
    /// The engine's own connections, so that handlers cannot starve the recording of outcomes.
    pub(crate) pool: PgPool,
    pub(crate) leases: Arc<Leases>,
    /// Is told of every job that has ended, if others may wait for that.
    pub(crate) resolver: Arc<Resolver>,
    /// Cancelled when runs must end now, because the worker stops.
    pub(crate) hand_back: CancellationToken,
    /// Makes the worker claim.
    pub(crate) wake: Arc<Notify>,
    pub(crate) counts: Counts,
    /// Opens the arguments of sealed jobs.
    pub(crate) keyring: Option<Keyring>,
}

/// A job with the lease that it is run under, and the span of its run.
struct LeasedJob {
    job: ClaimedJob,
    lease: HeldLease,
    span: ProcessSpan,
}

impl LeasedJob {
    fn completion(&self) -> Completion {
        Completion {
            id: self.job.id,
            fence: self.job.fence,
            traceparent: self.span.traceparent(),
            output: None,
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Executor<S> {
    /// Runs one job, claimed not earlier than `since`, and records how that ended.
    pub(crate) async fn execute(&self, job: ClaimedJob, since: Instant) {
        let leased = self.hold(job, since, None);
        self.execute_leased(leased).await;
    }

    /// Runs jobs of one kind as a batch. If the batch fails as a whole, runs them one by one, so
    /// that a poison job costs only its own attempt.
    pub(crate) async fn execute_batch(&self, jobs: Vec<ClaimedJob>, since: Instant) {
        let batch_lost = CancellationToken::new();
        let leased: Vec<LeasedJob> =
            jobs.into_iter().map(|job| self.hold(job, since, Some(batch_lost.clone()))).collect();
        let ended = match leased.len() {
            0 | 1 => None,
            _ => self.run_batch(&leased, batch_lost).await,
        };
        let Some((mut failed, wakes)) = ended else {
            for leased in leased {
                self.execute_leased(leased).await;
            }
            return;
        };
        for leased in leased {
            let outcome = match failed.remove(&leased.job.id) {
                None => {
                    RunOutcome::Committed(Committed { outcome: CommittedOutcome::Completed, wakes })
                }
                Some(error) => outcome_of(Err(error)),
            };
            self.settle(leased, outcome).await;
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
        let signals = &leased.lease.signals;
        let outcome = match self.registry.handler(&leased.job.kind) {
            // It need not begin: its batch was stopped because of it.
            Some(_) if signals.cancelled.is_cancelled() => {
                RunOutcome::Cancelled(signals.cancel_reason())
            }
            Some(handler) => self.run(&leased, handler.as_ref()).await,
            // The claim asks for known kinds only.
            None => RunOutcome::HandedBack,
        };
        self.settle(leased, outcome).await;
    }

    async fn run(&self, leased: &LeasedJob, handler: &dyn Handler<S>) -> RunOutcome {
        let LeasedJob { job, lease, span } = leased;
        let cx = JobContext {
            id: job.id,
            fence: job.fence,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            is_last_attempt: job.is_last_attempt(),
            backoff_attempt: job.backoff_attempt(),
            key: job.key.clone(),
            checkpoint: job.checkpoint.clone(),
            output: None,
            traceparent: span.traceparent(),
            trace: span.context().clone(),
            stop: CancellationToken::new(),
            engine: Arc::clone(&self.engine),
        };
        let stop = cx.stop.clone();
        let timeout = handler.traits().timeout;
        let args = match self.open_args(job) {
            Ok(args) => args,
            Err(error) => return outcome_of(Err(error)),
        };
        let run = match handler.run(&args, self.registry.state(), cx) {
            Ok(run) => span.scope(&self.run_of(job), run),
            Err(error) => return outcome_of(Err(error)),
        };
        self.watch(run, &lease.signals, &stop, timeout).await
    }

    /// Runs the batch. Gives the jobs that it did not complete, each with its error, and whether
    /// others wait for the rest; none when its jobs must run one by one.
    async fn run_batch(
        &self,
        leased: &[LeasedJob],
        batch_lost: CancellationToken,
    ) -> Option<(HashMap<JobId, JobError>, bool)> {
        let kind = &leased[0].job.kind;
        let handler = self.registry.handler(kind)?;
        let cx = BatchContext {
            completions: leased.iter().map(LeasedJob::completion).collect(),
            contexts: leased.iter().map(|it| it.span.context().clone()).collect(),
            failed: Vec::new(),
            stop: batch_lost.clone(),
            engine: Arc::clone(&self.engine),
        };
        let signals = Signals::of_batch(batch_lost.clone());
        // What cannot be opened is dealt with when the jobs run one by one.
        let opened: Result<Vec<_>, _> = leased.iter().map(|it| self.open_args(&it.job)).collect();
        let args = opened.ok()?;
        let args: Vec<_> = args.iter().map(AsRef::as_ref).collect();
        let outcome = match handler.run_batch(&args, self.registry.state(), cx) {
            Ok(run) => self.watch(run, &signals, &batch_lost, handler.traits().timeout).await,
            Err(error) => outcome_of(Err(error)),
        };
        match outcome {
            RunOutcome::Committed(Committed { outcome, wakes }) => match outcome {
                CommittedOutcome::CompletedExcept(failed) => {
                    Some((failed.into_iter().collect(), wakes))
                }
                CommittedOutcome::Completed
                | CommittedOutcome::Discarded(_)
                | CommittedOutcome::Cancelled(_) => Some((HashMap::new(), wakes)),
            },
            RunOutcome::Failed { error, .. }
            | RunOutcome::Discarded(error)
            | RunOutcome::Cancelled(error) => {
                tracing::warn!(
                    kind,
                    jobs = leased.len(),
                    error,
                    "a batch failed, running its jobs one by one"
                );
                None
            }
            RunOutcome::Snoozed { .. } | RunOutcome::LeaseLost | RunOutcome::HandedBack => None,
        }
    }

    /// The job's arguments in plain. One that another worker may be able to open is left to it, at
    /// no cost to its attempts; anything else that does not open is a failed attempt.
    fn open_args<'a>(&self, job: &'a ClaimedJob) -> Result<Cow<'a, RawValue>, JobError> {
        let args_key = job.args_key.as_deref();
        let opened = open_args(self.keyring.as_ref(), &job.kind, &job.args, args_key);
        opened.map_err(|error| match error.is_for_another_worker() {
            true => {
                let delay = OTHER_WORKER_WAIT.mul_f64(0.5 + fastrand::f64());
                JobError::snooze_because(delay, format!("its arguments are sealed: {error}"))
            }
            false => anyhow::Error::new(error).context("its sealed arguments do not open").into(),
        })
    }

    /// Lets a run go on until it ends, loses its lease, is cancelled, exceeds its time or must be
    /// handed back. A run is stopped by being dropped at its next await; `stop` tells it before.
    async fn watch(
        &self,
        run: impl Future<Output = Result<Committed, JobError>>,
        signals: &Signals,
        stop: &CancellationToken,
        timeout: Duration,
    ) -> RunOutcome {
        let _told_in_any_case = stop.clone().drop_guard();
        let mut run = pin!(AssertUnwindSafe(run).catch_unwind());
        tokio::select! {
            biased;
            () = signals.lost.cancelled() => RunOutcome::LeaseLost,
            () = self.hand_back.cancelled() => RunOutcome::HandedBack,
            () = signals.cancelled.cancelled() => {
                stop.cancel();
                let ended = tokio::select! {
                    biased;
                    () = signals.lost.cancelled() => return RunOutcome::LeaseLost,
                    ended = tokio::time::timeout(CANCEL_GRACE, run) => ended,
                };
                match ended.map(outcome_of_run) {
                    Ok(RunOutcome::Committed(committed)) => RunOutcome::Committed(committed),
                    // It gave up, as it was told to, or was stopped.
                    _ => RunOutcome::Cancelled(signals.cancel_reason()),
                }
            }
            result = &mut run => outcome_of_run(result),
            () = tokio::time::sleep(timeout) => RunOutcome::Failed {
                failure: Failure::TimedOut,
                error: format!("the handler was stopped after its timeout of {timeout:?}"),
                delay: None,
            },
        }
    }

    /// Records how a run ended: the one place where a job that was not completed changes its state.
    async fn settle(&self, leased: LeasedJob, outcome: RunOutcome) {
        let LeasedJob { job, lease: _until_recorded, span } = leased;
        let run = self.run_of(&job);
        let traceparent = span.traceparent();
        self.counts.count(&outcome);
        match outcome {
            RunOutcome::Committed(Committed { outcome, wakes }) => {
                if wakes {
                    self.resolver.resolve_soon([job.id]);
                }
                span.end(&run, ending_of(&outcome));
            }
            RunOutcome::Failed { failure, error, delay } => {
                let ended = ended_attempt(&job, outcome_in_history(failure), error, traceparent);
                if job.is_last_attempt() {
                    self.counts.discarded.fetch_add(1, Ordering::Relaxed);
                    self.finish(&job, &ended, FinishedState::Discarded).await;
                    span.end(&run, Ending::Discarded { failure, error: &ended.error });
                } else {
                    let delay = delay.unwrap_or_else(|| self.backoff(&job));
                    self.record(&job, || transitions::retry(&self.pool, &ended, delay)).await;
                    span.end(&run, Ending::Retried { failure, error: &ended.error, delay });
                }
            }
            RunOutcome::Discarded(error) => {
                let ended = ended_attempt(&job, AttemptOutcome::Discarded, error, traceparent);
                self.finish(&job, &ended, FinishedState::Discarded).await;
                span.end(&run, Ending::Discarded { failure: Failure::Failed, error: &ended.error });
            }
            RunOutcome::Cancelled(reason) => {
                let ended = ended_attempt(&job, AttemptOutcome::Cancelled, reason, traceparent);
                self.finish(&job, &ended, FinishedState::Cancelled).await;
                span.end(&run, Ending::Cancelled { reason: &ended.error });
            }
            RunOutcome::Snoozed { delay, reason } => {
                let reason = reason.map(|reason| storable(reason, MAX_WAIT_REASON_BYTES));
                self.hand_back(&job, delay, reason.as_deref()).await;
                span.end(&run, Ending::Snoozed { delay, reason: reason.as_deref() });
            }
            RunOutcome::HandedBack => {
                self.hand_back(&job, Duration::ZERO, None).await;
                span.end(&run, Ending::HandedBack);
            }
            RunOutcome::LeaseLost => span.end(&run, Ending::LeaseLost),
        }
        if job.by_key {
            // The next of its key, or of its queue, may go on now.
            self.wake.notify_one();
        }
    }

    async fn finish(&self, job: &ClaimedJob, ended: &EndedAttempt, state: FinishedState) {
        self.record(job, async || {
            Ok(match transitions::finish(&self.pool, ended, state).await? {
                true => Recorded::Done,
                false => Recorded::NotOurs,
            })
        })
        .await;
        // Jobs that end like this are few: whether others wait for this one is looked up.
        self.resolver.resolve_soon([job.id]);
    }

    async fn hand_back(&self, job: &ClaimedJob, delay: Duration, reason: Option<&str>) {
        self.record(job, || transitions::hand_back(&self.pool, job.id, job.fence, delay, reason))
            .await;
    }

    fn backoff(&self, job: &ClaimedJob) -> Duration {
        let backoff = self.registry.handler(&job.kind).map(|handler| handler.traits().backoff);
        backoff.unwrap_or_default().delay(job.backoff_attempt())
    }

    /// Writes the end of an attempt, again if the database is away for a moment. A job that is
    /// another worker's by now is left to it.
    async fn record<F>(&self, job: &ClaimedJob, write: impl Fn() -> F)
    where
        F: Future<Output = Result<Recorded, QueueError>>,
    {
        for _ in 0..RECORD_TRIES {
            match within(write()).await {
                Ok(Recorded::Done) => return,
                Ok(Recorded::ToBeCancelled) => {
                    // Failing that, the maintenance finds it.
                    if let Err(error) =
                        within(transitions::cancel_waiting(&self.pool, job.id)).await
                    {
                        let error = crate::chain(&error);
                        tracing::warn!(job_id = job.id.0, error, "a job could not be cancelled");
                    }
                    self.resolver.resolve_soon([job.id]);
                    return;
                }
                Ok(Recorded::NotOurs) => {
                    tracing::warn!(
                        job_id = job.id.0,
                        fence = job.fence.0,
                        "the end of a run changed nothing: its job is settled or not ours"
                    );
                    return;
                }
                Err(error) => {
                    tracing::warn!(job_id = job.id.0, error = %crate::chain(&error),
                        "the end of a run could not be recorded, trying again");
                    tokio::time::sleep(RECORD_PAUSE).await;
                }
            }
        }
    }

    fn run_of<'a>(&self, job: &'a ClaimedJob) -> telemetry::Run<'a> {
        telemetry::Run {
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
