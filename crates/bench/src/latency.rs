//! Pickup latency: an idle worker, one job at a time, from the moment its commit returned to the
//! first line of its handler. Producer and worker share no connection; both read the same clock.
//!
//! Between two jobs it is also asked how long the claim took, by the server's own count: the
//! difference of its total before the enqueue and after the completion. A claim in between that
//! found nothing is averaged with the one that found the job.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::{sleep, timeout};

use super::account::Enqueued;
use super::condition_report::{ConditionReport, Latency};
use super::conditions::{Condition, ConditionArgs};
use super::figures::{Figure, Percentiles, show};
use super::gauges::ClaimTimes;
use super::handling::{Handling, HandlingArgs};
use super::journal::{Step, now_us};
use super::kinds::new_job;
use super::measurement::{self, Measured, Measurement, Stage};
use super::report::{Report, Section, Table};
use super::rounds::Rounds;
use super::scratch::{Database, Server};
use super::workers::{Work, WorkerArgs};
use surety::db;
use surety_queue::{JobId, Notifier, enqueue};

/// Jobs before the first that counts: connections are opened, statements prepared.
const WARM_UP: u32 = 20;
/// A job that is not done for so long, and two leases, is a fault and no sample.
const PICKUP_TIMEOUT: Duration = Duration::from_secs(30);
/// Before the producer tries again to reach a database that is away on purpose.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Options of `latency`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Jobs per round.
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Pause before each job, on average; between a half and one and a half of it.
    #[arg(long, value_name = "DURATION", default_value = "60ms",
          value_parser = humantime::parse_duration)]
    gap: Duration,
    /// Do not tell the workers of new jobs: they find them when they look by themselves, as behind
    /// a connection pooler.
    #[arg(long)]
    no_notify: bool,
    #[command(flatten)]
    handling: HandlingArgs,
    #[command(flatten)]
    workers: WorkerArgs,
    #[command(flatten)]
    conditions: ConditionArgs,
}

/// One subject in one round.
struct Round {
    pickup: Percentiles,
    claim: Option<Percentiles>,
    measured: Measured,
}

impl Args {
    /// Checks that this can be measured at all.
    pub(crate) fn check(&self, has_private_server: bool) -> anyhow::Result<()> {
        let works = self.handling.all()?.into_iter().map(Work::Noop);
        measurement::check(works, &self.conditions, has_private_server)
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
        |handling| format!("{} jobs, {handling}", args.samples),
        async |database, subject, condition| {
            measure(args, server, database, subject, condition).await
        },
    )
    .await?;
    let results = summaries(args, &measured);
    let settings = args.workers.settings();
    let settings = json!({
        "samples": args.samples,
        "gap_ms": args.gap.as_millis() as u64,
        "notify": !args.no_notify,
        "concurrency": settings.concurrency,
        "poll_ms": settings.poll.as_millis() as u64,
    });
    let subject = format!(
        "latency: commit returned → handler's first line, {} jobs {} apart{}; WAL and commits with \
         the enqueue",
        args.samples,
        humantime::format_duration(args.gap),
        if args.no_notify { ", workers not notified" } else { "" },
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
        jobs: u64::from(args.samples),
    };
    let (mut pickups, mut claims) = (Vec::new(), Vec::new());
    let measured = measurement
        .run(async |stage| {
            let producer = Producer::new(args, stage, handling).await?;
            let mut enqueued =
                Enqueued { after: database.last_job, warm_up: WARM_UP as usize, ids: Vec::new() };
            for number in 0..WARM_UP + args.samples {
                let sample = producer.sample(&mut enqueued).await?;
                if number >= WARM_UP {
                    pickups.push(sample.pickup_ms);
                    claims.extend(sample.claim_ms);
                }
            }
            stage.until_empty(&enqueued).await?;
            producer.pool.close().await;
            Ok(enqueued)
        })
        .await?;
    let pickup = Percentiles::of(pickups).context("there are no samples")?;
    Ok(Round { pickup, claim: Percentiles::of(claims), measured })
}

/// Enqueues as the API does: in a transaction, and tells the workers after the commit.
struct Producer<'a> {
    args: &'a Args,
    stage: &'a Stage<'a>,
    handling: Handling,
    pool: PgPool,
    notifier: Notifier,
}

struct Sample {
    /// Below zero when the handler was faster than the answer.
    pickup_ms: f64,
    claim_ms: Option<f64>,
}

impl<'a> Producer<'a> {
    async fn new(
        args: &'a Args,
        stage: &'a Stage<'a>,
        handling: Handling,
    ) -> anyhow::Result<Producer<'a>> {
        let pool = db::connect(&stage.database.url, 1, "surety-bench").await?;
        Ok(Self { args, stage, handling, notifier: Notifier::start(&pool), pool })
    }

    /// One job, from its enqueue to its end.
    async fn sample(&self, enqueued: &mut Enqueued) -> anyhow::Result<Sample> {
        sleep(self.args.gap.mul_f64(0.5 + fastrand::f64())).await;
        let claims_before = self.claim_times().await?;
        let from = self.stage.journal.len();
        let job = self.enqueue().await?;
        let committed_us = now_us();
        enqueued.ids.push(job.0);
        if !self.args.no_notify {
            self.notifier.notify();
        }
        let patience = PICKUP_TIMEOUT + self.args.workers.lease * 2 + self.args.workers.poll;
        let ended = async {
            let began = self.stage.journal.next(from, job, Step::Began).await;
            self.stage.journal.next(from, job, Step::Completed).await;
            began
        };
        let began = timeout(patience, ended).await.context("a job was not picked up")?;
        let claims_after = self.claim_times().await?;
        Ok(Sample {
            pickup_ms: (began.at_us as f64 - committed_us as f64) / 1e3,
            claim_ms: claims_before.zip(claims_after).and_then(|(before, after)| {
                let calls = after.calls - before.calls;
                (calls > 0).then(|| (after.total_ms - before.total_ms) / calls as f64)
            }),
        })
    }

    async fn claim_times(&self) -> anyhow::Result<Option<ClaimTimes>> {
        match self.stage.gauges.claim_times().await {
            Err(_cut) if self.stage.is_chaotic => Ok(None),
            times => times,
        }
    }

    async fn enqueue(&self) -> anyhow::Result<JobId> {
        loop {
            match self.try_to_enqueue().await {
                Err(_cut) if self.stage.is_chaotic => sleep(RETRY_PAUSE).await,
                answer => return answer,
            }
        }
    }

    async fn try_to_enqueue(&self) -> anyhow::Result<JobId> {
        let mut tx = self.pool.begin().await?;
        let enqueued = enqueue(&mut tx, new_job(self.handling)?).await?;
        tx.commit().await?;
        Ok(enqueued.id())
    }
}

/// One way of handling under one condition over all rounds.
#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    handling: Handling,
    description: String,
    /// Commit returned → first line of the handler.
    #[serde(flatten)]
    pickup: Latency,
    /// The claim statement alone, by the server's clock; empty where nobody counts that.
    claim: Latency,
    /// p99 under these conditions over that of the undisturbed run of the same round.
    pickup_p99_ratio_to_undisturbed: Option<Figure>,
    claim_p99_ratio_to_undisturbed: Option<Figure>,
    #[serde(flatten)]
    outcome: ConditionReport,
}

fn summaries(args: &Args, measured: &Rounds<Handling, Round>) -> Vec<Summary> {
    let of = |(handling, condition, rounds): (Handling, Condition, Vec<&Round>)| {
        let under = args.conditions.describe(condition);
        let outcomes: Vec<&Measured> = rounds.iter().map(|round| &round.measured).collect();
        let ratio = |of: fn(&Round) -> Option<f64>| measured.ratio(handling, condition, of);
        Summary {
            handling,
            description: handling.to_string(),
            pickup: Latency::of(rounds.iter().map(|round| round.pickup)),
            claim: Latency::of(rounds.iter().filter_map(|round| round.claim)),
            pickup_p99_ratio_to_undisturbed: ratio(|round| Some(round.pickup.p99)),
            claim_p99_ratio_to_undisturbed: ratio(|round| Some(round.claim?.p99)),
            outcome: ConditionReport::of(condition, under, &outcomes),
        }
    };
    measured.all().into_iter().map(of).collect()
}

impl Section for Summary {
    fn title(&self) -> String {
        format!("{}; {}", self.description, self.outcome.under)
    }

    fn write(&self, table: &mut Table) {
        table.line("pickup", self.pickup);
        table.line("claim statement", self.claim);
        if let Some(ratio) = self.pickup_p99_ratio_to_undisturbed {
            let claim = show(self.claim_p99_ratio_to_undisturbed, 2);
            let ratios = format!("pickup {}, claim statement {claim}", show(Some(ratio), 2));
            table.line("p99 to undisturbed", ratios);
        }
        self.outcome.write(table);
    }
}
