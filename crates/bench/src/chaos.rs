//! Failures on purpose: workers that are killed or frozen, connections that are cut, a server that
//! crashes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::journal::Journal;
use super::scratch::{self, Server};
use super::workers::{APPLICATION_NAME, Crew};

/// Options of failures on purpose.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Conditions")]
pub(crate) struct ChaosArgs {
    /// Break something at a third of the jobs, and again from time to time. Workers are then
    /// processes of their own, their handlers write a row for each effect in the transaction that
    /// completes the job, and lost jobs and effects beyond the first are counted by these.
    #[arg(long = "chaos", value_enum, value_name = "WHAT")]
    pub(crate) kind: Option<ChaosKind>,
    /// From one strike to the next [default: 60s; backend-kill 1s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    chaos_every: Option<Duration>,
}

/// The kind of thing that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChaosKind {
    /// SIGKILL to all worker processes at one moment; as many new ones are started.
    WorkerKill,
    /// The server ends the sessions of half of the workers' connections.
    BackendKill,
    /// The private cluster is stopped as by a crash (immediate) and started again.
    PgRestart,
    /// SIGSTOP to all worker processes, as many new ones are started, and SIGCONT when the leases
    /// have long run out.
    Pause,
}

/// Something that is broken again and again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chaos {
    pub(crate) kind: ChaosKind,
    every: Duration,
}

/// The workers, connections or server that are struck.
pub(crate) struct Target<'a> {
    pub(crate) server: &'a Server,
    pub(crate) url: &'a str,
    pub(crate) crew: Arc<Mutex<Crew>>,
    pub(crate) journal: &'a Journal,
    /// The first strike comes after so many completions.
    pub(crate) first_after: u64,
    pub(crate) lease: Duration,
}

/// The failures that were made, and their consequences.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub(crate) struct ChaosReport {
    pub(crate) strikes: u64,
    /// Processes killed or frozen, or connections cut.
    pub(crate) hit: u64,
    /// Jobs that were running in workers when these were killed or frozen.
    pub(crate) held: u64,
    /// Seconds from then to the look at the held jobs: one and a half leases.
    pub(crate) looked_after_secs: f64,
    /// Held jobs that nobody had completed by then.
    pub(crate) held_not_run: u64,
    /// Transactions that all this took.
    #[serde(skip)]
    pub(crate) commits: i64,
}

impl ChaosArgs {
    pub(crate) fn chaos(&self) -> Option<Chaos> {
        let kind = self.kind?;
        let every = self.chaos_every.unwrap_or(match kind {
            ChaosKind::BackendKill => Duration::from_secs(1),
            ChaosKind::WorkerKill | ChaosKind::PgRestart | ChaosKind::Pause => {
                Duration::from_secs(60)
            }
        });
        Some(Chaos { kind, every })
    }
}

impl ChaosReport {
    /// Both together, for the total of several rounds.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            strikes: self.strikes + other.strikes,
            hit: self.hit + other.hit,
            held: self.held + other.held,
            looked_after_secs: self.looked_after_secs,
            held_not_run: self.held_not_run + other.held_not_run,
            commits: self.commits + other.commits,
        }
    }
}

impl fmt::Display for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ChaosKind::WorkerKill => "all workers killed",
            ChaosKind::BackendKill => "half of the workers' connections cut",
            ChaosKind::PgRestart => "PostgreSQL crashed",
            ChaosKind::Pause => "all workers frozen past their leases",
        })?;
        write!(f, " at a third of the jobs, then every {}", humantime::format_duration(self.every))
    }
}

impl Chaos {
    /// Strikes until told that there is nothing left to disturb.
    pub(crate) async fn strike_until(
        self,
        no_more: &CancellationToken,
        target: Target<'_>,
    ) -> anyhow::Result<ChaosReport> {
        let looked_after = target.lease * 3 / 2;
        let mut report =
            ChaosReport { looked_after_secs: looked_after.as_secs_f64(), ..Default::default() };
        let mut looks = Vec::new();
        while target.journal.completed() < target.first_after {
            if no_more.run_until_cancelled(sleep(Duration::from_millis(5))).await.is_none() {
                break;
            }
        }
        while !no_more.is_cancelled() {
            report.strikes += 1;
            match self.kind {
                ChaosKind::WorkerKill => {
                    let mut crew = target.crew.lock().await;
                    let killed = crew.kill().await?;
                    looks.push(Look::begin(target.url, looked_after, no_more).await?);
                    crew.replace(killed)?;
                    report.hit += killed as u64;
                }
                ChaosKind::Pause => {
                    let mut crew = target.crew.lock().await;
                    let paused = crew.pause()?;
                    looks.push(Look::begin(target.url, looked_after, no_more).await?);
                    crew.replace(paused)?;
                    report.hit += paused as u64;
                    // To the end, even when all jobs are done: how the frozen ones go on is what is
                    // asked.
                    sleep(looked_after).await;
                    crew.resume()?;
                }
                ChaosKind::BackendKill => {
                    report.hit += cut_connections(target.url).await?;
                    report.commits += 1;
                }
                ChaosKind::PgRestart => target.server.crash_and_recover().await?,
            }
            no_more.run_until_cancelled(sleep(self.every)).await;
        }
        for look in looks {
            let (held, not_run) = look.await??;
            report.held += held;
            report.held_not_run += not_run;
            report.commits += 2;
        }
        Ok(report)
    }
}

/// A look at the jobs that workers held when they were struck, some time later.
struct Look;

impl Look {
    /// Notes what runs now. The task gives how many jobs that is, and how many of them are not done
    /// after so long, or when all others are.
    async fn begin(
        url: &str,
        after: Duration,
        all_done: &CancellationToken,
    ) -> anyhow::Result<JoinHandle<anyhow::Result<(u64, u64)>>> {
        let mut conn = scratch::connect(url).await?;
        let held: Vec<i64> = sqlx::query_scalar("select id from queue.jobs where running")
            .fetch_all(&mut conn)
            .await?;
        let all_done = all_done.clone();
        Ok(tokio::spawn(async move {
            let _late_or_done = all_done.run_until_cancelled(sleep(after)).await;
            let not_run = unfinished_of(&mut conn, &held).await?;
            conn.close().await?;
            Ok((held.len() as u64, not_run))
        }))
    }
}

async fn unfinished_of(conn: &mut PgConnection, jobs: &[i64]) -> anyhow::Result<u64> {
    let count: i64 = sqlx::query_scalar("select count(*) from queue.jobs where id = any($1)")
        .bind(jobs)
        .fetch_one(conn)
        .await?;
    Ok(u64::try_from(count)?)
}

/// Has the server end about half of the workers' sessions. Gives how many.
async fn cut_connections(url: &str) -> anyhow::Result<u64> {
    let mut conn = scratch::connect(url).await?;
    let cut: i64 = sqlx::query_scalar(
        "select count(*) filter (where pg_terminate_backend(pid))
         from (
           select pid
           from pg_stat_activity
           where datname = current_database()
             and application_name = $1
             and random() < 0.5
           offset 0
         ) as session",
    )
    .bind(APPLICATION_NAME)
    .fetch_one(&mut conn)
    .await?;
    conn.close().await?;
    Ok(u64::try_from(cut)?)
}
