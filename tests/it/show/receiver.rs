//! The receiver of spans: what it takes, and its bounds.

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use std::io::Write as _;
use surety::traces::{PATH, Receiver, SpanKind, TraceFilter, TraceStore};

const PROTOBUF: (HeaderName, &str) = (CONTENT_TYPE, "application/x-protobuf");

/// A receiver with a store of its own.
struct Bench {
    url: String,
    store: TraceStore,
}

impl Bench {
    fn start() -> Self {
        let (receiver, store) = (Receiver::bind().unwrap(), TraceStore::default());
        let url = format!("http://{}{PATH}", receiver.address());
        receiver.start(store.clone()).unwrap();
        Self { url, store }
    }

    async fn post(&self, body: Vec<u8>, headers: &[(HeaderName, &str)]) -> u16 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.post(&self.url).body(body);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    }
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn text(value: &str) -> any_value::Value {
    any_value::Value::StringValue(value.to_owned())
}

fn export(spans: Vec<Span>) -> Vec<u8> {
    let resource = Resource {
        attributes: vec![attribute("service.name", text("surety-test"))],
        ..Resource::default()
    };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let of_process =
        ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![of_process] }.encode_to_vec()
}

fn span(name: &str) -> Span {
    Span {
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        name: name.to_owned(),
        kind: 3,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_012_000_000,
        attributes: vec![
            attribute("app.event.id", text("txn_1")),
            attribute("http.response.status_code", any_value::Value::IntValue(202)),
        ],
        status: Some(Status { message: "away".to_owned(), code: StatusCode::Error.into() }),
        ..Span::default()
    }
}

#[tokio::test]
async fn a_span_is_kept_as_it_was_exported() {
    let bench = Bench::start();
    assert_eq!(bench.post(export(vec![span("call")]), &[PROTOBUF]).await, 200);
    let trace = bench.store.find(&"ab".repeat(16)).expect("it is kept");
    let kept = &trace.rows[0].span;
    assert_eq!((kept.name.as_str(), kept.id.as_str()), ("call", "cdcdcdcdcdcdcdcd"));
    assert_eq!((kept.service.as_str(), kept.kind), ("surety-test", SpanKind::Client));
    assert_eq!(kept.duration.as_millis(), 12);
    assert_eq!(kept.failure.as_deref(), Some("away"));
    assert_eq!(kept.attribute("app.event.id"), Some("txn_1"));
    assert_eq!(kept.attribute("http.response.status_code"), Some("202"));
    assert_eq!((kept.parent.as_ref(), trace.errors), (None, 1));
}

#[tokio::test]
async fn a_compressed_export_is_unpacked_up_to_a_bound() {
    let bench = Bench::start();
    let gzip = |body: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let headers = [PROTOBUF, (CONTENT_ENCODING, "gzip")];
    assert_eq!(bench.post(gzip(&export(vec![span("call")])), &headers).await, 200);
    assert_eq!(bench.store.list(&TraceFilter::default(), 10).len(), 1);
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 1 << 20);
    assert_eq!(bench.post(bomb, &headers).await, 413);
    assert_eq!(bench.post(b"no gzip".to_vec(), &headers).await, 400);
    let other = [PROTOBUF, (CONTENT_ENCODING, "br")];
    assert_eq!(bench.post(export(vec![]), &other).await, 415);
}

#[tokio::test]
async fn what_is_no_export_is_refused_and_keeps_nothing() {
    let bench = Bench::start();
    assert_eq!(bench.post(b"\xff\xff".to_vec(), &[PROTOBUF]).await, 400);
    assert_eq!(bench.post(vec![0; 3 << 20], &[PROTOBUF]).await, 413);
    assert_eq!(bench.post(b"{}".to_vec(), &[(CONTENT_TYPE, "application/json")]).await, 415);
    let from_a_page = [PROTOBUF, (reqwest::header::ORIGIN, "https://elsewhere.example")];
    assert_eq!(bench.post(export(vec![span("call")]), &from_a_page).await, 403);
    let without_ids = Span { trace_id: vec![0; 16], ..span("no trace") };
    let short = Span { span_id: vec![1; 4], ..span("no span") };
    assert_eq!(bench.post(export(vec![without_ids, short]), &[PROTOBUF]).await, 200);
    assert_eq!(bench.store.list(&TraceFilter::default(), 10).len(), 0);
}

#[tokio::test]
async fn long_texts_and_lists_are_cut() {
    let bench = Bench::start();
    let mut long = span(&"n".repeat(10_000));
    long.attributes =
        (0..200).map(|number| attribute(&format!("a{number}"), text(&"v".repeat(5_000)))).collect();
    assert_eq!(bench.post(export(vec![long]), &[PROTOBUF]).await, 200);
    let trace = bench.store.find(&"ab".repeat(16)).expect("it is kept");
    let kept = &trace.rows[0].span;
    assert!(kept.name.len() < 600 && kept.attributes.len() < 60);
    assert!(kept.attributes.iter().all(|(_, value)| value.len() < 600));
}
