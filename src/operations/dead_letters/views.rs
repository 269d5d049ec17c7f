//! A dead letter as callers see it.

use serde::Serialize;
use time::OffsetDateTime;

use super::{AttemptOutcome, DecisionKind, JobId, OrderView, Position, TransactionView};
use crate::jobs::dead_letters::{DeadLetter, Subject, is_undecided};
use crate::queue::JsonText;
use crate::queue::operate::discarded::DiscardedJob;
use crate::queue::operate::inspect::{Attempt, Resolution, ResolutionKind};

/// A dead letter in a list.
#[derive(Clone, Debug, Serialize)]
pub struct ListedDeadLetter {
    /// The discarded job.
    pub job_id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// The number of attempts begun.
    pub attempt: i16,
    /// The number of failed attempts after which it was discarded.
    pub max_attempts: i16,
    /// The time at which it was enqueued.
    #[serde(with = "time::serde::rfc3339")]
    pub enqueued_at: OffsetDateTime,
    /// The time at which it was discarded.
    #[serde(with = "time::serde::rfc3339")]
    pub discarded_at: OffsetDateTime,
    /// Its arguments, as operators may see them.
    pub args: JsonText,
    /// The error of the last attempt; null only if retention has dropped it.
    pub error: Option<String>,
}

impl ListedDeadLetter {
    /// The place in the list: the next page is of those before it.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { discarded_at: self.discarded_at, id: self.job_id }
    }
}

impl From<DiscardedJob> for ListedDeadLetter {
    fn from(job: DiscardedJob) -> Self {
        Self {
            job_id: job.id,
            kind: job.kind,
            queue: job.queue,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            enqueued_at: job.enqueued_at,
            discarded_at: job.discarded_at,
            args: job.args,
            error: job.error,
        }
    }
}

/// A dead letter with its attempts, the decisions over it, and what it is about.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetterView {
    /// The discarded job.
    pub job_id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// True while it waits for a decision.
    pub is_open: bool,
    /// The number of attempts begun.
    pub attempt: i16,
    /// The number of failed attempts after which it is discarded.
    pub max_attempts: i16,
    /// The time at which it was enqueued.
    #[serde(with = "time::serde::rfc3339")]
    pub enqueued_at: OffsetDateTime,
    /// The time at which it was discarded, or ended otherwise after a redrive; null while it runs
    /// again.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// Its arguments, as operators may see them.
    pub args: JsonText,
    /// The ended attempts that retention has kept, in order.
    pub attempts: Vec<AttemptView>,
    /// The decisions over it, in order.
    pub decisions: Vec<DecisionView>,
    /// The order that it is about; absent when it is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderView>,
    /// The provider's transaction that it is about; absent when it is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionView>,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(DeadLetter { job, subject }: DeadLetter) -> Self {
        let (order, transaction) = match subject {
            Some(Subject::Order(order)) => (Some(OrderView(order)), None),
            Some(Subject::Transaction(it)) => (None, Some(TransactionView(it))),
            None => (None, None),
        };
        Self {
            job_id: job.id,
            is_open: is_undecided(&job),
            kind: job.kind,
            queue: job.queue,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            enqueued_at: job.enqueued_at,
            finished_at: job.finished_at,
            args: job.args,
            attempts: job.attempts.into_iter().map(AttemptView::from).collect(),
            decisions: job.resolutions.into_iter().map(DecisionView::from).collect(),
            order,
            transaction,
        }
    }
}

/// An ended attempt.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptView {
    /// The number of the attempt, from 1.
    pub attempt: i16,
    /// The time at which it began.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// The time at which it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub ended_at: OffsetDateTime,
    /// The way it ended.
    pub outcome: AttemptOutcome,
    /// The error with all of its causes; null exactly when the attempt completed the job.
    pub error: Option<String>,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            attempt: attempt.attempt,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            outcome: attempt.outcome,
            error: attempt.error,
        }
    }
}

/// A decision that was made over a dead letter.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionView {
    /// The decision.
    pub decision: DecisionKind,
    /// The attempt at which the job had been discarded.
    pub attempt: i16,
    /// The [`Identity`](crate::operations::Identity) of whoever decided, or the kind of the job
    /// that did.
    pub decided_by: String,
    /// The reason.
    pub reason: String,
    /// The time of the decision.
    #[serde(with = "time::serde::rfc3339")]
    pub decided_at: OffsetDateTime,
}

impl From<Resolution> for DecisionView {
    fn from(resolution: Resolution) -> Self {
        Self {
            decision: match resolution.resolution {
                ResolutionKind::Redriven => DecisionKind::Redriven,
                ResolutionKind::Dismissed => DecisionKind::WrittenOff,
            },
            attempt: resolution.attempt,
            decided_by: resolution.resolved_by,
            reason: resolution.reason,
            decided_at: resolution.resolved_at,
        }
    }
}
