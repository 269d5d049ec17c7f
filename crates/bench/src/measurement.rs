//! One measurement: a database, jobs, workers, what is done to them, and what was counted.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::account::{Account, Enqueued, Waits, Witness};
use super::chaos::{Chaos, ChaosKind, ChaosReport, Target};
use super::conditions::{Condition, ConditionArgs};
use super::gauges::{Counted, Gauges};
use super::handling::Handling;
use super::journal::{Entry, Journal, Step, now_us};
use super::kinds::EFFECTS_TABLE;
use super::scratch::{Database, Server};
use super::worker_process::WorkerTask;
use super::workers::{Work, WorkerArgs, Workers};
use surety::db;

/// Jobs that are not done after so long are not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(600);
/// The time between two looks whether jobs are left.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The work to measure, and its database.
pub(crate) struct Measurement<'a> {
    pub(crate) server: &'a Server,
    pub(crate) database: &'a Database<'a>,
    pub(crate) work: Work,
    pub(crate) conditions: &'a ConditionArgs,
    pub(crate) condition: Condition,
    pub(crate) workers: &'a WorkerArgs,
    /// About so many jobs will be done.
    pub(crate) jobs: u64,
}

/// The database in which jobs are enqueued and watched.
pub(crate) struct Stage<'a> {
    pub(crate) database: &'a Database<'a>,
    pub(crate) journal: Journal,
    pub(crate) gauges: Gauges,
    /// True when connections may be cut, and workers end, on purpose.
    pub(crate) is_chaotic: bool,
}

/// The results of one measurement.
pub(crate) struct Measured {
    /// From the first start of a handler to a look that found no job.
    pub(crate) jobs_per_second: f64,
    pub(crate) waits: Waits,
    pub(crate) counted: Counted,
    pub(crate) account: Account,
    pub(crate) chaos: Option<ChaosReport>,
    pub(crate) reads: u64,
}

impl Measurement<'_> {
    /// Starts gauges, disturbances and workers, does what the form does, and ends them again. The
    /// form enqueues what is not enqueued yet and returns when all is done.
    pub(crate) async fn run(
        &self,
        form: impl AsyncFnOnce(&Stage<'_>) -> anyhow::Result<Enqueued>,
    ) -> anyhow::Result<Measured> {
        let chaos = self.conditions.chaos(self.condition);
        let gauges = Gauges::start(self.server, self.database).await?;
        let stage = Stage {
            database: self.database,
            journal: Journal::default(),
            gauges,
            is_chaotic: chaos.is_some(),
        };
        if chaos.is_some() {
            sqlx::query(EFFECTS_TABLE).execute(stage.gauges.look()).await?;
        }
        let disturbances = self.conditions.begin(self.condition, self.database).await?;
        let release_us = now_us();
        let workers = self.start_workers(chaos, &stage.journal).await?;
        let (enqueued, struck) = match (chaos, &workers) {
            (Some(chaos), Workers::Processes(crew)) => {
                let target = Target {
                    server: self.server,
                    url: &self.database.url,
                    crew: crew.clone(),
                    journal: &stage.journal,
                    first_after: self.jobs / 3,
                    lease: self.workers.lease,
                };
                let done = CancellationToken::new();
                let form = async {
                    let enqueued = form(&stage).await;
                    done.cancel();
                    enqueued
                };
                let (enqueued, struck) = tokio::join!(form, chaos.strike_until(&done, target));
                (enqueued?, Some(struck?))
            }
            _ => (form(&stage).await?, None),
        };
        let ended_us = now_us();
        workers.stop().await?;
        let reads = disturbances.end().await?;
        let foreign = reads.cast_signed() + struck.map_or(0, |report| report.commits);
        let restarted = chaos.is_some_and(|chaos| chaos.kind == ChaosKind::PgRestart);
        let Stage { journal, gauges, .. } = stage;
        let end = End {
            release_us,
            ended_us,
            counted: gauges.end(foreign, restarted).await?,
            chaos: struck,
            reads,
        };
        self.result(&journal, &enqueued, end).await
    }

    async fn start_workers(
        &self,
        chaos: Option<Chaos>,
        journal: &Journal,
    ) -> anyhow::Result<Workers> {
        let (url, settings) = (&self.database.url, self.workers.settings());
        match (chaos, self.work) {
            (Some(_), Work::Noop(handling)) => {
                let effects = handling.can_have_effects();
                let task = WorkerTask { url: url.clone(), handling, effects, settings };
                Workers::start_processes(self.workers.workers.unwrap_or(2), task, journal)
            }
            (_, work) => {
                let count = self.workers.workers.unwrap_or(1);
                Workers::start_here(url, count, work, &settings, journal).await
            }
        }
    }

    async fn result(
        &self,
        journal: &Journal,
        enqueued: &Enqueued,
        end: End,
    ) -> anyhow::Result<Measured> {
        let pool = db::connect(&self.database.url, 1, "surety-bench").await?;
        let (entries, witness) = match self.work {
            Work::Noop(handling) => (journal.entries(), witness(handling, end.chaos.is_some())),
            Work::Money => (entries_of_history(&pool, enqueued.after).await?, Witness::History),
        };
        let account = Account::of(&pool, enqueued, &entries, witness).await?;
        pool.close().await;
        if end.chaos.is_none() && (account.completed, account.run_twice) != (account.enqueued, 0) {
            bail!("not every job was completed exactly once: {account:?}");
        }
        let begun = entries.iter().filter(|entry| entry.step == Step::Began);
        let first_us = begun.map(|entry| entry.at_us).min().context("nothing was run")?;
        let secs = end.ended_us.saturating_sub(first_us) as f64 / 1e6;
        Ok(Measured {
            jobs_per_second: account.completed as f64 / secs,
            waits: Waits::of(&entries, enqueued, end.release_us),
            counted: end.counted,
            account,
            chaos: end.chaos,
            reads: end.reads,
        })
    }
}

/// Checks that the chaos that was asked for can be measured with all of this work; to be called
/// before anything is begun.
pub(crate) fn check(
    works: impl IntoIterator<Item = Work>,
    conditions: &ConditionArgs,
    has_private_server: bool,
) -> anyhow::Result<()> {
    let Some(chaos) = conditions.chaos(Condition::Disturbed) else { return Ok(()) };
    for work in works {
        match work {
            Work::Money => bail!(
                "--chaos is for jobs that do nothing: their effects can be counted (give --batch \
                 or --no-batch, or --kinds noop,noop-batch)"
            ),
            Work::Noop(handling) => ensure!(
                handling.can_have_effects() || handling.keeps_history,
                "--chaos needs something that lasts to count by: --history, or handlers that \
                 write (--batch or --commit per-job)"
            ),
        }
    }
    ensure!(
        chaos.kind != ChaosKind::PgRestart || has_private_server,
        "--chaos pg-restart is for the private cluster only: unset DATABASE_URL"
    );
    Ok(())
}

/// The figures that are known when all has ended.
struct End {
    release_us: u64,
    ended_us: u64,
    counted: Counted,
    chaos: Option<ChaosReport>,
    reads: u64,
}

impl Stage<'_> {
    /// Asks until none of these jobs is left, nor others that they led to.
    ///
    /// Before as many claims as jobs were made, that needs no look at the queue: while dead rows
    /// cannot be removed, a look reads all of them, and would cost as much as thousands of jobs.
    pub(crate) async fn until_empty(&self, enqueued: &Enqueued) -> anyhow::Result<()> {
        let fence_at_end = self.gauges.fence_before() + enqueued.ids.len() as i64;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let is_empty: Result<bool, sqlx::Error> = sqlx::query_scalar(
                "select case
                   when last_value < $2 then false
                   else not exists (select from queue.jobs where id > $1 order by id desc limit 1)
                 end
                 from queue.fence",
            )
            .bind(self.database.last_job)
            .bind(fence_at_end)
            .fetch_one(self.gauges.look())
            .await;
            match is_empty {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(_cut) if self.is_chaotic => {}
                Err(error) => return Err(error.into()),
            }
            sleep(LOOK_INTERVAL).await;
        }
        bail!("jobs are left after {} s", PATIENCE.as_secs())
    }
}

fn witness(handling: Handling, is_chaotic: bool) -> Witness {
    if is_chaotic && handling.can_have_effects() {
        Witness::Effects
    } else if handling.keeps_history {
        Witness::History
    } else {
        Witness::Handlers
    }
}

/// Journal entries made from the history, for handlers that write none.
async fn entries_of_history(pool: &PgPool, after: i64) -> anyhow::Result<Vec<Entry>> {
    let attempts: Vec<(i64, OffsetDateTime, OffsetDateTime, OffsetDateTime)> = sqlx::query_as(
        "select attempts.job_id, jobs.enqueued_at, attempts.started_at, attempts.ended_at
         from queue.attempts
         join queue.finished_jobs as jobs on jobs.id = attempts.job_id
         where attempts.job_id > $1 and attempts.outcome = 'completed'
         order by attempts.started_at",
    )
    .bind(after)
    .fetch_all(pool)
    .await?;
    let us = |at: OffsetDateTime| u64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(0);
    Ok(attempts
        .into_iter()
        .flat_map(|(job, enqueued_at, started_at, ended_at)| {
            let enqueued_us = us(enqueued_at);
            [(Step::Began, started_at), (Step::Completed, ended_at)].map(|(step, at)| Entry {
                job,
                step,
                enqueued_us,
                at_us: us(at),
            })
        })
        .collect())
}
