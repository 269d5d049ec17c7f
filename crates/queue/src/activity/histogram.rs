//! Times in buckets.

use std::time::Duration;

/// The upper bounds of the buckets in microseconds, six in each power of ten, from 100 µs to 10,000
/// s. The last bucket, beyond them, has no bound. Stored rows mean these bounds by position: they
/// are not to be changed.
const BOUNDS_US: [u64; BOUNDS] = bounds_us();
const BOUNDS: usize = 49;
/// A percentile is off by as much as a bucket is wide: by two thirds at the worst.
const STEPS: [u64; 6] = [10, 15, 20, 30, 50, 75];

const fn bounds_us() -> [u64; BOUNDS] {
    let mut bounds = [0; BOUNDS];
    let mut power = 10;
    let mut at = 0;
    while at < BOUNDS {
        bounds[at] = STEPS[at % STEPS.len()] * power;
        at += 1;
        if at.is_multiple_of(STEPS.len()) {
            power *= 10;
        }
    }
    bounds
}

/// Counts of times by their length. Those of many can be added up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    /// Without the zeros at the end.
    counts: Vec<u64>,
    sum_us: u64,
}

impl Histogram {
    /// The histogram whose buckets hold so many, the shortest first. It does not know its
    /// [sum](Self::sum_secs).
    #[must_use]
    pub fn of_counts(counts: &[i64]) -> Self {
        let count = |count: &i64| u64::try_from(*count).unwrap_or(0);
        Self { counts: counts.iter().take(BOUNDS + 1).map(count).collect(), sum_us: 0 }
    }

    /// Counts a time.
    pub fn add(&mut self, time: Duration) {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < time_us);
        self.reach(bucket + 1);
        self.counts[bucket] += 1;
        self.sum_us = self.sum_us.saturating_add(time_us);
    }

    /// Adds the counts of another one.
    pub fn merge(&mut self, other: &Self) {
        self.reach(other.counts.len());
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// The counts of the buckets, the shortest times first, without the zeros at the end.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The number of times.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All times together, in seconds.
    #[must_use]
    pub fn sum_secs(&self) -> f64 {
        Duration::from_micros(self.sum_us).as_secs_f64()
    }

    /// The number of times up to `secs`, which must be one of the bounds: others are taken for the
    /// bound below.
    #[must_use]
    pub fn count_up_to(&self, secs: f64) -> u64 {
        let bounds = BOUNDS_US.iter().take_while(|bound| as_secs(**bound) <= secs * 1.000_001);
        self.counts.iter().take(bounds.count()).sum()
    }

    /// The time, in seconds, that a `share` of all, from 0 to 1, did not exceed; `None` of none.
    /// Within the bucket where it lies, times are taken to be spread evenly; beyond the last bound
    /// it is that bound.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * self.count() as f64;
        let mut below = 0;
        for (bucket, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            if (below + count) as f64 >= rank {
                let Some(&upper) = BOUNDS_US.get(bucket) else { break };
                let lower = bucket.checked_sub(1).map_or(0.0, |before| as_secs(BOUNDS_US[before]));
                let part = ((rank - below as f64) / count as f64).clamp(0.0, 1.0);
                return Some(lower + (as_secs(upper) - lower) * part);
            }
            below += count;
        }
        (self.count() > 0).then(|| as_secs(BOUNDS_US[BOUNDS - 1]))
    }

    fn reach(&mut self, buckets: usize) {
        if self.counts.len() < buckets {
            self.counts.resize(buckets, 0);
        }
    }
}

fn as_secs(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times_ms: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        times_ms.iter().for_each(|ms| histogram.add(Duration::from_millis(*ms)));
        histogram
    }

    #[test]
    fn bounds_go_from_a_tenth_of_a_millisecond_to_ten_thousand_seconds() {
        assert_eq!(&BOUNDS_US[..7], [100, 150, 200, 300, 500, 750, 1_000]);
        assert_eq!(BOUNDS_US[BOUNDS - 1], 10_000_000_000);
        assert!(BOUNDS_US.is_sorted());
    }

    #[test]
    fn a_percentile_is_in_the_bucket_of_the_time_that_it_is_about() {
        let histogram = of(&(1..=1000).collect::<Vec<_>>());
        for (share, exact) in [(0.5, 0.5), (0.95, 0.95), (0.99, 0.99)] {
            let found = histogram.quantile(share).unwrap();
            assert!((found / exact - 1.0).abs() < 0.1, "{share}: {found}, not {exact}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn what_is_longer_than_the_last_bound_is_at_the_last_bound() {
        assert_eq!(of(&[3_600_000_000]).quantile(0.5), Some(10_000.0));
    }

    #[test]
    fn two_that_are_added_say_what_one_of_all_would() {
        let (mut some, others) = (of(&[1, 700]), of(&[20, 9_000, 3]));
        some.merge(&others);
        assert_eq!(some, of(&[1, 700, 20, 9_000, 3]));
        assert_eq!(some.count(), 5);
        assert!((some.sum_secs() - 9.724).abs() < 1e-9);
    }

    #[test]
    fn what_was_stored_comes_back() {
        let histogram = of(&[1, 5, 5, 80]);
        let stored: Vec<i64> = histogram.counts().iter().map(|count| *count as i64).collect();
        assert_eq!(Histogram::of_counts(&stored).counts(), histogram.counts());
    }

    #[test]
    fn counts_up_to_a_bound_include_it() {
        let histogram = of(&[5, 5, 6, 50]);
        assert_eq!(histogram.count_up_to(0.005), 2);
        assert_eq!(histogram.count_up_to(0.05), 4);
    }
}
