//! The course of a long run: how much was done when, and whether sizes rise.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// The time between two looks at what is done, which bounds how well a pause is known.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// The part of the time from the start on in which everything warms up.
const WARMING_UP: f64 = 0.1;

/// A look at what has been done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) at: Instant,
    pub(crate) answered: u64,
    pub(crate) delivered: u64,
}

/// A size over time, in MB.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Trend {
    first: f64,
    last: f64,
    most: f64,
    /// The slope of the straight line that fits best, per hour.
    per_hour: f64,
}

impl Trend {
    /// The trend of these sizes in bytes once everything is warm; none of fewer than two.
    pub(crate) fn of(sizes: &[(Instant, f64)]) -> Option<Self> {
        let cold = (sizes.len() as f64 * WARMING_UP).ceil() as usize;
        let sizes = sizes.get(cold..)?;
        let (begun, first) = *sizes.first()?;
        let (_, last) = *sizes.last()?;
        let point =
            |(at, bytes): &(Instant, f64)| ((*at - begun).as_secs_f64() / 3600.0, bytes / 1e6);
        let points: Vec<(f64, f64)> = sizes.iter().map(point).collect();
        let most = points.iter().map(|(_, size)| *size).fold(0.0, f64::max);
        let per_hour = slope(&points)?;
        Some(Self { first: first / 1e6, last: last / 1e6, most, per_hour })
    }
}

/// The slope of the straight line with the least squares; none of points at one place.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let together: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    (spread > 0.0).then(|| together / spread)
}

impl fmt::Display for Trend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, most, per_hour } = self;
        write!(f, "{first:.0} → {last:.0} MB, at most {most:.0}, {per_hour:+.1} MB an hour")
    }
}

/// The rate in each whole minute.
pub(crate) fn rates_of_minutes(ticks: &[Tick], of: fn(&Tick) -> u64) -> Vec<f64> {
    let ticks_each = (60.0 / TICK.as_secs_f64()) as usize;
    let ends: Vec<&Tick> = ticks.iter().step_by(ticks_each).collect();
    let rate = |pair: &[&Tick]| {
        let secs = (pair[1].at - pair[0].at).as_secs_f64();
        (of(pair[1]) - of(pair[0])) as f64 / secs
    };
    ends.windows(2).map(rate).collect()
}

pub(crate) fn longest_pause(ticks: &[Tick]) -> Duration {
    let mut longest = Duration::ZERO;
    let Some(mut last) = ticks.first() else { return longest };
    for tick in ticks {
        longest = longest.max(tick.at - last.at);
        if tick.answered > last.answered {
            last = tick;
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(answered: &[u64]) -> Vec<Tick> {
        let begun = Instant::now();
        let tick = |(n, answered): (u32, &u64)| Tick {
            at: begun + TICK * n,
            answered: *answered,
            delivered: 0,
        };
        (0..).zip(answered).map(tick).collect()
    }

    #[test]
    fn a_pause_is_the_time_without_an_answer() {
        assert_eq!(longest_pause(&[]), Duration::ZERO);
        assert_eq!(longest_pause(&ticks(&[0, 1, 2])), TICK);
        assert_eq!(longest_pause(&ticks(&[0, 5, 5, 5, 6, 6])), TICK * 3);
    }

    #[test]
    fn rates_are_of_whole_minutes() {
        let answered: Vec<u64> = (0..=600).map(|tick| tick * 250).collect();
        assert_eq!(rates_of_minutes(&ticks(&answered), |tick| tick.answered), [1000.0, 1000.0]);
    }

    #[test]
    fn the_slope_is_that_of_the_line_that_fits_best() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), Some(2.0));
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 2.0), (2.0, 1.0)]), Some(0.0));
        assert_eq!(slope(&[(1.0, 1.0)]), None);
        assert_eq!(slope(&[]), None);
    }
}
