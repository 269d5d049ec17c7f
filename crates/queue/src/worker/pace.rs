//! The pace at which a worker claims when it is woken again and again.
//!
//! All workers are woken with every job, and one of them gets it. Where jobs come all the time and
//! there are many workers, they would do little but claim, each time a few jobs or none, and keep
//! the database from its work. So a worker whose claims do not fill up claims for a part of its
//! time at most, and for less with each claim in vain: what comes meanwhile is claimed together,
//! and a few workers do all there is for as long as they can.
//!
//! A worker that was idle has saved up enough to follow every waking for a while.

use std::time::{Duration, Instant};

/// The part of its time that a worker may claim for.
const PART: f64 = 0.25;

/// The most time for claims that is saved up, in seconds.
const SAVED: f64 = 0.010;

/// Claims in vain count double, four times, and so on, up to so many doublings.
const DOUBLINGS: u32 = 5;

/// The longest pause.
const MAX_LULL: Duration = Duration::from_millis(50);

/// The result of a claim, as far as the pace depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    Nothing,
    Jobs,
    /// The next one of a key waits for the one before: nobody else claims it meanwhile, and a pause
    /// would delay all that are behind it.
    JobsOfKeys,
}

/// The time for claims that a worker has left.
#[derive(Debug)]
pub(super) struct Pace {
    /// Seconds; less than nothing when it has claimed for too long.
    left: f64,
    at: Instant,
    in_vain: u32,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { left: SAVED, at: Instant::now(), in_vain: 0 }
    }

    /// The pause after a claim that ends now.
    pub(super) fn lull_after(&mut self, began_at: Instant, found: Found) -> Duration {
        self.lull_at(Instant::now(), began_at, found)
    }

    fn lull_at(&mut self, now: Instant, began_at: Instant, found: Found) -> Duration {
        let left = (self.left + PART * (now - self.at).as_secs_f64()).min(SAVED);
        let was_idle = left >= SAVED;
        self.in_vain = match found {
            Found::Nothing if was_idle => 1,
            Found::Nothing => self.in_vain.saturating_add(1),
            Found::Jobs | Found::JobsOfKeys => 0,
        };
        let spent = match found {
            Found::JobsOfKeys => 0.0,
            Found::Nothing | Found::Jobs => {
                let times = 1 << self.in_vain.min(DOUBLINGS);
                (now - began_at).as_secs_f64() * f64::from(times)
            }
        };
        let least = -PART * MAX_LULL.as_secs_f64();
        self.left = (left - spent).max(least);
        self.at = now;
        Duration::from_secs_f64((-self.left / PART).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Duration = Duration::from_millis(1);

    /// The pauses after so many claims, each of which begins when the pause before it is over.
    fn lulls(pace: &mut Pace, claims: usize, found: Found) -> Vec<Duration> {
        let mut now = pace.at;
        let mut lulls = Vec::new();
        for _ in 0..claims {
            let began_at = now;
            now += CLAIM;
            let lull = pace.lull_at(now, began_at, found);
            now += lull;
            lulls.push(lull);
        }
        lulls
    }

    #[test]
    fn the_first_wakings_are_followed_and_then_a_part_of_the_time_is_spent_with_claims() {
        let mut pace = Pace::new();
        let lulls = lulls(&mut pace, 1000, Found::Jobs);
        assert!(lulls[..10].iter().all(Duration::is_zero), "{:?}", &lulls[..10]);
        let rest: Duration = lulls[500..].iter().sum();
        let part = 500.0 * CLAIM.as_secs_f64() / (500.0 * CLAIM.as_secs_f64() + rest.as_secs_f64());
        assert!((part - PART).abs() < 0.01, "{part}");
    }

    #[test]
    fn claims_in_vain_become_rare_and_one_that_finds_something_ends_that() {
        let mut pace = Pace::new();
        let in_vain = lulls(&mut pace, 50, Found::Nothing);
        assert_eq!(in_vain.last(), Some(&MAX_LULL));
        let found = lulls(&mut pace, 3, Found::Jobs);
        assert!(found[2] < CLAIM.mul_f64(1.1 / PART), "{found:?}");
    }

    #[test]
    fn a_worker_that_was_idle_follows_the_next_waking() {
        let mut pace = Pace::new();
        lulls(&mut pace, 50, Found::Nothing);
        let later = pace.at + Duration::from_secs(1);
        assert_eq!(pace.lull_at(later, later - CLAIM, Found::Nothing), Duration::ZERO);
    }

    #[test]
    fn jobs_with_keys_are_claimed_without_a_pause() {
        let mut pace = Pace::new();
        assert!(lulls(&mut pace, 100, Found::JobsOfKeys).iter().all(Duration::is_zero));
    }
}
