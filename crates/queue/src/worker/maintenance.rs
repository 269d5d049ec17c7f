//! The maintenance that every worker does beside running jobs: take back the jobs of lost workers,
//! make partitions, drop old ones.
//!
//! There is no leader. Each of these is safe when several workers do it at once: the rescue skips
//! rows that another one has locked, and making and dropping partitions is idempotent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::Notify;

use crate::QueueError;
use crate::activity::counting::Ended;
use crate::activity::{self, Activity, Outcome};
use crate::deadline::within_long;
use crate::groups::{self, Resolver};
use crate::ids::JobId;
use crate::retention::Retention;

/// A job that has taken so many workers down is discarded.
pub const MAX_CRASHES: i16 = 5;

/// The most jobs that one rescue takes back; it is repeated until none is left.
const RESCUE_LIMIT: i64 = 500;

/// The most unique keys that one statement forgets.
const PRUNE_LIMIT: i64 = 5_000;

const PARTITIONS_INTERVAL: Duration = Duration::from_secs(600);

/// Partitions are made so many days ahead, so that a worker can be down for a week and still start.
const PARTITIONS_DAYS_AHEAD: i32 = 7;

/// Maintains for ever. `wake` is told when rescued jobs wait to be run.
pub(crate) async fn maintain(
    pool: PgPool,
    lease: Duration,
    retention: Retention,
    wake: Arc<Notify>,
    resolver: Arc<Resolver>,
    activity: Arc<Activity>,
) {
    let mut partitions_made = Instant::now();
    loop {
        if partitions_made.elapsed() >= PARTITIONS_INTERVAL {
            make_partitions(&pool, retention).await;
            if let Err(error) = prune_unique_keys(&pool).await {
                tracing::warn!(error = %crate::chain(&error), "unique keys could not be pruned");
            }
            if let Err(error) = within_long(activity::prune(&pool)).await {
                tracing::warn!(error = %crate::chain(&error), "old activity could not be dropped");
            }
            partitions_made = Instant::now();
        }
        if let Err(error) = within_long(cancel_left_over(&pool)).await {
            tracing::warn!(error = %crate::chain(&error), "jobs could not be cancelled");
        }
        match rescue_all(&pool, &resolver, &activity).await {
            Ok(0) => {}
            Ok(_rescued) => wake.notify_one(),
            Err(error) => {
                tracing::warn!(error = %crate::chain(&error), "lost jobs could not be rescued");
            }
        }
        // A quarter of the lease, and a random part so that workers that started together spread
        // out: a dead worker's job runs again within lease * 4 / 3, which is 40 s of the 45 s
        // promised (G5). Not more often, because a rescue has no floor to start from: while vacuum
        // is held up, it reads all that was claimed since.
        tokio::time::sleep(lease / 4 + (lease / 12).mul_f64(fastrand::f64())).await;
    }
}

/// Makes sure that the role of these connections may make and drop the partitions of the history.
///
/// # Errors
///
/// [`QueueError::Rights`], [`QueueError::Database`].
pub(crate) async fn require_rights(pool: &PgPool) -> Result<(), QueueError> {
    let rights = sqlx::query!(
        r#"
        select
          current_user::text as "role!",
          string_agg(distinct pg_get_userbyid(relowner), ', ')
            filter (where not pg_has_role(relowner, 'usage')) as owners,
          not has_schema_privilege('queue', 'create') as "may_not_create!"
        from pg_class
        where relnamespace = 'queue'::regnamespace and relkind = 'p'
        "#
    )
    .fetch_one(pool)
    .await?;
    match rights.owners {
        Some(owner) => Err(QueueError::Rights { role: rights.role, owner }),
        None if rights.may_not_create => {
            Err(QueueError::Rights { role: rights.role, owner: "the schema's owner".to_owned() })
        }
        None => Ok(()),
    }
}

/// Forgets all reservations of unique jobs that refuse nobody any more.
pub(crate) async fn prune_unique_keys(pool: &PgPool) -> Result<(), QueueError> {
    while within_long(prune_some_unique_keys(pool, PRUNE_LIMIT)).await? == PRUNE_LIMIT as u64 {}
    Ok(())
}

/// Takes back all jobs whose lease has run out. Returns how many.
pub(crate) async fn rescue_all(
    pool: &PgPool,
    resolver: &Resolver,
    activity: &Activity,
) -> Result<usize, QueueError> {
    let mut total = 0;
    loop {
        let rescued = within_long(rescue(pool, RESCUE_LIMIT, MAX_CRASHES)).await?;
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
        if let Err(error) = within_long(count_lost(pool, &rescued, activity)).await {
            tracing::debug!(error = %crate::chain(&error), "lost attempts are not counted");
        }
        total += rescued.len();
        if (rescued.len() as i64) < RESCUE_LIMIT {
            return Ok(total);
        }
    }
}

/// Counts the attempts of lost workers, who could not do so themselves.
async fn count_lost(
    pool: &PgPool,
    rescued: &[Rescued],
    activity: &Activity,
) -> Result<(), QueueError> {
    if rescued.is_empty() {
        return Ok(());
    }
    activity.engine().rescued.add(rescued.len());
    let ids: Vec<i64> = rescued.iter().map(|job| job.id.0).collect();
    let named = sqlx::query_file!("src/sql/names_of_jobs.sql", &ids).fetch_all(pool).await?;
    for job in named {
        let is_poison = rescued.iter().any(|rescued| rescued.id.0 == job.id && rescued.poison);
        let outcome = if is_poison { Outcome::Discarded } else { Outcome::Lost };
        let (queue, kind) = (&*job.queue, &*job.kind);
        activity.count(&Ended { queue, kind, outcome, at: job.now, times: None });
    }
    Ok(())
}

/// Makes the partitions of the coming days, and drops those that retention no longer keeps: never a
/// discarded job that nobody has decided over, and never many days because a clock says so for the
/// first time. What fails is tried again by the next call.
pub(crate) async fn make_partitions(pool: &PgPool, retention: Retention) {
    let tables = [
        ("queue.finished_jobs_completed", retention.completed_days),
        ("queue.finished_jobs_cancelled", retention.cancelled_days),
        ("queue.finished_jobs_discarded", retention.discarded_days),
        ("queue.attempts", retention.attempts_days()),
    ];
    for (table, keep_days) in tables {
        match within_long(keep_days_of(pool, table, keep_days)).await {
            Ok(0) => {}
            Ok(days) => {
                tracing::error!(
                    table,
                    days,
                    "{days} days of {table} are too old by the database's clock: too many to be \
                     dropped at once. Is the clock right? If so, they are dropped after three days"
                );
            }
            Err(error) => {
                let error = crate::chain(&error);
                tracing::warn!(table, error, "partitions could not be maintained");
            }
        }
    }
    if let Err(error) = within_long(groups::prune(pool, retention.attempts_days())).await {
        tracing::warn!(error = %crate::chain(&error), "old batches could not be dropped");
    }
}

/// Makes and drops the partitions of one table. Returns how many days were not dropped although
/// they are too old, because they are too many at once.
async fn keep_days_of(pool: &PgPool, table: &str, keep_days: u16) -> Result<i32, QueueError> {
    sqlx::query(
        "select
           queue.ensure_partitions($1::regclass, $2),
           queue.drop_old_partitions($1::regclass, $3)",
    )
    .bind(table)
    .bind(PARTITIONS_DAYS_AHEAD)
    .bind(i32::from(keep_days))
    .execute(pool)
    .await?;
    let held_back =
        sqlx::query_scalar!("select held_back from queue.retention where history = $1", table)
            .fetch_optional(pool)
            .await?;
    Ok(held_back.unwrap_or(0))
}

/// Forgets reservations of unique jobs that refuse nobody any more; at most `limit`.
async fn prune_some_unique_keys(pool: &PgPool, limit: i64) -> Result<u64, QueueError> {
    let pruned = sqlx::query_file!("src/sql/prune_unique_keys.sql", limit).execute(pool).await?;
    Ok(pruned.rows_affected())
}

/// Cancels waiting jobs whose worker ended before it could see that they were to be cancelled.
async fn cancel_left_over(pool: &PgPool) -> Result<(), QueueError> {
    sqlx::query_file!("src/sql/cancel_left_over.sql").fetch_all(pool).await?;
    Ok(())
}

/// A job whose worker was lost.
#[derive(Clone, Copy, Debug)]
struct Rescued {
    id: JobId,
    /// It has taken too many workers down, and was discarded instead of being run again.
    poison: bool,
}

async fn rescue(pool: &PgPool, limit: i64, max_crashes: i16) -> Result<Vec<Rescued>, QueueError> {
    let rows = sqlx::query!(
        r#"select id as "id!", poison as "poison!" from queue.rescue($1, $2)"#,
        limit,
        i32::from(max_crashes)
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| Rescued { id: JobId(row.id), poison: row.poison }).collect())
}
