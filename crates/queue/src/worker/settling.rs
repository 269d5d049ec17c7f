//! The end of a run: its outcome is written, and counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::claim::ClaimedJob;
use super::executor::{Executor, LeasedJob};
use super::run_outcome::{RunOutcome, activity_of, ended_attempt, ending_of, outcome_in_history};
use crate::QueueError;
use crate::activity::Outcome;
use crate::activity::counting::{Ended, Times};
use crate::deadline::within;
use crate::handler::{
    AttemptOutcome, Committed, EndedAttempt, FinishedState, Recorded, storable, transitions,
};
use crate::telemetry::{Ending, Failure, ProcessSpan};

/// The reason of a wait is cut at so many bytes: it is in the hot table.
const MAX_WAIT_REASON_BYTES: usize = 500;

/// Tries to record the end of a failed attempt, and the pause between them. An end that cannot be
/// recorded is found by the rescue when the lease runs out.
const RECORD_TRIES: u32 = 5;
const RECORD_PAUSE: Duration = Duration::from_millis(500);

impl<S: Clone + Send + Sync + 'static> Executor<S> {
    /// Records how a run ended: the one place where a job that was not completed changes its state.
    pub(super) async fn settle(&self, leased: LeasedJob, outcome: RunOutcome) {
        let LeasedJob { job, slot: _until_ended, lease: _until_recorded, span } = leased;
        let traceparent = span.traceparent();
        self.counts.count(&outcome);
        match outcome {
            RunOutcome::Committed(Committed { outcome, wakes }) => {
                if wakes {
                    self.resolver.resolve_soon([job.id]);
                }
                self.count_ended(&job, &span, activity_of(&outcome));
                self.end(&job, span, ending_of(&outcome));
            }
            RunOutcome::Failed { failure, error, delay } => {
                let ended = ended_attempt(&job, outcome_in_history(failure), error, traceparent);
                if job.is_last_attempt() {
                    self.counts.discarded.fetch_add(1, Ordering::Relaxed);
                    if self.finish(&job, &ended, FinishedState::Discarded).await {
                        self.count_ended(&job, &span, Outcome::Discarded);
                    }
                    self.end(&job, span, Ending::Discarded { failure, error: &ended.error });
                } else {
                    let delay = delay.unwrap_or_else(|| self.backoff(&job));
                    let retry = || transitions::retry(&self.pool, &ended, delay);
                    if self.record(&job, retry).await {
                        self.count_ended(&job, &span, Outcome::Retried);
                        self.wake_in(delay);
                    }
                    self.end(&job, span, Ending::Retried { failure, error: &ended.error, delay });
                }
            }
            RunOutcome::Discarded(error) => {
                let ended = ended_attempt(&job, AttemptOutcome::Discarded, error, traceparent);
                if self.finish(&job, &ended, FinishedState::Discarded).await {
                    self.count_ended(&job, &span, Outcome::Discarded);
                }
                let ending = Ending::Discarded { failure: Failure::Failed, error: &ended.error };
                self.end(&job, span, ending);
            }
            RunOutcome::Cancelled(reason) => {
                let ended = ended_attempt(&job, AttemptOutcome::Cancelled, reason, traceparent);
                if self.finish(&job, &ended, FinishedState::Cancelled).await {
                    self.count_ended(&job, &span, Outcome::Cancelled);
                }
                self.end(&job, span, Ending::Cancelled { reason: &ended.error });
            }
            RunOutcome::Snoozed { delay, reason } => {
                let reason = reason.map(|reason| storable(reason, MAX_WAIT_REASON_BYTES));
                if self.hand_back(&job, delay, reason.as_deref()).await {
                    self.count_ended(&job, &span, Outcome::Snoozed);
                    self.wake_in(delay);
                }
                self.end(&job, span, Ending::Snoozed { delay, reason: reason.as_deref() });
            }
            RunOutcome::HandedBack => {
                self.hand_back(&job, Duration::ZERO, None).await;
                self.activity.engine().handed_back.add(1);
                self.end(&job, span, Ending::HandedBack);
            }
            RunOutcome::LeaseLost => {
                self.activity.engine().leases_lost.add(1);
                self.end(&job, span, Ending::LeaseLost);
            }
        }
        if job.by_key {
            // The next of its key, or of its queue, may go on now.
            self.next_of_key.notify_one();
        }
    }

    /// Claims again when a job of this worker's is due that does not wait as long as a poll does.
    fn wake_in(&self, delay: Duration) {
        if delay < self.poll {
            let wake = Arc::clone(&self.wake);
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                wake.notify_one();
            });
        }
    }

    fn end(&self, job: &ClaimedJob, span: ProcessSpan, ending: Ending<'_>) {
        let run = self.run_of(job);
        self.registry.all_hooks().after(&run, &ending);
        span.end(&run, ending);
    }

    /// Counts an attempt whose end is recorded: at the moment by the database's clock at which it
    /// began, and as long later as it ran.
    fn count_ended(&self, job: &ClaimedJob, span: &ProcessSpan, outcome: Outcome) {
        let ran = span.elapsed();
        let waited = job.waited();
        self.activity.count(&Ended {
            queue: &job.queue,
            kind: &job.kind,
            outcome,
            at: job.begun_at() + ran,
            times: Some(Times { waited, ran }),
        });
    }

    async fn finish(&self, job: &ClaimedJob, ended: &EndedAttempt, state: FinishedState) -> bool {
        let recorded = self
            .record(job, async || {
                Ok(match transitions::finish(&self.pool, ended, state).await? {
                    true => Recorded::Done,
                    false => Recorded::NotOurs,
                })
            })
            .await;
        // Jobs that end like this are few: whether others wait for this one is looked up.
        self.resolver.resolve_soon([job.id]);
        recorded
    }

    async fn hand_back(&self, job: &ClaimedJob, delay: Duration, reason: Option<&str>) -> bool {
        self.record(job, || transitions::hand_back(&self.pool, job.id, job.fence, delay, reason))
            .await
    }

    fn backoff(&self, job: &ClaimedJob) -> Duration {
        let backoff = self.registry.handler(&job.kind).map(|handler| handler.traits().backoff);
        backoff.unwrap_or_default().delay(job.backoff_attempt())
    }

    /// Writes the end of an attempt, again if the database is away for a moment. A job that is
    /// another worker's by now is left to it. True when the end is known to be written.
    async fn record<F>(&self, job: &ClaimedJob, write: impl Fn() -> F) -> bool
    where
        F: Future<Output = Result<Recorded, QueueError>>,
    {
        for _ in 0..RECORD_TRIES {
            // In a place of its own: most runs have nothing to write, and carry no room for it.
            match within(Box::pin(write())).await {
                Ok(Recorded::Done) => return true,
                Ok(Recorded::ToBeCancelled) => {
                    // Failing that, the maintenance finds it.
                    let cancel = Box::pin(transitions::cancel_waiting(&self.pool, job.id));
                    if let Err(error) = within(cancel).await {
                        let error = crate::chain(&error);
                        tracing::warn!(job_id = job.id.0, error, "a job could not be cancelled");
                    }
                    self.resolver.resolve_soon([job.id]);
                    return true;
                }
                Ok(Recorded::NotOurs) => {
                    self.activity.engine().writes_refused.add(1);
                    tracing::warn!(
                        job_id = job.id.0,
                        fence = job.fence.0,
                        "the end of a run changed nothing: its job is settled or not ours"
                    );
                    return false;
                }
                Err(error) => {
                    tracing::warn!(job_id = job.id.0, error = %crate::chain(&error),
                        "the end of a run could not be recorded, trying again");
                    tokio::time::sleep(RECORD_PAUSE).await;
                }
            }
        }
        false
    }
}
