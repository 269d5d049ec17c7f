//! Drain: jobs are enqueued and committed, then workers run until the database says that nothing is
//! left.
//!
//! The workers run in this process, with the settings of `app work`: the kinds that do nothing
//! exist only here. The clock is the database's, from the start of the first attempt to a look that
//! finds no job.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::figures::{Figure, show};
use super::kinds::{Noop, NoopBatch, noops};
use super::scratch::{Database, Server};
use super::transfers::{open_wallets, place_transfers};
use crate::cli::send::events::Payment;
use crate::db;
use crate::jobs::{self, ExecuteTransfer, JobState, SettleTransaction};
use crate::payments::transactions::{self, NewTransaction, Recorded};
use crate::queue::enqueue::{NewJob, enqueue_many};
use crate::queue::job::{BatchJob, Job};
use crate::queue::registry::Registry;
use crate::queue::worker::{Worker, WorkerSettings, WorkerSummary};

/// Jobs per enqueueing statement and commit.
const ENQUEUE_BATCH: u64 = 1_000;
/// Connections of each worker's handlers, as `app work` has.
const HANDLER_CONNECTIONS: u32 = 10;
/// A drain that takes longer than this is not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(600);

/// What to measure of drain.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Jobs that do nothing, per kind and round.
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    jobs: u64,
    /// Transactions to settle, and transfers to execute, per round.
    #[arg(long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    settle_jobs: u64,
    /// Only these kinds.
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', value_enum,
          default_values_t = [
              Kind::Noop, Kind::NoopBatch, Kind::Settle, Kind::TransferSpread, Kind::TransferHot,
          ])]
    kinds: Vec<Kind>,
    /// Workers at once.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// The most jobs in progress at once in each worker [default: as app work]
    #[arg(long, value_name = "JOBS")]
    concurrency: Option<usize>,
}

/// What the jobs are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Nothing, job by job.
    Noop,
    /// Nothing, in batches of one database transaction each.
    NoopBatch,
    /// A provider's transaction: a transfer in the ledger, balances, and the outcome.
    Settle,
    /// Users' transfers among ten thousand wallets.
    TransferSpread,
    /// Users' transfers between the same two wallets, back and forth.
    TransferHot,
}

impl Kind {
    /// Among how many wallets transfers go.
    fn wallets(self) -> u64 {
        match self {
            Self::TransferSpread => 10_000,
            Self::TransferHot => 2,
            Self::Noop | Self::NoopBatch | Self::Settle => 0,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Noop => "no-op, one by one, completions of a moment share a commit".to_owned(),
            Self::NoopBatch => {
                format!("no-op, batch handler of up to {}", NoopBatch::MAX_BATCH)
            }
            Self::Settle => {
                format!("settle_transaction, in batches of up to {}", SettleTransaction::MAX_BATCH)
            }
            Self::TransferSpread | Self::TransferHot => format!(
                "execute_transfer over {} wallets, in batches of up to {}",
                self.wallets(),
                ExecuteTransfer::MAX_BATCH
            ),
        }
    }
}

/// One kind in one round.
struct Round {
    kind: Kind,
    jobs: u64,
    enqueued_per_second: f64,
    drained_per_second: f64,
}

/// Measures, prints a table unless JSON is wanted, and gives settings and results.
pub(super) async fn run(
    args: &Args,
    server: &Server,
    rounds: u32,
    is_json: bool,
) -> anyhow::Result<(Value, Value)> {
    let mut settings = WorkerSettings::default();
    settings.concurrency = args.concurrency.unwrap_or(settings.concurrency);
    let mut measured = Vec::new();
    for round in 0..rounds {
        for &kind in &args.kinds {
            let database = server.fresh_database().await?;
            let jobs = match kind {
                Kind::Noop | Kind::NoopBatch => args.jobs,
                Kind::Settle | Kind::TransferSpread | Kind::TransferHot => args.settle_jobs,
            };
            eprintln!("round {} of {rounds}: {jobs} jobs, {}", round + 1, kind.describe());
            measured.push(measure(kind, jobs, &database, args.workers, &settings).await?);
            database.end().await?;
        }
    }
    let results: Vec<Summary> =
        args.kinds.iter().filter_map(|&kind| Summary::of(&measured, kind)).collect();
    if !is_json {
        print_table(&results, args.workers, &settings, rounds);
    }
    let settings = json!({
        "workers": args.workers,
        "concurrency": settings.concurrency,
        "enqueue_batch": ENQUEUE_BATCH,
        "where": "in this process",
    });
    Ok((settings, json!(results)))
}

async fn measure(
    kind: Kind,
    jobs: u64,
    database: &Database<'_>,
    workers: u32,
    settings: &WorkerSettings,
) -> anyhow::Result<Round> {
    let pool = db::connect(&database.url, 2, "surety-bench").await?;
    let wallets = open_wallets(&pool, kind.wallets(), ENQUEUE_BATCH).await?;
    let begun = std::time::Instant::now();
    match kind {
        Kind::Noop => fill(&pool, jobs, |number| Noop { number }).await?,
        Kind::NoopBatch => fill(&pool, jobs, |number| NoopBatch { number }).await?,
        Kind::Settle => fill_with_transactions(&pool, jobs).await?,
        Kind::TransferSpread | Kind::TransferHot => {
            place_transfers(&pool, &wallets, jobs, ENQUEUE_BATCH).await?;
        }
    }
    let enqueued_per_second = jobs as f64 / begun.elapsed().as_secs_f64();
    database.settle_down().await?;

    let stop = CancellationToken::new();
    let mut working = Vec::new();
    for _ in 0..workers {
        let handlers = db::connect(&database.url, HANDLER_CONNECTIONS, "surety-bench").await?;
        working.push(match kind {
            Kind::Noop | Kind::NoopBatch => start(handlers, noops(), settings, &stop)?,
            Kind::Settle | Kind::TransferSpread | Kind::TransferHot => {
                let registry = jobs::registry(JobState { pool: handlers.clone(), bank: None });
                start(handlers, registry, settings, &stop)?
            }
        });
    }
    let emptied_at = tokio::time::timeout(PATIENCE, until_empty(&pool))
        .await
        .with_context(|| format!("jobs are left after {} s", PATIENCE.as_secs()))??;
    stop.cancel();
    for worker in working {
        worker.await?;
    }
    let secs = (emptied_at - first_start(&pool, jobs).await?).as_seconds_f64();
    pool.close().await;
    Ok(Round { kind, jobs, enqueued_per_second, drained_per_second: jobs as f64 / secs })
}

/// Starts a worker that ends by `stop`.
fn start<S: Clone + Send + Sync + 'static>(
    handlers: PgPool,
    registry: Registry<S>,
    settings: &WorkerSettings,
    stop: &CancellationToken,
) -> anyhow::Result<JoinHandle<WorkerSummary>> {
    let worker = Worker::new(handlers, registry, settings.clone())?;
    let stop = stop.clone();
    Ok(tokio::spawn(async move { worker.run(stop).await }))
}

async fn fill<J: Job>(pool: &PgPool, jobs: u64, job: impl Fn(u64) -> J) -> anyhow::Result<()> {
    for first in (0..jobs).step_by(ENQUEUE_BATCH as usize) {
        let batch = (first..jobs.min(first + ENQUEUE_BATCH))
            .map(|number| NewJob::new(&job(number)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut tx = pool.begin().await?;
        enqueue_many(&mut tx, &batch).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Records made-up transactions with their jobs, as the API does for many webhooks at once.
async fn fill_with_transactions(pool: &PgPool, jobs: u64) -> anyhow::Result<()> {
    for first in (0..jobs).step_by(ENQUEUE_BATCH as usize) {
        let numbers = first..jobs.min(first + ENQUEUE_BATCH);
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

/// Asks until no job is left; gives the database's time of the look that found none.
///
/// It looks from the end of the queue: the dead rows are at its beginning, and a look over all of
/// them would cost as much as many jobs.
async fn until_empty(pool: &PgPool) -> anyhow::Result<OffsetDateTime> {
    loop {
        let (is_empty, at): (bool, OffsetDateTime) = sqlx::query_as(
            "select not exists (select from queue.jobs order by id desc limit 1),
                    clock_timestamp()",
        )
        .fetch_one(pool)
        .await?;
        if is_empty {
            return Ok(at);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// When the first attempt began; fails unless every job was completed at its first attempt, and
/// every transaction settled.
async fn first_start(pool: &PgPool, jobs: u64) -> anyhow::Result<OffsetDateTime> {
    let (completed, attempts, first): (i64, i64, Option<OffsetDateTime>) = sqlx::query_as(
        "select
           (select count(*) from queue.finished_jobs where state = 'completed'),
           count(*), min(started_at)
         from queue.attempts",
    )
    .fetch_one(pool)
    .await?;
    let expected = i64::try_from(jobs)?;
    if (completed, attempts) != (expected, expected) {
        bail!("of {jobs} jobs, {completed} were completed, in {attempts} attempts");
    }
    let unsettled: i64 = sqlx::query_scalar(
        "select (select count(*) from payments.transactions where status <> 'COMPLETED')
           + (select count(*) from payments.orders where status <> 'COMPLETED')",
    )
    .fetch_one(pool)
    .await?;
    if unsettled > 0 {
        bail!("{unsettled} transactions or orders were not settled");
    }
    first.context("there are no attempts")
}

/// One kind over all rounds.
#[derive(Serialize)]
struct Summary {
    kind: Kind,
    description: String,
    jobs: u64,
    enqueued_per_second: Option<Figure>,
    drained_per_second: Option<Figure>,
}

impl Summary {
    fn of(measured: &[Round], kind: Kind) -> Option<Self> {
        let rounds: Vec<&Round> = measured.iter().filter(|round| round.kind == kind).collect();
        Some(Self {
            kind,
            description: kind.describe(),
            jobs: rounds.first()?.jobs,
            enqueued_per_second: Figure::of(rounds.iter().map(|round| round.enqueued_per_second)),
            drained_per_second: Figure::of(rounds.iter().map(|round| round.drained_per_second)),
        })
    }
}

fn print_table(results: &[Summary], workers: u32, settings: &WorkerSettings, rounds: u32) {
    println!(
        "drain: {workers} workers in this process, {} jobs in progress each, enqueued \
         {ENQUEUE_BATCH} per commit, median of {rounds} rounds (min–max)",
        settings.concurrency
    );
    for result in results {
        println!("\n{} jobs: {}", result.jobs, result.description);
        println!("  drained   {} jobs/s", show(result.drained_per_second, 0));
        println!("  enqueued  {} jobs/s", show(result.enqueued_per_second, 0));
    }
}
