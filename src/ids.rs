//! Typed ids, so that no function takes two numbers that could be swapped.

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
pub use surety_queue::moments::first_uuid_at;
use uuid::{NoContext, Timestamp, Uuid};

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

/// A new UUID of version 7 by the database's clock, which all processes share: lists that are in
/// the order of such ids are in the order of their making.
///
/// # Errors
///
/// When the database does not answer.
pub async fn new_by_database_clock(conn: &mut PgConnection) -> sqlx::Result<Uuid> {
    let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(conn).await?;
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    Ok(Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.nanosecond())))
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
    /// Something that has happened and is told to others. UUIDv7.
    EventId(Uuid);
    /// An address that events are delivered to by webhooks. UUIDv7.
    EndpointId(Uuid);
    /// A sign-in of a user's.
    SessionId(Uuid);
    /// A transaction that came again with other content.
    ConflictId(i64);
    /// One action on all jobs that match a filter.
    BulkOperationId(i64);
    /// A key that a machine signs in with.
    ApiKeyId(Uuid);
}
