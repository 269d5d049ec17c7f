//! The ledger, as operators look at it: accounts, their balances and their entries.

pub use crate::ids::{AccountId, OrderId, UserId};
pub use crate::money::{Balance, Currency};
pub use crate::payments::LedgerError;
pub use crate::payments::browsing::Page;
pub use crate::payments::browsing::accounts::{
    Account, AccountEntry, AccountFilter, AccountKind, EntriesOf,
};

use sqlx::PgConnection;

use crate::payments::archives;
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
/// settled, and none once they are in an archive.
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

/// The number of an account's entries that are in archives, and the balance that they left; none if
/// it has none there.
///
/// # Errors
///
/// [`LedgerError`].
pub async fn carried_forward(
    conn: &mut PgConnection,
    account: &Account,
) -> Result<Option<(i64, Balance)>, LedgerError> {
    let Some(carried) = archives::carried_forward(conn, account.id).await? else { return Ok(None) };
    let currency = account.balance.currency().code();
    Ok(Some((carried.version, Balance::from_stored(carried.balance, currency)?)))
}
