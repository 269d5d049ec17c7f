//! Providers' transactions, as operators look at them.

pub use crate::ids::TransactionId;
pub use crate::money::Currency;
pub use crate::payments::browsing::Page;
pub use crate::payments::transactions::{
    Filter as TransactionFilter, MAX_NAME_CHARS, Status, Transaction, TransactionError,
};

use sqlx::{Connection as _, PgConnection};

use super::jobs::JobSummary;
use super::timeline::{self, TimelineError, TimelineEvent};
use crate::payments::browsing::accounts::{self, AccountEntry, EntriesOf};
use crate::payments::{browsing, transactions};

/// The newest transactions that match, at most `limit` of those older than `before`. A page looks
/// at a bounded number of rows, so that it may be empty and still say where to go on.
///
/// # Errors
///
/// [`TransactionError`].
pub async fn list(
    conn: &mut PgConnection,
    filter: &TransactionFilter,
    before: Option<TransactionId>,
    limit: u16,
) -> Result<Page<Transaction, TransactionId>, TransactionError> {
    browsing::transactions::browse(conn, filter, before, limit).await
}

/// The transaction that a provider knows by this id, if any.
///
/// # Errors
///
/// [`TransactionError`].
pub async fn find(
    conn: &mut PgConnection,
    transaction_id: &str,
) -> Result<Option<Transaction>, TransactionError> {
    transactions::find(conn, transaction_id).await
}

/// A transaction with all that is known of it.
#[derive(Clone, Debug)]
pub struct ShownTransaction {
    /// The transaction.
    pub transaction: Transaction,
    /// The events about it, in order.
    pub timeline: Vec<TimelineEvent>,
    /// Its two entries in the ledger, what left first; none before it is settled, and none
    /// once they are in an archive.
    pub entries: Vec<AccountEntry>,
    /// The jobs that settle it: one, unless somebody has enqueued more.
    pub jobs: Vec<JobSummary>,
}

/// The transaction that a provider knows by this id with all that is known of it, as of one moment;
/// none if there is none.
///
/// # Errors
///
/// [`TimelineError`].
pub async fn show(
    conn: &mut PgConnection,
    transaction_id: &str,
) -> Result<Option<ShownTransaction>, TimelineError> {
    let mut tx = conn.begin_with(timeline::SNAPSHOT).await?;
    let Some(transaction) = transactions::find(&mut tx, transaction_id).await? else {
        tx.rollback().await?;
        return Ok(None);
    };
    let (timeline, jobs) = timeline::of_known_transaction(&mut tx, &transaction).await?;
    let entries = accounts::entries_of(&mut tx, EntriesOf::Transaction(transaction.id)).await?;
    tx.rollback().await?;
    Ok(Some(ShownTransaction { transaction, timeline, entries, jobs }))
}
