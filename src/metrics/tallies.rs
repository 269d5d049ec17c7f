//! Counters and times that are kept in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::instruments::{Instrument, Kind};
use super::registry::{Family, Point, Value};

/// The most series of one instrument in a process. Further ones are not told apart: their first
/// label stays, the others are `_other`.
const MAX_SERIES: usize = 200;
/// The value of labels that are not told apart.
pub const OTHER: &str = "_other";

/// A number that only grows. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Counts one.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// Counts so many.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The number so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A distribution of times or sizes over the buckets of an instrument.
#[derive(Debug)]
pub struct Durations {
    bounds: &'static [f64],
    /// The last is for what is beyond all bounds.
    counts: Box<[AtomicU64]>,
    /// In millionths.
    sum_micro: AtomicU64,
}

impl Durations {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_micro: AtomicU64::new(0) }
    }

    /// Counts a time.
    pub fn observe(&self, duration: Duration) {
        self.observe_number(duration.as_secs_f64());
    }

    /// Counts a size, or a time in seconds.
    pub fn observe_number(&self, number: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < number);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Times and sizes.
        self.sum_micro.fetch_add((number * 1e6) as u64, Ordering::Relaxed);
    }

    fn value(&self) -> Value {
        Value::Distribution {
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: self.sum_micro.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

/// The counters of an instrument, by the values of its labels. Clones share them.
#[derive(Clone, Debug)]
pub struct Tallies(Arc<ByLabels<Counter>>);

/// The times, or sizes, of an instrument, by the values of its labels. Clones share them.
#[derive(Clone, Debug)]
pub struct Timings(Arc<ByLabels<Arc<Durations>>>);

#[derive(Debug)]
struct ByLabels<T> {
    instrument: &'static Instrument,
    series: RwLock<HashMap<Vec<String>, T>>,
}

impl<T: Clone> ByLabels<T> {
    fn new(instrument: &'static Instrument) -> Arc<Self> {
        Arc::new(Self { instrument, series: RwLock::default() })
    }

    fn of(&self, labels: &[&str], make: impl Fn() -> T) -> T {
        debug_assert_eq!(labels.len(), self.instrument.labels.len(), "{}", self.instrument.name);
        let mut labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let known =
            self.series.read().unwrap_or_else(PoisonError::into_inner).get(&labels).cloned();
        if let Some(known) = known {
            return known;
        }
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        if series.len() >= MAX_SERIES {
            labels.iter_mut().skip(1).for_each(|label| OTHER.clone_into(label));
        }
        series.entry(labels).or_insert_with(make).clone()
    }

    fn family(&self, value: impl Fn(&T) -> Value) -> Family {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let points =
            series.iter().map(|(labels, it)| Point { labels: labels.clone(), value: value(it) });
        Family::new(self.instrument, points.collect())
    }
}

impl Tallies {
    /// No counts yet of this counter.
    #[must_use]
    pub fn new(instrument: &'static Instrument) -> Self {
        Self(ByLabels::new(instrument))
    }

    /// The counter of these label values, to count often.
    #[must_use]
    pub fn of(&self, labels: &[&str]) -> Counter {
        self.0.of(labels, Counter::default)
    }

    /// The counts so far.
    #[must_use]
    pub fn family(&self) -> Family {
        self.0.family(|counter| Value::Number(counter.count() as f64))
    }
}

impl Timings {
    /// No times yet of this histogram.
    #[must_use]
    pub fn new(instrument: &'static Instrument) -> Self {
        Self(ByLabels::new(instrument))
    }

    /// The times of these label values, to observe often.
    #[must_use]
    pub fn of(&self, labels: &[&str]) -> Arc<Durations> {
        let Kind::Histogram(bounds) = self.0.instrument.kind else {
            unreachable!("{} is no histogram", self.0.instrument.name)
        };
        self.0.of(labels, || Arc::new(Durations::new(bounds)))
    }

    /// Counts a time.
    pub fn observe(&self, labels: &[&str], duration: Duration) {
        self.of(labels).observe(duration);
    }

    /// The times so far.
    #[must_use]
    pub fn family(&self) -> Family {
        self.0.family(|durations| durations.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::instruments::{BANK_CALL_DURATION, HTTP_REQUEST_DURATION};

    #[test]
    fn a_time_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let timings = Timings::new(&BANK_CALL_DURATION);
        for millis in [5, 6, 1_000_000] {
            timings.observe(&["send", "booked"], Duration::from_millis(millis));
        }
        let family = timings.family();
        let [Point { value: Value::Distribution { counts, sum }, .. }] = family.points.as_slice()
        else {
            panic!("{family:?}")
        };
        assert_eq!(counts[..2], [1, 1]);
        assert_eq!(counts.last(), Some(&1));
        assert!((sum - 1000.011).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn series_beyond_the_bound_are_counted_together() {
        let timings = Timings::new(&HTTP_REQUEST_DURATION);
        for status in 0..MAX_SERIES + 50 {
            timings.observe(&["GET", "/v1/things", &status.to_string()], Duration::ZERO);
        }
        let points = timings.family().points;
        assert_eq!(points.len(), MAX_SERIES + 1);
        assert!(points.iter().any(|point| point.labels == ["GET", OTHER, OTHER]));
    }
}
