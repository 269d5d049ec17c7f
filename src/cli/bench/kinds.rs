//! Jobs that do nothing, so that only the queue is measured. Only `app bench` registers them.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use crate::queue::context::{BatchContext, Committed, JobContext};
use crate::queue::job::{BatchJob, Job, JobError};
use crate::queue::registry::Registry;

/// Nothing at all; completed in a commit that jobs of the same moment share.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Noop {
    pub(super) number: u64,
}

impl Job for Noop {
    const KIND: &'static str = "bench_noop";
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        cx.complete_without_effects().await
    }
}

/// Nothing at all, many at once: one database transaction per batch, as a batch handler that writes
/// would have.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct NoopBatch {
    pub(super) number: u64,
}

impl Job for NoopBatch {
    const KIND: &'static str = "bench_noop_batch";
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        let tx = cx.begin().await?;
        cx.complete(tx).await
    }
}

impl BatchJob for NoopBatch {
    async fn run_batch(
        _jobs: Vec<Self>,
        _state: &(),
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        let tx = cx.begin().await?;
        cx.complete(tx).await
    }
}

/// Says when its handler began.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Probe {}

impl Job for Probe {
    const KIND: &'static str = "bench_probe";
    type State = UnboundedSender<Instant>;

    async fn run(
        self,
        began: &UnboundedSender<Instant>,
        cx: JobContext,
    ) -> Result<Committed, JobError> {
        // Nobody listens any more when the benchmark was interrupted.
        let _ = began.send(Instant::now());
        cx.complete_without_effects().await
    }
}

/// The kinds of `drain`.
pub(super) fn noops() -> Registry<()> {
    Registry::new(()).register::<Noop>().register_batch::<NoopBatch>()
}
