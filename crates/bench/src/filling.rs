//! Jobs that are there before the workers start.

use std::ops::Range;

use anyhow::bail;
use sqlx::PgPool;

use super::account::Enqueued;
use super::handling::Handling;
use super::kinds::new_job;
use super::scratch::Database;
use surety::cli::send::events::Payment;
use surety::jobs::SettleTransaction;
use surety::payments::transactions::{self, NewTransaction, Recorded};
use surety_queue::{NewJob, enqueue_many};

/// Jobs per enqueueing statement and commit.
pub(crate) const ENQUEUE_BATCH: u64 = 1_000;

/// Enqueues so many jobs that do nothing.
pub(crate) async fn fill(pool: &PgPool, jobs: u64, handling: Handling) -> anyhow::Result<()> {
    for first in (0..jobs).step_by(ENQUEUE_BATCH as usize) {
        let batch = (first..jobs.min(first + ENQUEUE_BATCH))
            .map(|_| new_job(handling))
            .collect::<Result<Vec<_>, _>>()?;
        let mut tx = pool.begin().await?;
        enqueue_many(&mut tx, &batch).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Records the made-up transactions of these numbers with their jobs, as the API does for many
/// webhooks at once.
pub(crate) async fn fill_with_transactions(
    pool: &PgPool,
    numbers: Range<u64>,
) -> anyhow::Result<()> {
    for first in numbers.clone().step_by(ENQUEUE_BATCH as usize) {
        let numbers = first..numbers.end.min(first + ENQUEUE_BATCH);
        let batch: Vec<_> = numbers.map(new_transaction).collect();
        let mut tx = pool.begin().await?;
        let settlements = transactions::record_many(&mut tx, &batch.iter().collect::<Vec<_>>())
            .await?
            .into_iter()
            .map(|recorded| match recorded {
                Recorded::New(transaction) => Ok(NewJob::new(&SettleTransaction { transaction })?),
                Recorded::Duplicate | Recorded::Conflict => bail!("a made-up id was not new"),
            })
            .collect::<Result<Vec<_>, _>>()?;
        enqueue_many(&mut tx, &settlements).await?;
        tx.commit().await?;
    }
    Ok(())
}

fn new_transaction(number: u64) -> NewTransaction {
    let payment = Payment::make_up(0, number);
    NewTransaction {
        body: payment.body(),
        transaction_id: payment.transaction_id,
        source_account: payment.source_account,
        destination_account: payment.destination_account,
        money: payment.money,
    }
}

/// All jobs that wait in the database, those aside that were there from the start.
pub(crate) async fn enqueued(pool: &PgPool, database: &Database<'_>) -> anyhow::Result<Enqueued> {
    let after = database.last_job;
    let ids = sqlx::query_scalar("select id from queue.jobs where id > $1")
        .bind(after)
        .fetch_all(pool)
        .await?;
    Ok(Enqueued { ids, after, warm_up: 0 })
}
