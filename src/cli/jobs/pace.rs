//! The pace at which many jobs are changed, and its progress on stderr.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::Instant;

/// The most jobs that one transaction changes: what it locks, others wait for.
const MAX_CHUNK: usize = 100;

/// Jobs per second, as 50, 50/s or 600/m.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Rate(f64);

impl std::str::FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, per_secs) = match text.split_once('/') {
            None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
            Some((number, "m")) => (number, 60.0),
            Some(_) => return Err("a rate is like 50/s or 600/m"),
        };
        match number.parse::<f64>() {
            Ok(number) if number.is_finite() && number > 0.0 => Ok(Self(number / per_secs)),
            _ => Err("a rate is like 50/s or 600/m"),
        }
    }
}

/// The pace of one command.
pub(super) struct Pace {
    rate: Option<Rate>,
    begun: Instant,
    reported_at: Instant,
    done: usize,
}

impl Pace {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        let now = Instant::now();
        Self { rate, begun: now, reported_at: now, done: 0 }
    }

    /// The number of jobs to change next: about those of a fifth of a second.
    pub(super) fn chunk(&self) -> usize {
        self.rate.map_or(MAX_CHUNK, |Rate(per_sec)| {
            // Saturates, and is at least one.
            ((per_sec / 5.0) as usize).clamp(1, MAX_CHUNK)
        })
    }

    /// Counts changed jobs, reports progress on stderr now and then, and waits until the next may
    /// be changed.
    pub(super) async fn keep(&mut self, changed: usize, total: &str, is_last: bool) {
        self.done += changed;
        let is_terminal = std::io::stderr().is_terminal();
        let every = Duration::from_secs(if is_terminal { 1 } else { 10 });
        let was_reported = self.reported_at > self.begun;
        if self.reported_at.elapsed() >= every || (is_last && was_reported) {
            self.reported_at = Instant::now();
            let (begin, end) = match (is_terminal, is_last) {
                (true, false) => ("\r", ""),
                (true, true) => ("\r", "\n"),
                (false, _) => ("", "\n"),
            };
            eprint!("{begin}{} of {total} jobs{end}", self.done);
            // Nobody is left to tell when this fails.
            let _ = std::io::stderr().flush();
        }
        if let Some(Rate(per_sec)) = self.rate.filter(|_| !is_last) {
            let due = Duration::from_secs_f64(self.done as f64 / per_sec);
            tokio::time::sleep_until(self.begun + due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second_or_per_minute() {
        assert_eq!("50".parse(), Ok(Rate(50.0)));
        assert_eq!("50/s".parse(), Ok(Rate(50.0)));
        assert_eq!("600/m".parse(), Ok(Rate(10.0)));
        for wrong in ["", "0", "-1", "x/s", "5/h", "inf"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_slow_pace_takes_small_steps() {
        let chunk = |rate: &str| Pace::new(Some(rate.parse().unwrap())).chunk();
        assert_eq!([chunk("1/m"), chunk("50/s"), chunk("100000/s")], [1, 10, MAX_CHUNK]);
        assert_eq!(Pace::new(None).chunk(), MAX_CHUNK);
    }
}
