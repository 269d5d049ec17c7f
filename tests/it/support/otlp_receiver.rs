//! An OpenTelemetry collector as far as a test needs one: it takes spans, figures and log lines by
//! OTLP over HTTP and keeps them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, number_data_point};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use opentelemetry_proto::tonic::trace::v1::{Span, TracesData};
use prost::Message as _;
use tokio::net::TcpListener;

use super::eventually;

/// The running receiver. It ends with the test's runtime.
pub(crate) struct OtlpReceiver {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
}

/// Keeps what the services of gRPC take.
#[derive(Clone)]
pub(super) struct Keeper(Arc<Mutex<Received>>);

impl Keeper {
    pub(super) fn spans(&self, headers: HeaderMap, export: ExportTraceServiceRequest) {
        let mut received = self.0.lock().unwrap();
        received.requests.push(headers);
        received.spans.extend(spans_of(TracesData { resource_spans: export.resource_spans }));
    }

    pub(super) fn figures(&self, headers: HeaderMap, export: ExportMetricsServiceRequest) {
        let mut received = self.0.lock().unwrap();
        received.requests.push(headers);
        received.figures.extend(figures_of(export));
    }

    pub(super) fn lines(&self, headers: HeaderMap, export: ExportLogsServiceRequest) {
        let mut received = self.0.lock().unwrap();
        received.requests.push(headers);
        received.lines.extend(lines_of(export));
    }
}

#[derive(Default)]
struct Received {
    spans: Vec<ReceivedSpan>,
    figures: Vec<ReceivedFigure>,
    lines: Vec<String>,
    /// The headers of each request.
    requests: Vec<HeaderMap>,
    /// All bodies, to look for what must not be in them.
    bytes: Vec<u8>,
}

/// One span with what its batch says of it, ids and values as text.
#[derive(Clone, PartialEq)]
pub(crate) struct ReceivedSpan {
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    /// Empty for the root of a trace.
    pub(crate) parent_span_id: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) links: Vec<ReceivedLink>,
    pub(crate) status: SpanStatus,
    /// What is said of the process.
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) schema_url: String,
}

/// One point of one figure; of a distribution the number of what was counted.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ReceivedFigure {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) value: f64,
    /// What is said of the process.
    pub(crate) resource: BTreeMap<String, String>,
}

/// One link of a span.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ReceivedLink {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl OtlpReceiver {
    /// Listens on a port of its own.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Received::default()));
        tokio::spawn(accept(listener, Arc::clone(&received)));
        Self { address, received }
    }

    /// Listens on a port of its own, by gRPC, with the services of others.
    pub(crate) async fn start_grpc() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Received::default()));
        tokio::spawn(super::otlp_grpc::accept(listener, Keeper(Arc::clone(&received))));
        Self { address, received }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to be.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<ReceivedSpan> {
        self.received.lock().unwrap().spans.clone()
    }

    /// All points of figures so far.
    pub(crate) fn figures(&self) -> Vec<ReceivedFigure> {
        self.received.lock().unwrap().figures.clone()
    }

    /// All log lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.received.lock().unwrap().lines.clone()
    }

    /// The spans of one trace so far.
    pub(crate) fn trace(&self, trace_id: &str) -> Vec<ReceivedSpan> {
        let mut spans = self.spans();
        spans.retain(|span| span.trace_id == trace_id);
        spans
    }

    /// The headers of each request so far.
    pub(crate) fn requests(&self) -> Vec<HeaderMap> {
        self.received.lock().unwrap().requests.clone()
    }

    /// Whether `text` is anywhere in what was received.
    pub(crate) fn has_seen(&self, text: &str) -> bool {
        let received = self.received.lock().unwrap();
        received.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// Waits until so many spans of the trace have come.
    pub(crate) async fn wait_for_trace(&self, trace_id: &str, count: usize) -> Vec<ReceivedSpan> {
        eventually("the spans of the trace come", || self.trace(trace_id).len() >= count).await;
        self.trace(trace_id)
    }
}

impl ReceivedSpan {
    /// The attribute's value; empty when there is none.
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

impl fmt::Debug for ReceivedSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:?} {}/{} under {} {:?} {:?} {:?}",
            self.name,
            self.kind,
            self.trace_id,
            self.span_id,
            self.parent_span_id,
            self.status,
            self.links,
            self.attributes
        )
    }
}

async fn accept(listener: TcpListener, received: Arc<Mutex<Received>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let received = Arc::clone(&received);
        tokio::spawn(async move {
            let service = service_fn(|request| take(request, &received));
            let _ended =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn take(
    request: Request<Incoming>,
    received: &Mutex<Received>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let is_export = request.method() == "POST"
        && request
            .headers()
            .get("content-type")
            .is_some_and(|kind| kind == "application/x-protobuf");
    let headers = request.headers().clone();
    let body = request.into_body().collect().await.map(|body| body.to_bytes());
    let (true, Ok(body)) = (is_export, body) else { return Ok(answer(StatusCode::BAD_REQUEST)) };
    let body = match headers.get("content-encoding").map(|encoding| encoding.as_bytes()) {
        Some(b"gzip") => Bytes::from(unzipped(&body)),
        _ => body,
    };
    let mut received = received.lock().unwrap();
    let is_taken = match path.as_str() {
        "/v1/traces" => ExportTraceServiceRequest::decode(body.clone()).map(|export| {
            let data = TracesData { resource_spans: export.resource_spans };
            received.spans.extend(spans_of(data));
        }),
        "/v1/metrics" => ExportMetricsServiceRequest::decode(body.clone())
            .map(|export| received.figures.extend(figures_of(export))),
        "/v1/logs" => ExportLogsServiceRequest::decode(body.clone())
            .map(|export| received.lines.extend(lines_of(export))),
        _ => return Ok(answer(StatusCode::NOT_FOUND)),
    };
    if is_taken.is_err() {
        return Ok(answer(StatusCode::BAD_REQUEST));
    }
    received.requests.push(headers);
    received.bytes.extend_from_slice(&body);
    Ok(answer(StatusCode::OK))
}

fn answer(status: StatusCode) -> Response<Full<Bytes>> {
    let body = ExportTraceServiceResponse::default().encode_to_vec();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

fn unzipped(body: &[u8]) -> Vec<u8> {
    let mut unzipped = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut unzipped).unwrap();
    unzipped
}

fn figures_of(export: ExportMetricsServiceRequest) -> Vec<ReceivedFigure> {
    let mut figures = Vec::new();
    for of_resource in export.resource_metrics {
        let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
        let metrics = of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
        for metric in metrics {
            let points: Vec<(Vec<KeyValue>, f64)> = match metric.data {
                Some(Data::Gauge(gauge)) => numbers(gauge.data_points),
                Some(Data::Sum(sum)) => numbers(sum.data_points),
                Some(Data::Histogram(histogram)) => histogram
                    .data_points
                    .into_iter()
                    .map(|point| (point.attributes, point.count as f64))
                    .collect(),
                other => panic!("{other:?}"),
            };
            figures.extend(points.into_iter().map(|(labels, value)| ReceivedFigure {
                name: metric.name.clone(),
                unit: metric.unit.clone(),
                attributes: attributes(labels),
                value,
                resource: resource.clone(),
            }));
        }
    }
    figures
}

fn numbers(points: Vec<NumberDataPoint>) -> Vec<(Vec<KeyValue>, f64)> {
    let number = |value: Option<number_data_point::Value>| match value {
        Some(number_data_point::Value::AsDouble(number)) => number,
        other => panic!("{other:?}"),
    };
    points.into_iter().map(|point| (point.attributes, number(point.value))).collect()
}

fn lines_of(export: ExportLogsServiceRequest) -> Vec<String> {
    let scopes = export.resource_logs.into_iter().flat_map(|of_resource| of_resource.scope_logs);
    let records = scopes.flat_map(|scope| scope.log_records);
    let text = |body: any_value::Value| match body {
        any_value::Value::StringValue(text) => text,
        other => format!("{other:?}"),
    };
    records.filter_map(|record| record.body?.value.map(text)).collect()
}

fn spans_of(traces: TracesData) -> Vec<ReceivedSpan> {
    let mut spans = Vec::new();
    for of_resource in traces.resource_spans {
        let resource = attributes(
            of_resource.resource.map(|resource| resource.attributes).unwrap_or_default(),
        );
        for of_scope in of_resource.scope_spans {
            for span in of_scope.spans {
                spans.push(received_span(span, &resource, &of_scope.schema_url));
            }
        }
    }
    spans
}

fn received_span(
    span: Span,
    resource: &BTreeMap<String, String>,
    schema_url: &str,
) -> ReceivedSpan {
    let links = span.links.into_iter().map(|link| ReceivedLink {
        trace_id: hex::encode(link.trace_id),
        span_id: hex::encode(link.span_id),
        attributes: attributes(link.attributes),
    });
    ReceivedSpan {
        kind: SpanKind::try_from(span.kind).unwrap(),
        status: span.status.map_or(SpanStatus::Unset, |status| status.code()),
        name: span.name,
        trace_id: hex::encode(span.trace_id),
        span_id: hex::encode(span.span_id),
        parent_span_id: hex::encode(span.parent_span_id),
        attributes: attributes(span.attributes),
        links: links.collect(),
        resource: resource.clone(),
        schema_url: schema_url.to_owned(),
    }
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for attribute in attributes {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(any_value::Value::StringValue(value)) => value,
            Some(any_value::Value::BoolValue(value)) => value.to_string(),
            Some(any_value::Value::IntValue(value)) => value.to_string(),
            Some(any_value::Value::DoubleValue(value)) => value.to_string(),
            other => format!("{other:?}"),
        };
        let before = map.insert(attribute.key.clone(), value);
        assert_eq!(before, None, "{} is there twice", attribute.key);
    }
    map
}
