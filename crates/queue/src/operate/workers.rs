//! The registry of workers, and requests to drain one.
//!
//! A worker says every heartbeat that it is there, and takes its row away when it ends. Nothing
//! that it does for jobs depends on that: leases and fences are what keeps jobs safe, and a worker
//! that cannot write here works on. Whoever rolls out a new version reads who is left of the old
//! one, and asks it to *drain*: to claim nothing more, finish its jobs and end.
//!
//! ```
//! # use surety_queue::QueueError;
//! # use surety_queue::operate::workers;
//! # async fn example(pool: &sqlx::PgPool) -> Result<(), QueueError> {
//! for worker in workers::list(pool).await? {
//!     if worker.version != "2.0.0" {
//!         workers::request_drain(pool, &[worker.id], "ada", "2.0.0 takes over").await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Workers that know different kinds can work side by side: each claims jobs of its own kinds only
//! (G9), so a job that only the new version knows waits for the new version.

use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::QueueError;
use crate::ids::JobId;

/// The state of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum WorkerState {
    /// It claims and runs jobs.
    Working,
    /// It was told to end, claims nothing more and finishes what it has.
    Draining,
    /// It was not seen for so long that its leases are over: it is gone, or cut off.
    Lost,
}

/// A worker, as it was last seen.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerInfo {
    /// The number under which it claims jobs.
    pub id: Uuid,
    /// The machine.
    pub host: String,
    /// The process on that machine.
    pub pid: i32,
    /// The version of the program.
    pub version: String,
    /// The queues that it claims from.
    pub queues: Vec<String>,
    /// The kinds that it knows.
    pub kinds: Vec<String>,
    /// The most jobs that it has in progress at once.
    pub slots: i32,
    /// Jobs in progress when it was last seen.
    pub running: i32,
    /// The moment of its start.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// The last moment at which it reported.
    #[serde(with = "time::serde::rfc3339")]
    pub last_seen_at: OffsetDateTime,
    /// Its state.
    pub state: WorkerState,
    /// The moment at which it was asked to drain.
    #[serde(with = "time::serde::rfc3339::option")]
    pub drain_requested_at: Option<OffsetDateTime>,
    /// The person who asked.
    pub drain_requested_by: Option<String>,
    /// The reason that was given.
    pub drain_reason: Option<String>,
    /// The moment since which it has claimed nothing more.
    #[serde(with = "time::serde::rfc3339::option")]
    pub draining_at: Option<OffsetDateTime>,
}

/// Every worker that was seen within the last day, the oldest first.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn list(executor: impl PgExecutor<'_>) -> Result<Vec<WorkerInfo>, QueueError> {
    Ok(sqlx::query_file_as!(WorkerInfo, "src/sql/list_workers.sql").fetch_all(executor).await?)
}

/// A job that a worker has in progress.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RunningJob {
    /// Its number.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// The queue that it is in.
    pub queue: String,
    /// The key that it was enqueued with.
    pub key: Option<String>,
    /// The worker that has it.
    #[serde(skip)]
    pub worker_id: Uuid,
    /// The number of this attempt, from 1.
    pub attempt: i16,
    /// After so many failed attempts it is discarded.
    pub max_attempts: i16,
    /// The moment at which the worker claimed it.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// True once somebody has asked to cancel it.
    pub is_to_be_cancelled: bool,
    /// Progress in percent, if its handler records any.
    pub progress: Option<i16>,
    /// The same in words.
    pub progress_text: Option<String>,
}

/// The jobs that workers have in progress, the longest running first: those of `worker`, or of all.
/// At most `limit`.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn running(
    conn: &mut PgConnection,
    worker: Option<Uuid>,
    limit: u32,
) -> Result<Vec<RunningJob>, QueueError> {
    let jobs = sqlx::query_file_as!(
        RunningJob,
        "src/sql/running_of_workers.sql",
        worker,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    Ok(jobs)
}

/// Asks workers to drain, wherever they run; each sees it within a second. Gives those that were
/// asked: not those that are draining already, and not those that are lost or were never there.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn request_drain(
    executor: impl PgExecutor<'_>,
    ids: &[Uuid],
    by: &str,
    reason: &str,
) -> Result<Vec<Uuid>, QueueError> {
    let asked = sqlx::query_file_scalar!("src/sql/request_drain.sql", ids, by, reason)
        .fetch_all(executor)
        .await?;
    Ok(asked)
}
