//! Counts and times requests, by the operation of the OpenAPI document that they ask for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use poem::http::StatusCode;
use poem::{Endpoint, IntoResponse, Request, Response};
use poem_openapi::OperationId;
use prometheus_client::encoding::MetricEncoder;
use prometheus_client::metrics::MetricType;
use tokio::time::Instant;

use super::{Labels, Metrics, Source, Tally};

/// The name of whatever is no documented operation: pages, unknown paths, bodies that were not even
/// read.
const OTHER: &str = "other";
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Upper bounds of the histogram, in microseconds: from a read without the database to what has
/// timed out.
const BOUNDS_US: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000,
];

/// The middleware.
pub struct RequestMetrics<E> {
    inner: E,
    operations: HashMap<String, OperationFigures>,
    other: OperationFigures,
}

/// The figures of one operation.
struct OperationFigures {
    by_class: [Tally; CLASSES.len()],
    durations: Arc<Durations>,
}

impl<E> RequestMetrics<E> {
    /// Wraps `inner`, which must have made answers of all errors.
    pub fn new(
        inner: E,
        metrics: &Metrics,
        operation_ids: impl IntoIterator<Item = String>,
    ) -> Self {
        let with_figures = |id: String| {
            let operation = OperationFigures::new(metrics, &id);
            (id, operation)
        };
        let operations = operation_ids.into_iter().map(with_figures).collect();
        Self { inner, operations, other: OperationFigures::new(metrics, OTHER) }
    }
}

impl<E: Endpoint> Endpoint for RequestMetrics<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let response = self.inner.call(request).await?.into_response();
        let id = response.data::<OperationId>();
        let operation = id.and_then(|id| self.operations.get(id.0)).unwrap_or(&self.other);
        operation.count(response.status(), started.elapsed());
        Ok(response)
    }
}

impl OperationFigures {
    fn new(metrics: &Metrics, id: &str) -> Self {
        let by_class = CLASSES.map(|class| {
            let labels = [("operation", id), ("status", class)];
            metrics.counter("http_requests", "Requests that were answered", &labels)
        });
        let durations = Arc::new(Durations::default());
        let labels: Labels = vec![("operation", id.to_owned())];
        metrics.add(
            "http_request_duration_seconds",
            "Time from the head of a request to its answer",
            MetricType::Histogram,
            Source::Durations(labels, Arc::clone(&durations)),
        );
        Self { by_class, durations }
    }

    fn count(&self, status: StatusCode, duration: Duration) {
        let class = usize::from(status.as_u16() / 100 - 1).min(CLASSES.len() - 1);
        self.by_class[class].add_one();
        self.durations.observe(duration);
    }
}

/// A histogram of atomics: the crate's own takes a lock for each observation.
#[derive(Default)]
pub(super) struct Durations {
    /// The last is for what is beyond all bounds.
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Durations {
    fn observe(&self, duration: Duration) {
        let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < duration_us);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(duration_us, Ordering::Relaxed);
    }

    pub(super) fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS_US.iter().map(|bound| secs(*bound)).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = secs(self.sum_us.load(Ordering::Relaxed));
        encoder.encode_histogram::<Labels>(sum, count, &buckets, None)
    }
}

impl fmt::Debug for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durations").finish_non_exhaustive()
    }
}

fn secs(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}
