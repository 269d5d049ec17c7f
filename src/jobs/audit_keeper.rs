//! The keeper of the audit log: seals what has committed, and exports heads. Runs beside the worker
//! of each process.
//!
//! No schedule and no leader: every process looks every [`SEAL_INTERVAL`], and of those that find
//! something one seals, by the lock of a row. A process that is killed leaves nothing half done,
//! and the next look of any other goes on. A look that finds nothing reads two rows; one that
//! seals takes a transaction for each 5,000 entries. A debug build sealed 7,500 entries a second,
//! on two busy cores.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::audit::export::ExportTarget;
use crate::audit::sealing::{self, MAX_BATCH, Seal};
use crate::audit::{Head, heads};
use crate::queue::commits::commit;

/// The time between two looks: an entry is sealed about so long after its commit.
pub const SEAL_INTERVAL: Duration = Duration::from_secs(2);
/// The time that one look may take; a connection that hangs must not end all sealing.
const PASS_TIMEOUT: Duration = Duration::from_secs(120);

/// The keeper of one process.
#[derive(Clone, Debug)]
pub struct AuditKeeper {
    /// The database.
    pub pool: PgPool,
    /// The place that heads are exported to.
    pub export: ExportTarget,
    /// The time between two exports.
    pub export_interval: Duration,
}

impl AuditKeeper {
    /// Seals and exports until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut exported = Exported { size: 0, next: Instant::now() };
        loop {
            // Not all processes at the same moment.
            let wait = SEAL_INTERVAL.mul_f64(0.75 + fastrand::f64() / 2.0);
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            let look = async {
                while seal(&self.pool).await?.may_go_on() {}
                self.export(&mut exported).await
            };
            match tokio::time::timeout(PASS_TIMEOUT, look).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("the audit log waits to be sealed: {error:#}"),
                Err(_) => tracing::warn!("the audit log waits to be sealed: it takes too long"),
            }
        }
    }

    /// Exports the newest head, if it is time and there is a new one.
    async fn export(&self, exported: &mut Exported) -> anyhow::Result<()> {
        if self.export == ExportTarget::Off || Instant::now() < exported.next {
            return Ok(());
        }
        exported.next = Instant::now() + self.export_interval;
        let newest = heads::newest(&mut *self.pool.acquire().await?).await?;
        let Some(head) = newest.filter(|head| head.size != exported.size) else { return Ok(()) };
        let (target, size) = (self.export.clone(), head.size);
        let export = tokio::task::spawn_blocking(move || target.export(&head));
        match export.await.context("the export panicked")? {
            Ok(_) => exported.size = size,
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::warn!("the head of {size} entries was not exported: {error:#}");
            }
        }
        Ok(())
    }
}

/// The exports of this process so far.
struct Exported {
    /// The size of the last head.
    size: u64,
    /// The time of the next export.
    next: Instant,
}

impl Seal {
    /// Tells if there may be more to seal.
    fn may_go_on(&self) -> bool {
        matches!(self, Self::Sealed { entries, .. } if *entries >= usize::from(MAX_BATCH))
    }
}

/// Seals one batch, if there is something to seal and nobody else does.
///
/// # Errors
///
/// When the database refuses; nothing was sealed then.
pub async fn seal(pool: &PgPool) -> sqlx::Result<Seal> {
    let mut conn = pool.acquire().await?;
    if !sealing::is_due(&mut conn).await? {
        return Ok(Seal::Nothing);
    }
    drop(conn);
    let mut tx = pool.begin().await?;
    let sealed = sealing::seal(&mut tx).await?;
    commit(tx).await?;
    Ok(sealed)
}

/// Seals until nothing is left that has committed, and gives the newest head.
///
/// # Errors
///
/// When the database refuses.
pub async fn seal_all(pool: &PgPool) -> sqlx::Result<Option<Head>> {
    while seal(pool).await?.may_go_on() {}
    heads::newest(&mut *pool.acquire().await?).await
}
