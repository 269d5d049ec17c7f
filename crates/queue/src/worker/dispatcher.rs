//! From a claim to runs: each job by itself, or in batches of one kind.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::task::TaskTracker;

use super::batches::{BatchBounds, Batches};
use super::claim::ClaimedJob;
use super::executor::{Executor, HeldJob};
use super::slots::Slots;

/// Starts claimed jobs.
pub(crate) struct Dispatcher<S> {
    executor: Arc<Executor<S>>,
    batches: Arc<Batches<S>>,
}

impl<S: Clone + Send + Sync + 'static> Dispatcher<S> {
    pub(crate) fn new(executor: Arc<Executor<S>>) -> Self {
        Self { batches: Batches::new(Arc::clone(&executor)), executor }
    }

    /// Starts jobs that were claimed not earlier than `since`.
    pub(crate) fn dispatch(
        &self,
        jobs: Vec<ClaimedJob>,
        since: Instant,
        slots: &Slots,
        tasks: &TaskTracker,
    ) {
        let mut of_batch_kinds: HashMap<String, (BatchBounds, Vec<HeldJob>)> = HashMap::new();
        for job in jobs {
            let bounds = self.executor.registry.batch_bounds(&job.kind);
            let slot = slots.take(&job.queue);
            let held = self.executor.hold(job, slot, since);
            if let Some(bounds) = bounds {
                let of_kind = of_batch_kinds.entry(held.job.kind.clone());
                of_kind.or_insert_with(|| (bounds, Vec::new())).1.push(held);
                continue;
            }
            let executor = Arc::clone(&self.executor);
            tasks.spawn(async move { executor.execute(held).await });
        }
        for (kind, (bounds, jobs)) in of_batch_kinds {
            self.batches.add(&kind, bounds, jobs, tasks);
        }
    }
}
