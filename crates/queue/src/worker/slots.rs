//! Slots: the bound on a worker's jobs in progress.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A busy worker waits so long for more free slots before it claims for few.
const GATHER_SLOTS: Duration = Duration::from_millis(2);

/// The places for jobs in progress.
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    total: usize,
}

/// Places that are freed when dropped.
pub(crate) type Slot = Option<OwnedSemaphorePermit>;

impl Slots {
    pub(crate) fn new(total: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(total)), total }
    }

    /// Waits until a slot is free, and when only few are, a moment longer for more: a claim costs
    /// nearly the same for one job as for many.
    pub(crate) async fn wait_for_some(&self) -> usize {
        let few = (self.total / 4).max(1);
        if self.free.available_permits() < few {
            let _one = self.free.acquire().await;
            let enough = self.free.acquire_many(few as u32);
            let _enough_or_late = tokio::time::timeout(GATHER_SLOTS, enough).await;
        }
        self.free.available_permits().max(1)
    }

    pub(crate) fn take(&self, count: usize) -> Slot {
        // Only the claim loop takes slots, and it claims no more jobs than were free.
        Arc::clone(&self.free).try_acquire_many_owned(count as u32).ok()
    }
}
