//! From a claim to its outcome: look up the handler, run it under its lease and timeout, settle
//! what it says.

use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::value::RawValue;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::claim::ClaimedJob;
use super::leases::{HeldLease, Leases, Signals};
use super::registry::{Handler, Registry};
use super::run_outcome::{Counts, RunOutcome, outcome_of, outcome_of_run};
use super::slots::Slot;
use crate::activity::Activity;
use crate::groups::Resolver;
use crate::handler::{
    BatchContext, Committed, CommittedOutcome, Completion, Engine, JobContext, JobError, Seats,
    Turn,
};
use crate::ids::JobId;
use crate::sealing::{Keyring, open_args};
use crate::telemetry::{self, Failure, ProcessSpan};

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
    /// Makes the worker claim without any pause.
    pub(crate) next_of_key: Notify,
    /// The longest time between two claims.
    pub(crate) poll: Duration,
    pub(crate) counts: Counts,
    pub(crate) activity: Arc<Activity>,
    /// Opens the arguments of sealed jobs.
    pub(crate) keyring: Option<Keyring>,
}

/// A job with the lease that it is run under, and the slot that it is in until it has ended.
pub(super) struct HeldJob {
    /// In a place of its own, as it is handed on again and again.
    pub(super) job: Box<ClaimedJob>,
    lease: HeldLease,
    slot: Option<Slot>,
    since: Instant,
}

/// A job whose run has begun, with the span of the run.
pub(super) struct LeasedJob {
    pub(super) job: Box<ClaimedJob>,
    pub(super) lease: HeldLease,
    pub(super) slot: Option<Slot>,
    pub(super) span: ProcessSpan,
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
    /// Takes charge of a job that was claimed not earlier than `since`.
    pub(super) fn hold(&self, job: ClaimedJob, slot: Option<Slot>, since: Instant) -> HeldJob {
        let lease = self.leases.hold(job.id, job.fence, since);
        HeldJob { job: Box::new(job), lease, slot, since: Instant::now() }
    }

    /// Runs one job, and records how that ended.
    pub(super) async fn execute(&self, held: HeldJob) {
        let leased = self.begin(held);
        self.execute_leased(leased, Turn::default()).await;
    }

    /// Waits until a batch of a kind with these seats may be made up and run.
    pub(super) async fn wait_for_turn(&self, seats: Option<Seats>) -> Turn {
        let turn = Turn::of(seats);
        tokio::select! {
            biased;
            // Its jobs are handed back by the run.
            () = self.hand_back.cancelled() => {}
            seated = turn.take_seat(&self.engine) => if let Err(error) = seated {
                // The run meets with it, too, and says so.
                let error = crate::chain(&error);
                tracing::debug!(?seats, error, "no seat could be taken");
            },
        }
        turn
    }

    /// Runs jobs of one kind as a batch. If the batch fails as a whole, runs them one by one, so
    /// that a poison job costs only its own attempt. Drops `place` when the batch has ended.
    pub(super) async fn execute_batch<P>(&self, jobs: Vec<HeldJob>, turn: Turn, place: P) {
        let batch_lost = CancellationToken::new();
        // What was stopped while it waited would stop the others.
        let (ready, stopped): (Vec<HeldJob>, Vec<HeldJob>) =
            jobs.into_iter().partition(|held| held.lease.run_in(&batch_lost));
        let stopping = join_all(stopped.into_iter().map(|held| self.execute(held)));
        tokio::join!(self.execute_ready(ready, batch_lost, turn, place), stopping);
    }

    async fn execute_ready<P>(
        &self,
        jobs: Vec<HeldJob>,
        batch_lost: CancellationToken,
        turn: Turn,
        place: P,
    ) {
        if self.hand_back.is_cancelled() {
            drop(turn);
            join_all(jobs.into_iter().map(|held| self.execute(held))).await;
            return;
        }
        let mut leased: Vec<LeasedJob> = jobs.into_iter().map(|held| self.begin(held)).collect();
        if leased.len() < 2 {
            if let Some(only) = leased.pop() {
                let outcome = self.run_leased(&only, turn).await;
                drop(place);
                self.settle(only, outcome).await;
            }
            return;
        }
        let alone = turn.of_another();
        let ended = self.run_batch(&leased, batch_lost, turn).await;
        drop(place);
        let Some((mut failed, wakes)) = ended else {
            for leased in leased {
                self.execute_leased(leased, alone.clone()).await;
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

    fn begin(&self, held: HeldJob) -> LeasedJob {
        let HeldJob { mut job, lease, slot, since } = held;
        job.held_for = since.elapsed();
        let run = self.run_of(&job);
        let span = ProcessSpan::start(&run);
        self.registry.all_hooks().before(&run);
        LeasedJob { job, lease, slot, span }
    }

    async fn execute_leased(&self, leased: LeasedJob, turn: Turn) {
        let outcome = self.run_leased(&leased, turn).await;
        self.settle(leased, outcome).await;
    }

    async fn run_leased(&self, leased: &LeasedJob, turn: Turn) -> RunOutcome {
        let signals = &leased.lease.signals;
        match self.registry.handler(&leased.job.kind) {
            // It need not begin: it was stopped while it waited, or its batch because of it.
            Some(_) if signals.cancelled.is_cancelled() => {
                RunOutcome::Cancelled(signals.cancel_reason())
            }
            Some(handler) => self.run(leased, handler.as_ref(), turn).await,
            // The claim asks for known kinds only.
            None => RunOutcome::HandedBack,
        }
    }

    async fn run(&self, leased: &LeasedJob, handler: &dyn Handler<S>, turn: Turn) -> RunOutcome {
        let LeasedJob { job, lease, span, .. } = leased;
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
            turn,
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
        turn: Turn,
    ) -> Option<(HashMap<JobId, JobError>, bool)> {
        let kind = &leased[0].job.kind;
        let handler = self.registry.handler(kind)?;
        let cx = BatchContext {
            completions: leased.iter().map(LeasedJob::completion).collect(),
            contexts: leased.iter().map(|it| it.span.context().clone()).collect(),
            failed: Vec::new(),
            stop: batch_lost.clone(),
            turn,
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

    pub(super) fn run_of<'a>(&self, job: &'a ClaimedJob) -> telemetry::Run<'a> {
        telemetry::Run {
            job_id: job.id,
            queue: &job.queue,
            kind: &job.kind,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            worker_id: self.worker_id,
            waited: job.waited(),
            trace_context: job.trace_context.as_ref(),
            last_traceparent: job.last_traceparent.as_deref(),
        }
    }
}
