//! Reading: one order by its id, or a user's by a filter.

use rust_decimal::Decimal;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Kind, Order, Status};
use crate::ids::{AccountId, OrderId, UserId};
use crate::money::Money;
use crate::payments::LedgerError;

/// The filter of [`list`]; every part that is set must match.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// The accounts, of which an order moves money from or to one.
    pub accounts: Vec<AccountId>,
    /// The kinds; none means all.
    pub kinds: Vec<Kind>,
    /// The status.
    pub status: Option<Status>,
    /// The earliest time at which an order was given.
    pub created_from: Option<OffsetDateTime>,
    /// The time before which an order was given.
    pub created_before: Option<OffsetDateTime>,
}

/// The side of an order whose account must be among the ones named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The one the money leaves.
    Source,
    /// The one the money reaches.
    Destination,
}

/// The order with this id, if any.
///
/// # Errors
///
/// When the database refuses, or the row is none that this binary wrote.
pub async fn find(conn: &mut PgConnection, id: OrderId) -> Result<Option<Order>, LedgerError> {
    Ok(find_many(conn, &[id.0]).await?.pop())
}

/// Those of these orders that have no outcome yet.
///
/// # Errors
///
/// When the database refuses.
pub async fn unfinished_among(
    conn: &mut PgConnection,
    ids: &[OrderId],
) -> Result<Vec<OrderId>, LedgerError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let unfinished = sqlx::query_scalar!(
        r#"
        select id as "id: OrderId"
        from payments.orders
        where id = any ($1) and finished_at is null
        "#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(unfinished)
}

/// Reads those of these orders that exist.
pub(super) async fn find_many(
    conn: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<Order>, LedgerError> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select
          id as "id: OrderId", kind as "kind: Kind", owner_id as "owner: UserId",
          source_account_id as "source: AccountId",
          destination_account_id as "destination: AccountId", amount, currency, description,
          refund_of as "refund_of: OrderId", status as "status: Status", failure_reason,
          bank_reference, created_at, finished_at
        from payments.orders
        where id = any ($1)
        "#,
        ids,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Order::try_from).collect()
}

/// A user whom an order concerns: it takes money from a wallet of theirs, or brings money to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Party {
    /// The order.
    pub order: OrderId,
    /// The user.
    pub user: UserId,
    /// It was this user who gave the order.
    pub is_owner: bool,
}

/// The users whom these orders concern, one or two for each.
///
/// # Errors
///
/// When the database refuses.
pub async fn parties(conn: &mut PgConnection, ids: &[OrderId]) -> Result<Vec<Party>, LedgerError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let parties = sqlx::query_as!(
        Party,
        r#"
        select
          orders.id as "order: OrderId", accounts.owner_id as "user!: UserId",
          accounts.owner_id = orders.owner_id as "is_owner!"
        from payments.orders
        join payments.accounts
          on accounts.id in (orders.source_account_id, orders.destination_account_id)
        where orders.id = any ($1) and accounts.owner_id is not null
        "#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(parties)
}

/// Tells if there is an order without an outcome.
///
/// # Errors
///
/// When the database refuses.
pub async fn has_unfinished(conn: &mut PgConnection) -> Result<bool, LedgerError> {
    let has_any = sqlx::query_scalar!(
        r#"
        select exists (
          select from payments.orders where status in ('PENDING', 'PROCESSING')
        ) as "exists!"
        "#
    );
    Ok(has_any.fetch_one(conn).await?)
}

/// The newest `limit` orders that match, newest first; with `before`, only those older than that
/// one.
///
/// Without `before`, waits for the commits that are under way, up to a second, and ends where no
/// earlier order can appear any more: who goes on from the newest of them, by its time or its place
/// in the list, misses nothing.
///
/// # Errors
///
/// As [`find`].
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    before: Option<OrderId>,
    limit: u16,
) -> Result<Vec<Order>, LedgerError> {
    let final_before = match before {
        Some(_) => None,
        None => final_before(&mut *conn).await?,
    };
    // Each arm walks the index of its side from the newest id down, once per account; `union` drops
    // the order whose two sides are both asked for.
    let mut query = QueryBuilder::<Postgres>::new("select * from (");
    let mut separator = "";
    for account in &filter.accounts {
        for side in [Side::Source, Side::Destination] {
            query.push(separator).push("(");
            push_select(&mut query, filter, (side, *account), (before, final_before), limit);
            query.push(")");
            separator = " union ";
        }
    }
    if separator.is_empty() {
        return Ok(Vec::new());
    }
    query.push(") as either_side order by id desc limit ").push_bind(i64::from(limit));
    let rows: Vec<Row> = query.build_query_as().fetch_all(conn).await?;
    rows.into_iter().map(Order::try_from).collect()
}

/// A moment before which no order can appear any more.
async fn final_before(conn: &mut PgConnection) -> Result<Option<OffsetDateTime>, LedgerError> {
    let moment = sqlx::query_scalar!("select payments.orders_are_final_before()");
    Ok(moment.fetch_one(conn).await?)
}

fn push_select(
    query: &mut QueryBuilder<Postgres>,
    filter: &Filter,
    (side, account): (Side, AccountId),
    (before, final_before): (Option<OrderId>, Option<OffsetDateTime>),
    limit: u16,
) {
    query.push(
        "select id, kind, owner_id as owner, source_account_id as source, \
         destination_account_id as destination, amount, currency, description, refund_of, status, \
         failure_reason, bank_reference, created_at, finished_at \
         from payments.orders where ",
    );
    // As the indexes have it: the bank is a side of every deposit and withdrawal, and never asked
    // for.
    query.push(match side {
        Side::Source => "kind <> 'deposit' and source_account_id = ",
        Side::Destination => "kind <> 'withdrawal' and destination_account_id = ",
    });
    query.push_bind(account);
    if !filter.kinds.is_empty() {
        query.push(" and kind = any (").push_bind(filter.kinds.clone()).push(")");
    }
    if let Some(status) = filter.status {
        query.push(" and status = ").push_bind(status);
    }
    if let Some(from) = filter.created_from {
        query.push(" and created_at >= ").push_bind(from);
    }
    for until in [filter.created_before, final_before].into_iter().flatten() {
        query.push(" and created_at < ").push_bind(until);
    }
    if let Some(before) = before {
        query.push(" and id < ").push_bind(before);
    }
    query.push(" order by id desc limit ").push_bind(i64::from(limit));
}

/// An order as it is stored.
#[derive(sqlx::FromRow)]
pub(in crate::payments) struct Row {
    pub(super) id: OrderId,
    pub(super) kind: Kind,
    pub(super) owner: UserId,
    pub(super) source: AccountId,
    pub(super) destination: AccountId,
    pub(super) amount: Decimal,
    pub(super) currency: String,
    pub(super) description: Option<String>,
    pub(super) refund_of: Option<OrderId>,
    pub(super) status: Status,
    pub(super) failure_reason: Option<String>,
    pub(super) bank_reference: Option<String>,
    pub(super) created_at: OffsetDateTime,
    pub(super) finished_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for Order {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        Ok(Self {
            id: row.id,
            kind: row.kind,
            owner: row.owner,
            source: row.source,
            destination: row.destination,
            money: Money::from_stored(row.amount, &row.currency)?,
            description: row.description,
            refund_of: row.refund_of,
            status: row.status,
            failure_reason: row.failure_reason,
            bank_reference: row.bank_reference,
            created_at: row.created_at,
            finished_at: row.finished_at,
        })
    }
}
