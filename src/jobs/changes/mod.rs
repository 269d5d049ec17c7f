//! Changes of jobs that exist, as operators make them: retry, cancel, discard, write-off.
//!
//! The one place that knows what each action means for a job, one that is about money included.
//! `operations::jobs` makes changes to jobs by number,
//! [`RunBulkOperation`](super::RunBulkOperation) to all that match a filter; both by [`acting`], so
//! that the same refusals hold.
//!
//! - Here: the actions, and what they make of a job.
//! - `refusals`: the reasons that a job is not changed.
//! - [`acting`]: the changes.
//! - [`forecast`]: what they would be, without making them.
//! - [`scope`]: the jobs that match a filter, up to a moment.

pub mod acting;
pub mod forecast;
mod refusals;
pub mod scope;

pub use self::refusals::{JobRefusal, RefusalClass};

use crate::queue::JobState;

/// An action on jobs that exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobAction {
    /// Runs jobs now: waiting ones become due, discarded ones are redriven.
    Retry,
    /// Cancels jobs; the worker of one that runs is asked to stop it.
    Cancel,
    /// Discards waiting jobs, for a later decision.
    Discard,
    /// Makes waiting jobs due, and leaves discarded ones.
    RunNow,
    /// Runs discarded jobs again, and leaves the others.
    Redrive,
    /// Writes off discarded jobs: they do not run again, and what they were to do is given up.
    WriteOff,
}

/// No job in this state can undergo the action.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no {} job can undergo a {}", .state.name(), .action.name())]
pub struct UnsuitableState {
    /// The action.
    pub action: JobAction,
    /// The state that was asked for.
    pub state: JobState,
}

impl JobAction {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Retry, Self::RunNow, Self::Redrive, Self::Cancel, Self::Discard, Self::WriteOff];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Discard => "discard",
            Self::RunNow => "run-now",
            Self::Redrive => "redrive",
            Self::WriteOff => "write-off",
        }
    }

    /// The action in the audit log.
    #[must_use]
    pub const fn audited_as(self) -> &'static str {
        match self {
            Self::Retry | Self::RunNow => "job.retry",
            Self::Cancel => "job.cancel",
            Self::Discard => "job.discard",
            Self::Redrive => "dead_letter.redrive",
            Self::WriteOff => "dead_letter.write_off",
        }
    }

    /// Tells if it may be a decision over a dead letter, which can move money.
    ///
    /// `states` are those of the jobs that it is done to.
    #[must_use]
    pub fn decides(self, states: &[JobState]) -> bool {
        match self {
            Self::Redrive | Self::WriteOff => true,
            Self::Retry => states.contains(&JobState::Discarded),
            Self::RunNow | Self::Cancel | Self::Discard => false,
        }
    }

    /// The states to select jobs by: those asked for, or the usual ones of the action if none is.
    ///
    /// # Errors
    ///
    /// [`UnsuitableState`], for the first state asked for in which no job can undergo the action.
    pub fn states(self, asked: &[JobState]) -> Result<Vec<JobState>, UnsuitableState> {
        let (suitable, usual): (&[JobState], &[JobState]) = match self {
            // Running jobs early that are scheduled for later has to be asked for.
            Self::Retry => (
                &[JobState::Scheduled, JobState::Retryable, JobState::Discarded],
                &[JobState::Retryable, JobState::Discarded],
            ),
            Self::Cancel => (&JobState::UNFINISHED, &JobState::UNFINISHED),
            Self::Discard => (
                &[JobState::Scheduled, JobState::Available, JobState::Retryable],
                &[JobState::Scheduled, JobState::Available, JobState::Retryable],
            ),
            Self::RunNow => (&[JobState::Scheduled, JobState::Retryable], &[JobState::Retryable]),
            Self::Redrive | Self::WriteOff => (&[JobState::Discarded], &[JobState::Discarded]),
        };
        match asked.iter().find(|state| !suitable.contains(state)) {
            Some(state) => Err(UnsuitableState { action: self, state: *state }),
            None if asked.is_empty() => Ok(usual.to_vec()),
            None => Ok(asked.to_vec()),
        }
    }
}

/// A change that was made to a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobChange {
    /// The job waited, and is due now.
    DueNow,
    /// The job was due already; nothing has changed.
    AlreadyDue,
    /// The job was discarded, and runs again.
    Redriven,
    /// The job waited, and is cancelled.
    Cancelled,
    /// The job runs, and its worker is asked to stop it.
    CancelRequested,
    /// The job waited, and is discarded.
    Discarded,
    /// The job has other arguments.
    Edited,
    /// The job was discarded, and is written off.
    WrittenOff,
}

impl JobChange {
    /// The stable name, for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::DueNow => "due-now",
            Self::AlreadyDue => "already-due",
            Self::Redriven => "redriven",
            Self::Cancelled => "cancelled",
            Self::CancelRequested => "requested",
            Self::Discarded => "discarded",
            Self::Edited => "edited",
            Self::WrittenOff => "written-off",
        }
    }
}
