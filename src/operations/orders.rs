//! Orders of all users, as operators look at them: with the calls to the bank, and the jobs that
//! execute them.

pub use crate::bank::call_history::BankCall;
pub use crate::ids::{AccountId, OrderId, UserId};
pub use crate::payments::LedgerError;
pub use crate::payments::orders::{Kind as OrderKind, Order, Status};

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::jobs::JobSummary;
use super::timeline::about_order;
use super::transactions::listed;
use crate::bank::{EffectKey, call_history};
use crate::money::Currency;
use crate::payments::browsing::{self, Page};
use crate::payments::orders::Filter;
use crate::payments::{orders, wallets};
use crate::queue::QueueError;

/// The filter of [`list`]; every part that is set must match.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OrderFilter {
    /// The kind.
    pub kind: Option<OrderKind>,
    /// The status.
    pub status: Option<Status>,
    /// The currency.
    pub currency: Option<Currency>,
    /// An account that money leaves or reaches; not the bank's.
    pub account: Option<AccountId>,
    /// A user, from or to a wallet of whom money goes.
    pub user: Option<UserId>,
    /// The earliest time at which an order was given.
    pub created_from: Option<OffsetDateTime>,
    /// The time before which an order was given.
    pub created_before: Option<OffsetDateTime>,
}

/// The newest orders that match, at most `limit` of those older than `before`. A page looks at a
/// bounded number of rows, so that it may be empty and still say where to go on.
///
/// # Errors
///
/// [`LedgerError`].
pub async fn list(
    conn: &mut PgConnection,
    filter: &OrderFilter,
    before: Option<OrderId>,
    limit: u16,
) -> Result<Page<Order, OrderId>, LedgerError> {
    let mut accounts: Vec<AccountId> = filter.account.into_iter().collect();
    if let Some(user) = filter.user {
        let own = wallets::list(&mut *conn, user).await?;
        let own: Vec<AccountId> = own.into_iter().map(|wallet| wallet.id).collect();
        match filter.account {
            None => accounts = own,
            Some(_) => accounts.retain(|account| own.contains(account)),
        }
        if accounts.is_empty() {
            // No order is of nobody's wallets; no account at all would mean every one.
            return Ok(Page { rows: Vec::new(), next: None });
        }
    }
    let wanted = Filter {
        accounts,
        kinds: filter.kind.into_iter().collect(),
        status: filter.status,
        created_from: filter.created_from,
        created_before: filter.created_before,
    };
    browsing::orders::browse(conn, &wanted, filter.currency, before, limit).await
}

/// The order with this id, if any.
///
/// # Errors
///
/// [`LedgerError`].
pub async fn find(conn: &mut PgConnection, id: OrderId) -> Result<Option<Order>, LedgerError> {
    orders::find(conn, id).await
}

/// The jobs that execute an order: one, unless somebody has enqueued more.
///
/// # Errors
///
/// [`QueueError`].
pub async fn jobs(conn: &mut PgConnection, order: &Order) -> Result<Vec<JobSummary>, QueueError> {
    listed(conn, &about_order(order)).await
}

/// The calls to the bank for an order, in order; the first 200.
///
/// # Errors
///
/// When the database refuses.
pub async fn bank_calls(conn: &mut PgConnection, id: OrderId) -> sqlx::Result<Vec<BankCall>> {
    call_history::of_key(conn, &EffectKey::of_order(id)).await
}

/// Tells if the order holds its amount on the account that the money leaves.
#[must_use]
pub fn is_holding(order: &Order) -> bool {
    !order.is_finished() && order.kind != OrderKind::Deposit
}
