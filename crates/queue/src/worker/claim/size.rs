//! The size of a claim: how many jobs it may bring, and how many bytes of arguments.
//!
//! A claim that brings more than the way to the database carries in its time is cut off, and asked
//! again just the same it would be cut off for ever, and no queue of the worker would go on (G9).
//! So bytes are bounded as well as jobs, and a claim that was not answered in time is followed by
//! one of half the size. Each that is answered makes the next one a little larger again.

/// The most jobs of one claim.
const MAX_JOBS: usize = 500;

/// The most bytes of arguments and checkpoints of one claim, unless a single job has more: half a
/// second at 64 Mbit/s.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The jobs by which a claim grows after one that was answered.
const GROWTH: usize = 8;

/// The size of the next claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ClaimSize {
    jobs: usize,
}

impl ClaimSize {
    pub(super) fn largest() -> Self {
        Self { jobs: MAX_JOBS }
    }

    pub(super) fn jobs(self) -> usize {
        self.jobs
    }

    pub(super) fn bytes(self) -> usize {
        MAX_BYTES / MAX_JOBS * self.jobs
    }

    /// After a claim that was not answered in time.
    pub(super) fn halve(&mut self) {
        self.jobs = (self.jobs / 2).max(1);
    }

    /// After a claim that was answered.
    pub(super) fn grow(&mut self) {
        self.jobs = (self.jobs + GROWTH).min(MAX_JOBS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_shrinks_to_one_job_and_grows_back_to_all() {
        let mut size = ClaimSize::largest();
        let largest = size.bytes();
        for _ in 0..20 {
            size.halve();
        }
        assert_eq!(size.jobs(), 1);
        assert!(size.bytes() > 0 && size.bytes() < largest / 400);
        size.grow();
        assert!(size.jobs() < 10, "slowly, or it would be too large again at once");
        for _ in 0..100 {
            size.grow();
        }
        assert_eq!(size, ClaimSize::largest());
    }
}
