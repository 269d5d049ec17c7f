//! Remedies for findings.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::ids::JobId;

/// A remedy for a finding. `Display` words it without naming commands, of which each application
/// has its own: one that has some words the remedies itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fix {
    /// Ask why the job has not run, and start more workers for its queue.
    AddWorkers {
        /// The job that has waited for longest.
        job: JobId,
        /// Its queue.
        queue: String,
    },
    /// Ask why the job has not run, and review the limits of its queue.
    ReviewLimits {
        /// The job that has waited for longest.
        job: JobId,
        /// Its queue.
        queue: String,
    },
    /// Start a worker.
    StartWorker,
    /// Start a worker that reaches this database, to take back jobs of lost ones.
    StartRescuer,
    /// Start a worker that knows a kind and takes a queue, or cancel the jobs.
    StartWorkerFor {
        /// The kind.
        kind: String,
        /// The queue.
        queue: String,
    },
    /// Resume a queue, or all of them.
    Resume {
        /// The queue; none for all.
        queue: Option<String>,
    },
    /// Decide over the jobs at the heads of the blocked keys of a queue.
    UnblockKeys {
        /// The queue.
        queue: String,
    },
    /// Ask why a job fails, and mend that; jobs of its kind are tried again by themselves.
    ReviewFailures {
        /// A job that failed.
        job: JobId,
        /// Its kind.
        kind: String,
    },
    /// Decide over discarded jobs: redrive or dismiss them.
    DecideDiscarded,
    /// Apply the migrations that are missing.
    ApplyMigrations,
    /// Compare the schema with the migrations.
    CompareMigrations,
    /// A statement, a setting or an advice, in words.
    Other(String),
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddWorkers { job, queue } => {
                write!(f, "ask why job {job} has not run, and start more workers for queue {queue}")
            }
            Self::ReviewLimits { job, queue } => {
                write!(f, "ask why job {job} has not run, and review the limits of queue {queue}")
            }
            Self::StartWorker => f.write_str("start a worker"),
            Self::StartRescuer => {
                f.write_str("every worker rescues such jobs: start one that reaches this database")
            }
            Self::StartWorkerFor { kind, queue } => {
                write!(
                    f,
                    "start a worker that knows kind {kind} and takes queue {queue}, or cancel them"
                )
            }
            Self::Resume { queue: Some(queue) } => write!(f, "resume queue {queue}"),
            Self::Resume { queue: None } => f.write_str("resume all queues"),
            Self::UnblockKeys { queue } => {
                write!(f, "decide over the jobs at the heads of the blocked keys of queue {queue}")
            }
            Self::ReviewFailures { job, kind } => write!(
                f,
                "see why job {job} failed and mend that: jobs of kind {kind} are tried again by \
                 themselves"
            ),
            Self::DecideDiscarded => f.write_str("redrive or dismiss them"),
            Self::ApplyMigrations => f.write_str("apply the missing migrations"),
            Self::CompareMigrations => f.write_str("compare the schema with the migrations"),
            Self::Other(words) => f.write_str(words),
        }
    }
}

impl Serialize for Fix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<&str> for Fix {
    fn from(words: &str) -> Self {
        Self::Other(words.to_owned())
    }
}

impl From<String> for Fix {
    fn from(words: String) -> Self {
        Self::Other(words)
    }
}
