//! A gathering as text.

use std::fmt::Write as _;

use super::instruments::{Instrument, Kind};
use super::registry::{Family, Point, Value};

/// A text format of Prometheus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// The text format 0.0.4, which every Prometheus reads.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

/// Text with its media type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exposition {
    /// The media type.
    pub media_type: &'static str,
    /// The text.
    pub text: String,
}

impl Format {
    /// The format that a request with this `Accept` prefers: OpenMetrics where it is named and not
    /// liked less than plain text.
    #[must_use]
    pub fn preferred(accept: Option<&str>) -> Self {
        let quality = |media_type: &str| {
            let ranges = accept.unwrap_or_default().split(',');
            let of_type = ranges.filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let is_it = parts.next().is_some_and(|it| it.eq_ignore_ascii_case(media_type));
                let quality = parts.find_map(|part| part.strip_prefix("q="));
                is_it.then(|| quality.and_then(|q| q.parse::<f64>().ok()).unwrap_or(1.0))
            });
            of_type.fold(0.0, f64::max)
        };
        let open_metrics = quality("application/openmetrics-text");
        match open_metrics > 0.0 && open_metrics >= quality("text/plain") {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    /// The media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Writes a gathering.
    #[must_use]
    pub fn write(self, families: &[Family]) -> Exposition {
        let mut text = String::new();
        for family in families {
            self.describe(&mut text, family.instrument);
            for point in &family.points {
                write_point(&mut text, family.instrument, point);
            }
        }
        if self == Self::OpenMetrics {
            text.push_str("# EOF\n");
        }
        Exposition { media_type: self.media_type(), text }
    }

    /// OpenMetrics names a counter without its suffix, and says its unit.
    fn describe(self, text: &mut String, instrument: &Instrument) {
        let name = match self {
            Self::Text => instrument.prometheus_name(),
            Self::OpenMetrics => instrument.family_name(),
        };
        let kind = match instrument.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let _ = writeln!(text, "# HELP {name} {}", instrument.help);
        let _ = writeln!(text, "# TYPE {name} {kind}");
        if let (Self::OpenMetrics, Some(unit)) = (self, instrument.unit_suffix()) {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
    }
}

fn write_point(text: &mut String, instrument: &Instrument, point: &Point) {
    let name = instrument.prometheus_name();
    let labels = labels(instrument, point);
    match (&point.value, instrument.kind) {
        (Value::Number(number), _) => {
            let _ = writeln!(text, "{name}{} {number}", braced(&labels));
        }
        (Value::Distribution { counts, sum }, Kind::Histogram(bounds)) => {
            let bounds = bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            let mut below = 0;
            for (bound, count) in bounds.zip(counts) {
                below += count;
                let mut labels = labels.clone();
                labels.push(format!("le=\"{bound}\""));
                let _ = writeln!(text, "{name}_bucket{} {below}", braced(&labels));
            }
            let labels = braced(&labels);
            let _ = writeln!(text, "{name}_sum{labels} {sum}\n{name}_count{labels} {below}");
        }
        (Value::Distribution { .. }, Kind::Counter | Kind::Gauge) => {
            debug_assert!(false, "{name} is no histogram");
        }
    }
}

fn labels(instrument: &Instrument, point: &Point) -> Vec<String> {
    let pairs = instrument.labels.iter().zip(&point.labels);
    pairs
        .map(|(name, value)| format!("{}=\"{}\"", name.replace('.', "_"), escaped(value)))
        .collect()
}

fn braced(labels: &[String]) -> String {
    match labels.is_empty() {
        true => String::new(),
        false => format!("{{{}}}", labels.join(",")),
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::instruments::{BUILD_INFO, CLAIM_DURATION, JOB_ATTEMPTS};

    #[test]
    fn the_format_is_the_one_that_is_preferred() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/plain"), Format::Text),
            (Some(prometheus), Format::OpenMetrics),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (Some("application/openmetrics-text;q=0.1, text/plain"), Format::Text),
            (Some("application/openmetrics-text;q=0"), Format::Text),
        ] {
            assert_eq!(Format::preferred(accept), format, "{accept:?}");
        }
    }

    #[test]
    fn a_counter_is_described_as_each_format_wants_it() {
        let points = vec![Point::of(&["mail", "say \"hi\"\n", "completed"], 3.0)];
        let families = [Family::new(&JOB_ATTEMPTS, points)];
        let sample = "app_job_attempts_total{queue=\"mail\",kind=\"say \\\"hi\\\"\\n\",\
                      outcome=\"completed\"} 3\n";
        let plain = Format::Text.write(&families).text;
        assert!(plain.contains("# TYPE app_job_attempts_total counter\n"), "{plain}");
        assert!(plain.ends_with(sample), "{plain}");
        let open = Format::OpenMetrics.write(&families).text;
        assert!(open.contains("# TYPE app_job_attempts counter\n"), "{open}");
        assert!(open.ends_with(&format!("{sample}# EOF\n")), "{open}");
    }

    #[test]
    fn buckets_are_cumulative_and_end_at_infinity() {
        let Kind::Histogram(bounds) = CLAIM_DURATION.kind else { panic!("it is a histogram") };
        let mut counts = vec![0; bounds.len() + 1];
        counts[0] = 2;
        counts[bounds.len()] = 1;
        let value = Value::Distribution { counts, sum: 20.5 };
        let family = Family::new(&CLAIM_DURATION, vec![Point { labels: Vec::new(), value }]);
        let text = Format::OpenMetrics.write(&[family]).text;
        assert!(text.contains("# UNIT app_claim_duration_seconds seconds\n"), "{text}");
        assert!(text.contains("app_claim_duration_seconds_bucket{le=\"0.001\"} 2\n"), "{text}");
        assert!(text.contains("app_claim_duration_seconds_bucket{le=\"+Inf\"} 3\n"), "{text}");
        assert!(text.contains("app_claim_duration_seconds_sum 20.5\n"), "{text}");
        assert!(text.contains("app_claim_duration_seconds_count 3\n"), "{text}");
    }

    #[test]
    fn the_build_is_a_gauge_of_one() {
        let family = Family::new(&BUILD_INFO, vec![Point::of(&["1.2.3"], 1.0)]);
        let text = Format::Text.write(&[family]).text;
        assert!(text.ends_with("app_build_info{version=\"1.2.3\"} 1\n"), "{text}");
    }
}
