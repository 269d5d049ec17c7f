//! This worker's row in the registry of workers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::leases::{LeaseTimes, Leases};
use crate::QueueError;

/// The time between two questions whether the worker is to drain.
const DRAIN_POLL: Duration = Duration::from_millis(500);

/// The time between two removals of rows of workers that are long gone.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

/// The row of a worker of this process.
pub(crate) struct Registration {
    pub(crate) id: Uuid,
    pub(crate) version: String,
    pub(crate) queues: Vec<String>,
    pub(crate) kinds: Vec<String>,
    pub(crate) slots: usize,
    pub(crate) times: LeaseTimes,
    /// The jobs in progress.
    pub(crate) leases: Arc<Leases>,
}

/// The state of the worker's row.
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
pub(crate) struct Registered {
    keeping: JoinHandle<()>,
    ended: DropGuard,
}

impl Registered {
    /// Takes the worker's row away.
    pub(crate) async fn end(self) {
        drop(self.ended);
        let _ended_or_panicked = self.keeping.await;
    }
}

impl Registration {
    /// Registers the worker. Cancels `stop` when it is asked to drain.
    pub(crate) fn start(self, pool: PgPool, stop: CancellationToken) -> Registered {
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
            tracing::debug!(error = %crate::chain(&error), "the worker's row stays behind");
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
                            Ok(Err(error)) => crate::chain(error),
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
