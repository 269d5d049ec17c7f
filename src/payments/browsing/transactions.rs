//! Transactions, newest first.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::{MAX_LOOKED_AT, Page};
use crate::ids::TransactionId;
use crate::payments::transactions::{
    Filter, Row, Status, Transaction, TransactionError, ids_between,
};

/// The newest transactions that match, at most `limit` of those older than `before`.
///
/// # Errors
///
/// [`TransactionError`].
pub async fn browse(
    conn: &mut PgConnection,
    filter: &Filter,
    before: Option<TransactionId>,
    limit: u16,
) -> Result<Page<Transaction, TransactionId>, TransactionError> {
    let walk = Walk::new(&mut *conn, filter, before).await?;
    let mut query = walk.query();
    query.push("select * from looked_at where true");
    push_rest(&mut query, filter);
    query.push(" order by id desc limit ").push_bind(i64::from(limit) + 1);
    let rows: Vec<Row> = query.build_query_as().fetch_all(&mut *conn).await?;
    let found = rows.into_iter().map(Transaction::try_from).collect::<Result<_, _>>()?;
    match Page::full(found, limit, |transaction: &Transaction| transaction.id) {
        Ok(page) => Ok(page),
        Err(rows) => Ok(Page { rows, next: walk.end(conn).await? }),
    }
}

/// The rows that a page looks at: those of one index, in order, between two ids.
struct Walk<'a> {
    filter: &'a Filter,
    from: i64,
    before: i64,
}

impl<'a> Walk<'a> {
    async fn new(
        conn: &mut PgConnection,
        filter: &'a Filter,
        before: Option<TransactionId>,
    ) -> sqlx::Result<Self> {
        let (from, end) = ids_between(conn, filter).await?;
        Ok(Self { filter, from, before: before.map_or(end, |id| id.0.min(end)) })
    }

    /// The beginning of a statement, with these rows as `looked_at`.
    fn query(&self) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new("with looked_at as (");
        match &self.filter.account {
            None => self.push_arm(&mut query, None),
            Some(account) => {
                // Each arm walks its own index, and no row is in both: so they are merged in their
                // order, and only as far as is needed.
                query.push("select * from ((");
                self.push_arm(&mut query, Some(("source_account", account)));
                query.push(") union all (");
                self.push_arm(&mut query, Some(("destination_account", account)));
                query.push(")) as either_side order by id desc limit ").push_bind(MAX_LOOKED_AT);
            }
        }
        query.push(") ");
        query
    }

    fn push_arm(&self, query: &mut QueryBuilder<Postgres>, side: Option<(&str, &str)>) {
        query.push(
            "select id, transaction_id, source_account, destination_account, amount, currency, \
             status, failure_reason, created_at, processed_at from payments.transactions \
             where id < ",
        );
        query.push_bind(self.before).push(" and id >= ").push_bind(self.from);
        match side {
            Some((column, account)) => {
                query.push(" and ").push(column).push(" = ").push_bind(account.to_owned());
                if column == "destination_account" {
                    query.push(" and source_account <> ").push_bind(account.to_owned());
                }
            }
            // As the partial index of the few has it.
            None if self.filter.status.is_some_and(|status| status != Status::Completed) => {
                query.push(" and status <> 'COMPLETED'");
            }
            None => {}
        }
        query.push(" order by id desc limit ").push_bind(MAX_LOOKED_AT);
    }

    /// The id from which another page goes on, if this one did not see all.
    async fn end(&self, conn: &mut PgConnection) -> sqlx::Result<Option<TransactionId>> {
        let mut query = self.query();
        query.push("select min(id), count(*) from looked_at");
        let (last, count): (Option<i64>, i64) = query.build_query_as().fetch_one(conn).await?;
        Ok(last.filter(|_| count == MAX_LOOKED_AT).map(TransactionId))
    }
}

/// The conditions that the index does not know.
fn push_rest(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
    if let Some(status) = filter.status {
        query.push(" and status = ").push_bind(status);
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
}
