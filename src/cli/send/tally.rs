//! Results of the events: counts, latencies, and one example of each failure.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use hyper::StatusCode;
use serde::Serialize;

use super::client::NoAnswer;
use super::events::Occurrence;

/// Latencies beyond an hour count as an hour.
const LONGEST_LATENCY_US: u64 = 3_600_000_000;
/// Characters of an answer that are shown.
const EXAMPLE_CHARS: usize = 300;

/// The results of the events so far.
pub struct Tally {
    /// First sendings answered with a 2xx.
    pub accepted: u64,
    /// Repeats answered with a 2xx, as they must be.
    pub duplicates: u64,
    /// Answered 409: the receiver knows the id with other content.
    pub conflicts: u64,
    /// Failures, by reason.
    pub failures: BTreeMap<String, FailureCount>,
    /// The number of times that an event was sent again.
    pub retries: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// CPU time that sending took, where the system counts it.
    pub cpu: Option<Duration>,
    /// Microseconds from the first sending of an event to its last answer.
    latency_us: Histogram<u64>,
}

/// The number of failures of one sort, with the first answer.
#[derive(Clone, Serialize)]
pub struct FailureCount {
    /// Number of requests.
    pub count: u64,
    /// The first answer in words.
    pub example: String,
}

/// The failure of an event.
pub(super) struct Failure {
    reason: String,
    example: String,
    is_conflict: bool,
}

impl Failure {
    pub(super) fn status(status: StatusCode, body: &[u8]) -> Self {
        Self {
            reason: status.to_string(),
            example: explanation(body).chars().take(EXAMPLE_CHARS).collect(),
            is_conflict: status == StatusCode::CONFLICT,
        }
    }

    pub(super) fn no_answer(error: &NoAnswer) -> Self {
        let source = std::error::Error::source(error).map(root_cause);
        Self { reason: error.to_string(), example: source.unwrap_or_default(), is_conflict: false }
    }
}

/// The text of an answer for people: the detail of a problem document, or the body.
fn explanation(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    detail.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

fn root_cause(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            accepted: 0,
            duplicates: 0,
            conflicts: 0,
            failures: BTreeMap::new(),
            retries: 0,
            elapsed: Duration::ZERO,
            cpu: None,
            latency_us: Histogram::new_with_bounds(1, LONGEST_LATENCY_US, 3)
                .expect("these bounds are allowed"),
        }
    }
}

impl Tally {
    /// Counts one event.
    pub(super) fn record(
        &mut self,
        occurrence: Occurrence,
        outcome: Result<(), Failure>,
        latency: Duration,
    ) {
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record(latency_us);
        match (outcome, occurrence) {
            (Ok(()), Occurrence::First) => self.accepted += 1,
            (Ok(()), Occurrence::Repeat) => self.duplicates += 1,
            (Err(failure), _) if failure.is_conflict => self.conflicts += 1,
            (Err(Failure { reason, example, .. }), _) => {
                self.failures.entry(reason).or_insert(FailureCount { count: 0, example }).count +=
                    1;
            }
        }
    }

    /// Adds what another connection saw.
    pub(super) fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
        self.retries += other.retries;
        for (reason, failures) in &other.failures {
            let none_yet = FailureCount { count: 0, example: failures.example.clone() };
            self.failures.entry(reason.clone()).or_insert(none_yet).count += failures.count;
        }
        self.latency_us += &other.latency_us;
    }

    /// Events that were not taken, for whatever reason but a conflict.
    pub fn failed(&self) -> u64 {
        self.failures.values().map(|failures| failures.count).sum()
    }

    /// Events that are done with.
    pub fn finished(&self) -> u64 {
        self.accepted + self.duplicates + self.conflicts + self.failed()
    }

    /// Events finished per second.
    pub fn rate(&self) -> f64 {
        self.finished() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// A percentile of the latencies, in milliseconds.
    pub fn latency_ms(&self, percentile: f64) -> f64 {
        self.latency_us.value_at_percentile(percentile) as f64 / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_connections_saw_adds_up() {
        let mut one = Tally::default();
        one.record(Occurrence::First, Ok(()), Duration::from_millis(10));
        one.record(Occurrence::Repeat, Ok(()), Duration::from_millis(20));
        let mut other = Tally::default();
        let refused = || Failure::status(StatusCode::BAD_REQUEST, br#"{"detail":"no"}"#);
        other.record(Occurrence::First, Err(refused()), Duration::from_millis(30));
        other.record(Occurrence::First, Err(refused()), Duration::from_secs(7_200));
        let conflict = Failure::status(StatusCode::CONFLICT, b"");
        other.record(Occurrence::First, Err(conflict), Duration::ZERO);
        one.add(&other);
        assert_eq!((one.accepted, one.duplicates, one.conflicts, one.failed()), (1, 1, 1, 2));
        assert_eq!(one.failures["400 Bad Request"].example, "no");
        assert!((one.latency_ms(60.0) - 20.0).abs() < 0.1, "{}", one.latency_ms(60.0));
        assert!((one.latency_ms(100.0) / 3_600_000.0 - 1.0).abs() < 0.01);
    }
}
