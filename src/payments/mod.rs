//! The money: providers' transactions, holders of money, and the double-entry ledger between them.
//!
//! The cast:
//!
//! - [`transactions`]: a provider's payment events, recorded once each however often they come
//!   (G2).
//! - [`conflicts`]: known ids that came with other content, and decisions over them.
//! - [`settlement`]: the one step of a transaction to its outcome (G3).
//! - [`transfers`]: movements between two accounts, each with entries that sum to zero (G7).
//! - [`accounts`]: holders of money, made on first sight.
//! - [`wallets`]: the accounts of users, with what they hold and what is available.
//! - [`history`]: what the ledger knows of one transaction or order, as events.
//! - [`statements`]: what a wallet had and what came and went over a period, for ever the same.
//! - [`archives`]: old transfers of providers, moved out of the ledger into files.
//! - [`browsing`]: pages of all of these, for operators.
//! - [`orders`]: users' deposits, withdrawals, transfers and refunds.
//! - [`outcomes`]: what has just ended, for whoever announces it.
//!
//! Every function takes a `&mut PgConnection` and neither begins nor commits: `http`, `operations`
//! and `jobs` do, so that one function there shows all that commits together.
//!
//! Deliberately absent: HTTP, jobs, and any call to another system.

pub mod accounts;
pub mod archives;
pub mod browsing;
pub mod conflicts;
pub mod history;
pub mod orders;
pub mod outcomes;
pub mod settlement;
pub mod statements;
pub mod transactions;
pub mod transfers;
pub mod verify;
pub mod wallets;

use crate::ids::TransactionId;
use crate::money::MoneyError;

/// The result of a step that drops what is older than it is kept for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PruningStep {
    /// The rows that need not be looked at any more; fewer than the step may look at when the next
    /// one is too young.
    pub passed: u64,
    /// The rows, or parts of rows, that it dropped.
    pub dropped: u64,
}

/// An error of the ledger. None of it is a rule that a transfer broke: those are
/// [`transfers::TransferRefusal`], an outcome and no error.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The transaction has its transfer already, although it was not settled.
    #[error("the transaction has a transfer already")]
    TransactionHasTransfer(#[source] sqlx::Error),
    /// The entries of a transfer are not its two sides, or do not sum to zero (G7).
    #[error("the entries do not balance")]
    Unbalanced(#[source] sqlx::Error),
    /// A row changed that the caller has locked. Does its transaction run in read committed?
    #[error("the ledger changed under a lock")]
    ConcurrentChange,
    /// The amount or currency of a stored transaction is none that this binary knows.
    #[error("transaction {id} cannot be read")]
    UnreadableTransaction {
        /// The transaction.
        id: TransactionId,
        /// The error of reading it.
        #[source]
        source: MoneyError,
    },
    /// The amount or currency of a stored order, wallet or entry is none that this binary knows.
    #[error("a stored amount cannot be read")]
    UnreadableMoney(#[from] MoneyError),
    /// The order has its transfer already, although it was not finished.
    #[error("the order has a transfer already")]
    OrderHasTransfer(#[source] sqlx::Error),
    /// Any other trouble with the database.
    #[error("the ledger's database refused")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        let constraint = error.as_database_error().and_then(|error| error.constraint());
        match constraint {
            Some("transfers_transaction_key") => Self::TransactionHasTransfer(error),
            Some("transfers_order_key") => Self::OrderHasTransfer(error),
            Some("entries_are_the_two_sides") => Self::Unbalanced(error),
            _ => Self::Database(error),
        }
    }
}
