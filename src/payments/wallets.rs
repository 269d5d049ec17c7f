//! Wallets: the accounts of users, one per user and currency.
//!
//! A wallet never goes below zero. Of its balance, unfinished orders hold a part
//! ([`super::orders`]); the rest is available.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::LedgerError;
use crate::ids::{AccountId, OrderId, TransferId, UserId};
use crate::money::{Balance, Currency};

/// A wallet as it stands.
#[derive(Clone, Debug)]
pub struct Wallet {
    /// The account of the wallet.
    pub id: AccountId,
    /// The owner of the wallet.
    pub owner: UserId,
    /// The balance.
    pub balance: Balance,
    /// The part of the balance that no unfinished order holds.
    pub available: Balance,
    /// Changes with every entry and every hold, and when the wallet is closed or opened again: what
    /// has the same version is the same.
    pub version: i64,
    /// The moment at which the wallet was opened.
    pub created_at: OffsetDateTime,
    /// The moment since which the wallet accepts no new orders; none while it does.
    pub closed_at: Option<OffsetDateTime>,
}

/// The reason that a wallet cannot be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CloseRefusal {
    /// The user has no such wallet.
    #[error("the wallet does not exist")]
    NotFound,
    /// There is money in it, or money that is about to leave it.
    #[error("the wallet is not empty")]
    NotEmpty,
}

/// One line in the history of a wallet.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The number of the entry within the wallet, from 1 without gaps.
    pub number: i64,
    /// The movement that it is one side of.
    pub transfer: TransferId,
    /// The order that the movement executes, if any.
    pub order: Option<OrderId>,
    /// Negative where money left.
    pub amount: Balance,
    /// The balance of the wallet after the entry.
    pub balance_after: Balance,
    /// The payer's own words, if there are any.
    pub description: Option<String>,
    /// The moment at which the entry was written.
    pub created_at: OffsetDateTime,
}

/// The user's wallet in this currency: made if there is none, opened again if it was closed.
///
/// # Errors
///
/// When the database refuses.
pub async fn open(
    conn: &mut PgConnection,
    owner: UserId,
    currency: Currency,
) -> Result<Opened, LedgerError> {
    let row = sqlx::query!(
        r#"
        insert into payments.accounts (id, kind, owner_id, currency, floor)
        values ($1, 'wallet', $2, $3, 0)
        on conflict (owner_id, currency) where kind = 'wallet' do update
        set
          closed_at = null,
          hold_changes = accounts.hold_changes + (accounts.closed_at is not null)::int
        returning id as "id: AccountId", (xmax = 0) as "is_new!"
        "#,
        Uuid::now_v7(),
        owner.0,
        currency.code(),
    )
    .fetch_one(conn)
    .await?;
    Ok(Opened { wallet: row.id, is_new: row.is_new })
}

/// A wallet that was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The wallet.
    pub wallet: AccountId,
    /// The wallet was opened by this call.
    pub is_new: bool,
}

/// Closes an empty wallet: it accepts no new orders until it is opened again.
///
/// A deposit that was accepted before may still arrive; it is not lost, and can be withdrawn once
/// the wallet is open again.
///
/// # Errors
///
/// When the database refuses.
pub async fn close(
    conn: &mut PgConnection,
    owner: UserId,
    wallet: AccountId,
) -> Result<Result<(), CloseRefusal>, LedgerError> {
    let is_empty = sqlx::query_scalar!(
        r#"
        select balance = 0 and held = 0 as "is_empty!"
        from payments.accounts
        where id = $1 and owner_id = $2
        for no key update
        "#,
        wallet.0,
        owner.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    match is_empty {
        None => return Ok(Err(CloseRefusal::NotFound)),
        Some(false) => return Ok(Err(CloseRefusal::NotEmpty)),
        Some(true) => {}
    }
    sqlx::query!(
        "
        update payments.accounts
        set closed_at = clock_timestamp(), hold_changes = hold_changes + 1
        where id = $1 and closed_at is null
        ",
        wallet.0,
    )
    .execute(conn)
    .await?;
    Ok(Ok(()))
}

/// The money and the orders that keep a user's wallets from being closed for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsettled {
    /// The balances that are not zero.
    pub balances: Vec<Balance>,
    /// A deposit, withdrawal, transfer or refund of the user's, or to the user, has no outcome yet.
    pub has_unfinished_orders: bool,
}

/// Closes all wallets of a user who leaves, if there is nothing in them and nothing on its way into
/// one or out of one. From then on they receive nothing.
///
/// Nobody places or ends an order until the transaction ends, so call this for few users, and at
/// its end: an order that is being placed is waited for, up to a second, and counts.
///
/// # Errors
///
/// When the database refuses.
pub async fn close_all(
    conn: &mut PgConnection,
    owner: UserId,
) -> Result<Result<(), Unsettled>, LedgerError> {
    sqlx::raw_sql(
        "set local lock_timeout = '1s';
         lock table payments.orders in share row exclusive mode",
    )
    .execute(&mut *conn)
    .await?;
    let wallets = list(&mut *conn, owner).await?;
    let ids: Vec<Uuid> = wallets.iter().map(|wallet| wallet.id.0).collect();
    let has_unfinished_orders = sqlx::query_scalar!(
        r#"
        select
          exists (
            select from payments.orders
            where kind <> 'deposit' and source_account_id = any ($1)
              and status in ('PENDING', 'PROCESSING')
          )
          or exists (
            select from payments.orders
            where kind <> 'withdrawal' and destination_account_id = any ($1)
              and status in ('PENDING', 'PROCESSING')
          ) as "exists!"
        "#,
        &ids,
    )
    .fetch_one(&mut *conn)
    .await?;
    let balances: Vec<Balance> =
        wallets.iter().map(|wallet| wallet.balance).filter(|balance| !balance.is_zero()).collect();
    if has_unfinished_orders || !balances.is_empty() {
        return Ok(Err(Unsettled { balances, has_unfinished_orders }));
    }
    sqlx::query!(
        "
        update payments.accounts
        set closed_at = clock_timestamp(), hold_changes = hold_changes + 1
        where id = any ($1) and closed_at is null
        ",
        &ids,
    )
    .execute(conn)
    .await?;
    Ok(Ok(()))
}

/// The wallet with this id, if any.
///
/// # Errors
///
/// When the database refuses, or the row is none that this binary wrote.
pub async fn find(
    conn: &mut PgConnection,
    wallet: AccountId,
) -> Result<Option<Wallet>, LedgerError> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select
          id as "id: AccountId", owner_id as "owner!: UserId", currency, balance, held,
          version + hold_changes as "version!", created_at, closed_at
        from payments.accounts
        where id = $1 and kind = 'wallet'
        "#,
        wallet.0,
    )
    .fetch_optional(conn)
    .await?;
    row.map(Wallet::try_from).transpose()
}

/// Reads all wallets of a user, in the order of their making.
///
/// # Errors
///
/// As [`find`].
pub async fn list(conn: &mut PgConnection, owner: UserId) -> Result<Vec<Wallet>, LedgerError> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select
          id as "id: AccountId", owner_id as "owner!: UserId", currency, balance, held,
          version + hold_changes as "version!", created_at, closed_at
        from payments.accounts
        where owner_id = $1 and kind = 'wallet'
        order by created_at, id
        "#,
        owner.0,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Wallet::try_from).collect()
}

/// The entries of a wallet with numbers below `before`, newest first.
///
/// # Errors
///
/// As [`find`].
pub async fn entries(
    conn: &mut PgConnection,
    wallet: AccountId,
    before: Option<i64>,
    limit: u16,
) -> Result<Vec<Entry>, LedgerError> {
    entries_between(conn, wallet, (0, before.unwrap_or(i64::MAX)), i64::from(limit)).await
}

/// The entries of a wallet with numbers between these two, newest first.
pub(super) async fn entries_between(
    conn: &mut PgConnection,
    wallet: AccountId,
    (after, before): (i64, i64),
    limit: i64,
) -> Result<Vec<Entry>, LedgerError> {
    let rows = sqlx::query_as!(
        EntryRow,
        r#"
        select
          entry.account_version as number, entry.transfer_id as "transfer: TransferId",
          transfer.order_id as "order: OrderId", entry.amount, entry.balance_after,
          transfer.currency, "order".description, entry.created_at
        from payments.entries as entry
        join payments.transfers as transfer on transfer.id = entry.transfer_id
        left join payments.orders as "order" on "order".id = transfer.order_id
        where entry.account_id = $1 and entry.account_version > $2 and entry.account_version < $3
        order by entry.account_version desc
        limit $4
        "#,
        wallet.0,
        after,
        before,
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Entry::try_from).collect()
}

struct Row {
    id: AccountId,
    owner: UserId,
    currency: String,
    balance: Decimal,
    held: Decimal,
    version: i64,
    created_at: OffsetDateTime,
    closed_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for Wallet {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        Ok(Self {
            id: row.id,
            owner: row.owner,
            balance: Balance::from_stored(row.balance, &row.currency)?,
            available: Balance::from_stored(row.balance - row.held, &row.currency)?,
            version: row.version,
            created_at: row.created_at,
            closed_at: row.closed_at,
        })
    }
}

struct EntryRow {
    number: i64,
    transfer: TransferId,
    order: Option<OrderId>,
    amount: Decimal,
    balance_after: Decimal,
    currency: String,
    description: Option<String>,
    created_at: OffsetDateTime,
}

impl TryFrom<EntryRow> for Entry {
    type Error = LedgerError;

    fn try_from(row: EntryRow) -> Result<Self, LedgerError> {
        Ok(Self {
            number: row.number,
            transfer: row.transfer,
            order: row.order,
            amount: Balance::from_stored(row.amount, &row.currency)?,
            balance_after: Balance::from_stored(row.balance_after, &row.currency)?,
            description: row.description,
            created_at: row.created_at,
        })
    }
}
