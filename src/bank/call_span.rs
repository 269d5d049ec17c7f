//! The CLIENT span of a call, by the HTTP conventions of OpenTelemetry 1.44.

use std::borrow::Cow;

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::{Injector, TextMapPropagator};
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, InstrumentationScope, KeyValue, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use url::Url;

use super::error::BankError;

/// The entry of the baggage that holds the id of the request that this code serves.
const REQUEST_ID: &str = "app.request.id";
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// The span of one call. Dropped before its end, it says that the caller gave up.
pub(super) struct CallSpan {
    /// The context that the bank is to continue: this span where it is recorded, else the one
    /// around it.
    cx: Context,
    recorded: bool,
    status: Option<u16>,
}

impl CallSpan {
    /// Starts it as a child of the span that this code runs in. Of the path it is named after the
    /// template, so that spans of all payments have one name.
    pub(super) fn start(method: &Method, template: &'static str, url: &Url) -> Self {
        let parent_cx = Context::current();
        let scope = InstrumentationScope::builder("surety.bank")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA_URL)
            .build();
        let bare = SpanBuilder::from_name("request").with_kind(SpanKind::Client);
        let mut span = global::tracer_with_scope(scope).build_with_context(bare, &parent_cx);
        let recorded = span.is_recording();
        if recorded {
            span.update_name(format!("{method} {template}"));
            span.set_attributes(attributes(method, template, url));
        }
        // What is not recorded is nobody's parent, but a sampler's decision holds for what follows.
        let is_its_own_trace = span.span_context().is_valid() && !parent_cx.has_active_span();
        let cx = if recorded || is_its_own_trace { parent_cx.with_span(span) } else { parent_cx };
        Self { cx, recorded, status: None }
    }

    /// Writes `traceparent`, `tracestate` and the id of the request that caused the call, as far as
    /// there are any.
    pub(super) fn propagate(&self, headers: &mut HeaderMap) {
        TraceContextPropagator::new().inject_context(&self.cx, &mut Headers(headers));
        let request_id = self.cx.baggage().get(REQUEST_ID).map(|id| id.as_str().to_owned());
        if let Some(id) = request_id.and_then(|id| HeaderValue::try_from(id).ok()) {
            headers.insert(X_REQUEST_ID, id);
        }
    }

    /// Notes the status of the answer, whose body may still fail to come.
    pub(super) fn answered(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// Ends the span.
    pub(super) fn end(mut self, error: Option<&BankError>) {
        let error_type = error.map(|error| match (error, self.status) {
            // A 4xx or 5xx that says what it should is an error by its status.
            (BankError::Declined { .. } | BankError::Unavailable(_), Some(status)) => {
                Cow::Owned(status.to_string())
            }
            (BankError::Declined { .. }, None) => Cow::Borrowed("declined"),
            (BankError::Unavailable(_), None) => Cow::Borrowed("unavailable"),
            (BankError::TimedOut, _) => Cow::Borrowed("timeout"),
            (BankError::Pending, _) => Cow::Borrowed("pending"),
            (BankError::Malformed(_), _) => Cow::Borrowed("malformed"),
        });
        self.finish(error_type, error.map(ToString::to_string).unwrap_or_default());
    }

    fn finish(&mut self, error_type: Option<Cow<'static, str>>, description: String) {
        if !std::mem::take(&mut self.recorded) {
            return;
        }
        let span = self.cx.span();
        if let Some(status) = self.status {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        }
        if let Some(error_type) = error_type {
            span.set_attribute(KeyValue::new("error.type", error_type));
            span.set_status(Status::error(description));
        }
        span.end();
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        self.finish(Some(Cow::Borrowed("cancelled")), "the caller gave up".to_owned());
    }
}

/// The URL has no credentials in it: the settings refuse them.
fn attributes(method: &Method, template: &'static str, url: &Url) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("http.request.method", method.to_string()),
        KeyValue::new("url.full", url.to_string()),
        KeyValue::new("url.template", template),
        KeyValue::new("network.protocol.version", "1.1"),
    ];
    if let Some(host) = url.host_str() {
        attributes.push(KeyValue::new("server.address", host.to_owned()));
    }
    if let Some(port) = url.port_or_known_default() {
        attributes.push(KeyValue::new("server.port", i64::from(port)));
    }
    attributes
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, name: &str, value: String) {
        // The propagator writes an empty tracestate when there is none.
        if value.is_empty() {
            return;
        }
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, TraceFlags};
    use opentelemetry_sdk::trace::SpanData;

    use super::*;
    use crate::bank::{InvalidAnswer, Unavailable};
    use crate::queue::telemetry::collected::{attribute, new_trace, spans_of, within};

    /// The span of a call that ended so, and what the bank was sent.
    fn call(
        caller: &SpanContext,
        status: Option<u16>,
        error: Option<&BankError>,
    ) -> (SpanData, HeaderMap) {
        let _entered = within(caller).attach();
        let url = Url::parse("http://bank.test/api/payments").expect("a URL");
        let mut span = CallSpan::start(&Method::POST, "/payments", &url);
        let mut headers = HeaderMap::new();
        span.propagate(&mut headers);
        if let Some(status) = status {
            span.answered(status);
        }
        span.end(error);
        (spans_of(caller).pop().expect("it is recorded"), headers)
    }

    #[test]
    fn the_bank_continues_the_span_of_the_call() {
        let caller = new_trace(TraceFlags::SAMPLED);
        let (span, headers) = call(&caller, Some(201), None);

        assert_eq!(span.name, "POST /payments");
        assert_eq!(span.span_kind, SpanKind::Client);
        assert_eq!(span.parent_span_id, caller.span_id());
        assert_eq!(span.status, Status::Unset);
        for (name, value) in [
            ("http.request.method", "POST"),
            ("url.full", "http://bank.test/api/payments"),
            ("url.template", "/payments"),
            ("server.address", "bank.test"),
            ("server.port", "80"),
            ("network.protocol.version", "1.1"),
            ("http.response.status_code", "201"),
        ] {
            assert_eq!(attribute(&span, name).as_deref(), Some(value), "{name}");
        }
        let (trace_id, span_id) = (caller.trace_id(), span.span_context.span_id());
        let sent: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let expected = format!("00-{trace_id}-{span_id}-01");
        assert_eq!(sent, [("traceparent", &HeaderValue::try_from(expected).expect("ASCII"))]);
    }

    #[test]
    fn a_failed_call_is_an_error_of_its_kind() {
        let declined = BankError::Declined { reason: "insufficient-funds".to_owned() };
        for (status, error, expected) in [
            (Some(402), declined, "402"),
            (Some(503), BankError::Unavailable(Unavailable::NotAccepted), "503"),
            (None, BankError::Unavailable(Unavailable::NotConnected), "unavailable"),
            (None, BankError::TimedOut, "timeout"),
            (Some(201), BankError::Malformed(InvalidAnswer::Cut), "malformed"),
        ] {
            let (span, _) = call(&new_trace(TraceFlags::SAMPLED), status, Some(&error));
            assert_eq!(attribute(&span, "error.type").as_deref(), Some(expected));
            assert_eq!(span.status, Status::error(error.to_string()));
        }
    }

    #[test]
    fn a_call_that_is_given_up_ends_its_span() {
        let caller = new_trace(TraceFlags::SAMPLED);
        let _entered = within(&caller).attach();
        let url = Url::parse("http://bank.test/").expect("a URL");
        drop(CallSpan::start(&Method::GET, "/payments/{key}", &url));
        let spans = spans_of(&caller);
        assert_eq!(attribute(&spans[0], "error.type").as_deref(), Some("cancelled"));
    }

    #[test]
    fn a_trace_that_is_not_sampled_reaches_the_bank_as_it_is() {
        let caller = new_trace(TraceFlags::NOT_SAMPLED);
        let _entered = within(&caller).attach();
        let url = Url::parse("http://bank.test/").expect("a URL");
        let mut headers = HeaderMap::new();
        CallSpan::start(&Method::GET, "/statement", &url).propagate(&mut headers);
        let sent = headers["traceparent"].to_str().expect("ASCII");
        assert!(sent.starts_with(&format!("00-{}-", caller.trace_id())), "{sent}");
        assert!(sent.ends_with("-00"), "{sent}");
        assert_eq!(spans_of(&caller).len(), 0);
    }
}
