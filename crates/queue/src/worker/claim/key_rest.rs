//! The rest of claims by key.
//!
//! Jobs without a key are found by time, from where the last claim ended ([`super::floor`]). Those
//! with one are found by it, and while somebody holds an old snapshot, each claim reads what is
//! dead of all of them: after ten minutes at a thousand a second that takes half a second. Others
//! must not wait for that. So once it takes long, and jobs without a key wait as well, these alone
//! are claimed for as long as the last claim that looked for keys took: half of the time is theirs.

use std::time::{Duration, Instant};

/// A claim that takes no longer keeps nobody waiting.
const QUICK: Duration = Duration::from_millis(50);

/// The time until which no keys are looked for, if others wait.
#[derive(Debug)]
pub(super) struct KeyRest {
    until: Instant,
    others_wait: bool,
}

impl KeyRest {
    pub(super) fn new() -> Self {
        Self { until: Instant::now(), others_wait: false }
    }

    /// The time that is left of it; none when keys are to be looked for.
    pub(super) fn left_at(&self, now: Instant) -> Option<Duration> {
        let left = self.until.saturating_duration_since(now);
        (self.others_wait && !left.is_zero()).then_some(left)
    }

    /// Learns whether a claim by time has found jobs.
    pub(super) fn observe_others(&mut self, found_some: bool) {
        self.others_wait = found_some;
    }

    /// Learns how long a claim took that looked for keys.
    pub(super) fn observe_keys(&mut self, began_at: Instant, now: Instant) {
        let took = now.saturating_duration_since(began_at);
        self.until = if took > QUICK { now + took } else { now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_rest_as_long_as_they_took_while_others_wait() {
        let (mut rest, began_at) = (KeyRest::new(), Instant::now());
        let took = Duration::from_millis(300);
        let now = began_at + took;
        assert_eq!(rest.left_at(now), None);
        rest.observe_keys(began_at, now);
        assert_eq!(rest.left_at(now), None, "nobody else waits");
        rest.observe_others(true);
        assert_eq!(rest.left_at(now), Some(took));
        assert_eq!(rest.left_at(now + took / 3), Some(took - took / 3));
        assert_eq!(rest.left_at(now + took), None, "half of the time is theirs");
        rest.observe_others(false);
        assert_eq!(rest.left_at(now), None);
    }

    #[test]
    fn quick_claims_do_not_rest() {
        let (mut rest, began_at) = (KeyRest::new(), Instant::now());
        rest.observe_others(true);
        rest.observe_keys(began_at, began_at + QUICK);
        assert_eq!(rest.left_at(began_at + QUICK), None);
    }
}
