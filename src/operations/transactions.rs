//! Providers' transactions, as operators look at them.

pub use crate::ids::TransactionId;
pub use crate::money::Currency;
pub use crate::payments::browsing::Page;
pub use crate::payments::transactions::{
    Filter as TransactionFilter, Status, Transaction, TransactionError,
};

use sqlx::PgConnection;

use super::jobs::{JobFilter, JobSummary};
use super::timeline::about_transaction;
use crate::payments::browsing;
use crate::payments::transactions;
use crate::queue::QueueError;
use crate::queue::operate::list;

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

/// The jobs that settle a transaction: one, unless somebody has enqueued more.
///
/// # Errors
///
/// [`QueueError`].
pub async fn jobs(
    conn: &mut PgConnection,
    transaction: &Transaction,
) -> Result<Vec<JobSummary>, QueueError> {
    listed(conn, &about_transaction(transaction)).await
}

/// The jobs that match, as many as one list may have.
pub(super) async fn listed(
    conn: &mut PgConnection,
    filter: &JobFilter,
) -> Result<Vec<JobSummary>, QueueError> {
    Ok(list::list(conn, filter, None, list::MAX_LISTED).await?.jobs)
}
