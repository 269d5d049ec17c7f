//! Wakes the worker of a run, for jobs that its handler has enqueued.

use std::sync::Arc;

use tokio::sync::Notify;

use super::engine::Engine;

/// Makes the worker that runs a job look at once for the jobs that its handler has enqueued;
/// without it they are found by the next poll, as they are by other workers.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Notify>);

impl Waker {
    pub(super) fn of(engine: &Engine) -> Self {
        Self(Arc::clone(&engine.wake))
    }

    /// Wakes the worker. Call it after the commit.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}
