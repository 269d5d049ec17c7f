//! The errors of the queue.

use serde::Deserialize;
use sqlx::postgres::PgDatabaseError;

use crate::enqueue::bounds::InvalidJob;

/// An error of the queue.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The database refused, or did not answer.
    #[error("the queue's database refused or did not answer")]
    Database(#[source] sqlx::Error),
    /// The arguments of a job have more JSON than `queue.settings` allows. Nothing was written, so
    /// the caller's transaction can go on.
    #[error(
        "the arguments of a job of kind {kind} have {bytes} bytes of JSON, and at most {max_bytes} \
         are taken"
    )]
    ArgsTooLong {
        /// The kind of the job.
        kind: String,
        /// The bytes of its arguments as JSON.
        bytes: u64,
        /// The most bytes that are taken: `max_args_bytes` in `queue.settings`.
        max_bytes: u64,
    },
    /// A new job does not keep to the bounds of jobs. Nothing was sent to the database, so the
    /// caller's transaction can go on.
    #[error(transparent)]
    InvalidJob(InvalidJob),
    /// Arguments that cannot be written as JSON.
    #[error("the arguments of a {kind} job cannot be written as JSON")]
    Args {
        /// The kind of the job.
        kind: &'static str,
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
    /// Jobs of a sealed kind must not be enqueued in plain.
    #[error("the arguments of {kind} jobs are sealed: make such a job with NewJob::sealed")]
    MustBeSealed {
        /// The kind of the job.
        kind: &'static str,
    },
    /// Arguments that cannot be sealed.
    #[cfg(feature = "sealing")]
    #[error("the arguments of a {kind} job cannot be sealed")]
    Seal {
        /// The kind of the job.
        kind: &'static str,
        /// The reason.
        #[source]
        source: crate::sealing::SealError,
    },
    /// A batch that is done takes no more members.
    #[error("batch {0} is done, or there is none: it takes no more members")]
    NoOpenBatch(crate::ids::BatchId),
    /// A callback of a batch is enqueued when others have ended, and must be one that always can.
    #[error("a callback of a batch {0}, which none can")]
    Callback(&'static str),
    /// The answer to a commit was lost, and the commit had not happened.
    #[error("the commit did not happen")]
    CommitLost,
    /// The role of a worker may not make the daily partitions of the history.
    #[error(
        "the role {role} may not make partitions in the schema queue, which workers do every day: \
         grant it the rights of {owner}, and create on schema queue"
    )]
    Rights {
        /// The role.
        role: String,
        /// The owner of the history's tables.
        owner: String,
    },
    /// Worker settings that cannot work.
    #[error("{0}")]
    Settings(&'static str),
    /// The system refused a thread for the lease keeper.
    #[error("the lease keeper's thread could not be started")]
    Thread(#[source] std::io::Error),
    /// A stored schedule that this program cannot read: of a time zone that it does not know.
    #[cfg(feature = "schedules")]
    #[error("the schedule {name} cannot be read")]
    Schedule {
        /// Its name.
        name: String,
        /// The reason.
        #[source]
        source: crate::schedules::cadence::CadenceError,
    },
}

impl From<sqlx::Error> for QueueError {
    fn from(error: sqlx::Error) -> Self {
        match args_too_long(&error) {
            Some(ArgsTooLong { kind, bytes, max_bytes }) => {
                Self::ArgsTooLong { kind, bytes, max_bytes }
            }
            None => Self::Database(error),
        }
    }
}

/// The detail of what `queue.refuse_args` raises.
#[derive(Deserialize)]
struct ArgsTooLong {
    kind: String,
    bytes: u64,
    max_bytes: u64,
}

fn args_too_long(error: &sqlx::Error) -> Option<ArgsTooLong> {
    let refusal = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    if refusal.constraint() != Some("args_are_short") {
        return None;
    }
    serde_json::from_str(refusal.detail()?).ok()
}

/// An error and its sources in one line, for logs.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
