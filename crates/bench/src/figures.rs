//! Medians and spread of a few rounds, percentiles of many samples.

use serde::Serialize;

/// One figure over all rounds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Figure {
    /// The figure of these rounds; none of no rounds.
    pub(crate) fn of(rounds: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut rounds: Vec<f64> = rounds.into_iter().collect();
        rounds.sort_by(f64::total_cmp);
        let (min, max) = (*rounds.first()?, *rounds.last()?);
        let middle = rounds.len() / 2;
        let median = match rounds.len() % 2 {
            0 => f64::midpoint(rounds[middle - 1], rounds[middle]),
            _ => rounds[middle],
        };
        Some(Self { median, min, max })
    }
}

/// `12345 (12000–12800)`, with so many decimals.
pub(crate) fn show(figure: Option<Figure>, decimals: usize) -> String {
    match figure {
        None => "-".to_owned(),
        Some(Figure { median, min, max }) if min == max => format!("{median:.decimals$}"),
        Some(Figure { median, min, max }) => {
            format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
        }
    }
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Percentiles {
    /// The smallest samples that 50, 95, 99 and all of a hundred do not exceed; none of no samples.
    pub(crate) fn of(mut samples: Vec<f64>) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100);
            samples.get(rank.saturating_sub(1)).copied()
        };
        Some(Self { p50: at(50)?, p95: at(95)?, p99: at(99)?, max: at(100)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_and_the_ends() {
        assert_eq!(Figure::of([]), None);
        assert_eq!(Figure::of([3.0, 1.0, 2.0]), Some(Figure { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Figure::of([4.0, 1.0, 2.0, 3.0]).map(|figure| figure.median), Some(2.5));
    }

    #[test]
    fn percentiles_are_samples_that_were_seen() {
        let percentiles = Percentiles::of((1..=200).rev().map(f64::from).collect()).unwrap();
        assert_eq!(percentiles, Percentiles { p50: 100.0, p95: 190.0, p99: 198.0, max: 200.0 });
        assert_eq!(Percentiles::of(vec![]), None);
    }
}
