//! Counters of the server during a measurement: write-ahead log, commits, buffers that claims read,
//! dead rows.
//!
//! **Buffers per claimed job** are the pages that claim statements looked at, in the cache or not,
//! over the jobs that they gave a fence to; empty claims of idle workers count, too.
//! `pg_stat_statements` counts them, which the private cluster loads if its packages have it.
//! Elsewhere they are all pages of `queue.jobs` and its indexes that any statement looked at
//! (`pg_statio_user_tables`): enqueues, completions and heartbeats included, and so an upper bound.
//!
//! What the bench itself asks is taken off the commits again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::scratch::{Database, Server};
use surety::db;

/// The time between two readings of the counters.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// A session tells what it did at the latest when it ends; so long for that.
const SESSIONS_END: Duration = Duration::from_secs(5);

/// The statements whose buffers are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BuffersOf {
    /// The claim statement alone.
    Claims,
    /// Every statement on `queue.jobs`.
    AllOnJobs,
}

impl BuffersOf {
    fn expression(self) -> String {
        match self {
            Self::Claims => {
                format!("select sum(shared_blks_hit + shared_blks_read)::bigint {FROM_CLAIMS}")
            }
            Self::AllOnJobs => {
                "select (heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read)::bigint
                 from pg_statio_user_tables
                 where relid = 'queue.jobs'::regclass"
                    .to_owned()
            }
        }
    }
}

/// Statistics of the claim statement in `pg_stat_statements`. The texts of all statements are a
/// file, and to read that for each look would cost a busy server more than the work that is
/// measured: it is read until the statement is found, and the session remembers its number.
const FROM_CLAIMS: &str = "
    from pg_stat_statements(false)
    where dbid = (select oid from pg_database where datname = current_database())
      and toplevel
      and queryid = any (string_to_array(
        (select coalesce(
          nullif(current_setting('surety_bench.claims', true), ''),
          set_config('surety_bench.claims', (
            select string_agg(queryid::text, ',')
            from pg_stat_statements
            where dbid = (select oid from pg_database where datname = current_database())
              and query like '%from queue.claim%'
          ), false)
        )),
        ','
      )::bigint[])";

/// One look at the counters.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
struct Sample {
    /// The last fence that was given: as many claims were made.
    fence: i64,
    buffers: i64,
    dead_rows: i64,
    wal_bytes: i64,
    commits: i64,
}

/// Claims since the database was made.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(crate) struct ClaimTimes {
    pub(crate) calls: i64,
    pub(crate) total_ms: f64,
}

/// The counters of one measurement.
pub(crate) struct Gauges {
    pool: PgPool,
    buffers_of: BuffersOf,
    own_commits: Arc<AtomicI64>,
    before: Sample,
    sampler: JoinHandle<Vec<Sample>>,
    _sampling: DropGuard,
    stop: CancellationToken,
}

/// The counters over one measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) wal_bytes: f64,
    /// None when a restart of the server has wiped them out.
    pub(crate) commits: Option<f64>,
    /// None when a restart of the server has wiped them out, or nothing was claimed.
    pub(crate) buffers: Option<BuffersPerClaim>,
    pub(crate) buffers_of: BuffersOf,
    pub(crate) max_dead_rows: f64,
}

/// Buffers per claimed job.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct BuffersPerClaim {
    pub(crate) all: f64,
    /// Over the first tenth of the claimed jobs.
    pub(crate) first_tenth: f64,
    pub(crate) last_tenth: f64,
}

impl Gauges {
    /// Begins to count.
    pub(crate) async fn start(server: &Server, database: &Database<'_>) -> anyhow::Result<Self> {
        let pool = db::connect(&database.url, 1, "surety-bench-gauges").await?;
        let buffers_of = match server.counts_statements() {
            true => BuffersOf::Claims,
            false => BuffersOf::AllOnJobs,
        };
        // What filled the database has ended, but its sessions may not have told yet.
        wait_until_alone(&pool).await?;
        let before = sample_of_all(&pool, buffers_of).await?;
        let own_commits = Arc::new(AtomicI64::new(1));
        let stop = CancellationToken::new();
        let sampler = tokio::spawn(sample_until(
            stop.clone(),
            pool.clone(),
            buffers_of,
            Arc::clone(&own_commits),
        ));
        Ok(Self {
            pool,
            buffers_of,
            own_commits,
            before,
            sampler,
            _sampling: stop.clone().drop_guard(),
            stop,
        })
    }

    /// The connection of the gauges, for one statement that is not to count.
    pub(crate) fn look(&self) -> &PgPool {
        self.own_commits.fetch_add(1, Ordering::Relaxed);
        &self.pool
    }

    /// The last fence that was given before: each claim of a job gives the next.
    pub(crate) fn fence_before(&self) -> i64 {
        self.before.fence
    }

    /// The time that claims took so far; none where nobody counts that.
    pub(crate) async fn claim_times(&self) -> anyhow::Result<Option<ClaimTimes>> {
        if self.buffers_of != BuffersOf::Claims {
            return Ok(None);
        }
        let statement = format!(
            "select coalesce(sum(calls), 0)::bigint as calls,
                    coalesce(sum(total_exec_time), 0)::float8 as total_ms
             {FROM_CLAIMS}"
        );
        let times = sqlx::query_as(AssertSqlSafe(statement.as_str()));
        Ok(Some(times.fetch_one(self.look()).await?))
    }

    /// The counts since the start, once everybody else has left the database. `foreign` commits are
    /// taken off, and counts that a `restarted` server has forgotten are left out.
    pub(crate) async fn end(self, foreign: i64, restarted: bool) -> anyhow::Result<Counted> {
        let looks = wait_until_alone(&self.pool).await?;
        self.stop.cancel();
        let mut samples = self.sampler.await?;
        let after = sample_of_all(&self.pool, self.buffers_of).await?;
        samples.insert(0, self.before);
        samples.push(after);
        self.pool.close().await;
        // The last of them is that which had all be told.
        let own = self.own_commits.load(Ordering::Relaxed) + looks + 1;
        let commits = after.commits - self.before.commits - own - foreign;
        let max_dead_rows = samples.iter().map(|sample| sample.dead_rows).max();
        Ok(Counted {
            wal_bytes: (after.wal_bytes - self.before.wal_bytes) as f64,
            commits: (!restarted).then_some(commits.max(0) as f64),
            buffers: if restarted { None } else { buffers_per_claim(&samples) },
            buffers_of: self.buffers_of,
            max_dead_rows: max_dead_rows.unwrap_or_default() as f64,
        })
    }
}

async fn sample_until(
    stop: CancellationToken,
    pool: PgPool,
    buffers_of: BuffersOf,
    own_commits: Arc<AtomicI64>,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    while stop.run_until_cancelled(sleep(SAMPLE_INTERVAL)).await.is_some() {
        // The server may just be restarted; there is a next time.
        if let Ok(sample) = sample(&pool, buffers_of).await {
            samples.push(sample);
            own_commits.fetch_add(1, Ordering::Relaxed);
        }
    }
    samples
}

/// A look that misses nothing that this session did itself: sessions tell once a second.
async fn sample_of_all(pool: &PgPool, buffers_of: BuffersOf) -> anyhow::Result<Sample> {
    sqlx::query("select pg_stat_force_next_flush()").execute(pool).await?;
    sample(pool, buffers_of).await
}

async fn sample(pool: &PgPool, buffers_of: BuffersOf) -> anyhow::Result<Sample> {
    let statement = format!(
        "select (select case when is_called then last_value else 0 end from queue.fence) as fence,
                coalesce(({}), 0) as buffers,
                pg_stat_get_dead_tuples('queue.jobs'::regclass) as dead_rows,
                (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint as wal_bytes,
                (select xact_commit from pg_stat_database where datname = current_database())
                  as commits",
        buffers_of.expression()
    );
    let sample = sqlx::query_as(AssertSqlSafe(statement.as_str())).fetch_one(pool).await;
    sample.context("the server's counters cannot be read")
}

/// Waits until nobody else is connected to the database, so that all have told what they did. Gives
/// how many statements that took.
/// Waits until nobody else is connected, or for as long as sessions take to end. Gives how often it
/// looked.
pub(crate) async fn wait_until_alone(pool: &PgPool) -> anyhow::Result<i64> {
    let mut looks = 0;
    let deadline = Instant::now() + SESSIONS_END;
    loop {
        let others: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database()
               and pid <> pg_backend_pid()
               and backend_type = 'client backend'",
        )
        .fetch_one(pool)
        .await?;
        looks += 1;
        if others == 0 || Instant::now() > deadline {
            return Ok(looks);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn buffers_per_claim(samples: &[Sample]) -> Option<BuffersPerClaim> {
    let (first, last) = (samples.first()?, samples.last()?);
    let claimed = (last.fence - first.fence) as f64;
    if claimed <= 0.0 {
        return None;
    }
    let at = |share: f64| buffers_at(samples, first.fence as f64 + claimed * share);
    let tenth = claimed / 10.0;
    Some(BuffersPerClaim {
        all: (last.buffers - first.buffers) as f64 / claimed,
        first_tenth: (at(0.1) - at(0.0)) / tenth,
        last_tenth: (at(1.0) - at(0.9)) / tenth,
    })
}

/// The buffers when so many fences had been given, on a straight line between two samples.
fn buffers_at(samples: &[Sample], fence: f64) -> f64 {
    let next = samples.partition_point(|sample| (sample.fence as f64) < fence);
    let Some(after) = samples.get(next) else {
        return samples.last().map_or(0.0, |last| last.buffers as f64);
    };
    let Some(before) = next.checked_sub(1).and_then(|previous| samples.get(previous)) else {
        return after.buffers as f64;
    };
    let share = (fence - before.fence as f64) / (after.fence - before.fence) as f64;
    before.buffers as f64 + share * (after.buffers - before.buffers) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_are_of_claimed_jobs_and_not_of_time() {
        let sample =
            |(fence, buffers)| Sample { fence, buffers, dead_rows: 0, wal_bytes: 0, commits: 0 };
        // 2 buffers a job until 50 of 100 jobs are claimed, 10 from then on; a pause at the end.
        let samples = [(0, 0), (50, 100), (100, 600), (100, 600)].map(sample);
        let expected = BuffersPerClaim { all: 6.0, first_tenth: 2.0, last_tenth: 10.0 };
        assert_eq!(buffers_per_claim(&samples), Some(expected));
        assert_eq!(buffers_per_claim(&samples[2..]), None);
    }
}
