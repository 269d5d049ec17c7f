//! The states of a job.

use serde::{Deserialize, Serialize};

/// The states of a job, as people speak of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its time, and has never run.
    Scheduled,
    /// Due, and waits for a worker.
    Available,
    /// Has run, and waits for its time to run again.
    Retryable,
    /// A worker has it.
    Running,
    /// Done.
    Completed,
    /// No longer wanted.
    Cancelled,
    /// Failed for good.
    Discarded,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::Available,
        Self::Retryable,
        Self::Running,
        Self::Completed,
        Self::Cancelled,
        Self::Discarded,
    ];

    /// The states of jobs that have not ended.
    pub const UNFINISHED: [Self; 4] =
        [Self::Scheduled, Self::Available, Self::Retryable, Self::Running];

    /// Tells whether a job in it has not ended.
    pub fn is_unfinished(self) -> bool {
        Self::UNFINISHED.contains(&self)
    }

    /// Tells whether a job in it has not ended, and nobody runs it.
    pub fn is_waiting(self) -> bool {
        self.is_unfinished() && self != Self::Running
    }

    /// Its name, as SQL and the command line have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Available => "available",
            Self::Retryable => "retryable",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Discarded => "discarded",
        }
    }
}
