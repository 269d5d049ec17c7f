//! Reading: one transaction by its id, or many by a filter.

use std::ops::Range;

use rust_decimal::Decimal;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use time::{Duration, OffsetDateTime};

use super::{Status, Transaction, TransactionError};
use crate::ids::TransactionId;
use crate::money::{Currency, Money};

/// Ids rise with the time at which rows are made, but for those that are made at the same moment,
/// and for a clock that is set, or is another server's after a failover: by less than this. A list
/// by time reads as much beyond it, at 10,000 transactions a second some 30 ms.
pub(in crate::payments) const SLACK: Duration = Duration::seconds(20);

/// The filter of [`list`]; every part that is set must match.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// The status.
    pub status: Option<Status>,
    /// The currency.
    pub currency: Option<Currency>,
    /// The account that a transaction is from or to.
    pub account: Option<String>,
    /// The earliest time at which a transaction was received.
    pub created_from: Option<OffsetDateTime>,
    /// The time before which a transaction was received.
    pub created_before: Option<OffsetDateTime>,
}

/// The transaction that a provider knows by this id, if any.
///
/// # Errors
///
/// [`TransactionError`].
pub async fn find(
    conn: &mut PgConnection,
    transaction_id: &str,
) -> Result<Option<Transaction>, TransactionError> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select
          id, transaction_id, source_account, destination_account, amount, currency,
          status as "status: Status", failure_reason, created_at, processed_at
        from payments.transactions
        where transaction_id = $1
        "#,
        transaction_id,
    )
    .fetch_optional(conn)
    .await?;
    row.map(Transaction::try_from).transpose()
}

/// The transaction with this number of ours, if any.
///
/// # Errors
///
/// [`TransactionError`].
pub async fn find_by_number(
    conn: &mut PgConnection,
    id: TransactionId,
) -> Result<Option<Transaction>, TransactionError> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select
          id, transaction_id, source_account, destination_account, amount, currency,
          status as "status: Status", failure_reason, created_at, processed_at
        from payments.transactions
        where id = $1
        "#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    row.map(Transaction::try_from).transpose()
}

/// Those of these transactions that wait for their outcome.
///
/// # Errors
///
/// [`TransactionError`].
pub async fn unsettled_among(
    conn: &mut PgConnection,
    ids: &[TransactionId],
) -> Result<Vec<TransactionId>, TransactionError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let unsettled = sqlx::query_scalar!(
        r#"
        select id as "id: TransactionId"
        from payments.transactions
        where id = any ($1) and status = 'PROCESSING'
        "#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(unsettled)
}

/// The newest `limit` transactions that match, newest first; with `before`, only those older than
/// that one.
///
/// Without `before`, waits for the commits that are under way, up to a second, and ends where no
/// earlier transaction can appear any more: who goes on from the newest of them, by its time or its
/// place in the list, misses nothing.
///
/// # Errors
///
/// [`TransactionError`].
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    before: Option<TransactionId>,
    limit: u16,
) -> Result<Vec<Transaction>, TransactionError> {
    let before = match before {
        Some(before) => before,
        None => TransactionId(last_final(&mut *conn).await? + 1),
    };
    let (from, end) = ids_between(&mut *conn, filter).await?;
    let ids = from..before.0.min(end);
    let mut query = QueryBuilder::<Postgres>::new("");
    match &filter.account {
        None => push_select(&mut query, filter, None, &ids, limit),
        Some(account) => {
            // Each arm walks its own index from the newest id down; an `or` over both columns would
            // read every row of the account and sort them. `union` drops the transaction that an
            // account sent to itself.
            query.push("select * from ((");
            push_select(&mut query, filter, Some(("source_account", account)), &ids, limit);
            query.push(") union (");
            push_select(&mut query, filter, Some(("destination_account", account)), &ids, limit);
            query.push(")) either_side order by id desc limit ").push_bind(i64::from(limit));
        }
    }
    let rows: Vec<Row> = query.build_query_as().fetch_all(conn).await?;
    rows.into_iter().map(Transaction::try_from).collect()
}

/// The last transaction of those that nothing can appear among any more; 0 when there is none.
async fn last_final(conn: &mut PgConnection) -> Result<i64, TransactionError> {
    let last = sqlx::query_scalar!("select payments.last_final_transaction()");
    Ok(last.fetch_one(conn).await?.unwrap_or(0))
}

/// A transaction as it is stored.
#[derive(sqlx::FromRow)]
pub(in crate::payments) struct Row {
    id: i64,
    transaction_id: String,
    source_account: String,
    destination_account: String,
    amount: Decimal,
    currency: String,
    status: Status,
    failure_reason: Option<String>,
    created_at: OffsetDateTime,
    processed_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for Transaction {
    type Error = TransactionError;

    fn try_from(row: Row) -> Result<Self, TransactionError> {
        Ok(Self {
            id: TransactionId(row.id),
            transaction_id: row.transaction_id,
            source_account: row.source_account,
            destination_account: row.destination_account,
            money: Money::from_stored(row.amount, &row.currency)?,
            status: row.status,
            failure_reason: row.failure_reason,
            created_at: row.created_at,
            processed_at: row.processed_at,
        })
    }
}

/// One walk from the newest id down, with only the conditions that are asked for, so that each can
/// have its index.
fn push_select(
    query: &mut QueryBuilder<Postgres>,
    filter: &Filter,
    side: Option<(&'static str, &String)>,
    ids: &Range<i64>,
    limit: u16,
) {
    query.push(
        "select id, transaction_id, source_account, destination_account, amount, currency, \
         status, failure_reason, created_at, processed_at \
         from payments.transactions where true",
    );
    if let Some((column, account)) = side {
        query.push(" and ").push(column).push(" = ").push_bind(account.clone());
    }
    if let Some(status) = filter.status {
        query.push(" and status = ").push_bind(status);
        if status != Status::Completed {
            // Said once more as a literal, because only that makes the partial index of the few
            // eligible.
            query.push(" and status <> 'COMPLETED'");
        }
    }
    if let Some(currency) = filter.currency {
        query.push(" and currency = ").push_bind(currency.code());
    }
    if let Some(from) = filter.created_from {
        query.push(" and created_at >= ").push_bind(from);
    }
    if let Some(before) = filter.created_before {
        query.push(" and created_at < ").push_bind(before);
    }
    query.push(" and id >= ").push_bind(ids.start).push(" and id < ").push_bind(ids.end);
    query.push(" order by id desc limit ").push_bind(i64::from(limit));
}

/// The ids between which the transactions of the filter's time are: from the first on, to before
/// the second.
pub(in crate::payments) async fn ids_between(
    conn: &mut PgConnection,
    filter: &Filter,
) -> sqlx::Result<(i64, i64)> {
    let mut ids = (0, i64::MAX);
    if let Some(from) = filter.created_from.and_then(|it| it.checked_sub(SLACK)) {
        ids.0 = first_since(&mut *conn, from).await?;
    }
    if let Some(until) = filter.created_before.and_then(|it| it.checked_add(SLACK)) {
        ids.1 = first_since(conn, until).await?;
    }
    Ok(ids)
}

/// The first id at or after a moment, or one more than the last: by halving the range of ids, as
/// the index over `created_at` would read every row since then.
async fn first_since(conn: &mut PgConnection, moment: OffsetDateTime) -> sqlx::Result<i64> {
    let first = sqlx::query_scalar::<_, i64>(
        "
        with recursive halves (low, high, step) as (
          select 0::bigint, coalesce(max(id), 0) + 1, 0 from payments.transactions
          union all
          select
            case when found.created_at < $1 then found.id else low end,
            case when found.created_at < $1 then high else middle end,
            step + 1
          from halves
          cross join lateral (select (low + high) / 2) as half (middle)
          left join lateral (
            select id, created_at
            from payments.transactions
            where id >= middle and id < high
            order by id
            limit 1
          ) as found on true
          where high - low > 1
        )
        select high from halves order by step desc limit 1
        ",
    );
    first.bind(moment).fetch_one(conn).await
}
