//! Growth: one database, filled step by step by the product itself, and at each step the same
//! measurements. A figure that holds at the first step and not at the last is what growth costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use surety::audit::export::ExportTarget;
use surety::audit::sealing;
use surety::db;
use surety::jobs::audit_keeper::AuditKeeper;
use surety::operations::verify::{self, Scope};
use surety_queue::WorkerSettings;
use time::OffsetDateTime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::app_process::Serve;
use super::condition_report::Latency;
use super::figures::{Figure, Percentiles, show};
use super::filling::fill_with_transactions;
use super::history::{self, History};
use super::ingest;
use super::money::{self, Operation};
use super::reads::{self, Read};
use super::report::{Report, Section, Table};
use super::scratch::{Database, Server, connect};
use super::tell::{Working, until_none};

/// Transactions that are recorded before the workers get to them, while the database grows.
const AHEAD: u64 = 50_000;
/// The longest that one check of the ledger may take.
const VERIFY_WITHIN: Duration = Duration::from_secs(3600);
/// Reads that the table shows; JSON has all.
const SHOWN_READS: usize = 8;

/// Options of `growth`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Transactions that the database has settled before each step's measurements, rising.
    #[arg(long, value_name = "N,…", value_delimiter = ',',
          default_values_t = [0, 100_000, 1_000_000])]
    to: Vec<u64>,
    /// Finished jobs of others that are there from the second step on.
    #[arg(long, value_name = "N", default_value_t = 0)]
    finished: u64,
    /// Transactions of one measurement of settling.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    transactions: u64,
    /// Transactions that are settled at each step but an empty one before it is measured: after the
    /// checkpoint with which the growing ends, each page is written whole once, which is no cost of
    /// size and over in a minute.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    warm_up: u64,
    /// Length of each measurement by HTTP.
    #[arg(long, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..))]
    secs: u64,
    /// Connections that send webhooks, or deposits.
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Looks at each list, detail and page.
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..))]
    looks: u32,
}

impl Args {
    /// Checks that a database can grow so.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.to.is_sorted(), "--to: a database that grows does not shrink");
        Ok(())
    }
}

/// One round at one step.
struct Round {
    ingested: f64,
    deposited: f64,
    balances: Percentiles,
    settled: f64,
    wal_per_settled: f64,
    reads: Vec<Read>,
}

/// One step over all rounds.
#[derive(Serialize)]
struct Step {
    /// Transactions when it began.
    transactions: i64,
    finished_jobs: i64,
    database_bytes: i64,
    index_bytes: i64,
    /// `POST /v1/webhooks/transactions`, answered in a second.
    ingested_per_second: Option<Figure>,
    /// `POST /v1/deposits`.
    deposits_per_second: Option<Figure>,
    /// `GET /v1/users/{id}/balance`.
    balance: Latency,
    settled_per_second: Option<Figure>,
    wal_bytes_per_settled: Option<Figure>,
    verify_seconds: f64,
    /// Those that the measurements of this step recorded.
    new_transactions: i64,
    /// `app verify --since` of them.
    verify_new_seconds: f64,
    /// The slowest round of each read.
    reads: Vec<Read>,
}

/// Measures, and reports medians of each step.
pub(crate) async fn run(args: &Args, server: &Server, rounds: u32) -> anyhow::Result<Report> {
    let database = server.fresh_database().await?;
    let pool = db::connect(&database.url, 10, "surety-bench").await?;
    let stop = CancellationToken::new();
    // As beside every worker: audited outcomes are sealed while others are settled.
    let keeper = AuditKeeper {
        pool: pool.clone(),
        export: ExportTarget::Off,
        export_interval: Duration::from_secs(60),
    };
    let keeper = tokio::spawn(keeper.run(stop.clone()));
    let mut growing = Growing { args, database: &database, pool: &pool, recorded: 0, sent: 0 };
    let mut steps = Vec::new();
    for (number, &size) in args.to.iter().enumerate() {
        eprintln!("growing to {size} transactions");
        if number == 1 && args.finished > 0 {
            growing.fill_history().await?;
        }
        growing.grow(size).await?;
        steps.push(growing.step(rounds).await?);
    }
    stop.cancel();
    keeper.await?;
    pool.close().await;
    database.end().await?;
    let settings = json!({
        "transactions": args.transactions,
        "warm_up": args.warm_up,
        "secs": args.secs,
        "connections": args.connections,
        "looks": args.looks,
        "finished": args.finished,
    });
    let subject = format!(
        "growth: {} s each by {} connections, {} transactions settled, {} looks at each",
        args.secs, args.connections, args.transactions, args.looks
    );
    Ok(Report::new(subject, rounds, settings, &steps))
}

/// The database, as far as it has grown.
struct Growing<'a> {
    args: &'a Args,
    database: &'a Database<'a>,
    pool: &'a PgPool,
    /// Made-up transactions that were recorded.
    recorded: u64,
    /// Measurements by HTTP so far: each makes up its own transactions and users.
    sent: u64,
}

impl Growing<'_> {
    async fn fill_history(&self) -> anyhow::Result<()> {
        let mut conn = connect(&self.database.url).await?;
        let past = History { finished: self.args.finished, scheduled: 0 };
        history::fill(&mut conn, past).await?;
        Ok(())
    }

    /// Records and settles until there are so many, and what warms them up.
    async fn grow(&mut self, size: u64) -> anyhow::Result<()> {
        let there: i64 = sqlx::query_scalar("select count(*) from payments.transactions")
            .fetch_one(self.pool)
            .await?;
        let missing = size.saturating_sub(u64::try_from(there)?);
        let end = self.recorded + missing;
        while self.recorded < end {
            self.settle(AHEAD.min(end - self.recorded)).await?;
            eprint!("\r{} to go  ", end - self.recorded);
        }
        eprintln!();
        self.database.settle_down().await?;
        if size > 0 && self.args.warm_up > 0 {
            self.settle(self.args.warm_up).await?;
        }
        Ok(())
    }

    /// Records so many, and settles all that there are. Gives the rate of the settling, and the
    /// write-ahead log of each.
    async fn settle(&mut self, count: u64) -> anyhow::Result<(f64, f64)> {
        fill_with_transactions(self.pool, self.recorded..self.recorded + count).await?;
        self.recorded += count;
        let waiting = "select count(*) from queue.jobs where kind = 'settle_transaction'";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(self.pool).await?;
        let wal = async || -> anyhow::Result<i64> {
            let position = "select (pg_current_wal_insert_lsn() - '0/0')::bigint";
            Ok(sqlx::query_scalar(position).fetch_one(self.pool).await?)
        };
        let (before, begun) = (wal().await?, Instant::now());
        let queues = ["default", "events"].map(str::to_owned).to_vec();
        let working = Working::start(self.pool, WorkerSettings { queues, ..Default::default() })?;
        until_none(self.pool, "select from queue.jobs where kind = 'settle_transaction'").await?;
        let (took, after) = (begun.elapsed(), wal().await?);
        working.stop().await;
        let waiting = waiting as f64;
        Ok((waiting / took.as_secs_f64(), (after - before) as f64 / waiting))
    }

    async fn step(&mut self, rounds: u32) -> anyhow::Result<Step> {
        let (transactions, finished_jobs, database_bytes, index_bytes) = sqlx::query_as(
            "select
               (select count(*) from payments.transactions),
               (select count(*) from queue.finished_jobs),
               pg_database_size(current_database()),
               (select sum(pg_relation_size(indexrelid))::bigint from pg_index)",
        )
        .fetch_one(self.pool)
        .await?;
        let begun_at: OffsetDateTime =
            sqlx::query_scalar("select clock_timestamp()").fetch_one(self.pool).await?;
        let mut measured = Vec::new();
        for round in 0..rounds {
            eprintln!("round {} of {rounds}", round + 1);
            measured.push(self.round().await?);
        }
        let new = "select count(*) from payments.transactions where created_at >= $1";
        let new_transactions = sqlx::query_scalar(new).bind(begun_at).fetch_one(self.pool).await?;
        let figure = |of: fn(&Round) -> f64| Figure::of(measured.iter().map(of));
        Ok(Step {
            transactions,
            finished_jobs,
            database_bytes,
            index_bytes,
            ingested_per_second: figure(|round| round.ingested),
            deposits_per_second: figure(|round| round.deposited),
            balance: Latency::of(measured.iter().map(|round| round.balances)),
            settled_per_second: figure(|round| round.settled),
            wal_bytes_per_settled: figure(|round| round.wal_per_settled),
            verify_seconds: self.verify(Scope::Everything).await?,
            new_transactions,
            verify_new_seconds: self.verify(Scope::Since(begun_at)).await?,
            reads: slowest(measured.into_iter().flat_map(|round| round.reads).collect()),
        })
    }

    async fn round(&mut self) -> anyhow::Result<Round> {
        let Args { secs, connections, transactions, looks, .. } = *self.args;
        let mut serve = Serve::start(&self.database.url).await?;
        let address = serve.address.to_string();
        self.sent += 1;
        let target = serve.target()?;
        let ingested = ingest::send(&target, usize::from(connections), secs, self.sent).await?;
        let customers = money::sign_up(&address, &format!("user{}-", self.sent)).await?;
        let length = Duration::from_secs(secs);
        let load = async |operation, connections| {
            money::load(operation, &address, &customers, connections, length).await
        };
        let deposits = load(Operation::Deposit, connections).await?;
        let balances = load(Operation::Balance, 1).await?;
        let (settled, wal_per_settled) = self.settle(transactions).await?;
        while sealing::is_due(&mut *self.pool.acquire().await?).await? {
            sleep(Duration::from_millis(100)).await;
        }
        let reads = reads::measure(self.pool, &address, looks).await?;
        serve.stop().await?;
        Ok(Round {
            ingested: ingested.rate(),
            deposited: deposits.len() as f64 / length.as_secs_f64(),
            balances: Percentiles::of(balances).context("nothing was answered")?,
            settled,
            wal_per_settled,
            reads,
        })
    }

    /// Checks the ledger. Gives the seconds that it takes.
    async fn verify(&self, scope: Scope) -> anyhow::Result<f64> {
        let mut conn = connect(&self.database.url).await?;
        let report = verify::verify(&mut conn, scope, VERIFY_WITHIN).await?;
        if !report.holds() {
            bail!("the ledger is not sound: {report:?}");
        }
        Ok(report.took.as_secs_f64())
    }
}

/// The slowest of each, slowest first.
fn slowest(mut reads: Vec<Read>) -> Vec<Read> {
    reads.sort_by(|a, b| b.latency_ms.p95.total_cmp(&a.latency_ms.p95));
    let mut seen = std::collections::HashSet::new();
    reads.retain(|read| seen.insert(read.path));
    reads
}

impl Section for Step {
    fn title(&self) -> String {
        let [all, indexes] = [self.database_bytes, self.index_bytes].map(|it| it / 1_000_000);
        let Self { transactions, finished_jobs, .. } = self;
        format!(
            "{transactions} transactions, {finished_jobs} finished jobs, {all} MB of which \
             {indexes} are indexes"
        )
    }

    fn write(&self, table: &mut Table) {
        let rate = |figure| format!("{}/s", show(figure, 0));
        table.line("webhooks taken", rate(self.ingested_per_second));
        table.line("deposits taken", rate(self.deposits_per_second));
        table.line("balances", self.balance);
        let wal = show(self.wal_bytes_per_settled, 0);
        let settled = rate(self.settled_per_second);
        table.line("settled", format_args!("{settled}, {wal} bytes of WAL each"));
        let Self { verify_seconds, new_transactions, verify_new_seconds, .. } = self;
        table.line(
            "verify",
            format_args!(
                "{verify_seconds:.1} s, of the last {new_transactions} {verify_new_seconds:.1} s"
            ),
        );
        for Read { path, latency_ms } in self.reads.iter().take(SHOWN_READS) {
            let Percentiles { p50, p95, .. } = latency_ms;
            table.line("read, p50 / p95 ms", format_args!("{p50:.1} / {p95:.1}  {path}"));
        }
    }
}
