//! A worker that is killed in the middle of its jobs, and what becomes of them.
//!
//! The jobs are deposits, and the bank takes its time: so the worker dies after the bank has heard
//! of each payment and before it has said so, which is the worst moment there is. They wait in a
//! queue of their own, so that it is surely this worker that has them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use sqlx::PgPool;

use super::stage::{POLL, Stage, say};
use super::worker_process::{LEASE, WorkerProcess};
use crate::bank::simulator::behaviour::BehaviourSettings;
use crate::ids::OrderId;
use crate::operations::jobs::{JobFilter, JobState, JobSummary, reading};
use crate::operations::{rehearsal, timeline};

const KEY: char = 'k';
const DEPOSITS: usize = 3;
/// The time that the bank takes meanwhile: longer than it takes to kill a worker.
const SLOW: &str = "12s";
/// The time for each step.
const PATIENCE: Duration = Duration::from_secs(45);

/// Kills a worker with `kill -9` and says what came of its jobs.
pub(super) async fn kill_a_worker(stage: &Stage) -> anyhow::Result<()> {
    stage.private_url()?;
    let bank = stage.simulated_bank()?;
    let slow = BehaviourSettings {
        success_rate: Some(1.0),
        latency: Some(SLOW.parse().expect("a duration")),
        ..BehaviourSettings::default()
    };
    let Some(usual) = bank.change(&slow).await? else { bail!("the bank is down: b brings it up") };
    let killed = kill_in_the_middle(stage).await;
    // Those that are under way have their fate; what comes from now on has the usual one.
    bank.change(&usual).await?;
    let killed = killed?;
    watch(stage, killed).await
}

/// A worker that was killed, and what it had.
struct Killed {
    queue: String,
    orders: Vec<OrderId>,
    at: Instant,
}

async fn kill_in_the_middle(stage: &Stage) -> anyhow::Result<Killed> {
    let queue = format!("show-{:08x}", fastrand::u32(..));
    let mut worker = WorkerProcess::start(stage, &queue)?;
    let pid = worker.pid;
    say(KEY, &format!("a worker starts as process {pid}, and gets {DEPOSITS} deposits to make"));
    let orders = rehearsal::place_deposits(&stage.pool, &queue, DEPOSITS).await?;
    let deadline = Instant::now() + PATIENCE;
    while calls_under_way(&stage.pool, &orders).await? < DEPOSITS {
        worker.must_run()?;
        if Instant::now() > deadline {
            bail!("the worker does not ask the bank");
        }
        tokio::time::sleep(POLL).await;
    }
    say(KEY, "the bank has heard of each, and takes its time to answer");
    worker.kill().await?;
    let lease = LEASE.as_secs();
    say(KEY, &format!("kill -9 {pid}: it tells nobody; its leases end within {lease} s"));
    Ok(Killed { queue, orders, at: Instant::now() })
}

/// The number of orders that the bank has been asked for, without an answer yet.
async fn calls_under_way(pool: &PgPool, orders: &[OrderId]) -> anyhow::Result<usize> {
    let mut under_way = 0;
    for order in orders {
        let calls = calls(pool, *order).await?;
        under_way += usize::from(calls.iter().any(|call| call["ended_at"].is_null()));
    }
    Ok(under_way)
}

async fn calls(pool: &PgPool, order: OrderId) -> anyhow::Result<Vec<Value>> {
    let mut conn = pool.acquire().await?;
    let events = timeline::of_order(&mut conn, order).await?.context("there is no such order")?;
    let calls = events.into_iter().filter(|event| event.source == "bank");
    Ok(calls.map(|call| call.details).collect())
}

/// Another worker takes the jobs over.
async fn watch(stage: &Stage, killed: Killed) -> anyhow::Result<()> {
    let mut worker = WorkerProcess::start(stage, &killed.queue)?;
    say(KEY, &format!("another worker starts as process {}", worker.pid));
    let jobs = rescued(stage, &killed.queue, &mut worker).await?;
    let numbers: Vec<String> = jobs.iter().rev().map(|job| job.id.to_string()).collect();
    let (numbers, secs) = (numbers.join(", "), killed.at.elapsed().as_secs_f64());
    say(KEY, &format!("rescued {secs:.1} s after the kill, to be run again: jobs {numbers}"));

    let mut completed = 0;
    for order in &killed.orders {
        let status = outcome(stage, *order, &mut worker).await?;
        completed += usize::from(status == "COMPLETED");
    }
    let secs = killed.at.elapsed().as_secs_f64();
    worker.stop().await;
    say(KEY, &format!("{completed} of {DEPOSITS} deposits COMPLETED, {secs:.1} s after the kill"));
    let sends = most_sends(stage, &killed.orders).await?;
    let times = if sends == 1 { "once".to_owned() } else { format!("{sends} times") };
    let order = killed.orders[0];
    say(KEY, &format!("the bank was told of each {times}, then asked whether it knew it"));
    say(KEY, &format!("nothing is lost, nothing made twice: v checks; app timeline {order}"));
    Ok(())
}

/// Waits until the jobs are taken back from the dead worker.
async fn rescued(
    stage: &Stage,
    queue: &str,
    worker: &mut WorkerProcess,
) -> anyhow::Result<Vec<JobSummary>> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let jobs = jobs_of(stage, queue).await?;
        if jobs.iter().all(was_rescued) {
            return Ok(jobs);
        }
        worker.must_run()?;
        tokio::time::sleep(POLL).await;
    }
    bail!("the jobs were not rescued in time: app jobs list --queue {queue}")
}

/// Waits until the order has its outcome.
async fn outcome(
    stage: &Stage,
    order: OrderId,
    worker: &mut WorkerProcess,
) -> anyhow::Result<&'static str> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(outcome) = rehearsal::outcome_of_order(&stage.pool, order).await? {
            return Ok(outcome.status);
        }
        worker.must_run()?;
        tokio::time::sleep(POLL).await;
    }
    bail!("the deposit {order} has no outcome yet: app timeline {order}")
}

async fn jobs_of(stage: &Stage, queue: &str) -> anyhow::Result<Vec<JobSummary>> {
    let filter = JobFilter { queues: vec![queue.to_owned()], ..JobFilter::default() };
    let mut conn = stage.pool.acquire().await?;
    let page = reading::list(&mut conn, &filter, None, DEPOSITS as u32).await?;
    Ok(page.jobs)
}

/// True once the attempt of the dead worker is told as lost.
fn was_rescued(job: &JobSummary) -> bool {
    job.error.is_some() || job.attempt > 1 || job.state == JobState::Completed
}

/// The most times that the bank was sent one of the payments.
async fn most_sends(stage: &Stage, orders: &[OrderId]) -> anyhow::Result<usize> {
    let mut most = 0;
    for order in orders {
        let calls = calls(&stage.pool, *order).await?;
        most = most.max(calls.iter().filter(|call| call["operation"] == "send").count());
    }
    Ok(most)
}
