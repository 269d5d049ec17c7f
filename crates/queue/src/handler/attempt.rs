//! The ends of attempts.

use serde::Serialize;

use crate::ids::{Fence, JobId};

/// An attempt's error is cut at so many bytes: a job must not bloat the history by failing.
const MAX_ERROR_BYTES: usize = 8 * 1024;

/// The end of an attempt, as `queue.attempts` keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "queue.attempt_outcome", rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The job is done.
    Completed,
    /// The handler failed or panicked.
    Failed,
    /// The handler was stopped after its kind's timeout.
    TimedOut,
    /// The worker was lost: its lease ran out.
    Crashed,
    /// The handler said that the job can never succeed.
    Discarded,
    /// The job was no longer wanted.
    Cancelled,
}

/// The end of an attempt that did not complete its job.
#[derive(Clone, Debug)]
pub(crate) struct EndedAttempt {
    pub(crate) id: JobId,
    pub(crate) fence: Fence,
    pub(crate) outcome: AttemptOutcome,
    pub(crate) error: String,
    pub(crate) traceparent: Option<String>,
}

impl EndedAttempt {
    pub(crate) fn new(
        id: JobId,
        fence: Fence,
        outcome: AttemptOutcome,
        error: String,
        traceparent: Option<String>,
    ) -> Self {
        Self { id, fence, outcome, error: storable(error, MAX_ERROR_BYTES), traceparent }
    }
}

/// PostgreSQL refuses NUL in text, and a job must not fail at saying how it failed.
pub(crate) fn storable(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        text.truncate(text.floor_char_boundary(max_bytes));
        text.push('…');
    }
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}
