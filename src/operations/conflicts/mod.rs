//! Conflicts: transactions that came again with other content, and decisions over them.
//!
//! What was recorded first was settled, and what came later was kept aside. Whoever looks into it
//! finds out which is right, and either keeps ours or corrects the ledger.
//!
//! - Here: reading them, and the decisions.
//! - `correction`: the transactions that put the ledger right.
//! - `views`: a conflict as callers see it.

mod correction;
mod views;

pub use self::views::{ConflictView, Difference, Side};
pub use crate::ids::ConflictId;
pub use crate::payments::conflicts::{Filter as ConflictFilter, Resolution};

use serde_json::json;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction as DbTransaction};

use super::{Actor, Mode};
use crate::audit::{self, Subject};
use crate::payments::conflicts::{self, Conflict, Decision, Resolved};
use crate::payments::transactions::{self, Status, TransactionError};
use crate::queue::QueueError;

/// The most conflicts of one [`list`].
pub const MAX_LISTED: u16 = 200;

/// A decision that was not made. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ConflictError {
    /// There is no such conflict.
    #[error("there is no such conflict")]
    NotFound,
    /// Somebody has decided over it by now.
    #[error("somebody has decided over it already")]
    AlreadyResolved,
    /// The transaction has no outcome yet, so it is not known what is to be moved back.
    #[error("the transaction has no outcome yet; a correction has to wait for it")]
    NotFinal,
    /// Another conflict of the transaction was corrected.
    #[error("another conflict of the transaction was corrected; settle this one by keeping it")]
    CorrectedBefore,
    /// The body says nothing that could be settled, or the id of the correction is taken.
    #[error("the body cannot be settled as a transaction")]
    NotCorrectable,
    /// The transactions could not be read or written.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The queue did not take a job.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl From<sqlx::Error> for ConflictError {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(error.into())
    }
}

/// A decision over a conflict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resolve {
    /// The conflict.
    pub id: ConflictId,
    /// The decision.
    pub resolution: Resolution,
    /// The mode: a decision is kept or tried out.
    pub mode: Mode,
}

/// The conflicts that match, newest first: at most `limit`, which is capped at one more than
/// [`MAX_LISTED`], of those before `before`.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(
    conn: &mut PgConnection,
    filter: &ConflictFilter,
    before: Option<ConflictId>,
    limit: u16,
) -> Result<Vec<ConflictView>, ConflictError> {
    let found = conflicts::list(&mut *conn, filter, before, limit.clamp(1, MAX_LISTED + 1)).await?;
    let mut views = Vec::with_capacity(found.len());
    for conflict in found {
        views.push(view(&mut *conn, conflict).await?);
    }
    Ok(views)
}

/// The conflict with this number, with both bodies and what differs.
///
/// # Errors
///
/// [`ConflictError::Transaction`].
pub async fn find(
    conn: &mut PgConnection,
    id: ConflictId,
) -> Result<Option<ConflictView>, ConflictError> {
    match conflicts::find(&mut *conn, id).await? {
        Some(conflict) => Ok(Some(view(conn, conflict).await?)),
        None => Ok(None),
    }
}

async fn view(conn: &mut PgConnection, conflict: Conflict) -> Result<ConflictView, ConflictError> {
    let ours = transactions::find(&mut *conn, &conflict.transaction_id).await?;
    let ours = ours.ok_or(TransactionError::Vanished)?;
    let body = transactions::body_of(conn, &conflict.transaction_id).await?;
    let body = body.ok_or(TransactionError::Vanished)?;
    Ok(ConflictView::new(conflict, ours, body))
}

/// Decides over a conflict, and returns it as it is after that.
///
/// To keep ours changes no money. A correction records two transactions, which are settled as all
/// others are: one that moves back what ours has moved, unless it failed, and one with their
/// content. Both are linked to the conflict; entries of the ledger are never changed.
///
/// Workers are not woken; see [`super::wake_workers`].
///
/// # Errors
///
/// [`ConflictError`].
pub async fn resolve(
    conn: &mut PgConnection,
    request: Resolve,
    actor: &Actor,
) -> Result<ConflictView, ConflictError> {
    let mut tx = conn.begin().await?;
    match resolve_in(&mut tx, request, actor).await {
        Ok(resolved) => {
            request.mode.end(tx).await?;
            Ok(resolved)
        }
        Err(error) => Err(rolled_back(tx, error).await),
    }
}

async fn rolled_back(tx: DbTransaction<'_, Postgres>, error: ConflictError) -> ConflictError {
    match tx.rollback().await {
        Ok(()) => error,
        Err(failed) => failed.into(),
    }
}

async fn resolve_in(
    conn: &mut PgConnection,
    Resolve { id, resolution, mode: _ }: Resolve,
    actor: &Actor,
) -> Result<ConflictView, ConflictError> {
    let conflict = conflicts::find(&mut *conn, id).await?.ok_or(ConflictError::NotFound)?;
    if conflict.resolution.is_some() {
        return Err(ConflictError::AlreadyResolved);
    }
    let linked = match resolution {
        Resolution::Kept => correction::Linked::default(),
        Resolution::Corrected => correction::record(&mut *conn, &conflict).await?,
    };
    let decision = Decision {
        resolution,
        by: actor.identity.as_str(),
        reason: actor.reason.as_str(),
        reversal: linked.reversal,
        correction: linked.correction,
    };
    match conflicts::resolve(&mut *conn, id, decision).await? {
        Resolved::Done => {}
        Resolved::NotOpen => return Err(ConflictError::AlreadyResolved),
        Resolved::CorrectedBefore => return Err(ConflictError::CorrectedBefore),
    }
    let resolved = find(&mut *conn, id).await?.ok_or(ConflictError::NotFound)?;
    let action = match resolution {
        Resolution::Kept => "conflict.keep",
        Resolution::Corrected => "conflict.correct",
    };
    let entry = actor.entry(action, Subject::transaction(&resolved.transaction_id));
    let entry = entry.data(&json!({
        "conflict": id, "reversal": resolved.reversal, "correction": resolved.correction,
    }));
    audit::record(conn, &[entry]).await?;
    Ok(resolved)
}

/// Tells if a transaction has its outcome.
const fn is_final(status: Status) -> bool {
    matches!(status, Status::Completed | Status::Failed)
}
