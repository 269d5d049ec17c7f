//! Dead letters: discarded jobs that wait for a decision, and the decisions.
//!
//! A decision means something for the money that the job is about; [`crate::jobs::dead_letters`]
//! knows what, and does it in the same database transaction.
//!
//! - Here: the operations.
//! - `views`: a dead letter as callers see it.
//! - `subject`: the order or transaction that it is about.

mod subject;
mod views;

pub use self::subject::{OrderView, TransactionView};
pub use self::views::{AttemptView, DeadLetterView, DecisionView, ListedDeadLetter};
pub use crate::jobs::dead_letters::{DeadLetterError, DecisionRefusal};
pub use crate::queue::AttemptOutcome;
pub use crate::queue::JobId;
pub use crate::queue::operate::discarded::{Filter as DeadLetterFilter, MAX_LISTED, Position};

use serde::Serialize;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::{Actor, Mode};
use crate::audit::{self, Subject};
use crate::jobs::dead_letters;
use crate::queue::operate::discarded;

/// A decision that was not made. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// The decision cannot be made as things stand.
    #[error(transparent)]
    Refused(#[from] DecisionRefusal),
    /// The database refused, did not answer, or holds what it should not.
    #[error(transparent)]
    Failed(#[from] DeadLetterError),
}

impl From<sqlx::Error> for DecisionError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(DeadLetterError::Queue(error.into()))
    }
}

/// A decision over a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decide {
    /// The discarded job.
    pub id: JobId,
    /// The decision.
    pub verdict: DecisionKind,
    /// The mode: a decision is kept or tried out.
    pub mode: Mode,
}

/// The decisions that there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// The job runs again.
    Redriven,
    /// The job does not run again, and what it was to do is given up.
    WrittenOff,
}

/// The dead letters that nobody has decided over, newest first: at most `limit`, which is capped at
/// [`MAX_LISTED`], of those before `before`.
///
/// # Errors
///
/// [`DeadLetterError`].
pub async fn list(
    conn: &mut PgConnection,
    filter: &DeadLetterFilter,
    before: Option<Position>,
    limit: u32,
) -> Result<Vec<ListedDeadLetter>, DeadLetterError> {
    let jobs = discarded::list(conn, filter, before, limit).await?;
    Ok(jobs.into_iter().map(ListedDeadLetter::from).collect())
}

/// The dead letter with this number, open or decided over.
///
/// # Errors
///
/// [`DeadLetterError`].
pub async fn find(
    conn: &mut PgConnection,
    id: JobId,
) -> Result<Option<DeadLetterView>, DeadLetterError> {
    Ok(dead_letters::find(conn, id).await?.map(DeadLetterView::from))
}

/// Decides over a dead letter, and returns it as it is after that.
///
/// Workers are not woken; see [`super::wake_workers`].
///
/// # Errors
///
/// [`DecisionError`].
pub async fn decide(
    conn: &mut PgConnection,
    request: Decide,
    actor: &Actor,
) -> Result<DeadLetterView, DecisionError> {
    let Decide { id, verdict, mode } = request;
    let mut tx = conn.begin().await?;
    match verdict {
        DecisionKind::Redriven => dead_letters::redrive(&mut tx, id, actor.decision()).await??,
        DecisionKind::WrittenOff => {
            dead_letters::write_off(&mut tx, id, actor.decision()).await??;
        }
    }
    let decided = find(&mut tx, id).await?.ok_or(DecisionRefusal::NotFound)?;
    let entry = actor.entry(verdict.action(), Subject::new("job", id));
    let entry = entry
        .before(&json!({ "state": "discarded", "decision": null }))
        .after(&json!({ "decision": verdict }))
        .data(&json!({
            "kind": decided.kind,
            "transaction_id": decided.transaction.as_ref().map(|it| &it.0.transaction_id),
            "order_id": decided.order.as_ref().map(|it| it.0.id),
        }));
    audit::record(&mut tx, &[entry]).await?;
    mode.end(tx).await?;
    if mode == Mode::Commit {
        let (by, word) = (actor.identity.as_str(), verdict.in_words());
        tracing::info!(job_id = id.0, by, "job {id} was {word} by {by}");
    }
    Ok(decided)
}

impl DecisionKind {
    /// The action in the audit log.
    const fn action(self) -> &'static str {
        match self {
            Self::Redriven => "dead_letter.redrive",
            Self::WrittenOff => "dead_letter.write_off",
        }
    }

    /// The decision as a participle.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Redriven => "redriven",
            Self::WrittenOff => "written off",
        }
    }
}
