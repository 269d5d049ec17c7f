//! The wait after a failed attempt: exponential, with jitter.
//!
//! Jitter draws a share of the delay at random below a ceiling that grows with each attempt; full
//! jitter, which is the default, all of it. Jobs that failed together, because something they all
//! need is down, so come back spread out instead of as a wave ("Exponential Backoff And Jitter",
//! AWS Architecture Blog, 2015).
//!
//! ```
//! # use std::time::Duration;
//! # use surety_queue::Backoff;
//! /// 4 s, 16 s, 64 s, give or take a quarter.
//! const BACKOFF: Backoff = Backoff {
//!     base: Duration::from_secs(5),
//!     factor: 4,
//!     max: Duration::from_secs(80),
//!     jitter: 0.4,
//! };
//! ```

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
    /// The share of a wait that is drawn at random, from 0 to 1. With 1, a wait is anything up to
    /// the ceiling; with 0.4, it is between 60 % and 100 % of the ceiling.
    pub jitter: f64,
}

impl Backoff {
    /// Full jitter below ceilings of 2 s, 4 s, 8 s, … up to one hour.
    pub const DEFAULT: Self = Self {
        base: Duration::from_secs(2),
        factor: 2,
        max: Duration::from_secs(3600),
        jitter: 1.0,
    };

    /// The longest wait after failed attempt number `attempt`, which counts from 1.
    pub fn ceiling(&self, attempt: i16) -> Duration {
        let exponent = u32::from(attempt.max(1).unsigned_abs() - 1);
        let growth = self.factor.checked_pow(exponent).unwrap_or(u32::MAX);
        self.base.checked_mul(growth).map_or(self.max, |ceiling| ceiling.min(self.max))
    }

    /// A wait after failed attempt number `attempt`, drawn evenly from its floor to its ceiling.
    pub fn delay(&self, attempt: i16) -> Duration {
        self.ceiling(attempt).mul_f64(1.0 - self.jitter.clamp(0.0, 1.0) * fastrand::f64())
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
            jitter in -1.0f64..2.0,
            attempt in i16::MIN..=i16::MAX,
        ) {
            let backoff = Backoff {
                base: Duration::from_millis(base_ms),
                factor,
                max: Duration::from_millis(max_ms),
                jitter,
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
    fn three_waits_of_about_4_16_and_64_seconds_can_be_asked_for() {
        let backoff = Backoff {
            base: Duration::from_secs(5),
            factor: 4,
            max: Duration::from_secs(80),
            jitter: 0.4,
        };
        for (attempt, about) in [(1, 4.0), (2, 16.0), (3, 64.0)] {
            let waits: Vec<f64> =
                (0..1000).map(|_| backoff.delay(attempt).as_secs_f64() / about).collect();
            assert!(waits.iter().all(|share| (0.75..=1.25).contains(share)), "{waits:?}");
            // Of a thousand, some are near each end.
            assert!(waits.iter().any(|share| *share < 0.8), "{waits:?}");
            assert!(waits.iter().any(|share| *share > 1.2), "{waits:?}");
            let mean = waits.iter().sum::<f64>() / 1000.0;
            // The mean of 1,000 even draws has a standard deviation of 0.0046 around it.
            assert!((0.97..=1.03).contains(&mean), "{mean}");
        }
    }

    #[test]
    fn without_jitter_a_wait_is_its_ceiling() {
        let backoff = Backoff { jitter: 0.0, ..Backoff::DEFAULT };
        assert_eq!(backoff.delay(3), Duration::from_secs(8));
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
