//! Counts of a worker's runs.

/// Counts of a worker's runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WorkerSummary {
    /// Jobs completed.
    pub completed: u64,
    /// Attempts that failed, timed-out ones included.
    pub failed: u64,
    /// Jobs discarded: their attempts were used up, or their handler said so.
    pub discarded: u64,
    /// Runs whose job was another worker's in the end.
    pub lease_lost: u64,
    /// Jobs handed back unfinished at shutdown.
    pub handed_back: u64,
}

impl WorkerSummary {
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            completed: self.completed - before.completed,
            failed: self.failed - before.failed,
            discarded: self.discarded - before.discarded,
            lease_lost: self.lease_lost - before.lease_lost,
            handed_back: self.handed_back - before.handed_back,
        }
    }
}
