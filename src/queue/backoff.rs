//! How long a job waits after a failed attempt: exponential, with full jitter.
//!
//! Full jitter draws the whole delay at random below a ceiling that grows with each attempt. Jobs
//! that failed together, because something they all need is down, so come back spread out instead
//! of as a wave ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

use std::time::Duration;

/// The shape of a kind's waits between attempts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Backoff {
    /// The ceiling after the first attempt.
    pub base: Duration,
    /// By how much the ceiling grows with each further attempt.
    pub factor: u32,
    /// The ceiling never grows beyond this.
    pub max: Duration,
}

impl Backoff {
    /// Ceilings of 2 s, 4 s, 8 s, … up to one hour.
    pub const DEFAULT: Self =
        Self { base: Duration::from_secs(2), factor: 2, max: Duration::from_secs(3600) };

    /// The longest wait after failed attempt number `attempt`, which counts from 1.
    pub fn ceiling(&self, attempt: i16) -> Duration {
        let exponent = u32::from(attempt.max(1).unsigned_abs() - 1);
        let growth = self.factor.checked_pow(exponent).unwrap_or(u32::MAX);
        self.base.checked_mul(growth).map_or(self.max, |ceiling| ceiling.min(self.max))
    }

    /// A wait after failed attempt number `attempt`, drawn evenly between nothing and the ceiling.
    pub fn delay(&self, attempt: i16) -> Duration {
        self.ceiling(attempt).mul_f64(fastrand::f64())
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_never_exceeds_its_ceiling_nor_the_maximum(
            base_ms in 0u64..100_000,
            factor in 1u32..100,
            max_ms in 0u64..100_000_000,
            attempt in i16::MIN..=i16::MAX,
        ) {
            let backoff = Backoff {
                base: Duration::from_millis(base_ms),
                factor,
                max: Duration::from_millis(max_ms),
            };
            prop_assert!(backoff.ceiling(attempt) <= backoff.max);
            prop_assert!(backoff.delay(attempt) <= backoff.ceiling(attempt));
        }

        #[test]
        fn ceilings_never_shrink(attempt in 1i16..1000) {
            let ceiling = |attempt| Backoff::DEFAULT.ceiling(attempt);
            prop_assert!(ceiling(attempt) <= ceiling(attempt + 1));
        }
    }

    #[test]
    fn the_ceilings_double_from_two_seconds_to_an_hour() {
        let seconds = [1, 2, 3, 11, 12, 13].map(|n| Backoff::DEFAULT.ceiling(n).as_secs());
        assert_eq!(seconds, [2, 4, 8, 2048, 3600, 3600]);
    }

    #[test]
    fn delays_spread_over_the_whole_range() {
        let mut quarters = [0; 4];
        for _ in 0..1000 {
            let share = Backoff::DEFAULT.delay(5).as_secs_f64() / 32.0;
            quarters[(share * 4.0) as usize] += 1;
        }
        // Each quarter expects 250; six standard deviations are 82.
        assert!(quarters.iter().all(|&count| count > 160), "{quarters:?}");
    }
}
