//! Cost: what a piece of work takes of processors, log and network, from which follows what other
//! machines can do, and how fast it is when the network to PostgreSQL takes its time.
//!
//! `app serve` and `app work` are processes of their own here, as they are elsewhere, so that what
//! they take is told apart from what the measuring takes. Work that does nothing is done in this
//! process, whose time is then counted as the worker's.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection as _, PgPool};
use surety::db;
use surety_queue::WorkerSettings;
use tokio::time::sleep;

use super::app_process::{Serve, Work};
use super::figures::{Figure, show};
use super::filling::{ENQUEUE_BATCH, fill, fill_with_transactions};
use super::handling::Handling;
use super::journal::Journal;
use super::network;
use super::report::{Report, Section, Table};
use super::scratch::{Database, Server, connect};
use super::spending::{Cost, Spending, cpu_of};
use super::tell::{Receiver, Working, listen, until_none};
use super::transfers::{open_wallets, place_transfers};
use super::workers::{self, Workers};

/// Wallets among which transfers go.
const WALLETS: u64 = 10_000;
/// Round trips that are timed.
const PINGS: usize = 200;

/// Options of `cost`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Pieces of each kind of work.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pieces: u64,
    /// Only these kinds of work [default: all]
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', value_enum)]
    kinds: Vec<Kind>,
    /// Connections that send webhooks, each with one at a time.
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Round trips that the network between the processes and PostgreSQL adds, such as 0s,1ms.
    #[arg(long, value_name = "DURATION,…", value_delimiter = ',', default_value = "0s",
          value_parser = humantime::parse_duration)]
    round_trips: Vec<Duration>,
}

/// The kind of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// A webhook: taken, recorded with its job, answered.
    Webhook,
    /// A job that does nothing, with history, one by one.
    Job,
    /// A provider's transaction, settled.
    Settlement,
    /// A user's transfer, executed.
    Transfer,
    /// A webhook sent to an endpoint that answers at once.
    Delivery,
}

/// One kind of work by one network.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Subject {
    kind: Kind,
    round_trip: Duration,
}

/// One subject in one round.
struct Round {
    subject: Subject,
    per_second: f64,
    /// As it was seen for a statement, in milliseconds.
    round_trip_ms: f64,
    cost: Cost,
}

/// Work that was done.
struct Done {
    took: Duration,
    app_cpu: Duration,
    pieces: u64,
}

/// One subject over all rounds.
#[derive(Serialize)]
struct Summary {
    kind: Kind,
    added_round_trip_us: u64,
    /// Of a statement that does nothing, the network included.
    round_trip_ms: Option<Figure>,
    per_second: Option<Figure>,
    /// Microseconds of processors for each, of `app` and of PostgreSQL.
    app_cpu_us: Option<Figure>,
    postgres_cpu_us: Option<Figure>,
    wal_bytes: Option<Figure>,
    wal_flushes: Option<Figure>,
    statements: Option<Figure>,
}

/// Measures, and reports medians.
pub(crate) async fn run(args: &Args, server: &Server, rounds: u32) -> anyhow::Result<Report> {
    let kinds = if args.kinds.is_empty() { Kind::value_variants() } else { &args.kinds };
    let subjects: Vec<Subject> = (args.round_trips.iter())
        .flat_map(|&round_trip| kinds.iter().map(move |&kind| Subject { kind, round_trip }))
        .collect();
    let mut measured = Vec::new();
    for round in 0..rounds {
        for &subject in &subjects {
            eprintln!("round {} of {rounds}: {subject}", round + 1);
            let database = server.fresh_database().await?;
            measured.push(measure(args, server, &database, subject).await?);
            database.end().await?;
        }
    }
    let results: Vec<Summary> =
        subjects.iter().map(|&subject| Summary::of(subject, &measured)).collect();
    let settings = json!({ "pieces": args.pieces, "connections": args.connections });
    let about = format!("cost: {} of each, webhooks by {}", args.pieces, args.connections);
    Ok(Report::new(about, rounds, settings, &results))
}

async fn measure(
    args: &Args,
    server: &Server,
    database: &Database<'_>,
    subject: Subject,
) -> anyhow::Result<Round> {
    let receiver = Receiver::start().await?;
    let pool = db::connect(&database.url, 10, "surety-bench").await?;
    prepare(args.pieces, &pool, subject.kind, &receiver).await?;
    database.settle_down().await?;
    pool.close().await;
    let url = network::behind(&database.url, subject.round_trip)?;
    let round_trip_ms = round_trip(&url).await?;
    let counts = server.counts_statements();
    let before = Spending::read(&database.url, counts).await?;
    let done = match subject.kind {
        Kind::Webhook => webhooks(args, &url).await?,
        Kind::Job => jobs(args.pieces, &url, &database.url).await?,
        Kind::Settlement => {
            let open = "select from payments.transactions where status <> 'COMPLETED'";
            work(args.pieces, &url, &database.url, "default", open).await?
        }
        Kind::Transfer => {
            let open = "select from payments.orders where status <> 'COMPLETED'";
            work(args.pieces, &url, &database.url, "default", open).await?
        }
        Kind::Delivery => {
            let open = "select from deliveries.deliveries where state = 'pending'";
            work(args.pieces, &url, &database.url, "webhooks", open).await?
        }
    };
    receiver.stop.cancel();
    let now = Spending::read(&database.url, counts).await?;
    Ok(Round {
        subject,
        per_second: done.pieces as f64 / done.took.as_secs_f64(),
        round_trip_ms,
        cost: before.of_each(now, done.app_cpu, done.pieces),
    })
}

/// Makes what is to be done, so that nothing else is left to do.
async fn prepare(
    pieces: u64,
    pool: &PgPool,
    kind: Kind,
    receiver: &Receiver,
) -> anyhow::Result<()> {
    match kind {
        Kind::Webhook => {}
        Kind::Job => fill(pool, pieces, Handling::PLAIN).await?,
        Kind::Settlement => fill_with_transactions(pool, 0..pieces).await?,
        Kind::Transfer => {
            let wallets = open_wallets(pool, WALLETS, ENQUEUE_BATCH).await?;
            place_transfers(pool, &wallets, pieces, ENQUEUE_BATCH).await?;
        }
        Kind::Delivery => {
            listen(pool, 1, false, &receiver.url).await?;
            fill_with_transactions(pool, 0..pieces).await?;
            let queues = ["default", "events"].map(str::to_owned).to_vec();
            let settling = Working::start(pool, WorkerSettings { queues, ..Default::default() })?;
            until_none(pool, "select from queue.jobs where kind <> 'deliver_webhook'").await?;
            settling.stop().await;
        }
    }
    Ok(())
}

/// Sends new transactions to an `app serve`.
async fn webhooks(args: &Args, url: &str) -> anyhow::Result<Done> {
    let mut serve = Serve::start(url).await?;
    let (before, begun) = (serve.cpu()?, Instant::now());
    serve.send(args.pieces, 1, args.connections.into()).await?;
    let (took, app_cpu) = (begun.elapsed(), serve.cpu()? - before);
    serve.stop().await?;
    Ok(Done { took, app_cpu, pieces: args.pieces })
}

/// Runs jobs that do nothing, in this process.
async fn jobs(pieces: u64, url: &str, near_url: &str) -> anyhow::Result<Done> {
    let near = db::connect(near_url, 1, "surety-bench").await?;
    let (before, begun) = (cpu_of(std::process::id())?, Instant::now());
    let settings = WorkerSettings::default();
    let working = workers::Work::Noop(Handling::PLAIN);
    let working = Workers::start_here(url, 1, working, &settings, &Journal::default()).await?;
    until_none(&near, "select from queue.jobs").await?;
    let (took, app_cpu) = (begun.elapsed(), cpu_of(std::process::id())? - before);
    working.stop().await?;
    near.close().await;
    Ok(Done { took, app_cpu, pieces })
}

/// Lets an `app work` do what waits in a queue, until none of these rows is open.
async fn work(
    pieces: u64,
    url: &str,
    near_url: &str,
    queue: &str,
    open: &'static str,
) -> anyhow::Result<Done> {
    let near = db::connect(near_url, 1, "surety-bench").await?;
    let begun = Instant::now();
    let mut working = Work::start(url, &[queue])?;
    until_none(&near, open).await?;
    let took = begun.elapsed();
    // The last of them are done, and end with the next commits.
    sleep(Duration::from_millis(100)).await;
    let app_cpu = working.cpu()?;
    working.stop().await?;
    near.close().await;
    Ok(Done { took, app_cpu, pieces })
}

/// The median time of a statement that does nothing, in milliseconds.
async fn round_trip(url: &str) -> anyhow::Result<f64> {
    let mut conn = connect(url).await?;
    let mut times = Vec::new();
    for _ in 0..PINGS {
        let begun = Instant::now();
        sqlx::query("select").execute(&mut conn).await?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    conn.close().await?;
    Ok(Figure::of(times).context("nothing was timed")?.median)
}

impl Summary {
    fn of(subject: Subject, measured: &[Round]) -> Self {
        let rounds: Vec<&Round> = measured.iter().filter(|it| it.subject == subject).collect();
        let figure =
            |of: fn(&Round) -> Option<f64>| Figure::of(rounds.iter().filter_map(|round| of(round)));
        Self {
            kind: subject.kind,
            added_round_trip_us: subject.round_trip.as_micros() as u64,
            round_trip_ms: figure(|round| Some(round.round_trip_ms)),
            per_second: figure(|round| Some(round.per_second)),
            app_cpu_us: figure(|round| Some(round.cost.app_us)),
            postgres_cpu_us: figure(|round| round.cost.server_us),
            wal_bytes: figure(|round| Some(round.cost.wal_bytes)),
            wal_flushes: figure(|round| Some(round.cost.flushes)),
            statements: figure(|round| round.cost.statements),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.to_possible_value().map(|kind| kind.get_name().to_owned());
        let added = humantime::format_duration(self.round_trip);
        write!(f, "{}, {added} added to round trips", kind.unwrap_or_default())
    }
}

impl Section for Summary {
    fn title(&self) -> String {
        let round_trip = Duration::from_micros(self.added_round_trip_us);
        Subject { kind: self.kind, round_trip }.to_string()
    }

    fn write(&self, table: &mut Table) {
        table.line("rate", format_args!("{}/s", show(self.per_second, 0)));
        table.line("round trip, ms", show(self.round_trip_ms, 2));
        table.line("CPU of app, µs", show(self.app_cpu_us, 0));
        table.line("CPU of PostgreSQL, µs", show(self.postgres_cpu_us, 0));
        table.line("WAL, bytes", show(self.wal_bytes, 0));
        table.line("flushes of the WAL", show(self.wal_flushes, 3));
        table.line("statements", show(self.statements, 3));
    }
}
