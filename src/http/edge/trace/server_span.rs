//! The SERVER span of a request, by the HTTP conventions of OpenTelemetry 1.44.

use opentelemetry::baggage::BaggageExt;
use opentelemetry::global;
use opentelemetry::propagation::Injector;
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use poem::http::{HeaderMap, Method, StatusCode, Version, header};
use poem::{Addr, Request};

use crate::http::wire::request_id::RequestId;
use crate::http::wire::shown_path::shown_path;
use crate::queue::telemetry::{REQUEST_ID, TraceContext};

const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";
/// The length to which a caller's text is cut before it goes to a span or a log line.
const MAX_FOREIGN_CHARS: usize = 256;

/// The most members of a `tracestate`.
const MAX_TRACESTATE_MEMBERS: usize = 32;

/// The reason that a request got no answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    ClientGone,
    Panic,
}

/// Starts the span and gives the context to answer in. Without a tracer provider that is the
/// caller's own, which so reaches the job and whatever else this process sends on.
pub(super) fn start(req: &Request, request_id: &RequestId, route: Option<&str>) -> Context {
    let parent_cx = caller_context(req.headers())
        .with_baggage([KeyValue::new(REQUEST_ID, request_id.to_string())]);
    let scope = InstrumentationScope::builder("surety.http")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(SCHEMA_URL)
        .build();
    let bare = SpanBuilder::from_name("request").with_kind(SpanKind::Server);
    let mut span = global::tracer_with_scope(scope).build_with_context(bare, &parent_cx);
    if !span.span_context().is_valid() {
        return parent_cx;
    }
    // Attributes cost more than all the rest, so they wait until it is known that somebody wants
    // them.
    if span.is_recording() {
        span.update_name(span_name(req.method(), route));
        span.set_attributes(request_attributes(req));
        span.set_attribute(KeyValue::new("app.request.id", request_id.to_string()));
        if let Some(route) = route {
            span.set_attribute(KeyValue::new("http.route", route.to_owned()));
        }
    }
    parent_cx.with_span(span)
}

/// Ends the span of `cx` with the answer; `route` is given where it was not known at the start.
pub(super) fn answered(cx: &Context, method: &Method, route: Option<&str>, status: StatusCode) {
    let span = cx.span();
    if !span.is_recording() {
        return;
    }
    if let Some(route) = route {
        span.update_name(span_name(method, Some(route)));
        span.set_attribute(KeyValue::new("http.route", route.to_owned()));
    }
    let code = i64::from(status.as_u16());
    span.set_attribute(KeyValue::new("http.response.status_code", code));
    // A 4xx is the caller's error: for the server the span went well.
    if status.is_server_error() {
        span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
        span.set_status(Status::error(""));
    }
    span.end();
}

/// Ends the span of `cx` without an answer.
pub(super) fn lost(cx: &Context, reason: Loss) {
    let span = cx.span();
    match reason {
        Loss::ClientGone => span.set_attribute(KeyValue::new("error.type", "client_disconnected")),
        Loss::Panic => {
            span.set_attribute(KeyValue::new("error.type", "panic"));
            span.set_status(Status::error(""));
        }
    }
    span.end();
}

fn caller_context(headers: &HeaderMap) -> Context {
    let mut parents = headers.get_all("traceparent").iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return Context::new() };
    let mut caller = TraceContext::default();
    if let Ok(parent) = parent.to_str() {
        caller.set("traceparent", parent.to_owned());
    }
    if let Some(state) = tracestate(headers) {
        caller.set("tracestate", state);
    }
    caller.remote_context()
}

/// The members of all `tracestate` headers, in their order; none if there are more than the W3C
/// allows, or what is no text.
fn tracestate(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all("tracestate").iter().map(|value| value.to_str());
    let values = values.collect::<Result<Vec<_>, _>>().ok()?;
    let members = values.iter().flat_map(|value| value.split(',')).map(str::trim);
    let members: Vec<&str> = members.filter(|member| !member.is_empty()).collect();
    (members.len() <= MAX_TRACESTATE_MEMBERS).then(|| members.join(","))
}

fn span_name(method: &Method, route: Option<&str>) -> String {
    let method = if is_known(method) { method.as_str() } else { "HTTP" };
    match route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    }
}

fn request_attributes(req: &Request) -> Vec<KeyValue> {
    let method = req.method();
    let mut attributes = vec![
        KeyValue::new("url.path", cut(&shown_path(req.uri().path()))),
        KeyValue::new("url.scheme", req.scheme().as_str().to_owned()),
        KeyValue::new("network.protocol.version", protocol_version(req.version())),
    ];
    if is_known(method) {
        attributes.push(KeyValue::new("http.request.method", method.to_string()));
    } else {
        attributes.push(KeyValue::new("http.request.method", "_OTHER"));
        attributes.push(KeyValue::new("http.request.method_original", cut(method.as_str())));
    }
    // The peer itself: what a forwarding header says is the caller's word.
    if let Addr::SocketAddr(peer) = &req.remote_addr().0 {
        attributes.push(KeyValue::new("client.address", peer.ip().to_string()));
    }
    if let Some((address, port)) = server(req) {
        attributes.push(KeyValue::new("server.address", cut(&address)));
        attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
    }
    if let Some(agent) = req.header(header::USER_AGENT) {
        attributes.push(KeyValue::new("user_agent.original", cut(agent)));
    }
    attributes
}

/// The name that the caller called us by: the authority of HTTP/2, or the Host header.
fn server(req: &Request) -> Option<(String, Option<u16>)> {
    let host = req.header(header::HOST).and_then(|host| host.parse().ok());
    let authority = req.original_uri().authority().cloned().or(host)?;
    Some((authority.host().to_owned(), authority.port_u16()))
}

/// The methods that the conventions know by name. Any other could be anything, and would make a
/// name of its own.
fn is_known(method: &Method) -> bool {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::HEAD,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    KNOWN.contains(method)
}

fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

pub(super) fn cut(foreign: &str) -> String {
    foreign.chars().take(MAX_FOREIGN_CHARS).collect()
}
