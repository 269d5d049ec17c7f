//! The results of ticks, one row for each: whoever inserts the row, once for ever, makes the job.

use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::QueueError;
use crate::ids::JobId;

/// The most old ticks that one statement drops.
const PRUNE_LIMIT: i64 = 10_000;

/// A tick and its result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Tick {
    /// The moment at which the clock ticked, or at which the run was asked for.
    #[serde(with = "time::serde::rfc3339")]
    pub tick_at: OffsetDateTime,
    /// Its job, which may be that of a later tick, too. None: the tick was missed.
    pub job_id: Option<JobId>,
    /// The person who asked for the run; none for a tick of the clock.
    pub requested_by: Option<String>,
    /// The moment of the decision.
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
}

/// The tick that a job of a schedule runs for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TickOfJob {
    /// The name of the schedule.
    pub schedule: String,
    /// The tick; the last one, if the job does for several. Of a run that somebody asked for, when
    /// that was.
    #[serde(with = "time::serde::rfc3339")]
    pub tick_at: OffsetDateTime,
    /// The first of the ticks that the job does for; earlier than `tick_at` only by
    /// [`MissedPolicy::Coalesce`](super::policy::MissedPolicy::Coalesce).
    #[serde(with = "time::serde::rfc3339")]
    pub first_tick_at: OffsetDateTime,
    /// Recorded ticks that the job runs for: up to 100.
    pub ticks: i64,
    /// The person who asked for the run; none for ticks of the clock.
    pub requested_by: Option<String>,
}

/// Takes ticks; returns those that nobody had taken.
pub(super) async fn claim(
    conn: &mut PgConnection,
    name: &str,
    ticks: &[OffsetDateTime],
) -> Result<Vec<OffsetDateTime>, QueueError> {
    let taken =
        sqlx::query_file_scalar!("src/sql/claim_ticks.sql", name, ticks).fetch_all(conn).await?;
    Ok(taken)
}

pub(super) async fn link(
    conn: &mut PgConnection,
    name: &str,
    links: &[(OffsetDateTime, JobId)],
) -> Result<(), QueueError> {
    let (ticks, jobs): (Vec<OffsetDateTime>, Vec<i64>) =
        links.iter().map(|(tick, job)| (*tick, job.0)).unzip();
    sqlx::query_file!("src/sql/link_ticks.sql", name, &ticks, &jobs).execute(conn).await?;
    Ok(())
}

/// Forgets missed ticks that have not come yet: the clock had run ahead when they were missed.
pub(super) async fn forget_missed_after(
    conn: &mut PgConnection,
    name: &str,
    now: OffsetDateTime,
) -> Result<(), QueueError> {
    sqlx::query!(
        "delete from queue.schedule_ticks where schedule = $1 and tick_at > $2 and job_id is null",
        name,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn record_requested_run(
    conn: &mut PgConnection,
    name: &str,
    job: JobId,
    by: &str,
) -> Result<(), QueueError> {
    sqlx::query_file!("src/sql/record_requested_run.sql", name, job.0, by).execute(conn).await?;
    Ok(())
}

pub(super) async fn list(
    conn: &mut PgConnection,
    name: &str,
    limit: u32,
) -> Result<Vec<Tick>, QueueError> {
    let limit = i64::from(limit);
    let ticks =
        sqlx::query_file_as!(Tick, "src/sql/list_ticks.sql", name, limit).fetch_all(conn).await?;
    Ok(ticks)
}

pub(super) async fn find(
    conn: &mut PgConnection,
    job: JobId,
) -> Result<Option<TickOfJob>, QueueError> {
    let tick = sqlx::query_file_as!(TickOfJob, "src/sql/find_tick.sql", job.0)
        .fetch_optional(conn)
        .await?;
    Ok(tick)
}

/// Drops ticks that were made more than `keep_days` days ago. Returns how many.
pub(super) async fn prune(pool: &PgPool, keep_days: u16) -> Result<u64, QueueError> {
    let done = sqlx::query!(
        "delete from queue.schedule_ticks
         where (schedule, tick_at) in (
           select schedule, tick_at
           from queue.schedule_ticks
           where made_at < now() - make_interval(days => $1)
             and not exists (select from queue.retention where held_back > 0)
           order by made_at
           limit $2
         )",
        i32::from(keep_days),
        PRUNE_LIMIT,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}
