//! The registry: where figures are kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::PgPool;

use super::instruments::{CONNECTIONS, CONNECTIONS_MAX, Instrument, Kind};

/// The registry of a process. Clones share it.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Vec<Source>>>);

type Source = Arc<dyn Fn() -> Vec<Family> + Send + Sync>;

/// The series of one instrument.
#[derive(Clone, Debug)]
pub struct Family {
    /// The instrument.
    pub instrument: &'static Instrument,
    /// Its series.
    pub points: Vec<Point>,
}

/// A series: one set of label values, and the figure.
#[derive(Clone, PartialEq, Debug)]
pub struct Point {
    /// The values of the [labels](Instrument::labels), in their order.
    pub labels: Vec<String>,
    /// The figure.
    pub value: Value,
}

/// A figure.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A count or a size.
    Number(f64),
    /// Counts of the buckets between the bounds of the instrument, the one beyond the last bound
    /// included; and the sum of all that was counted.
    Distribution {
        /// One number per bucket.
        counts: Vec<u64>,
        /// The sum of all.
        sum: f64,
    },
}

impl Family {
    /// The series of an instrument.
    #[must_use]
    pub fn new(instrument: &'static Instrument, points: Vec<Point>) -> Self {
        Self { instrument, points }
    }

    /// The only series of an instrument without labels.
    #[must_use]
    pub fn single(instrument: &'static Instrument, value: f64) -> Self {
        Self { instrument, points: vec![Point::of(&[], value)] }
    }
}

impl Point {
    /// A figure with its label values.
    #[must_use]
    pub fn of(labels: &[&str], value: f64) -> Self {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Self { labels, value: Value::Number(value) }
    }
}

impl Value {
    fn is_empty(&self) -> bool {
        match self {
            Self::Number(_) => false,
            Self::Distribution { counts, .. } => counts.iter().all(|count| *count == 0),
        }
    }

    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Number(number), Self::Number(more)) => *number += more,
            (
                Self::Distribution { counts, sum },
                Self::Distribution { counts: more, sum: more_sum },
            ) => {
                for (count, more) in counts.iter_mut().zip(more) {
                    *count += more;
                }
                *sum += more_sum;
            }
            (Self::Number(_), Self::Distribution { .. })
            | (Self::Distribution { .. }, Self::Number(_)) => {
                debug_assert!(false, "an instrument has one kind of figure");
            }
        }
    }
}

impl Metrics {
    /// A registry with nothing but what is known of the process.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self::default();
        metrics.collect(super::process::figures);
        metrics
    }

    /// Registers figures that are read whenever somebody asks. `read` must not wait.
    pub fn collect(&self, read: impl Fn() -> Vec<Family> + Send + Sync + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(read));
    }

    /// All figures, in the order of the table of instruments. Series that several parts of the
    /// process have, such as two workers, are added up. Distributions that nothing is in are left
    /// out, each of which is a dozen lines; counters are not, or the first that they count would be
    /// no increase to whoever looks for one.
    #[must_use]
    pub fn gather(&self) -> Vec<Family> {
        let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut read: HashMap<&'static str, Vec<Point>> = HashMap::new();
        for family in sources.iter().flat_map(|read| read()) {
            merge(read.entry(family.instrument.name).or_default(), family.points);
        }
        let gathered = super::instruments::ALL.iter().filter_map(|instrument| {
            let mut points = read.remove(instrument.name)?;
            match instrument.kind {
                Kind::Gauge | Kind::Counter => {}
                Kind::Histogram(_) => points.retain(|point| !point.value.is_empty()),
            }
            points.sort_by(|one, other| one.labels.cmp(&other.labels));
            (!points.is_empty()).then_some(Family { instrument, points })
        });
        let gathered = gathered.collect();
        debug_assert!(read.is_empty(), "not in the table of instruments: {:?}", read.keys());
        gathered
    }
}

/// Adds points of the same labels up.
fn merge(points: &mut Vec<Point>, more: Vec<Point>) {
    for point in more {
        match points.iter_mut().find(|known| known.labels == point.labels) {
            Some(known) => known.value.add(&point.value),
            None => points.push(point),
        }
    }
}

/// Shows the connections of a pool.
pub fn show_pool(metrics: &Metrics, name: &'static str, pool: &PgPool) {
    let pool = pool.clone();
    metrics.collect(move || {
        let (open, idle) = (f64::from(pool.size()), pool.num_idle() as f64);
        let states = vec![
            Point::of(&[name, "used"], (open - idle).max(0.0)),
            Point::of(&[name, "idle"], idle),
        ];
        let most = f64::from(pool.options().get_max_connections());
        vec![
            Family::new(&CONNECTIONS, states),
            Family::new(&CONNECTIONS_MAX, vec![Point::of(&[name], most)]),
        ]
    });
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::instruments::{CLAIM_DURATION, CLAIM_JOBS, JOB_ATTEMPTS};

    #[test]
    fn what_two_parts_have_is_added_up_and_distributions_of_nothing_are_left_out() {
        let metrics = Metrics::default();
        for jobs in [3.0, 4.0] {
            metrics.collect(move || {
                let attempts = vec![Point::of(&["mail", "greet", "completed"], jobs)];
                let value = Value::Distribution { counts: vec![0; 9], sum: 0.0 };
                vec![
                    Family::new(&JOB_ATTEMPTS, attempts),
                    Family::single(&CLAIM_JOBS, 0.0),
                    Family::new(&CLAIM_DURATION, vec![Point { labels: Vec::new(), value }]),
                ]
            });
        }

        let gathered = metrics.gather();

        let [attempts, claimed] = gathered.as_slice() else { panic!("{gathered:?}") };
        assert_eq!(attempts.points, [Point::of(&["mail", "greet", "completed"], 7.0)]);
        assert_eq!(claimed.points, [Point::of(&[], 0.0)]);
    }
}
