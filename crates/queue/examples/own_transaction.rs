//! One transaction on each side: a job exists exactly when the row that it is about exists, and a
//! handler's rows exist exactly when its job is completed.
//!
//! `DATABASE_URL=postgres://… cargo run -p surety-queue --example own_transaction`

use std::time::Duration;

use serde::{Deserialize, Serialize};
use surety_queue::{
    Backoff, Committed, Job, JobContext, JobError, NewJob, Registry, Worker, WorkerSettings,
    enqueue,
};

/// Sends the goods of an order: here, it writes a row.
#[derive(Serialize, Deserialize)]
struct ShipOrder {
    order: i64,
}

impl Job for ShipOrder {
    const KIND: &'static str = "ship_order";
    // At once, so that the example need not wait.
    const BACKOFF: Backoff = Backoff { base: Duration::ZERO, ..Backoff::DEFAULT };
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        let mut tx = cx.begin().await?;
        sqlx::query("insert into shipments (order_id) values ($1)")
            .bind(self.order)
            .execute(&mut *tx)
            .await?;
        if cx.attempt() == 1 {
            // The transaction is dropped, and the row with it.
            return Err(anyhow::anyhow!("the printer for labels is out of paper").into());
        }
        cx.complete(tx).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = sqlx::PgPool::connect(&std::env::var("DATABASE_URL")?).await?;
    surety_queue::migrate(&pool).await?;
    sqlx::raw_sql(
        "drop table if exists shipments, orders;
         create table orders (id bigint generated always as identity primary key);
         create table shipments (order_id bigint not null);",
    )
    .execute(&pool)
    .await?;

    let new_order = "insert into orders default values returning id";
    // An order that is rolled back takes its job along.
    let mut tx = pool.begin().await?;
    let order: i64 = sqlx::query_scalar(new_order).fetch_one(&mut *tx).await?;
    enqueue(&mut tx, NewJob::new(&ShipOrder { order })?).await?;
    tx.rollback().await?;

    // One that is committed brings it.
    let mut tx = pool.begin().await?;
    let order: i64 = sqlx::query_scalar(new_order).fetch_one(&mut *tx).await?;
    enqueue(&mut tx, NewJob::new(&ShipOrder { order })?).await?;
    tx.commit().await?;

    let registry = Registry::new(()).register::<ShipOrder>();
    let worker = Worker::new(pool.clone(), registry, WorkerSettings::default())?;
    let summary = worker.run_until_idle().await?;

    let shipped: Vec<i64> =
        sqlx::query_scalar("select order_id from shipments").fetch_all(&pool).await?;
    println!("{} failed, {} completed", summary.failed, summary.completed);
    assert_eq!(shipped, [order], "two attempts, one shipment");
    println!("order {order} was shipped once");
    Ok(())
}
