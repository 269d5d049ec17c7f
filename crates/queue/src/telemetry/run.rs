//! The attributes of a run, and the log line of its end.

use std::time::Duration;

use uuid::Uuid;

use super::trace_context::TraceContext;
use crate::ids::JobId;

/// The name of the `tracing` event that tells how a run ended.
pub const JOB_ENDED: &str = "job_ended";
/// The target of that event.
pub const LOG_TARGET: &str = "surety_queue";

/// One run of one job, as its span and its log lines tell it.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The job.
    pub job_id: JobId,
    /// Its queue.
    pub queue: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// 1-based.
    pub attempt: i16,
    /// After how many failed attempts the job is discarded.
    pub max_attempts: i16,
    /// The worker that runs it.
    pub worker_id: Uuid,
    /// The time from when the job was due to its claim.
    pub waited: Duration,
    /// The context of the enqueue, from the job row.
    pub trace_context: Option<&'a TraceContext>,
    /// The [`traceparent`](super::ProcessSpan::traceparent) of the attempt before this one, from
    /// the job row.
    pub last_traceparent: Option<&'a str>,
}

/// The end of a run.
#[derive(Clone, Copy, Debug)]
pub enum Ending<'a> {
    /// The job is done.
    Completed,
    /// The attempt failed, and there will be another one.
    Retried {
        /// In what way it failed.
        failure: Failure,
        /// Its error chain.
        error: &'a str,
        /// The wait until the next attempt.
        delay: Duration,
    },
    /// The attempt failed, and it was the last one.
    Discarded {
        /// In what way it failed.
        failure: Failure,
        /// Its error chain.
        error: &'a str,
    },
    /// The handler asked to be run later; the attempt does not count.
    Snoozed {
        /// The wait until the job is due again.
        delay: Duration,
        /// The reason that the handler gave.
        reason: Option<&'a str>,
    },
    /// The job was no longer wanted.
    Cancelled {
        /// The reason that was given.
        reason: &'a str,
    },
    /// Another worker has the job; what this run wrote to the database was undone, and calls to
    /// others were not.
    LeaseLost,
    /// The worker shut down and handed the job back.
    HandedBack,
}

/// In what way an attempt failed: the `error.type` of its span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The handler returned an error.
    Failed,
    /// The handler took longer than its kind may.
    TimedOut,
    /// The handler panicked.
    Panicked,
}

impl Failure {
    pub(super) const fn error_type(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Panicked => "panicked",
        }
    }
}

impl Ending<'_> {
    /// One word: the `app.job.outcome` of the span.
    pub(super) const fn outcome(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Retried { .. } => "retried",
            Self::Discarded { .. } => "discarded",
            Self::Snoozed { .. } => "snoozed",
            Self::Cancelled { .. } => "cancelled",
            Self::LeaseLost => "lease_lost",
            Self::HandedBack => "handed_back",
        }
    }
}

/// Writes the line of an ended run.
pub(super) fn log_ending(run: &Run<'_>, ending: Ending<'_>, duration: Duration) {
    let Run { job_id, queue, kind, attempt, max_attempts, .. } = *run;
    let (outcome, duration_ms) = (ending.outcome(), millis(duration));
    let request_id = run.trace_context.and_then(TraceContext::request_id);
    // One macro call per level, because a level is part of the call.
    macro_rules! line {
        ($level:ident, { $($fields:tt)* }, $($message:tt)+) => {
            tracing::$level!(
                name: JOB_ENDED,
                target: LOG_TARGET,
                job_id = job_id.0, kind, queue, attempt, max_attempts, outcome, duration_ms,
                request_id,
                $($fields)*
                $($message)+
            )
        };
    }
    match ending {
        Ending::Completed => line!(info, {}, "job {job_id} {kind} completed"),
        Ending::Retried { failure, error, delay } => line!(
            warn,
            { error, error_type = failure.error_type(), delay_ms = millis(delay), },
            "job {job_id} {kind} failed in attempt {attempt} of {max_attempts}, and will be retried"
        ),
        Ending::Discarded { failure, error } => line!(
            error,
            { error, error_type = failure.error_type(), },
            "job {job_id} {kind} failed in attempt {attempt} of {max_attempts}, and was discarded"
        ),
        Ending::Snoozed { delay, reason } => {
            line!(info, { delay_ms = millis(delay), reason, }, "job {job_id} {kind} snoozed");
        }
        Ending::Cancelled { reason } => {
            line!(info, { reason, }, "job {job_id} {kind} was cancelled");
        }
        Ending::LeaseLost => line!(
            warn,
            {},
            "job {job_id} {kind} lost its lease in attempt {attempt}: what it wrote to the \
             database was undone, and a call that it made is not"
        ),
        Ending::HandedBack => line!(info, {}, "job {job_id} {kind} was handed back at shutdown"),
    }
}

/// Milliseconds with three decimals: enough to tell 40 µs from nothing, and short in a log line.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
