//! The account of every job that was enqueued: lost, run twice, refused, and the time that each
//! took.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use sqlx::PgPool;

use super::figures::Percentiles;
use super::journal::{Entry, Step};

/// The source of knowledge about which jobs took effect, and how often.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Witness {
    /// A row for each effect, written in the transaction that completed the job.
    Effects,
    /// The attempts that ended with a completion.
    History,
    /// The handlers, in whose process nothing was killed.
    Handlers,
}

/// The jobs of one measurement: those whose enqueue was committed, and acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Enqueued {
    pub(crate) ids: Vec<i64>,
    /// The last job that was there before.
    pub(crate) after: i64,
    /// Of the first jobs, so many only warmed up: connections were opened, statements prepared.
    pub(crate) warm_up: usize,
}

/// The fate of all jobs of one measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Account {
    pub(crate) enqueued: u64,
    pub(crate) completed: u64,
    /// Enqueued, committed, and then neither completed nor waiting nor kept as discarded.
    pub(crate) lost: u64,
    /// Effects beyond the first of a job. 0 is what a fence is for.
    pub(crate) run_twice: u64,
    /// Calls of a handler beyond the first for a job: at least once is what is promised.
    pub(crate) executions_beyond_first: u64,
    /// Completions that came too late and that the fence refused.
    pub(crate) stale_completions_refused: u64,
    /// Runs that their worker stopped because it no longer trusted the lease.
    pub(crate) stopped_runs: u64,
    /// Runs that ended with an error: their connection was cut, or the database was away.
    pub(crate) failed_runs: u64,
    /// Failed for good, and kept.
    pub(crate) discarded: u64,
    /// Still waiting or running at the end.
    pub(crate) unfinished: u64,
    pub(crate) counted_by: Witness,
}

/// Milliseconds from the enqueue of a job, or from a later release, to its first start and to its
/// completion.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Waits {
    pub(crate) to_start: Option<Percentiles>,
    pub(crate) to_done: Option<Percentiles>,
}

impl Account {
    /// Of these jobs, of what handlers said, and of what the database says.
    pub(crate) async fn of(
        pool: &PgPool,
        enqueued: &Enqueued,
        entries: &[Entry],
        counted_by: Witness,
    ) -> anyhow::Result<Self> {
        let jobs = async |statement| jobs_after(pool, statement, enqueued.after).await;
        let effects = match counted_by {
            Witness::Effects => {
                count(jobs("select job_id from public.bench_effects where job_id > $1").await?)
            }
            Witness::History => count(
                jobs(
                    "select job_id from queue.attempts
                     where job_id > $1 and outcome = 'completed'",
                )
                .await?,
            ),
            Witness::Handlers => {
                let done = entries.iter().filter(|entry| entry.step == Step::Completed);
                count(done.map(|entry| entry.job))
            }
        };
        let set = |ids: Vec<i64>| ids.into_iter().collect::<HashSet<i64>>();
        let unfinished = set(jobs("select id from queue.jobs where id > $1").await?);
        let discarded =
            set(jobs("select id from queue.finished_jobs where id > $1 and state = 'discarded'")
                .await?);
        let lost = enqueued.ids.iter().filter(|&job| {
            !effects.contains_key(job) && !unfinished.contains(job) && !discarded.contains(job)
        });
        let enqueued_ids = set(enqueued.ids.clone());
        let of_ours = |jobs: &HashSet<i64>| jobs.intersection(&enqueued_ids).count() as u64;
        let begun = entries.iter().filter(|entry| entry.step == Step::Began);
        let runs = count(begun.map(|entry| entry.job));
        let steps = |step: Step| entries.iter().filter(|entry| entry.step == step).count() as u64;
        Ok(Self {
            enqueued: enqueued.ids.len() as u64,
            completed: enqueued.ids.iter().filter(|&job| effects.contains_key(job)).count() as u64,
            lost: lost.count() as u64,
            run_twice: beyond_first(&effects),
            executions_beyond_first: beyond_first(&runs),
            stale_completions_refused: steps(Step::Refused),
            stopped_runs: steps(Step::Stopped),
            failed_runs: steps(Step::Failed),
            discarded: of_ours(&discarded),
            unfinished: of_ours(&unfinished),
            counted_by,
        })
    }

    /// Both together, for the total of several rounds.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            enqueued: self.enqueued + other.enqueued,
            completed: self.completed + other.completed,
            lost: self.lost + other.lost,
            run_twice: self.run_twice + other.run_twice,
            executions_beyond_first: self.executions_beyond_first + other.executions_beyond_first,
            stale_completions_refused: self.stale_completions_refused
                + other.stale_completions_refused,
            stopped_runs: self.stopped_runs + other.stopped_runs,
            failed_runs: self.failed_runs + other.failed_runs,
            discarded: self.discarded + other.discarded,
            unfinished: self.unfinished + other.unfinished,
            counted_by: self.counted_by,
        }
    }
}

async fn jobs_after(
    pool: &PgPool,
    statement: &'static str,
    after: i64,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(statement).bind(after).fetch_all(pool).await
}

fn count(jobs: impl IntoIterator<Item = i64>) -> HashMap<i64, u64> {
    let mut counts = HashMap::new();
    for job in jobs {
        *counts.entry(job).or_insert(0) += 1;
    }
    counts
}

fn beyond_first(counts: &HashMap<i64, u64>) -> u64 {
    counts.values().map(|count| count - 1).sum()
}

impl Waits {
    /// Of what handlers said. A job that was enqueued before the `release` waits from then on;
    /// those that only warmed up do not count.
    pub(crate) fn of(entries: &[Entry], enqueued: &Enqueued, release_us: u64) -> Self {
        let warm_up: HashSet<&i64> = enqueued.ids.iter().take(enqueued.warm_up).collect();
        let waits = |step: Step| {
            let mut seen = HashSet::new();
            let firsts = entries.iter().filter(|entry| {
                entry.step == step && !warm_up.contains(&entry.job) && seen.insert(entry.job)
            });
            let ms = |entry: &Entry| {
                let since = entry.enqueued_us.max(release_us);
                // Below zero when the clock was set back meanwhile.
                (entry.at_us as f64 - since as f64) / 1e3
            };
            Percentiles::of(firsts.map(ms).collect())
        };
        Self { to_start: waits(Step::Began), to_done: waits(Step::Completed) }
    }
}
