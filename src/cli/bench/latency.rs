//! Pickup latency: an idle worker, one job at a time, from the moment its commit returned to the
//! first line of its handler. Producer and worker share the process, so both read the same clock;
//! they share no connection.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::figures::{Figure, Percentiles, show};
use super::kinds::Probe;
use super::scratch::Server;
use crate::db;
use crate::queue::enqueue::{NewJob, enqueue};
use crate::queue::notifier::Notifier;
use crate::queue::registry::Registry;
use crate::queue::worker::{Worker, WorkerSettings};

/// Jobs before the first that counts: connections are opened, statements prepared.
const WARM_UP: u32 = 20;
/// A job that is not picked up for so long is a fault and no sample.
const PICKUP_TIMEOUT: Duration = Duration::from_secs(30);

/// What to measure of pickup latency.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Jobs per round.
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Pause before each job, on average; between a half and one and a half of it.
    #[arg(long, value_name = "DURATION", default_value = "60ms",
          value_parser = humantime::parse_duration)]
    gap: Duration,
}

/// Measures, prints a table unless JSON is wanted, and gives settings and results.
pub(super) async fn run(
    args: &Args,
    server: &Server,
    rounds: u32,
    is_json: bool,
) -> anyhow::Result<(Value, Value)> {
    let settings = WorkerSettings::default();
    let mut measured = Vec::new();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}: {} jobs", round + 1, args.samples);
        let database = server.fresh_database().await?;
        measured.push(measure(args, &database.url, settings.clone()).await?);
        database.end().await?;
    }
    let figure = |of: fn(&Percentiles) -> f64| Figure::of(measured.iter().map(of));
    let [p50, p95, p99, max] =
        [figure(|p| p.p50), figure(|p| p.p95), figure(|p| p.p99), figure(|p| p.max)];
    if !is_json {
        println!(
            "latency: commit returned → handler's first line, {} jobs {} apart, median of {rounds} \
             rounds (min–max)",
            args.samples,
            humantime::format_duration(args.gap),
        );
        for (name, value) in [("p50", p50), ("p95", p95), ("p99", p99), ("max", max)] {
            println!("  {name}  {} ms", show(value, 2));
        }
    }
    let settings = json!({
        "samples": args.samples,
        "gap_ms": args.gap.as_millis() as u64,
        "concurrency": settings.concurrency,
        "poll_ms": settings.poll.as_millis() as u64,
    });
    Ok((settings, json!({ "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": max })))
}

async fn measure(args: &Args, url: &str, settings: WorkerSettings) -> anyhow::Result<Percentiles> {
    let workers_pool = db::connect(url, 10, "surety-bench").await?;
    let (began, mut starts) = unbounded_channel();
    let worker = Worker::new(workers_pool, Registry::new(began).register::<Probe>(), settings)?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let working = tokio::spawn(async move { worker.run(stopped).await });

    let producer = Producer::new(db::connect(url, 1, "surety-bench").await?);
    for _ in 0..WARM_UP {
        producer.sample(args.gap, &mut starts).await?;
    }
    let mut samples = Vec::new();
    for _ in 0..args.samples {
        samples.push(producer.sample(args.gap, &mut starts).await?);
    }
    stop.cancel();
    working.await?;
    Percentiles::of(samples).context("there are no samples")
}

/// Enqueues as the API does: in a transaction, and tells the workers after the commit.
struct Producer {
    pool: PgPool,
    notifier: Notifier,
}

impl Producer {
    fn new(pool: PgPool) -> Self {
        Self { notifier: Notifier::start(&pool), pool }
    }

    /// Milliseconds from the commit of one job to its start; below zero when the handler was faster
    /// than the answer.
    async fn sample(
        &self,
        gap: Duration,
        starts: &mut UnboundedReceiver<Instant>,
    ) -> anyhow::Result<f64> {
        sleep(gap.mul_f64(0.5 + fastrand::f64())).await;
        let mut tx = self.pool.begin().await?;
        enqueue(&mut tx, NewJob::new(&Probe {})?).await?;
        tx.commit().await?;
        let committed = Instant::now();
        self.notifier.notify();
        let began = timeout(PICKUP_TIMEOUT, starts.recv())
            .await
            .context("a job was not picked up")?
            .context("the worker ended")?;
        Ok(signed_ms(committed, began))
    }
}

fn signed_ms(from: Instant, to: Instant) -> f64 {
    match to.checked_duration_since(from) {
        Some(after) => after.as_secs_f64() * 1e3,
        None => -from.duration_since(to).as_secs_f64() * 1e3,
    }
}
