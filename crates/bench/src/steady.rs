//! Steady: jobs come at a fixed rate, whether or not workers keep up, and it is asked how long each
//! waits.
//!
//! What is due at a moment is enqueued by one statement and one commit: at a low rate a job at a
//! time, at a high one many. A producer that falls behind makes up for it as fast as it can, and
//! the report shows the rate that it reached.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::{Instant, sleep, sleep_until};

use super::account::Enqueued;
use super::condition_report::ConditionReport;
use super::conditions::{Condition, ConditionArgs};
use super::figures::{Figure, show};
use super::filling::ENQUEUE_BATCH;
use super::handling::{Handling, HandlingArgs};
use super::kinds::new_job;
use super::measurement::{self, Measured, Measurement, Stage};
use super::report::{Report, Section, Table};
use super::rounds::Rounds;
use super::scratch::{Database, Server};
use super::workers::{Work, WorkerArgs};
use surety::db;
use surety_queue::{JobId, Notifier, enqueue_many};

/// Before the producer tries again to reach a database that is away on purpose.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Options of `steady`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Jobs per second.
    #[arg(long, value_name = "JOBS", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// For how long jobs come.
    #[arg(long, value_name = "DURATION", default_value = "30s",
          value_parser = humantime::parse_duration)]
    duration: Duration,
    #[command(flatten)]
    handling: HandlingArgs,
    #[command(flatten)]
    workers: WorkerArgs,
    #[command(flatten)]
    conditions: ConditionArgs,
}

/// One subject in one round.
struct Round {
    enqueued_per_second: f64,
    measured: Measured,
}

impl Args {
    /// Checks that this can be measured at all.
    pub(crate) fn check(&self, has_private_server: bool) -> anyhow::Result<()> {
        ensure!(self.jobs() > 0, "no job comes in {:?} at {} a second", self.duration, self.rate);
        let works = self.handling.all()?.into_iter().map(Work::Noop);
        measurement::check(works, &self.conditions, has_private_server)
    }

    fn jobs(&self) -> u64 {
        (f64::from(self.rate) * self.duration.as_secs_f64()).round() as u64
    }
}

/// Measures, and reports medians.
pub(crate) async fn run(args: &Args, server: &Server, rounds: u32) -> anyhow::Result<Report> {
    let subjects = args.handling.all()?;
    let measured = Rounds::measure(
        rounds,
        &subjects,
        &args.conditions,
        server,
        |handling| handling.to_string(),
        async |database, subject, condition| {
            measure(args, server, database, subject, condition).await
        },
    )
    .await?;
    let results = summaries(args, &measured);
    let settings = json!({
        "rate": args.rate,
        "secs": args.duration.as_secs_f64(),
        "workers": args.workers.workers,
        "concurrency": args.workers.settings().concurrency,
        "lease_ms": args.workers.lease.as_millis() as u64,
        "poll_ms": args.workers.poll.as_millis() as u64,
        "where": if args.conditions.is_chaotic() { "processes" } else { "in this process" },
    });
    let subject = format!(
        "steady: {} jobs/s for {}; WAL and commits with the enqueue",
        args.rate,
        humantime::format_duration(args.duration),
    );
    Ok(Report::new(subject, rounds, settings, &results))
}

async fn measure(
    args: &Args,
    server: &Server,
    database: &Database<'_>,
    handling: Handling,
    condition: Condition,
) -> anyhow::Result<Round> {
    database.settle_down().await?;
    let measurement = Measurement {
        server,
        database,
        work: Work::Noop(handling),
        conditions: &args.conditions,
        condition,
        workers: &args.workers,
        jobs: args.jobs(),
    };
    let mut secs = 0.0;
    let measured = measurement
        .run(async |stage| {
            let begun = Instant::now();
            let enqueued = produce(args, stage, handling).await?;
            secs = begun.elapsed().as_secs_f64();
            stage.until_empty(&enqueued).await?;
            Ok(enqueued)
        })
        .await?;
    Ok(Round { enqueued_per_second: args.jobs() as f64 / secs, measured })
}

/// Enqueues what is due, until all is.
async fn produce(args: &Args, stage: &Stage<'_>, handling: Handling) -> anyhow::Result<Enqueued> {
    let pool = db::connect(&stage.database.url, 1, "surety-bench").await?;
    let notifier = Notifier::start(&pool);
    let interval = Duration::from_secs(1) / args.rate;
    let begun = Instant::now();
    let mut enqueued = Enqueued { after: stage.database.last_job, ..Enqueued::default() };
    // Beyond this no job is late because of us, whatever the rate.
    let mut sent = 0;
    while sent < args.jobs() {
        let next_due = begun + interval.mul_f64(sent as f64);
        sleep_until(next_due).await;
        let due = (begun.elapsed().as_secs_f64() * f64::from(args.rate)) as u64 + 1;
        let batch = (due.min(args.jobs()) - sent).clamp(1, ENQUEUE_BATCH);
        match enqueue(&pool, handling, batch).await {
            Ok(ids) => {
                enqueued.ids.extend(ids.into_iter().map(|id| id.0));
                sent += batch;
                notifier.notify();
            }
            // Whether it was committed nobody knows: these are not asked for afterwards, and as
            // many others come instead.
            Err(_cut) if stage.is_chaotic => sleep(RETRY_PAUSE).await,
            Err(error) => return Err(error).context("jobs cannot be enqueued"),
        }
    }
    pool.close().await;
    Ok(enqueued)
}

async fn enqueue(pool: &PgPool, handling: Handling, count: u64) -> anyhow::Result<Vec<JobId>> {
    let jobs = (0..count).map(|_| new_job(handling)).collect::<Result<Vec<_>, _>>()?;
    let mut tx = pool.begin().await?;
    let enqueued = enqueue_many(&mut tx, &jobs).await?;
    tx.commit().await?;
    Ok(enqueued.into_iter().map(|enqueued| enqueued.id()).collect())
}

/// One way of handling under one condition over all rounds.
#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    handling: Handling,
    description: String,
    jobs: u64,
    enqueued_per_second: Option<Figure>,
    completed_per_second: Option<Figure>,
    /// p99 of enqueue → start under these conditions over that of the undisturbed run of the same
    /// round.
    start_p99_ratio_to_undisturbed: Option<Figure>,
    #[serde(flatten)]
    outcome: ConditionReport,
}

fn summaries(args: &Args, measured: &Rounds<Handling, Round>) -> Vec<Summary> {
    let of = |(handling, condition, rounds): (Handling, Condition, Vec<&Round>)| {
        let under = args.conditions.describe(condition);
        let outcomes: Vec<&Measured> = rounds.iter().map(|round| &round.measured).collect();
        let figure = |of: fn(&Round) -> f64| Figure::of(rounds.iter().map(|round| of(round)));
        Summary {
            handling,
            description: handling.to_string(),
            jobs: args.jobs(),
            enqueued_per_second: figure(|round| round.enqueued_per_second),
            completed_per_second: figure(|round| round.measured.jobs_per_second),
            start_p99_ratio_to_undisturbed: measured
                .ratio(handling, condition, |round| Some(round.measured.waits.to_start?.p99)),
            outcome: ConditionReport::of(condition, under, &outcomes),
        }
    };
    measured.all().into_iter().map(of).collect()
}

impl Section for Summary {
    fn title(&self) -> String {
        format!("{} jobs: {}; {}", self.jobs, self.description, self.outcome.under)
    }

    fn write(&self, table: &mut Table) {
        table.line("enqueued", format_args!("{} jobs/s", show(self.enqueued_per_second, 0)));
        table.line("completed", format_args!("{} jobs/s", show(self.completed_per_second, 0)));
        if let Some(ratio) = self.start_p99_ratio_to_undisturbed {
            table.line("p99 to undisturbed", show(Some(ratio), 2));
        }
        self.outcome.write(table);
    }
}
