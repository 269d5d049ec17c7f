//! How runs end, in the worker's view.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::attempt::{AttemptOutcome, EndedAttempt};
use super::context::{Committed, CommittedOutcome};
use super::job::JobError;
use super::spans::{Ending, Failure};
use super::store::ClaimedJob;

/// How a run ended, in the worker's view.
pub(super) enum Outcome {
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

/// How many attempts ended how, since the worker started.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) completed: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) discarded: AtomicU64,
    pub(super) lease_lost: AtomicU64,
    pub(super) handed_back: AtomicU64,
}

impl Counts {
    pub(super) fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Committed(committed) => match committed.outcome {
                CommittedOutcome::Completed | CommittedOutcome::CompletedExcept(_) => {
                    &self.completed
                }
                CommittedOutcome::Discarded(_) => &self.discarded,
                CommittedOutcome::Cancelled(_) => return,
            },
            Outcome::Failed { .. } => &self.failed,
            Outcome::Discarded(_) => &self.discarded,
            Outcome::LeaseLost => &self.lease_lost,
            Outcome::HandedBack => &self.handed_back,
            Outcome::Cancelled(_) | Outcome::Snoozed { .. } => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn outcome_of_run(ended: std::thread::Result<Result<Committed, JobError>>) -> Outcome {
    match ended {
        Ok(result) => outcome_of(result),
        Err(panic) => Outcome::Failed {
            failure: Failure::Panicked,
            error: format!("the handler panicked: {}", panic_message(panic.as_ref())),
            delay: None,
        },
    }
}

pub(super) fn outcome_of(result: Result<Committed, JobError>) -> Outcome {
    match result {
        Ok(committed) => Outcome::Committed(committed),
        Err(JobError::Retry { error, delay }) => {
            Outcome::Failed { failure: Failure::Failed, error: format!("{error:#}"), delay }
        }
        Err(JobError::Discard(error)) => Outcome::Discarded(format!("{error:#}")),
        Err(JobError::Cancel(reason)) => Outcome::Cancelled(reason),
        Err(JobError::Snooze { delay, reason }) => Outcome::Snoozed { delay, reason },
        Err(JobError::LeaseLost) => Outcome::LeaseLost,
    }
}

pub(super) fn ending_of(outcome: &CommittedOutcome) -> Ending<'_> {
    match outcome {
        CommittedOutcome::Completed | CommittedOutcome::CompletedExcept(_) => Ending::Completed,
        CommittedOutcome::Discarded(error) => Ending::Discarded { failure: Failure::Failed, error },
        CommittedOutcome::Cancelled(reason) => Ending::Cancelled { reason },
    }
}

pub(super) fn outcome_in_history(failure: Failure) -> AttemptOutcome {
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

pub(super) fn ended_attempt(
    job: &ClaimedJob,
    outcome: AttemptOutcome,
    error: String,
    traceparent: Option<String>,
) -> EndedAttempt {
    EndedAttempt::new(job.id, job.fence, outcome, error, traceparent)
}
