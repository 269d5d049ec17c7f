//! The CLIENT span of an attempt, and the headers by which its receiver continues the trace.
//!
//! By the HTTP conventions of OpenTelemetry 1.44, but without the URL: its path and query may hold
//! keys of the endpoint's owner.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Injector, TextMapPropagator};
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, InstrumentationScope, KeyValue, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use crate::deliveries::retry::{self, Outcome};
use crate::deliveries::{Sent, TargetUrl};
use crate::queue::telemetry::TraceContext;

const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";
/// The header by which a request is known all the way.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The span of one attempt. Dropped before its end, it says that the attempt was given up.
pub(super) struct AttemptSpan {
    cx: Context,
    recorded: bool,
}

impl AttemptSpan {
    /// Starts it as a child of the span that this code runs in.
    pub(super) fn start(target: &TargetUrl, webhook_id: &str) -> Self {
        let parent_cx = Context::current();
        let scope = InstrumentationScope::builder("surety.deliveries")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA_URL)
            .build();
        let bare = SpanBuilder::from_name("POST").with_kind(SpanKind::Client);
        let mut span = global::tracer_with_scope(scope).build_with_context(bare, &parent_cx);
        let recorded = span.is_recording();
        if recorded {
            span.set_attributes([
                KeyValue::new("http.request.method", "POST"),
                KeyValue::new("server.address", target.host_name()),
                KeyValue::new("server.port", i64::from(target.port())),
                KeyValue::new("app.webhook.id", webhook_id.to_owned()),
            ]);
        }
        // What is not recorded is nobody's parent.
        let cx = if recorded { parent_cx.with_span(span) } else { parent_cx };
        Self { cx, recorded }
    }

    /// `traceparent`, and the id of the request that caused the event. Not `tracestate`, which is
    /// between the caller and their own systems.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = Headers(HeaderMap::new());
        TraceContextPropagator::new().inject_context(&self.cx, &mut headers);
        let context = TraceContext::of(&self.cx);
        if let Some(id) = context.as_ref().and_then(TraceContext::request_id) {
            headers.set(X_REQUEST_ID.as_str(), id.to_owned());
        }
        headers.0
    }

    /// Ends the span.
    pub(super) fn end(mut self, sent: &Sent) {
        let attempt = &sent.attempt;
        if let Some(status) = attempt.status {
            let status = KeyValue::new("http.response.status_code", i64::from(status));
            self.cx.span().set_attribute(status);
        }
        let error_type = match (attempt.status, attempt.error) {
            _ if retry::outcome(attempt) == Outcome::Delivered => None,
            (Some(status), _) => Some(status.to_string()),
            (None, error) => Some(error.map_or("failed", |error| error.code()).to_owned()),
        };
        self.finish(error_type);
    }

    fn finish(&mut self, error_type: Option<String>) {
        if !std::mem::take(&mut self.recorded) {
            return;
        }
        let span = self.cx.span();
        if let Some(error_type) = error_type {
            span.set_attribute(KeyValue::new("error.type", error_type));
            span.set_status(Status::error("the endpoint did not take it"));
        }
        span.end();
    }
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        self.finish(Some("cancelled".to_owned()));
    }
}

struct Headers(HeaderMap);

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        let name = HeaderName::try_from(key).ok().filter(|name| name != "tracestate");
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::trace::TraceFlags;
    use opentelemetry_sdk::trace::SpanData;

    use super::*;
    use crate::deliveries::{Attempt, AttemptError};
    use crate::queue::telemetry::collected::{attribute, new_trace, spans_of, within};

    /// The span of an attempt that ended so, and the `traceparent` that was sent.
    fn attempt(status: Option<u16>, error: Option<AttemptError>) -> (SpanData, String) {
        let caller = new_trace(TraceFlags::SAMPLED);
        let _entered = within(&caller).attach();
        let target: TargetUrl = "http://hooks.test:8080/in?key=secret".parse().expect("a URL");
        let span = AttemptSpan::start(&target, "evt_1");
        let headers = span.headers();
        let attempt = Attempt {
            status,
            error,
            detail: None,
            duration: Duration::ZERO,
            address: None,
            answer: String::new(),
            retry_after: None,
        };
        span.end(&Sent { stale: None, attempt });
        let traceparent = headers["traceparent"].to_str().expect("ASCII").to_owned();
        (spans_of(&caller).pop().expect("it is recorded"), traceparent)
    }

    #[test]
    fn the_receiver_continues_the_span_of_the_attempt_which_has_no_path() {
        let (span, traceparent) = attempt(Some(204), None);
        assert_eq!((span.name.as_ref(), &span.span_kind), ("POST", &SpanKind::Client));
        assert_eq!(span.status, Status::Unset);
        assert!(traceparent.contains(&span.span_context.span_id().to_string()), "{traceparent}");
        for (name, value) in [
            ("http.request.method", "POST"),
            ("server.address", "hooks.test"),
            ("server.port", "8080"),
            ("app.webhook.id", "evt_1"),
            ("http.response.status_code", "204"),
        ] {
            assert_eq!(attribute(&span, name).as_deref(), Some(value), "{name}");
        }
        assert!(!format!("{span:?}").contains("secret"), "{span:?}");
    }

    #[test]
    fn an_attempt_that_failed_is_an_error_of_its_kind() {
        for (status, error, expected) in [
            (Some(500), None, "500"),
            (Some(410), None, "410"),
            (None, Some(AttemptError::Timeout), "timeout"),
        ] {
            let (span, _) = attempt(status, error);
            assert_eq!(attribute(&span, "error.type").as_deref(), Some(expected));
            assert!(matches!(span.status, Status::Error { .. }));
        }
    }
}
