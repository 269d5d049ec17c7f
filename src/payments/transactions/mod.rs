//! Transactions: the payment events of providers, each recorded once however often it is delivered
//! (G2).

mod bodies;
mod intake;
mod reading;
mod recording;

use bytes::Bytes;
use time::OffsetDateTime;

pub use self::bodies::{Body, body_of, drop_bodies};
pub use self::intake::{Intake, intake};
pub use self::reading::{Filter, find, find_by_number, list, unsettled_among};
pub(super) use self::reading::{Row, SLACK, ids_between};
pub use self::recording::{Inserted, Recorded, Recording, record_many};

use crate::ids::TransactionId;
use crate::money::{Money, MoneyError};

/// The most characters of a transaction's id and of an account's name.
pub const MAX_NAME_CHARS: usize = 255;

/// A payment event as a provider sent it.
#[derive(Clone, Debug)]
pub struct NewTransaction {
    /// The provider's id. One id names one transaction for ever.
    pub transaction_id: String,
    /// Whom the money leaves.
    pub source_account: String,
    /// Whom the money reaches.
    pub destination_account: String,
    /// The amount and its currency.
    pub money: Money,
    /// The body as received, byte by byte: the evidence, should another body claim the same id.
    pub body: Bytes,
}

/// The status of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, sqlx::Type)]
#[sqlx(type_name = "payments.transaction_status", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Known, and nothing was begun. Webhooks' transactions never are.
    Pending,
    /// Accepted; its job will settle it.
    Processing,
    /// Settled: its transfer is in the ledger.
    Completed,
    /// The transaction broke a rule and moved no money; the failure reason says which.
    Failed,
}

/// A stored transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Our number of it.
    pub id: TransactionId,
    /// The provider's id of it.
    pub transaction_id: String,
    /// Whom the money leaves.
    pub source_account: String,
    /// Whom the money reaches.
    pub destination_account: String,
    /// The amount and its currency.
    pub money: Money,
    /// The status of the transaction.
    pub status: Status,
    /// The reason of the failure, as a stable code; none unless [`Status::Failed`].
    pub failure_reason: Option<String>,
    /// The moment at which the transaction was first received.
    pub created_at: OffsetDateTime,
    /// The moment at which the transaction reached its outcome; none until then.
    pub processed_at: Option<OffsetDateTime>,
}

/// An error with transactions.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// The database did not do it.
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
    /// A stored row does not hold money: somebody wrote to the table by another way.
    #[error("a stored transaction does not hold money")]
    NotMoney(#[from] MoneyError),
    /// A transaction was there when it was inserted again and gone when it was read.
    #[error("a transaction was deleted while it was recorded")]
    Vanished,
}
