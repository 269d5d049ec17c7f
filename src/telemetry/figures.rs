//! Figures by OTLP: what `/metrics` shows, pushed.
//!
//! The registry is ours and the SDK's exporter takes only what its own has gathered, so the message
//! is made here. A thread of its own sends it, because the client blocks.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Request;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any,
};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_sdk::Resource;
use percent_encoding::percent_decode_str;
use prost::Message as _;

use super::TelemetryError;
use super::collector_client::CollectorClient;
use super::otlp::{Signal, Way, environment};
use crate::metrics::{Family, Instrument, Kind, Metrics, Point, Value};

const INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";
/// The standard's interval.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// The time that the last figures have to reach the collector when the process ends.
const LAST_WITHIN: Duration = Duration::from_secs(2);
/// An exporter that fails says so once in this time.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// The export that the environment asks for.
static ASKED: OnceLock<Asked> = OnceLock::new();

struct Asked {
    way: Way,
    client: CollectorClient,
    interval: Duration,
    resource: Vec<KeyValue>,
}

/// Reads whether figures are to be exported, and how.
pub(super) fn configure(resource: &Resource) -> Result<(), TelemetryError> {
    let Some(way) = Way::of(Signal::Metrics, environment)? else { return Ok(()) };
    let interval = match environment(INTERVAL).filter(|value| !value.trim().is_empty()) {
        Some(text) => match text.trim().parse() {
            Ok(millis) if millis > 0 => Duration::from_millis(millis),
            Ok(_) | Err(_) => return Err(TelemetryError::Interval),
        },
        None => DEFAULT_INTERVAL,
    };
    let resource = resource.iter().map(|(key, value)| attribute(key.as_str(), &value.as_str()));
    let asked = Asked { client: way.client()?, interval, resource: resource.collect(), way };
    // A process that sets up its telemetry twice keeps the first.
    let _ = ASKED.set(asked);
    Ok(())
}

/// Exports these figures for as long as what is returned is kept, if the environment asks for it
/// (`OTEL_METRICS_EXPORTER=otlp`). When that is dropped, the last figures are sent first.
#[must_use = "dropping it ends the export"]
pub fn export_metrics(metrics: &Metrics) -> Option<FiguresExport> {
    let asked = ASKED.get()?;
    let (stop, stopped) = mpsc::channel();
    let metrics = metrics.clone();
    let thread = thread::Builder::new().name("OpenTelemetry.Metrics".into());
    match thread.spawn(move || export(asked, &metrics, &stopped)) {
        Ok(thread) => {
            tracing::info!(collector = asked.way.collector, "figures are exported");
            Some(FiguresExport { stop: Some(stop), thread: Some(thread) })
        }
        Err(error) => {
            tracing::warn!("figures are not exported: {error}");
            None
        }
    }
}

/// The running export.
#[derive(Debug)]
pub struct FiguresExport {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for FiguresExport {
    fn drop(&mut self) {
        drop(self.stop.take());
        let Some(thread) = self.thread.take() else { return };
        let late = Instant::now() + LAST_WITHIN;
        while !thread.is_finished() && Instant::now() < late {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn export(asked: &Asked, metrics: &Metrics, stopped: &Receiver<()>) {
    let started = unix_nanos();
    let mut complained: Option<Instant> = None;
    loop {
        let is_last = stopped.recv_timeout(asked.interval) != Err(RecvTimeoutError::Timeout);
        if let Err(reason) = send(asked, message(asked, &metrics.gather(), started))
            && complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY)
        {
            complained = Some(Instant::now());
            tracing::warn!(collector = asked.way.collector, "figures not exported: {reason}");
        }
        if is_last {
            return;
        }
    }
}

/// Posts a message. The reason that it failed, if it did, holds none of the settings.
fn send(asked: &Asked, message: Vec<u8>) -> Result<(), String> {
    let mut request = Request::post(&asked.way.url).header(CONTENT_TYPE, "application/x-protobuf");
    for (name, value) in headers(&asked.way.headers) {
        request = request.header(name, value);
    }
    let body = match asked.way.gzip {
        true => {
            request = request.header(CONTENT_ENCODING, "gzip");
            gzip(&message)
        }
        false => message,
    };
    let request = request.body(body).map_err(|_| "a setting of OTEL_* is no URL or header")?;
    match asked.client.post(request) {
        Ok(200..300) => Ok(()),
        Ok(status) => Err(format!("the collector answered {status}")),
        Err(error) => Err(error.to_string()),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail")
}

/// `name=value`, percent-encoded, separated by commas.
fn headers(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split(',').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((name.trim().to_owned(), value.into_owned()))
    })
}

fn message(asked: &Asked, families: &[Family], started: u64) -> Vec<u8> {
    let now = unix_nanos();
    let metrics = families.iter().map(|family| metric(family, (started, now))).collect();
    let scope = InstrumentationScope {
        name: "surety".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let resource = ProtoResource { attributes: asked.resource.clone(), ..ProtoResource::default() };
    let of_scope = ScopeMetrics { scope: Some(scope), metrics, schema_url: SCHEMA_URL.to_owned() };
    let of_resource = ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![of_scope],
        schema_url: SCHEMA_URL.to_owned(),
    };
    ExportMetricsServiceRequest { resource_metrics: vec![of_resource] }.encode_to_vec()
}

fn metric(family: &Family, times: (u64, u64)) -> Metric {
    let instrument = family.instrument;
    let cumulative = AggregationTemporality::Cumulative.into();
    let numbers = || family.points.iter().filter_map(|it| number(instrument, it, times)).collect();
    let data = match instrument.kind {
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Histogram(bounds) => Data::Histogram(Histogram {
            data_points: family
                .points
                .iter()
                .filter_map(|point| distribution(instrument, bounds, point, times))
                .collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: instrument.name.to_owned(),
        description: instrument.help.to_owned(),
        unit: instrument.unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

fn number(
    instrument: &Instrument,
    point: &Point,
    (started, now): (u64, u64),
) -> Option<NumberDataPoint> {
    let Value::Number(number) = point.value else { return None };
    Some(NumberDataPoint {
        attributes: attributes(instrument, point),
        start_time_unix_nano: started,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(number)),
        ..NumberDataPoint::default()
    })
}

fn distribution(
    instrument: &Instrument,
    bounds: &[f64],
    point: &Point,
    (started, now): (u64, u64),
) -> Option<HistogramDataPoint> {
    let Value::Distribution { counts, sum } = &point.value else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(instrument, point),
        start_time_unix_nano: started,
        time_unix_nano: now,
        count: counts.iter().sum(),
        sum: Some(*sum),
        bucket_counts: counts.clone(),
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    })
}

fn attributes(instrument: &Instrument, point: &Point) -> Vec<KeyValue> {
    instrument.labels.iter().zip(&point.labels).map(|(key, value)| attribute(key, value)).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Any::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn unix_nanos() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_standard_writes_them() {
        let found: Vec<_> = headers("api-key=a%20b, x-tenant = 7,broken").collect();
        let expected = [("api-key", "a b"), ("x-tenant", "7")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
