//! From a claim to runs: each job by itself, or in batches of one kind.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::task::TaskTracker;

use super::batches::Batches;
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
        let mut of_batch_kinds: HashMap<String, Vec<HeldJob>> = HashMap::new();
        for job in jobs {
            let held = self.executor.hold(job, since);
            if self.executor.registry.batch_bounds(&held.job.kind).is_some() {
                of_batch_kinds.entry(held.job.kind.clone()).or_default().push(held);
                continue;
            }
            let executor = Arc::clone(&self.executor);
            let slot = slots.take(1);
            tasks.spawn(async move {
                executor.execute(held).await;
                drop(slot);
            });
        }
        for (kind, jobs) in of_batch_kinds {
            let Some(bounds) = self.executor.registry.batch_bounds(&kind) else { continue };
            self.batches.add(&kind, bounds, jobs, |count| slots.take(count), tasks);
        }
    }
}
