//! The worker.
use super::registry::Registry;
use sqlx::PgPool;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
/// Settings.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Jobs in flight at most.
    pub concurrency: usize,
    /// Lease.
    pub lease: Duration,
    /// Heartbeat.
    pub heartbeat: Duration,
    /// Poll interval.
    pub poll: Duration,
    /// Grace at shutdown.
    pub grace: Duration,
    /// Queues to work on.
    pub queues: Vec<String>,
}
/// What a worker did.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerSummary {
    /// Jobs completed.
    pub completed: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Jobs handed back at shutdown.
    pub released: u64,
}
/// A worker.
pub struct Worker<S> {
    _registry: Registry<S>,
}
impl<S: Clone + Send + Sync + 'static> Worker<S> {
    /// A worker.
    pub fn new(_pool: PgPool, registry: Registry<S>, _settings: WorkerSettings) -> Self {
        Self { _registry: registry }
    }
    /// Works until told to stop.
    pub async fn run(self, _shutdown: CancellationToken) -> WorkerSummary {
        todo!()
    }
    /// Works until nothing is due.
    pub async fn run_until_idle(&self) -> WorkerSummary {
        todo!()
    }
}
