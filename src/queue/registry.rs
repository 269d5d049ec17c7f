//! Which code runs which kind.
use super::job::{BatchJob, Job};
/// Kinds that a worker knows.
pub struct Registry<S> {
    state: S,
}
impl<S: Clone + Send + Sync + 'static> Registry<S> {
    /// An empty registry.
    pub fn new(state: S) -> Self {
        Self { state }
    }
    /// Adds a kind.
    pub fn register<J: Job<State = S>>(self) -> Self {
        let _ = &self.state;
        self
    }
    /// Adds a kind with a batch handler.
    pub fn register_batch<J: BatchJob<State = S>>(self) -> Self {
        self
    }
}
