//! The ledger, as operators look at it: accounts, their balances and their entries.

pub use crate::ids::{AccountId, OrderId, UserId};
pub use crate::money::{Balance, Currency};
pub use crate::payments::LedgerError;
pub use crate::payments::browsing::Page;
pub use crate::payments::browsing::accounts::{
    Account, AccountEntry, AccountFilter, AccountKind, EntriesOf,
};

use sqlx::PgConnection;

use crate::payments::browsing::accounts;

/// The accounts that match, in the order of their names, owners or currencies: at most `limit` of
/// those behind `after`.
///
/// # Errors
///
/// [`LedgerError`].
pub async fn list(
    conn: &mut PgConnection,
    filter: &AccountFilter,
    after: Option<AccountId>,
    limit: u16,
) -> Result<Page<Account, AccountId>, LedgerError> {
    accounts::browse(conn, filter, after, limit).await
}

/// The account with this id, if there is one.
///
/// # Errors
///
/// [`LedgerError`].
pub async fn find(conn: &mut PgConnection, id: AccountId) -> Result<Option<Account>, LedgerError> {
    accounts::find(conn, id).await
}

/// Those of these accounts that exist.
///
/// # Errors
///
/// [`LedgerError`].
pub async fn find_many(
    conn: &mut PgConnection,
    ids: &[AccountId],
) -> Result<Vec<Account>, LedgerError> {
    accounts::find_many(conn, ids).await
}

/// The newest entries of an account, at most `limit` of those with numbers below `before`.
///
/// # Errors
///
/// [`LedgerError`].
pub async fn entries(
    conn: &mut PgConnection,
    account: AccountId,
    before: Option<i64>,
    limit: u16,
) -> Result<Page<AccountEntry, i64>, LedgerError> {
    accounts::entries(conn, account, before, limit).await
}

/// The two entries that a transaction or an order has caused, what left first; none before it is
/// settled.
///
/// # Errors
///
/// [`LedgerError`].
pub async fn entries_of(
    conn: &mut PgConnection,
    cause: EntriesOf,
) -> Result<Vec<AccountEntry>, LedgerError> {
    accounts::entries_of(conn, cause).await
}
