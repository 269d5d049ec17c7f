//! From a claim to runs: each job by itself, or in batches of one kind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio_util::task::TaskTracker;

use super::claim::ClaimedJob;
use super::executor::Executor;
use super::slots::{Slot, Slots};

/// Starts claimed jobs.
pub(crate) struct Dispatcher<S> {
    executor: Arc<Executor<S>>,
    /// Batches that wait to be filled, by kind.
    filling: Arc<Mutex<HashMap<String, Batch>>>,
}

/// Jobs of one kind that run together.
#[derive(Default)]
struct Batch {
    jobs: Vec<ClaimedJob>,
    /// The moment at which the first of them was claimed, or an earlier one.
    since: Option<Instant>,
    slots: Vec<Slot>,
}

impl<S: Clone + Send + Sync + 'static> Dispatcher<S> {
    pub(crate) fn new(executor: Arc<Executor<S>>) -> Self {
        Self { executor, filling: Arc::default() }
    }

    /// Starts jobs that were claimed not earlier than `since`.
    pub(crate) fn dispatch(
        &self,
        jobs: Vec<ClaimedJob>,
        since: Instant,
        slots: &Slots,
        tasks: &TaskTracker,
    ) {
        let mut of_batch_kinds: HashMap<String, Vec<ClaimedJob>> = HashMap::new();
        for job in jobs {
            if self.max_batch(&job.kind).is_some() {
                of_batch_kinds.entry(job.kind.clone()).or_default().push(job);
                continue;
            }
            let executor = Arc::clone(&self.executor);
            let slot = slots.take(1);
            tasks.spawn(async move {
                executor.execute(job, since).await;
                drop(slot);
            });
        }
        for (kind, jobs) in of_batch_kinds {
            self.dispatch_batches(&kind, jobs, since, slots, tasks);
        }
    }

    fn max_batch(&self, kind: &str) -> Option<(usize, Duration)> {
        let traits = self.executor.registry.handler(kind)?.traits();
        // Nobody renews the leases of jobs that wait for their batch.
        Some((traits.max_batch?, traits.max_wait.min(self.executor.leases.longest_wait())))
    }

    fn dispatch_batches(
        &self,
        kind: &str,
        mut jobs: Vec<ClaimedJob>,
        since: Instant,
        slots: &Slots,
        tasks: &TaskTracker,
    ) {
        let Some((max, max_wait)) = self.max_batch(kind) else { return };
        let mut open = lock(&self.filling).remove(kind);
        while !jobs.is_empty() {
            let mut batch = open.take().unwrap_or_default();
            let rest = jobs.split_off(jobs.len().min(max - batch.jobs.len()));
            batch.slots.push(slots.take(jobs.len()));
            batch.since.get_or_insert(since);
            batch.jobs.append(&mut jobs);
            jobs = rest;
            if batch.jobs.len() >= max || max_wait.is_zero() {
                tasks.spawn(run(Arc::clone(&self.executor), batch));
            } else {
                self.fill(kind, batch, max_wait, tasks);
            }
        }
    }

    /// Lets the batch wait for more jobs; it is run when it is full, or when its time is over.
    fn fill(&self, kind: &str, batch: Batch, max_wait: Duration, tasks: &TaskTracker) {
        let begun = batch.since;
        lock(&self.filling).insert(kind.to_owned(), batch);
        let (executor, filling) = (Arc::clone(&self.executor), Arc::clone(&self.filling));
        let kind = kind.to_owned();
        tasks.spawn(async move {
            let waited = begun.map_or(Duration::ZERO, |begun| begun.elapsed());
            tokio::time::sleep(max_wait.saturating_sub(waited)).await;
            let due = {
                let mut filling = lock(&filling);
                // Another batch of the kind has a timer of its own.
                let ours = filling.get(&kind).is_some_and(|batch| batch.since == begun);
                if ours { filling.remove(&kind) } else { None }
            };
            if let Some(batch) = due {
                run(executor, batch).await;
            }
        });
    }
}

async fn run<S: Clone + Send + Sync + 'static>(executor: Arc<Executor<S>>, batch: Batch) {
    let Batch { jobs, since, slots } = batch;
    if let Some(since) = since {
        executor.execute_batch(jobs, since).await;
    }
    drop(slots);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds this lock")
}
