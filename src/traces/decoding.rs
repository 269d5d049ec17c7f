//! The spans of an export, as they are kept: texts cut, lists cut, and nothing that is no span.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::{Link as SentLink, SpanKind as SentKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span as SentSpan};
use prost::Message as _;
use time::OffsetDateTime;

use super::span::{Link, MAX_ATTRIBUTES, MAX_CHARS, MAX_LINKS, Span, SpanKind};

const TRACE_ID_BYTES: usize = 16;
const SPAN_ID_BYTES: usize = 8;
/// The service of spans that do not name theirs.
const UNKNOWN_SERVICE: &str = "unknown";

/// The body is no export of spans.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the body is no export of spans")]
pub(super) struct NoExport;

/// The spans of an export, each with the id of its trace. What has no ids, or no time, is left out.
pub(super) fn decode(body: &[u8]) -> Result<Vec<(String, Span)>, NoExport> {
    let export = ExportTraceServiceRequest::decode(body).map_err(|_| NoExport)?;
    Ok(export.resource_spans.into_iter().flat_map(of_process).collect())
}

fn of_process(process: ResourceSpans) -> impl Iterator<Item = (String, Span)> {
    let said = process.resource.map(|resource| resource.attributes).unwrap_or_default();
    let service = said.into_iter().find(|attribute| attribute.key == "service.name");
    let service = service.map_or_else(|| UNKNOWN_SERVICE.to_owned(), |it| text(it.value));
    let spans = process.scope_spans.into_iter().flat_map(|scope| scope.spans);
    spans.filter_map(move |span| kept(span, &service))
}

fn kept(sent: SentSpan, service: &str) -> Option<(String, Span)> {
    let trace = id(&sent.trace_id, TRACE_ID_BYTES)?;
    let started = i128::from(sent.start_time_unix_nano);
    let nanos = sent.end_time_unix_nano.saturating_sub(sent.start_time_unix_nano);
    let failed = sent.status.filter(|status| status.code() == StatusCode::Error);
    let span = Span {
        id: id(&sent.span_id, SPAN_ID_BYTES)?,
        parent: id(&sent.parent_span_id, SPAN_ID_BYTES),
        kind: kind(sent.kind),
        name: cut(&sent.name),
        service: service.to_owned(),
        started_at: OffsetDateTime::from_unix_timestamp_nanos(started).ok()?,
        duration: Duration::from_nanos(nanos),
        failure: failed.map(|status| cut(&status.message)),
        attributes: attributes(sent.attributes),
        links: sent.links.into_iter().filter_map(link).take(MAX_LINKS).collect(),
    };
    Some((trace, span))
}

fn link(sent: SentLink) -> Option<Link> {
    let trace = id(&sent.trace_id, TRACE_ID_BYTES)?;
    let span = id(&sent.span_id, SPAN_ID_BYTES)?;
    Some(Link { trace, span, attributes: attributes(sent.attributes) })
}

/// An id as text. All zeros mean none.
fn id(bytes: &[u8], length: usize) -> Option<String> {
    let is_id = bytes.len() == length && bytes.iter().any(|byte| *byte != 0);
    is_id.then(|| hex::encode(bytes))
}

fn kind(sent: i32) -> SpanKind {
    match SentKind::try_from(sent) {
        Ok(SentKind::Server) => SpanKind::Server,
        Ok(SentKind::Client) => SpanKind::Client,
        Ok(SentKind::Producer) => SpanKind::Producer,
        Ok(SentKind::Consumer) => SpanKind::Consumer,
        Ok(SentKind::Internal | SentKind::Unspecified) | Err(_) => SpanKind::Internal,
    }
}

fn attributes(sent: Vec<KeyValue>) -> Vec<(String, String)> {
    let named = sent.into_iter().filter(|attribute| !attribute.key.is_empty());
    named.map(|it| (cut(&it.key), text(it.value))).take(MAX_ATTRIBUTES).collect()
}

/// A value as text. Lists and maps are not unfolded: they may be deep.
fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => cut(&text),
        Some(any_value::Value::BoolValue(value)) => value.to_string(),
        Some(any_value::Value::IntValue(value)) => value.to_string(),
        Some(any_value::Value::DoubleValue(value)) => value.to_string(),
        Some(any_value::Value::ArrayValue(list)) => format!("a list of {}", list.values.len()),
        Some(any_value::Value::KvlistValue(map)) => format!("a map of {}", map.values.len()),
        Some(any_value::Value::BytesValue(bytes)) => format!("{} bytes", bytes.len()),
        Some(any_value::Value::StringValueStrindex(_)) | None => String::new(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
