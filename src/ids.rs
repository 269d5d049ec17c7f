//! Typed ids, so that no function takes two numbers that could be swapped.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $name:ident($inner:ty);)+) => {$(
        $(#[doc = $doc])+
        #[derive(
            Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize,
            sqlx::Type,
        )]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

ids! {
    /// The internal number of a payment transaction; providers know it by its own
    /// `transaction_id`.
    TransactionId(i64);
    /// An account of the ledger: a wallet, a name of a provider's, or the bank.
    AccountId(Uuid);
    /// A movement of money from one account to another.
    TransferId(Uuid);
    /// A user's instruction to move money: a deposit, withdrawal, transfer or refund. UUIDv7, so
    /// that the order of ids is that of their making.
    OrderId(Uuid);
    /// A user. UUIDv7.
    UserId(Uuid);
    /// A sign-in of a user's.
    SessionId(Uuid);
    /// A key that a machine signs in with.
    ApiKeyId(Uuid);
}
