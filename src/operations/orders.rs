//! Orders of all users, as operators look at them: with the calls to the bank, and the jobs that
//! execute them.

pub use crate::bank::breaker::{BreakerState, Phase};
pub use crate::bank::call_history::BankCall;
pub use crate::ids::{AccountId, OrderId, UserId};
pub use crate::payments::LedgerError;
pub use crate::payments::orders::{Kind as OrderKind, Order, Status};

use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

use super::jobs::JobSummary;
use super::timeline::{self, TimelineError, TimelineEvent};
use crate::bank::{EffectKey, breaker, call_history};
use crate::money::Currency;
use crate::payments::browsing::accounts::{self, AccountEntry, EntriesOf};
use crate::payments::browsing::{self, Page};
use crate::payments::orders::Filter;
use crate::payments::{orders, wallets};

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

/// An order with all that is known of it.
#[derive(Clone, Debug)]
pub struct ShownOrder {
    /// The order.
    pub order: Order,
    /// The events about it, in order.
    pub timeline: Vec<TimelineEvent>,
    /// Its two entries in the ledger, what left first; none before it is completed.
    pub entries: Vec<AccountEntry>,
    /// The jobs that execute it: one, unless somebody has enqueued more.
    pub jobs: Vec<JobSummary>,
    /// The calls to the bank, in order; the first 200.
    pub calls: Vec<BankCall>,
}

/// The order with this id with all that is known of it, as of one moment; none if there is none.
///
/// # Errors
///
/// [`TimelineError`].
pub async fn show(
    conn: &mut PgConnection,
    id: OrderId,
) -> Result<Option<ShownOrder>, TimelineError> {
    let mut tx = conn.begin_with(timeline::SNAPSHOT).await?;
    let Some(order) = orders::find(&mut tx, id).await? else {
        tx.rollback().await?;
        return Ok(None);
    };
    let (timeline, jobs) = timeline::of_known_order(&mut tx, &order).await?;
    let entries = accounts::entries_of(&mut tx, EntriesOf::Order(id)).await?;
    let calls = call_history::of_key(&mut tx, &EffectKey::of_order(id)).await?;
    tx.rollback().await?;
    Ok(Some(ShownOrder { order, timeline, entries, jobs, calls }))
}

/// The circuit breakers of the bank that have ever counted a failure; all others are closed.
///
/// # Errors
///
/// When the database refuses.
pub async fn bank_breakers(conn: &mut PgConnection) -> sqlx::Result<Vec<BreakerState>> {
    breaker::states(conn).await
}

/// Tells if the order holds its amount on the account that the money leaves.
#[must_use]
pub fn is_holding(order: &Order) -> bool {
    !order.is_finished() && order.kind != OrderKind::Deposit
}
