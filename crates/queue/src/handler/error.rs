//! The ends of a run that did not complete its job.

use std::fmt;
use std::time::Duration;

/// The reason that a run did not complete its job, which decides what the worker does with the job.
#[derive(Debug)]
pub enum JobError {
    /// The attempt failed. The job runs again after the backoff, or after `delay` when given, until
    /// [`Job::MAX_ATTEMPTS`](crate::Job::MAX_ATTEMPTS) is reached; then it is discarded.
    Retry {
        /// The failure; its whole chain of causes is stored with the attempt.
        error: anyhow::Error,
        /// A wait in place of the usual backoff.
        delay: Option<Duration>,
    },
    /// The job can never succeed: it is discarded at once, and kept.
    Discard(anyhow::Error),
    /// Not now: the job runs again later, and the attempt does not count and leaves no trace.
    Snooze {
        /// The wait until the job is due again. Where many jobs snooze for one reason, adding
        /// jitter is left to the handler.
        delay: Duration,
        /// The reason for the wait, shown to whoever looks at the job meanwhile.
        reason: Option<String>,
    },
    /// The job is no longer wanted.
    Cancel(String),
    /// Another worker has the job, or had: everything that this run wrote is rolled back, and
    /// nothing is recorded.
    LeaseLost,
}

impl JobError {
    /// The job can never succeed, for this reason.
    pub fn discard(error: impl Into<anyhow::Error>) -> Self {
        Self::Discard(error.into())
    }

    /// Not now; run again after `delay`.
    pub fn snooze(delay: Duration) -> Self {
        Self::Snooze { delay, reason: None }
    }

    /// Not now; run again after `delay`, and tell whoever asks meanwhile why the job waits.
    pub fn snooze_because(delay: Duration, reason: impl Into<String>) -> Self {
        Self::Snooze { delay, reason: Some(reason.into()) }
    }

    /// The attempt failed; try again after `delay`.
    pub fn retry_after(delay: Duration, error: impl Into<anyhow::Error>) -> Self {
        Self::Retry { error: error.into(), delay: Some(delay) }
    }
}

/// The error and its causes in one line, for logs.
impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry { error, .. } | Self::Discard(error) => write!(f, "{error:#}"),
            Self::Snooze { reason: None, .. } => f.write_str("not now"),
            Self::Snooze { reason: Some(reason), .. } | Self::Cancel(reason) => f.write_str(reason),
            Self::LeaseLost => f.write_str("another worker has the job, or had"),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for JobError {
    fn from(error: E) -> Self {
        Self::Retry { error: error.into(), delay: None }
    }
}
