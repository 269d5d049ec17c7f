//! The transactions that put the ledger right when what came later was right.

use bytes::Bytes;
use serde_json::json;
use sqlx::PgConnection;

use super::{ConflictError, is_final};
use crate::ids::TransactionId;
use crate::jobs::SettleTransaction;
use crate::payments::conflicts::Conflict;
use crate::payments::transactions::{
    self, NewTransaction, Recorded, Status, Transaction, TransactionError,
};
use crate::queue::{NewJob, enqueue_many};

/// The transactions that a correction is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Linked {
    /// Moves back what ours has moved; none if it moved nothing.
    pub(super) reversal: Option<TransactionId>,
    /// Has their content; none of a decision that corrects nothing.
    pub(super) correction: Option<TransactionId>,
}

/// Records the transactions of a correction, each with the job that settles it (G2).
pub(super) async fn record(
    conn: &mut PgConnection,
    conflict: &Conflict,
) -> Result<Linked, ConflictError> {
    let ours = transactions::find(&mut *conn, &conflict.transaction_id).await?;
    let ours = ours.ok_or(TransactionError::Vanished)?;
    if !is_final(ours.status) {
        return Err(ConflictError::NotFinal);
    }
    let theirs = conflict.content().ok_or(ConflictError::NotCorrectable)?;
    let correction = NewTransaction {
        transaction_id: format!("surety-correction-{}", conflict.id),
        source_account: theirs.source_account,
        destination_account: theirs.destination_account,
        money: theirs.money,
        body: Bytes::from(conflict.body.clone()),
    };
    // What failed has moved nothing.
    let reversal = (ours.status == Status::Completed).then(|| reversal_of(&ours, conflict));
    let new: Vec<&NewTransaction> =
        [Some(&correction), reversal.as_ref()].into_iter().flatten().collect();
    let recorded = transactions::record_many(&mut *conn, &new).await?;
    let mut ids = Vec::with_capacity(recorded.len());
    for recorded in recorded {
        match recorded {
            Recorded::New(id) => ids.push(id),
            // Somebody has used such an id before.
            Recorded::Duplicate | Recorded::Conflict => return Err(ConflictError::NotCorrectable),
        }
    }
    let jobs: Result<Vec<NewJob>, _> =
        ids.iter().map(|id| NewJob::new(&SettleTransaction { transaction: *id })).collect();
    enqueue_many(conn, &jobs?).await?;
    Ok(Linked { correction: ids.first().copied(), reversal: ids.get(1).copied() })
}

/// The transaction that moves the money of ours back.
fn reversal_of(ours: &Transaction, conflict: &Conflict) -> NewTransaction {
    let id = format!("surety-correction-{}-reversal", conflict.id);
    let (source, destination) = (&ours.destination_account, &ours.source_account);
    let body = json!({
        "transaction_id": id,
        "source_account": source,
        "destination_account": destination,
        "amount": ours.money.amount_text(),
        "currency": ours.money.currency().code(),
    });
    NewTransaction {
        transaction_id: id,
        source_account: source.clone(),
        destination_account: destination.clone(),
        money: ours.money,
        body: Bytes::from(body.to_string()),
    }
}
