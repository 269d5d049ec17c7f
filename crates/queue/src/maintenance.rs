//! What every worker does beside running jobs: take back the jobs of lost workers, make partitions,
//! drop old ones.
//!
//! There is no leader. Each of these is safe when several workers do it at once: the rescue skips
//! rows that another one has locked, and making and dropping partitions is idempotent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::Notify;

use super::groups::{self, Resolver};
use super::{QueueError, store};

/// A job that has taken so many workers down is discarded.
pub const MAX_CRASHES: i16 = 5;

/// The most jobs that one rescue takes back; it is repeated until none is left.
const RESCUE_LIMIT: i64 = 500;

/// The most unique keys that one statement forgets.
const PRUNE_LIMIT: i64 = 5_000;

const PARTITIONS_INTERVAL: Duration = Duration::from_secs(600);

/// Partitions are made so many days ahead, so that a worker can be down for a week and still start.
const PARTITIONS_DAYS_AHEAD: i32 = 7;

/// For how many days finished jobs and attempts are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Completed jobs.
    pub completed_days: u16,
    /// Cancelled jobs.
    pub cancelled_days: u16,
    /// Discarded jobs, with every attempt's error.
    pub discarded_days: u16,
}

impl Default for Retention {
    fn default() -> Self {
        Self { completed_days: 7, cancelled_days: 7, discarded_days: 30 }
    }
}

impl Retention {
    /// Attempts are kept as long as any job that they may belong to.
    pub(super) fn attempts_days(&self) -> u16 {
        self.completed_days.max(self.cancelled_days).max(self.discarded_days)
    }
}

/// Maintains for ever. `wake` is told when rescued jobs wait to be run.
pub(super) async fn maintain(
    pool: PgPool,
    lease: Duration,
    retention: Retention,
    wake: Arc<Notify>,
    resolver: Arc<Resolver>,
) {
    let mut partitions_made = Instant::now();
    loop {
        if partitions_made.elapsed() >= PARTITIONS_INTERVAL {
            make_partitions(&pool, retention).await;
            if let Err(error) = prune_unique_keys(&pool).await {
                tracing::warn!(error = %super::chain(&error), "unique keys could not be pruned");
            }
            partitions_made = Instant::now();
        }
        if let Err(error) = store::cancel_left_over(&pool).await {
            tracing::warn!(error = %super::chain(&error), "jobs could not be cancelled");
        }
        match rescue_all(&pool, &resolver).await {
            Ok(0) => {}
            Ok(_rescued) => wake.notify_one(),
            Err(error) => {
                tracing::warn!(error = %super::chain(&error), "lost jobs could not be rescued");
            }
        }
        // A quarter of the lease, and a random part so that workers that started together spread
        // out: a dead worker's job runs again within lease * 4 / 3, which is 40 s of the 45 s
        // promised (G5). Not more often, because a rescue has no floor to start from: while vacuum
        // is held up, it reads all that was claimed since.
        tokio::time::sleep(lease / 4 + (lease / 12).mul_f64(fastrand::f64())).await;
    }
}

/// Forgets all reservations of unique jobs that refuse nobody any more.
pub(super) async fn prune_unique_keys(pool: &PgPool) -> Result<(), QueueError> {
    while store::prune_unique_keys(pool, PRUNE_LIMIT).await? == PRUNE_LIMIT as u64 {}
    Ok(())
}

/// Takes back all jobs whose lease has run out. Returns how many.
pub(super) async fn rescue_all(pool: &PgPool, resolver: &Resolver) -> Result<usize, QueueError> {
    let mut total = 0;
    loop {
        let rescued = store::rescue(pool, RESCUE_LIMIT, MAX_CRASHES).await?;
        for job in &rescued {
            if job.poison {
                resolver.resolve_soon([job.id]);
                tracing::error!(
                    job_id = job.id.0,
                    "job discarded: it has taken {MAX_CRASHES} workers down"
                );
            } else {
                tracing::warn!(job_id = job.id.0, "job rescued from a lost worker");
            }
        }
        total += rescued.len();
        if (rescued.len() as i64) < RESCUE_LIMIT {
            return Ok(total);
        }
    }
}

/// Makes the partitions of the coming days, and drops those that retention no longer keeps. What
/// fails is tried again by the next call.
pub(super) async fn make_partitions(pool: &PgPool, retention: Retention) {
    let tables = [
        ("queue.finished_jobs_completed", retention.completed_days),
        ("queue.finished_jobs_cancelled", retention.cancelled_days),
        ("queue.finished_jobs_discarded", retention.discarded_days),
        ("queue.attempts", retention.attempts_days()),
    ];
    for (table, keep_days) in tables {
        let made = sqlx::query(
            "select
               queue.ensure_partitions($1::regclass, $2),
               queue.drop_old_partitions($1::regclass, $3)",
        )
        .bind(table)
        .bind(PARTITIONS_DAYS_AHEAD)
        .bind(i32::from(keep_days))
        .execute(pool)
        .await;
        if let Err(error) = made {
            let error = super::chain(&error);
            tracing::warn!(table, error, "partitions could not be maintained");
        }
    }
    if let Err(error) = groups::prune(pool, retention.attempts_days()).await {
        tracing::warn!(error = %super::chain(&error), "old batches could not be dropped");
    }
}
