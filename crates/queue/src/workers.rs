//! Which workers there are, and how one is told to end.
//!
//! A worker says every heartbeat that it is there, and takes its row away when it ends. Nothing
//! that it does for jobs depends on that: leases and fences are what keeps jobs safe, and a worker
//! that cannot write here works on. Whoever rolls out a new version reads who is left of the old
//! one, and asks it to *drain*: to claim nothing more, finish its jobs and end.
//!
//! ```
//! # use surety_queue::{QueueError, workers};
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

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::{PgExecutor, PgPool};
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::QueueError;
use super::leases::{LeaseTimes, Leases};

/// How often a worker asks whether it is to drain.
const DRAIN_POLL: Duration = Duration::from_millis(500);

/// How often rows of workers that are long gone are removed.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

/// Whether a worker works.
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
    /// How many jobs it may have in progress.
    pub slots: i32,
    /// How many it had when it was last seen.
    pub running: i32,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// When it last said that it is there.
    #[serde(with = "time::serde::rfc3339")]
    pub last_seen_at: OffsetDateTime,
    /// Whether it works.
    pub state: WorkerState,
    /// When it was asked to drain.
    #[serde(with = "time::serde::rfc3339::option")]
    pub drain_requested_at: Option<OffsetDateTime>,
    /// Who asked.
    pub drain_requested_by: Option<String>,
    /// Why.
    pub drain_reason: Option<String>,
    /// Since when it has claimed nothing more.
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

/// The row of a worker of this process.
pub(super) struct Registration {
    pub(super) id: Uuid,
    pub(super) version: String,
    pub(super) queues: Vec<String>,
    pub(super) kinds: Vec<String>,
    pub(super) slots: usize,
    pub(super) times: LeaseTimes,
    /// What is in progress.
    pub(super) leases: Arc<Leases>,
}

/// What the worker's row says of it.
enum Row {
    Gone,
    Stay,
    Drain { by: String, reason: String },
}

impl Row {
    fn of(drain_requested_by: Option<String>, drain_reason: Option<String>) -> Self {
        match (drain_requested_by, drain_reason) {
            (Some(by), Some(reason)) => Self::Drain { by, reason },
            _ => Self::Stay,
        }
    }
}

/// A worker that is in the registry, until it is ended or dropped.
pub(super) struct Registered {
    keeping: JoinHandle<()>,
    ended: DropGuard,
}

impl Registered {
    /// Takes the worker's row away.
    pub(super) async fn end(self) {
        drop(self.ended);
        let _ended_or_panicked = self.keeping.await;
    }
}

impl Registration {
    /// Registers the worker. Cancels `stop` when it is asked to drain.
    pub(super) fn start(self, pool: PgPool, stop: CancellationToken) -> Registered {
        let ended = CancellationToken::new();
        let keeping = tokio::spawn(self.keep(pool, stop, ended.clone()));
        Registered { keeping, ended: ended.drop_guard() }
    }

    /// Keeps the row until `ended` is cancelled, and then removes it. Cancels `stop` when the
    /// worker is asked to drain; when somebody else cancels it, the worker is shown as draining.
    async fn keep(self, pool: PgPool, stop: CancellationToken, ended: CancellationToken) {
        tokio::select! {
            () = ended.cancelled() => {}
            () = self.keep_for_ever(&pool, &stop) => {}
        }
        // What was just given up may still be under way. The row would then be there for a day, as
        // that of a lost worker, which harms nobody.
        if let Err(error) = self.remove(&pool).await {
            tracing::debug!(error = %super::chain(&error), "the worker's row stays behind");
        }
    }

    async fn keep_for_ever(&self, pool: &PgPool, stop: &CancellationToken) {
        let mut next_heartbeat = Instant::now();
        let mut next_prune = Instant::now();
        let mut shown_as_draining = false;
        let mut has_failed = false;
        loop {
            let draining = stop.is_cancelled();
            let is_due = Instant::now() >= next_heartbeat || draining != shown_as_draining;
            let asking = async {
                if is_due { self.register(pool, draining).await } else { self.look(pool).await }
            };
            // Never longer than until it should be asked again anyway.
            let row = match tokio::time::timeout(self.times.heartbeat, asking).await {
                Ok(Ok(row)) => row,
                failed => {
                    if !has_failed {
                        let error = match &failed {
                            Ok(Err(error)) => super::chain(error),
                            _ => "no answer".to_owned(),
                        };
                        tracing::warn!(error, "the worker cannot say that it is there, trying on");
                    }
                    has_failed = true;
                    tokio::time::sleep(DRAIN_POLL).await;
                    continue;
                }
            };
            if has_failed {
                tracing::info!("the worker can say again that it is there");
                has_failed = false;
            }
            if is_due {
                next_heartbeat = Instant::now() + self.times.heartbeat;
                shown_as_draining = draining;
            }
            match row {
                Row::Drain { by, reason } if !draining => {
                    tracing::info!(by, reason, "asked to drain: no more jobs are claimed");
                    stop.cancel();
                    continue;
                }
                // Pruned, while it was cut off.
                Row::Gone => {
                    next_heartbeat = Instant::now();
                    continue;
                }
                Row::Drain { .. } | Row::Stay => {}
            }
            if Instant::now() >= next_prune {
                next_prune = Instant::now() + PRUNE_INTERVAL;
                self.prune(pool).await;
            }
            tokio::select! {
                () = tokio::time::sleep(DRAIN_POLL) => {}
                () = stop.cancelled(), if !shown_as_draining => {}
            }
        }
    }

    async fn register(&self, pool: &PgPool, draining: bool) -> Result<Row, QueueError> {
        let row = sqlx::query_file!(
            "src/sql/register_worker.sql",
            self.id,
            host_name(),
            std::process::id().cast_signed(),
            self.version,
            &self.queues,
            &self.kinds,
            i32::try_from(self.slots).unwrap_or(i32::MAX),
            self.times.lease.as_secs_f64(),
            i32::try_from(self.leases.count()).unwrap_or(i32::MAX),
            draining,
        )
        .fetch_one(pool)
        .await?;
        Ok(Row::of(row.drain_requested_by, row.drain_reason))
    }

    async fn look(&self, pool: &PgPool) -> Result<Row, QueueError> {
        let row =
            sqlx::query_file!("src/sql/drain_request.sql", self.id).fetch_optional(pool).await?;
        Ok(row.map_or(Row::Gone, |row| Row::of(row.drain_requested_by, row.drain_reason)))
    }

    async fn remove(&self, pool: &PgPool) -> Result<(), QueueError> {
        sqlx::query!("delete from queue.workers where id = $1", self.id).execute(pool).await?;
        Ok(())
    }

    async fn prune(&self, pool: &PgPool) {
        if let Err(error) = sqlx::query_file!("src/sql/prune_workers.sql").execute(pool).await {
            tracing::debug!(%error, "workers that are long gone could not be removed");
        }
    }
}

/// The name of this machine, or `unknown`.
fn host_name() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the buffer is as long as is said, and its last byte stays zero.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) } != 0;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    match (failed, std::str::from_utf8(&name[..end])) {
        (false, Ok(name)) if !name.is_empty() => name.to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::host_name;

    #[test]
    fn this_machine_has_the_name_that_the_system_tells() {
        let told = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(host_name(), told.trim());
    }
}
