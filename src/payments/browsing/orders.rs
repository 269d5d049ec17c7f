//! Orders of all users, newest first.

use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{MAX_LOOKED_AT, Page, SLACK};
use crate::ids::{AccountId, OrderId, first_uuid_at};
use crate::money::Currency;
use crate::payments::LedgerError;
use crate::payments::orders::{Filter, Order, Row, Side};

/// The newest orders that match, at most `limit` of those older than `before`: of all accounts
/// where the filter names none.
///
/// # Errors
///
/// When the database refuses, or a row is none that this binary wrote.
pub async fn browse(
    conn: &mut PgConnection,
    filter: &Filter,
    currency: Option<Currency>,
    before: Option<OrderId>,
    limit: u16,
) -> Result<Page<Order, OrderId>, LedgerError> {
    let mut query = looked_at(filter, before);
    query.push("select * from looked_at where true");
    push_rest(&mut query, filter, currency);
    query.push(" order by id desc limit ").push_bind(i64::from(limit) + 1);
    let rows: Vec<Row> = query.build_query_as().fetch_all(&mut *conn).await?;
    let found = rows.into_iter().map(Order::try_from).collect::<Result<_, _>>()?;
    match Page::full(found, limit, |order: &Order| order.id) {
        Ok(page) => Ok(page),
        Err(rows) => Ok(Page { rows, next: end(conn, filter, before).await? }),
    }
}

/// The id from which another page goes on, if this one did not see all.
async fn end(
    conn: &mut PgConnection,
    filter: &Filter,
    before: Option<OrderId>,
) -> sqlx::Result<Option<OrderId>> {
    let mut query = looked_at(filter, before);
    query.push(
        "select (select id from looked_at order by id limit 1), (select count(*) from looked_at)",
    );
    let (last, count): (Option<Uuid>, i64) = query.build_query_as().fetch_one(conn).await?;
    Ok(last.filter(|_| count == MAX_LOOKED_AT).map(OrderId))
}

/// The beginning of a statement, with the rows that a page looks at as `looked_at`.
fn looked_at(filter: &Filter, before: Option<OrderId>) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("with looked_at as (");
    if filter.accounts.is_empty() {
        push_arm(&mut query, filter, None, before);
    } else {
        query.push("select * from (");
        let mut separator = "(";
        for account in &filter.accounts {
            for side in [Side::Source, Side::Destination] {
                query.push(separator);
                push_arm(&mut query, filter, Some((side, *account)), before);
                separator = ") union all (";
            }
        }
        query.push(")) as either_side order by id desc limit ").push_bind(MAX_LOOKED_AT);
    }
    query.push(") ");
    query
}

fn push_arm(
    query: &mut QueryBuilder<Postgres>,
    filter: &Filter,
    side: Option<(Side, AccountId)>,
    before: Option<OrderId>,
) {
    query.push(
        "select id, kind, owner_id as owner, source_account_id as source, \
         destination_account_id as destination, amount, currency, description, refund_of, status, \
         failure_reason, bank_reference, created_at, finished_at from payments.orders where true",
    );
    if let Some((side, account)) = side {
        // As the indexes have it.
        query.push(match side {
            Side::Source => " and kind <> 'deposit' and source_account_id = ",
            Side::Destination => " and kind <> 'withdrawal' and destination_account_id = ",
        });
        query.push_bind(account);
        if side == Side::Destination {
            // No row is in two arms: so they are merged in their order, as far as is needed.
            query.push(" and (kind = 'deposit' or source_account_id <> all (");
            query.push_bind(filter.accounts.clone()).push("))");
        }
    }
    if let Some(before) = before {
        query.push(" and id < ").push_bind(before);
    }
    // Ids begin with the time of their making.
    if let Some(from) = filter.created_from.and_then(|it| it.checked_sub(SLACK)) {
        query.push(" and id >= ").push_bind(first_uuid_at(from));
    }
    if let Some(until) = filter.created_before.and_then(|it| it.checked_add(SLACK)) {
        query.push(" and id < ").push_bind(first_uuid_at(until));
    }
    query.push(" order by id desc limit ").push_bind(MAX_LOOKED_AT);
}

/// The conditions that the index does not know.
fn push_rest(query: &mut QueryBuilder<Postgres>, filter: &Filter, currency: Option<Currency>) {
    if !filter.kinds.is_empty() {
        query.push(" and kind = any (").push_bind(filter.kinds.clone()).push(")");
    }
    if let Some(status) = filter.status {
        query.push(" and status = ").push_bind(status);
    }
    if let Some(currency) = currency {
        query.push(" and currency = ").push_bind(currency.code());
    }
    if let Some(from) = filter.created_from {
        query.push(" and created_at >= ").push_bind(from);
    }
    if let Some(before) = filter.created_before {
        query.push(" and created_at < ").push_bind(before);
    }
}
