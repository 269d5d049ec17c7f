//! Soak: webhooks at a fixed rate for a long time, each of them settled and told, while PostgreSQL
//! crashes again and again and somebody keeps a snapshot open. Nothing may be lost, and what is no
//! history must not grow.
//!
//! PostgreSQL is left alone while the snapshot is open, which a crash would end.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use surety::cli::send::events::{Plan, Source};
use surety::cli::send::load::Load;
use surety::cli::send::tally::Tally;
use surety::db;
use surety::operations::verify::{self, Scope};
use tokio::time::{Instant, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::app_process::{Serve, Work};
use super::conditions::hold_xmin;
use super::course::{TICK, Tick, Trend, longest_pause, rates_of_minutes};
use super::figures::{Figure, show};
use super::report::{Report, Section, Table};
use super::scratch::{Database, Server};
use super::spending::resident_bytes_of;
use super::tell::{Receiver, listen, until_none};

/// The queues of what a webhook causes.
const QUEUES: [&str; 4] = ["default", "events", "webhooks", "webhooks_ordered"];
/// One webhook in so many is sent twice.
const REPEATED: u64 = 20;
/// A provider comes back so often before it gives up.
const RETRIES: u32 = 100;
/// The time between two looks at memory and tables.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The time that the end of the snapshot may take.
const END_OF_SNAPSHOT: Duration = Duration::from_secs(5);
/// The check of the ledger at the end.
const VERIFY_WITHIN: Duration = Duration::from_secs(1800);

/// Options of `soak`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Webhooks per second.
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// For how long they come.
    #[arg(long, value_name = "DURATION", default_value = "75m",
          value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Connections that send, each with one request at a time.
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// The time from one crash of PostgreSQL to the next.
    #[arg(long, value_name = "DURATION", default_value = "5m",
          value_parser = humantime::parse_duration)]
    crash_every: Duration,
    /// For how long a snapshot is kept open, from a third of the time on.
    #[arg(long, value_name = "DURATION", default_value = "10m",
          value_parser = humantime::parse_duration)]
    snapshot: Duration,
}

impl Args {
    /// Checks that this can be measured at all.
    pub(crate) fn check(&self, has_private_server: bool) -> anyhow::Result<()> {
        ensure!(has_private_server, "only the private cluster is ever made to crash");
        ensure!(self.webhooks() > 0, "no webhook comes in {:?}", self.duration);
        ensure!(
            self.snapshot <= self.duration / 2,
            "a snapshot that is open for more than half of the time leaves no time for crashes"
        );
        Ok(())
    }

    fn webhooks(&self) -> u64 {
        (f64::from(self.rate) * self.duration.as_secs_f64()).round() as u64
    }

    /// The time within which the snapshot is open.
    fn snapshot_from(&self, begun: Instant) -> [Instant; 2] {
        let opens = begun + self.duration / 3;
        [opens, opens + self.snapshot]
    }
}

/// A look at memory and tables.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    serve_bytes: u64,
    work_bytes: u64,
    /// Of `queue.jobs`, with its indexes.
    jobs_bytes: i64,
    /// Of the accounts, with their indexes.
    accounts_bytes: i64,
    /// Jobs that have not ended.
    unfinished: i64,
}

#[derive(Serialize)]
struct Summary {
    webhooks: u64,
    /// Answered in each minute.
    answered_per_second: Option<Figure>,
    /// Delivered in each minute.
    delivered_per_second: Option<Figure>,
    /// Times that an event was sent again, because there was no answer or it asked for it.
    retries: u64,
    /// Seconds from each crash until PostgreSQL was there again.
    recovery_seconds: Option<Figure>,
    crashes: usize,
    /// The longest time without an answer, in seconds.
    longest_pause_seconds: f64,
    unfinished_jobs: Option<Figure>,
    serve_memory: Trend,
    work_memory: Trend,
    jobs_table: Trend,
    accounts_table: Trend,
    database_bytes_per_webhook: f64,
    drained_after_seconds: f64,
    verify_seconds: f64,
}

/// Runs it once, and reports.
pub(crate) async fn run(args: &Args, server: &Server) -> anyhow::Result<Report> {
    let database = server.fresh_database().await?;
    database.settle_down().await?;
    let summary = measure(args, server, &database).await?;
    database.end().await?;
    let settings = json!({
        "rate": args.rate,
        "secs": args.duration.as_secs_f64(),
        "connections": args.connections,
        "crash_every_secs": args.crash_every.as_secs_f64(),
        "snapshot_secs": args.snapshot.as_secs_f64(),
    });
    let subject = format!(
        "soak: {} webhooks/s for {}, a crash every {}, a snapshot for {}",
        args.rate,
        humantime::format_duration(args.duration),
        humantime::format_duration(args.crash_every),
        humantime::format_duration(args.snapshot),
    );
    Ok(Report::new(subject, 1, settings, &[summary]))
}

async fn measure(args: &Args, server: &Server, database: &Database<'_>) -> anyhow::Result<Summary> {
    let pool = db::connect(&database.url, 2, "surety-bench").await?;
    let receiver = Receiver::start().await?;
    listen(&pool, 1, false, &receiver.url).await?;
    let bytes_before = database_bytes(&pool).await?;
    let mut serve = Serve::start(&database.url).await?;
    let mut work = Work::start(&database.url, &QUEUES)?;

    let processes = (&serve, &work);
    let seen = send_and_watch(args, server, database, &pool, processes, &receiver).await?;
    let Seen { tally, looks, ticks, recoveries } = seen;

    let sent = Instant::now();
    until_none(&pool, "select from queue.jobs").await?;
    let drained = sent.elapsed();
    let verify_seconds = nothing_is_lost(args, &pool, &tally, &receiver).await?;
    let grown = database_bytes(&pool).await? - bytes_before;
    serve.stop().await?;
    work.stop().await?;
    receiver.stop.cancel();
    pool.close().await;

    let of_minutes = |of: fn(&Tick) -> u64| Figure::of(rates_of_minutes(&ticks, of));
    let trend = |of: fn(&Look) -> f64| {
        let sizes: Vec<(Instant, f64)> = looks.iter().map(|look| (look.at, of(look))).collect();
        Trend::of(&sizes).context("the run was too short")
    };
    Ok(Summary {
        webhooks: args.webhooks(),
        answered_per_second: of_minutes(|tick| tick.answered),
        delivered_per_second: of_minutes(|tick| tick.delivered),
        retries: tally.retries,
        crashes: recoveries.len(),
        recovery_seconds: Figure::of(recoveries.iter().map(Duration::as_secs_f64)),
        longest_pause_seconds: longest_pause(&ticks).as_secs_f64(),
        unfinished_jobs: Figure::of(looks.iter().map(|look| look.unfinished as f64)),
        serve_memory: trend(|look| look.serve_bytes as f64)?,
        work_memory: trend(|look| look.work_bytes as f64)?,
        jobs_table: trend(|look| look.jobs_bytes as f64)?,
        accounts_table: trend(|look| look.accounts_bytes as f64)?,
        database_bytes_per_webhook: grown as f64 / args.webhooks() as f64,
        drained_after_seconds: drained.as_secs_f64(),
        verify_seconds,
    })
}

/// The course of a run.
struct Seen {
    tally: Tally,
    looks: Vec<Look>,
    ticks: Vec<Tick>,
    /// The time that PostgreSQL took to come back, after each crash.
    recoveries: Vec<Duration>,
}

async fn send_and_watch(
    args: &Args,
    server: &Server,
    database: &Database<'_>,
    pool: &PgPool,
    (serve, work): (&Serve, &Work),
    receiver: &Receiver,
) -> anyhow::Result<Seen> {
    let begun = Instant::now();
    let (progress, stop) = (ProgressBar::hidden(), CancellationToken::new());
    let sending = async {
        let sent = stop.run_until_cancelled(send(args, serve, progress.clone())).await;
        stop.cancel();
        sent.unwrap_or_else(|| bail!("it was not sent to its end"))
    };
    let looking = look(pool, serve, work, &stop);
    let ticking = tick(&progress, receiver, &stop);
    let crashing = crash(args, server, begun, &stop);
    let holding = hold_snapshot(args, database, begun, &stop);
    let (tally, looks, ticks, crashes, held) =
        tokio::join!(sending, looking, ticking, crashing, holding);
    let recoveries = crashes?;
    held?;
    Ok(Seen { tally: tally?, looks, ticks, recoveries })
}

async fn send(args: &Args, serve: &Serve, progress: ProgressBar) -> anyhow::Result<Tally> {
    let firsts = args.webhooks();
    let plan = Plan { firsts, repeats: firsts / REPEATED, seed: 1 };
    let load = Load {
        target: serve.target()?,
        connections: args.connections.into(),
        rate: Some(f64::from(args.rate) * (1.0 + 1.0 / REPEATED as f64)),
        retries: RETRIES,
        signer: None,
    };
    Ok(load.run(Source::Generated, plan, progress, CancellationToken::new()).await?)
}

/// Looks at what has been done, until it is over.
async fn tick(progress: &ProgressBar, receiver: &Receiver, stop: &CancellationToken) -> Vec<Tick> {
    let mut ticks = Vec::new();
    let mut due = interval(TICK);
    while stop.run_until_cancelled(due.tick()).await.is_some() {
        ticks.push(Tick {
            at: Instant::now(),
            answered: progress.position(),
            delivered: receiver.arrivals().len() as u64,
        });
    }
    ticks
}

/// Looks at memory and tables, until it is over. While PostgreSQL is away there is nothing to see.
async fn look(pool: &PgPool, serve: &Serve, work: &Work, stop: &CancellationToken) -> Vec<Look> {
    let mut looks = Vec::new();
    let mut due = interval(LOOK_EVERY);
    while stop.run_until_cancelled(due.tick()).await.is_some() {
        if let Ok(look) = look_once(pool, serve, work).await {
            looks.push(look);
        }
    }
    looks
}

async fn look_once(pool: &PgPool, serve: &Serve, work: &Work) -> anyhow::Result<Look> {
    let question = "select
          pg_total_relation_size('queue.jobs'),
          pg_total_relation_size('payments.accounts'),
          (select count(*) from queue.jobs)";
    let (jobs_bytes, accounts_bytes, unfinished) = sqlx::query_as(question).fetch_one(pool).await?;
    Ok(Look {
        at: Instant::now(),
        serve_bytes: resident_bytes_of(serve.process_id()?)?,
        work_bytes: resident_bytes_of(work.process_id()?)?,
        jobs_bytes,
        accounts_bytes,
        unfinished,
    })
}

/// Has PostgreSQL crash again and again. Gives how long it took each time to come back.
async fn crash(
    args: &Args,
    server: &Server,
    begun: Instant,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<Duration>> {
    let [opens, closes] = args.snapshot_from(begun);
    let mut recoveries = Vec::new();
    let mut due = begun + args.crash_every;
    while stop.run_until_cancelled(sleep_until(due)).await.is_some() {
        let crashed_at = Instant::now();
        if crashed_at < opens || crashed_at > closes + END_OF_SNAPSHOT {
            // Without the server there is nothing to go on with.
            let recovered = server.crash_and_recover().await.inspect_err(|_| stop.cancel());
            recovered?;
            recoveries.push(crashed_at.elapsed());
        }
        due += args.crash_every;
    }
    Ok(recoveries)
}

async fn hold_snapshot(
    args: &Args,
    database: &Database<'_>,
    begun: Instant,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let [opens, closes] = args.snapshot_from(begun);
    if stop.run_until_cancelled(sleep_until(opens)).await.is_none() {
        return Ok(());
    }
    // A crash of just before may not be over.
    let holder = loop {
        match hold_xmin(&database.url, closes - Instant::now(), stop.clone()).await {
            Ok(holder) => break holder,
            Err(_) => sleep(TICK).await,
        }
    };
    holder.await?.context("the snapshot was lost")
}

/// Fails unless each webhook was accepted, recorded once, settled and told. Gives the seconds that
/// the check of the ledger takes.
async fn nothing_is_lost(
    args: &Args,
    pool: &PgPool,
    tally: &Tally,
    receiver: &Receiver,
) -> anyhow::Result<f64> {
    let webhooks = args.webhooks();
    ensure!(
        (tally.accepted, tally.duplicates) == (webhooks, webhooks / REPEATED),
        "of {webhooks} webhooks {} were accepted: {} failed",
        tally.accepted,
        tally.failed()
    );
    let counts = "select
          (select count(*) from payments.transactions),
          (select count(*) from payments.transactions where status = 'COMPLETED'),
          (select count(*) from payments.transfers),
          (select count(*) from deliveries.deliveries where state = 'delivered')";
    let counts: (i64, i64, i64, i64) = sqlx::query_as(counts).fetch_one(pool).await?;
    let all = i64::try_from(webhooks)?;
    ensure!(counts == (all, all, all, all), "of {all}: {counts:?} recorded, settled, moved, told");
    ensure!(receiver.arrivals().len() as u64 >= webhooks, "the receiver has heard of fewer");
    let mut conn = pool.acquire().await?;
    let report = verify::verify(&mut conn, Scope::Everything, VERIFY_WITHIN).await?;
    ensure!(report.holds(), "the ledger is not sound: {report:?}");
    Ok(report.took.as_secs_f64())
}

async fn database_bytes(pool: &PgPool) -> anyhow::Result<i64> {
    let size = "select pg_database_size(current_database())";
    Ok(sqlx::query_scalar(size).fetch_one(pool).await?)
}

impl Section for Summary {
    fn title(&self) -> String {
        format!("{} webhooks, each recorded, settled and told once", self.webhooks)
    }

    fn write(&self, table: &mut Table) {
        let rate = |figure| format!("{}/s in a minute", show(figure, 0));
        table.line("answered", rate(self.answered_per_second));
        table.line("delivered", rate(self.delivered_per_second));
        table.line("sent again", self.retries);
        table.line("crashes of PostgreSQL", self.crashes);
        table.line("its recovery", format_args!("{} s", show(self.recovery_seconds, 1)));
        let pause = self.longest_pause_seconds;
        table.line("longest without an answer", format_args!("{pause:.1} s"));
        table.line("unfinished jobs", show(self.unfinished_jobs, 0));
        table.line("memory of app serve", self.serve_memory);
        table.line("memory of app work", self.work_memory);
        table.line("queue.jobs", self.jobs_table);
        table.line("payments.accounts", self.accounts_table);
        let each = self.database_bytes_per_webhook;
        table.line("database per webhook", format_args!("{each:.0} bytes"));
        table.line("drained after", format_args!("{:.1} s", self.drained_after_seconds));
        table.line("verify", format_args!("{:.1} s", self.verify_seconds));
    }
}
