//! Transactions, orders, and the last verification of it all.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::jobs::{ExecuteBankOrder, ExecuteTransfer};
use crate::metrics::instruments::{
    MONEY_HELD, ORDER_OLDEST_AGE, ORDERS, TRANSACTION_OLDEST_AGE, TRANSACTIONS_PROCESSING,
    VERIFY_LAST_RUN_AGE, VERIFY_VIOLATIONS,
};
use crate::metrics::{Family, Point};
use crate::operations::verify;
use crate::queue::Job as _;

pub(super) async fn transactions(conn: &mut PgConnection) -> Result<Vec<Family>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select
          count(*) as "processing!",
          coalesce(
            extract(epoch from clock_timestamp() - min(created_at)), 0
          )::float8 as "oldest_secs!"
        from (
          select status, created_at
          from payments.transactions
          where status <> 'COMPLETED'
          order by id desc
          limit 10000
        ) as recent
        where status = 'PROCESSING'
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok(vec![
        Family::single(&TRANSACTIONS_PROCESSING, row.processing as f64),
        Family::single(&TRANSACTION_OLDEST_AGE, row.oldest_secs),
    ])
}

/// Unfinished orders by way of the jobs that execute them, because no index of the orders knows
/// their status: it changes. The oldest jobs come first.
pub(super) async fn orders(conn: &mut PgConnection) -> Result<Vec<Family>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with job as materialized (
          select
            case
              when kind in ($1, $2) and args ->> 'order' ~ '^[0-9a-f-]{36}$'
              then (args ->> 'order')::uuid
            end as order_id
          from (select kind, args from queue.jobs order by id limit 10000) as oldest
        )
        select
          given.kind::text as "kind!", given.status::text as "status!", given.currency,
          count(*) as "orders!",
          coalesce(sum(amount) filter (where given.kind <> 'deposit'), 0) as "held!",
          extract(epoch from clock_timestamp() - min(given.created_at))::float8 as "oldest_secs!"
        from job
        -- One by one, whatever the planner thinks of the number of orders.
        cross join lateral (
          select kind, status, currency, amount, created_at
          from payments.orders
          where orders.id = job.order_id
          limit 1
        ) as given
        where given.status in ('PENDING', 'PROCESSING')
        group by 1, 2, 3
        "#,
        ExecuteBankOrder::KIND,
        ExecuteTransfer::KIND,
    )
    .fetch_all(conn)
    .await?;
    let (mut orders, mut ages, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for row in &rows {
        orders.push(Point::of(&[&row.kind, &row.status], row.orders as f64));
        held.push((row.currency.as_str(), number(row.held)));
        ages.push((row.kind.as_str(), row.oldest_secs));
    }
    Ok(vec![
        // One point for each currency: the registry adds them up.
        Family::new(&ORDERS, orders),
        Family::new(&ORDER_OLDEST_AGE, by_label(&ages, f64::max)),
        Family::new(&MONEY_HELD, by_label(&held, |one, other| one + other)),
    ])
}

/// One point per label.
fn by_label(rows: &[(&str, f64)], join: fn(f64, f64) -> f64) -> Vec<Point> {
    let mut labels: Vec<&str> = rows.iter().map(|(label, _)| *label).collect();
    labels.sort_unstable();
    labels.dedup();
    let point = |label: &str| {
        let of_label = rows.iter().filter(|(other, _)| *other == label).map(|(_, value)| *value);
        of_label.reduce(join).map(|value| Point::of(&[label], value))
    };
    labels.into_iter().filter_map(point).collect()
}

pub(super) async fn verification(conn: &mut PgConnection) -> Result<Vec<Family>, sqlx::Error> {
    let now: OffsetDateTime = super::super::database_now(&mut *conn).await?;
    let Some(last) = verify::last(conn).await? else { return Ok(Vec::new()) };
    let age = (now - last.at).as_seconds_f64().max(0.0);
    Ok(vec![
        Family::single(&VERIFY_LAST_RUN_AGE, age),
        Family::single(&VERIFY_VIOLATIONS, last.violations as f64),
    ])
}

/// Good enough to see; the ledger itself never does this.
pub(super) fn number(amount: Decimal) -> f64 {
    amount.to_f64().unwrap_or(f64::NAN)
}
