//! Batches that wait for their turn.
//!
//! Of each kind only so many run at once in a worker. What is claimed meanwhile fills those that
//! wait: were each claim a batch of its own, a worker that is woken with every job would run as
//! many small ones as it has slots, which wait for the same connections and for each other's rows,
//! and could not grow any more when they come to run.
//!
//! What is left to do when a batch has ended takes nobody's turn: jobs of one that failed, which
//! run by themselves, may have to wait long for what it failed of.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio_util::task::TaskTracker;

use super::executor::{Executor, HeldJob};
use crate::handler::Seats;

/// The bounds of the batches of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchBounds {
    /// The most jobs of a batch.
    pub(crate) jobs: usize,
    /// The longest that a batch waits to be filled.
    pub(crate) wait: Duration,
    /// The most batches of the kind that a worker runs at once.
    pub(crate) at_once: usize,
    /// Those of all workers.
    pub(crate) seats: Option<Seats>,
}

/// The batches of a worker.
pub(crate) struct Batches<S> {
    executor: Arc<Executor<S>>,
    of_kinds: Mutex<HashMap<String, OfKind>>,
}

/// The batches of one kind.
struct OfKind {
    bounds: BatchBounds,
    /// Tasks that run a batch, or wait for their turn to run one.
    running: usize,
    /// Those of them that wait.
    expecting: usize,
    /// All full but the last one.
    waiting: VecDeque<Batch>,
}

/// Jobs of one kind that run together.
struct Batch {
    jobs: Vec<HeldJob>,
    /// Need not be filled after this moment.
    due: Instant,
}

impl OfKind {
    fn new(bounds: BatchBounds) -> Self {
        Self { bounds, running: 0, expecting: 0, waiting: VecDeque::new() }
    }

    /// Tells if one more batch may run now that no task expects.
    fn may_run_more(&self) -> bool {
        let is_due = |it: &Batch| it.jobs.len() >= self.bounds.jobs || it.due <= Instant::now();
        self.running < self.bounds.at_once && self.waiting.get(self.expecting).is_some_and(is_due)
    }
}

impl<S: Clone + Send + Sync + 'static> Batches<S> {
    pub(crate) fn new(executor: Arc<Executor<S>>) -> Arc<Self> {
        Arc::new(Self { executor, of_kinds: Mutex::default() })
    }

    /// Adds jobs of one kind, and runs what may run.
    pub(crate) fn add(
        self: &Arc<Self>,
        kind: &str,
        bounds: BatchBounds,
        mut jobs: Vec<HeldJob>,
        tasks: &TaskTracker,
    ) {
        let due = Instant::now() + bounds.wait;
        let mut of_kinds = self.lock();
        let OfKind { waiting, .. } =
            of_kinds.entry(kind.to_owned()).or_insert_with(|| OfKind::new(bounds));
        while !jobs.is_empty() {
            let last = match waiting.pop_back_if(|last| last.jobs.len() < bounds.jobs) {
                Some(last) => last,
                None => Batch { jobs: Vec::new(), due },
            };
            waiting.push_back(last.with(&mut jobs, bounds.jobs));
        }
        let is_filling = waiting.back().is_some_and(|last| last.jobs.len() < bounds.jobs);
        drop(of_kinds);
        self.start(kind, tasks);
        if is_filling && !bounds.wait.is_zero() {
            let (this, kind, in_it) = (Arc::clone(self), kind.to_owned(), tasks.clone());
            tasks.spawn(async move {
                tokio::time::sleep_until(due.into()).await;
                this.start(&kind, &in_it);
            });
        }
    }

    /// Runs as many batches as may run now.
    fn start(self: &Arc<Self>, kind: &str, tasks: &TaskTracker) {
        let mut of_kinds = self.lock();
        let Some(of_kind) = of_kinds.get_mut(kind) else { return };
        while of_kind.may_run_more() {
            of_kind.running += 1;
            of_kind.expecting += 1;
            let (batches, in_it) = (Arc::clone(self), tasks.clone());
            let (kind, seats) = (kind.to_owned(), of_kind.bounds.seats);
            let place = Place { batches, kind, tasks: in_it, is_expecting: true };
            tasks.spawn(place.run(seats));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, OfKind>> {
        self.of_kinds.lock().expect("no code panics while it holds this lock")
    }
}

impl Batch {
    /// The batch with as many of these jobs as it has room for.
    fn with(mut self, jobs: &mut Vec<HeldJob>, most: usize) -> Self {
        let taken = jobs.len().min(most - self.jobs.len());
        self.jobs.extend(jobs.drain(..taken));
        self
    }
}

/// The place of a batch that runs. The next one starts when it is dropped, however the run ended.
struct Place<S: Clone + Send + Sync + 'static> {
    batches: Arc<Batches<S>>,
    kind: String,
    tasks: TaskTracker,
    /// It has not taken its batch yet.
    is_expecting: bool,
}

impl<S: Clone + Send + Sync + 'static> Place<S> {
    /// Waits for a turn, and runs what is the first batch then.
    async fn run(mut self, seats: Option<Seats>) {
        let executor = Arc::clone(&self.batches.executor);
        let turn = executor.wait_for_turn(seats).await;
        if let Some(Batch { jobs, .. }) = self.take_batch() {
            executor.execute_batch(jobs, turn, self).await;
        }
    }

    fn take_batch(&mut self) -> Option<Batch> {
        let mut of_kinds = self.batches.lock();
        let of_kind = of_kinds.get_mut(&self.kind)?;
        of_kind.expecting -= usize::from(std::mem::take(&mut self.is_expecting));
        of_kind.waiting.pop_front()
    }
}

impl<S: Clone + Send + Sync + 'static> Drop for Place<S> {
    fn drop(&mut self) {
        if let Some(of_kind) = self.batches.lock().get_mut(&self.kind) {
            of_kind.running -= 1;
            of_kind.expecting -= usize::from(self.is_expecting);
        }
        self.batches.start(&self.kind, &self.tasks);
    }
}
