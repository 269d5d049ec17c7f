//! Typed ids, so that no function takes two numbers that could be swapped.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The internal number of a payment transaction; providers know it by its own `transaction_id`.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, sqlx::Type,
)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct TransactionId(pub i64);

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
