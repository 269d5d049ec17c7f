//! The outcomes of runs, in the worker's view.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::claim::ClaimedJob;
use crate::activity::Outcome;
use crate::handler::{AttemptOutcome, Committed, CommittedOutcome, EndedAttempt, JobError};
use crate::telemetry::{Ending, Failure};

/// The outcome of a run, in the worker's view.
pub(crate) enum RunOutcome {
    /// The handler has committed it, nothing is left to record.
    Committed(Committed),
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

/// Counts of attempts by outcome, since the worker started.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) completed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) discarded: AtomicU64,
    pub(crate) lease_lost: AtomicU64,
    pub(crate) handed_back: AtomicU64,
}

impl Counts {
    pub(crate) fn count(&self, outcome: &RunOutcome) {
        let counter = match outcome {
            RunOutcome::Committed(committed) => match committed.outcome {
                CommittedOutcome::Completed | CommittedOutcome::CompletedExcept(_) => {
                    &self.completed
                }
                CommittedOutcome::Discarded(_) => &self.discarded,
                CommittedOutcome::Cancelled(_) => return,
            },
            RunOutcome::Failed { .. } => &self.failed,
            RunOutcome::Discarded(_) => &self.discarded,
            RunOutcome::LeaseLost => &self.lease_lost,
            RunOutcome::HandedBack => &self.handed_back,
            RunOutcome::Cancelled(_) | RunOutcome::Snoozed { .. } => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn outcome_of_run(
    ended: std::thread::Result<Result<Committed, JobError>>,
) -> RunOutcome {
    match ended {
        Ok(result) => outcome_of(result),
        Err(panic) => RunOutcome::Failed {
            failure: Failure::Panicked,
            error: format!("the handler panicked: {}", panic_message(panic.as_ref())),
            delay: None,
        },
    }
}

/// The longest wait that a handler may ask for: an end that cannot be recorded would count as that
/// of a lost worker.
const LONGEST_DELAY: Duration = Duration::from_secs(10 * 366 * 86_400);

pub(crate) fn outcome_of(result: Result<Committed, JobError>) -> RunOutcome {
    match result {
        Ok(committed) => RunOutcome::Committed(committed),
        Err(JobError::Retry { error, delay }) => {
            let delay = delay.map(|delay| delay.min(LONGEST_DELAY));
            RunOutcome::Failed { failure: Failure::Failed, error: format!("{error:#}"), delay }
        }
        Err(JobError::Discard(error)) => RunOutcome::Discarded(format!("{error:#}")),
        Err(JobError::Cancel(reason)) => RunOutcome::Cancelled(reason),
        Err(JobError::Snooze { delay, reason }) => {
            RunOutcome::Snoozed { delay: delay.min(LONGEST_DELAY), reason }
        }
        Err(JobError::LeaseLost) => RunOutcome::LeaseLost,
    }
}

pub(crate) fn ending_of(outcome: &CommittedOutcome) -> Ending<'_> {
    match outcome {
        CommittedOutcome::Completed | CommittedOutcome::CompletedExcept(_) => Ending::Completed,
        CommittedOutcome::Discarded(error) => Ending::Discarded { failure: Failure::Failed, error },
        CommittedOutcome::Cancelled(reason) => Ending::Cancelled { reason },
    }
}

/// The outcome of a committed run, as activity counts it.
pub(crate) fn activity_of(outcome: &CommittedOutcome) -> Outcome {
    match outcome {
        CommittedOutcome::Completed | CommittedOutcome::CompletedExcept(_) => Outcome::Completed,
        CommittedOutcome::Discarded(_) => Outcome::Discarded,
        CommittedOutcome::Cancelled(_) => Outcome::Cancelled,
    }
}

pub(crate) fn outcome_in_history(failure: Failure) -> AttemptOutcome {
    match failure {
        Failure::Failed | Failure::Panicked => AttemptOutcome::Failed,
        Failure::TimedOut => AttemptOutcome::TimedOut,
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

pub(crate) fn ended_attempt(
    job: &ClaimedJob,
    outcome: AttemptOutcome,
    error: String,
    traceparent: Option<String>,
) -> EndedAttempt {
    EndedAttempt::new(job.id, job.fence, outcome, error, traceparent)
}
