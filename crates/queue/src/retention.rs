//! Retention of finished jobs.

/// For how many days finished jobs and attempts are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Completed jobs.
    pub completed_days: u16,
    /// Cancelled jobs.
    pub cancelled_days: u16,
    /// Discarded jobs, with every attempt's error, counted from their discard. One that nobody has
    /// decided over is kept for longer: until somebody does.
    pub discarded_days: u16,
}

impl Default for Retention {
    fn default() -> Self {
        Self { completed_days: 7, cancelled_days: 7, discarded_days: 30 }
    }
}

impl Retention {
    /// Attempts are kept as long as any job that they may belong to.
    pub(crate) fn attempts_days(&self) -> u16 {
        self.completed_days.max(self.cancelled_days).max(self.discarded_days)
    }
}
