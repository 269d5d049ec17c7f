//! Dead letters on the wire.

use poem_openapi::{Enum, Object};
use serde::Serialize;
use time::OffsetDateTime;

use super::cursor_key;
use crate::http::api::orders::OrderOut;
use crate::http::api::transactions::TransactionOut;
use crate::http::wire::any_json::AnyJson;
use crate::http::wire::field_types::Text;
use crate::http::wire::json_body::json_object;
use crate::http::wire::lists::cursor_after;
use crate::operations::dead_letters::{
    AttemptOutcome, AttemptView, DeadLetterView, DecisionKind as Decided, DecisionView,
    ListedDeadLetter,
};
use crate::operations::{MAX_REASON_CHARS, Reason};

json_object! {
    /// A decision over a dead letter.
    #[oai(rename = "NewDecision")]
    pub(super) struct DecisionIn {
        /// The reason, for whoever asks later.
        reason: Text<MAX_REASON_CHARS>,
    }

    fn value(fields) -> Reason {
        fields.accept("reason", reason?.0.parse())
    }
}

/// A job that was given up and waits for a decision.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "DeadLetter")]
pub(super) struct DeadLetterOut {
    /// The number of the job.
    job_id: i64,
    /// The kind of the job.
    kind: String,
    /// The queue that it was in.
    queue: String,
    /// The number of the last attempt.
    attempt: i16,
    /// The number of failed attempts that were allowed.
    max_attempts: i16,
    /// The moment at which the job was enqueued.
    #[serde(with = "time::serde::rfc3339")]
    enqueued_at: OffsetDateTime,
    /// The moment at which the job was given up.
    #[serde(with = "time::serde::rfc3339")]
    discarded_at: OffsetDateTime,
    /// The arguments of the job.
    args: AnyJson,
    /// The error of the last attempt; null only if that is no longer kept.
    #[oai(nullable)]
    error: Option<String>,
}

impl From<ListedDeadLetter> for DeadLetterOut {
    fn from(letter: ListedDeadLetter) -> Self {
        Self {
            job_id: letter.job_id.0,
            kind: letter.kind,
            queue: letter.queue,
            attempt: letter.attempt,
            max_attempts: letter.max_attempts,
            enqueued_at: letter.enqueued_at,
            discarded_at: letter.discarded_at,
            args: AnyJson(letter.args),
            error: letter.error,
        }
    }
}

/// A page of dead letters, newest first.
#[derive(Debug, Serialize, Object)]
pub(super) struct DeadLetterPage {
    /// The dead letters of this page.
    dead_letters: Vec<DeadLetterOut>,
    /// The `cursor` of the next page, which may be empty; null when there is none.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl DeadLetterPage {
    /// The page of these dead letters, after which there may be more.
    pub(super) fn new(found: Vec<ListedDeadLetter>, may_have_more: bool, list: &str) -> Self {
        let last = found.last().filter(|_| may_have_more).map(ListedDeadLetter::position);
        Self {
            dead_letters: found.into_iter().map(Into::into).collect(),
            next_cursor: last.map(|last| cursor_after(cursor_key(last), list)),
        }
    }
}

/// A dead letter, with all that is known of it.
#[derive(Debug, Serialize, Object)]
pub(super) struct DeadLetterDetails {
    /// The number of the job.
    job_id: i64,
    /// The kind of the job.
    kind: String,
    /// The queue that it was in.
    queue: String,
    /// True while the dead letter waits for a decision.
    is_open: bool,
    /// The number of the last attempt.
    attempt: i16,
    /// After so many failed attempts it is given up.
    max_attempts: i16,
    /// The moment at which the job was enqueued.
    #[serde(with = "time::serde::rfc3339")]
    enqueued_at: OffsetDateTime,
    /// The moment at which the job was given up, or else done with; null while it runs again.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    finished_at: Option<OffsetDateTime>,
    /// The arguments of the job.
    args: AnyJson,
    /// The attempts that are still kept, in order.
    attempts: Vec<AttemptOut>,
    /// The decisions over the dead letter, in order.
    decisions: Vec<DecisionOut>,
    /// The order that it is about; absent when it is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    order: Option<OrderOut>,
    /// The provider's transaction that it is about; absent when it is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    transaction: Option<TransactionOut>,
}

impl From<DeadLetterView> for DeadLetterDetails {
    fn from(letter: DeadLetterView) -> Self {
        Self {
            job_id: letter.job_id.0,
            kind: letter.kind,
            queue: letter.queue,
            is_open: letter.is_open,
            attempt: letter.attempt,
            max_attempts: letter.max_attempts,
            enqueued_at: letter.enqueued_at,
            finished_at: letter.finished_at,
            args: AnyJson(letter.args),
            attempts: letter.attempts.into_iter().map(Into::into).collect(),
            decisions: letter.decisions.into_iter().map(Into::into).collect(),
            order: letter.order.map(|order| order.0.into()),
            transaction: letter.transaction.map(|transaction| transaction.0.into()),
        }
    }
}

/// The outcome of an attempt of a job.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
enum AttemptEnd {
    /// The job is done.
    Completed,
    /// The attempt failed.
    Failed,
    /// The attempt took too long.
    TimedOut,
    /// The worker was lost.
    Crashed,
    /// The job found that it can never succeed.
    Discarded,
    /// The job was no longer wanted.
    Cancelled,
}

impl From<AttemptOutcome> for AttemptEnd {
    fn from(outcome: AttemptOutcome) -> Self {
        match outcome {
            AttemptOutcome::Completed => Self::Completed,
            AttemptOutcome::Failed => Self::Failed,
            AttemptOutcome::TimedOut => Self::TimedOut,
            AttemptOutcome::Crashed => Self::Crashed,
            AttemptOutcome::Discarded => Self::Discarded,
            AttemptOutcome::Cancelled => Self::Cancelled,
        }
    }
}

/// One run of a job.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "JobAttempt")]
struct AttemptOut {
    /// The number of the attempt, from 1.
    attempt: i16,
    /// The moment at which the attempt began.
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    /// The moment at which the attempt ended.
    #[serde(with = "time::serde::rfc3339")]
    ended_at: OffsetDateTime,
    /// The outcome of the attempt.
    outcome: AttemptEnd,
    /// The error with all of its causes; null exactly when it completed the job.
    #[oai(nullable)]
    error: Option<String>,
}

impl From<AttemptView> for AttemptOut {
    fn from(attempt: AttemptView) -> Self {
        Self {
            attempt: attempt.attempt,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            outcome: attempt.outcome.into(),
            error: attempt.error,
        }
    }
}

/// A decision over a dead letter.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
enum DecisionKind {
    /// The job was to run again.
    Redriven,
    /// The job was not to run again.
    WrittenOff,
}

/// A decision over a dead letter.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Decision")]
struct DecisionOut {
    /// The decision.
    decision: DecisionKind,
    /// The attempt that the job had been given up at.
    attempt: i16,
    /// The one who decided: `user:` or `key:` and an id, `cli:` and a name, or the kind of the job
    /// that found out what had become of it.
    decided_by: String,
    /// The reason of the decision.
    reason: String,
    /// The moment of the decision.
    #[serde(with = "time::serde::rfc3339")]
    decided_at: OffsetDateTime,
}

impl From<DecisionView> for DecisionOut {
    fn from(view: DecisionView) -> Self {
        Self {
            decision: match view.decision {
                Decided::Redriven => DecisionKind::Redriven,
                Decided::WrittenOff => DecisionKind::WrittenOff,
            },
            attempt: view.attempt,
            decided_by: view.decided_by,
            reason: view.reason,
            decided_at: view.decided_at,
        }
    }
}
