//! Outcomes: transactions and orders that have just ended, as they then stand.
//!
//! Whatever brings one to its end returns it, so that whoever commits the end can commit what
//! announces it, too.

use super::orders::Order;
use super::transactions::Transaction;

/// A transaction or order with the outcome that it has just reached.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A provider's transaction.
    Transaction(Transaction),
    /// A user's order.
    Order(Order),
}

/// The outcomes that a database transaction has written, to be announced in its commit. Each
/// transaction and each order is among them once in its life.
#[derive(Clone, Debug, Default)]
#[must_use = "an outcome that nobody announces is one that nobody hears of"]
pub struct Outcomes(Vec<Outcome>);

impl Outcomes {
    pub(super) fn of(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        Self(outcomes.into_iter().collect())
    }

    /// Tells if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The outcomes.
    pub fn as_slice(&self) -> &[Outcome] {
        &self.0
    }
}
