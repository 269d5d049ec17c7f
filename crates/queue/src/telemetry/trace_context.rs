//! The W3C trace context that a job carries from whoever enqueued it to whoever runs it, and the
//! id of the request that caused it.
//!
//! It is one `jsonb` column, so everything read here may have been written by another version, by
//! hand, or by another program: what is not a valid trace context counts as none, and never as an
//! error that would keep a job from running.

use std::collections::BTreeMap;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::Injector;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use serde::{Deserialize, Deserializer, Serialize};

/// The entry of OpenTelemetry's baggage that holds the id of the request which this code serves,
/// directly or by a job. Nothing else of the baggage is stored with a job.
pub const REQUEST_ID: &str = "app.request.id";

/// Longer ids of requests are not stored.
const MAX_REQUEST_ID_BYTES: usize = 128;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// `tracestate` comes from outside and is stored with every job: beyond the 512 characters that the
/// W3C asks everybody to carry, it is left out.
const MAX_TRACESTATE_BYTES: usize = 512;

/// `traceparent` and, where there is one, `tracestate`; and the [id of the request](REQUEST_ID).
/// Never other baggage, which may hold anything.
///
/// In JSON it is the object of these: `{"traceparent": "00-…-…-01", "app.request.id": "r-7"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TraceContext(BTreeMap<String, String>);

impl TraceContext {
    /// The context of the span that this code runs in; `None` outside of any trace.
    pub fn current() -> Option<Self> {
        Context::map_current(Self::of)
    }

    /// The context of the span in `cx`, with the id of the request; `None` when there is neither.
    pub fn of(cx: &Context) -> Option<Self> {
        let mut context = Self::default();
        if let Some(request_id) = cx.baggage().get(REQUEST_ID) {
            context.set(REQUEST_ID, request_id.to_string());
        }
        if cx.has_active_span() && cx.span().span_context().is_valid() {
            let span = cx.span();
            let span_context = span.span_context();
            let traceparent = format!(
                "00-{}-{}-{:02x}",
                span_context.trace_id(),
                span_context.span_id(),
                span_context.trace_flags() & TraceFlags::SAMPLED,
            );
            context.set(TRACEPARENT, traceparent);
            context.set(TRACESTATE, span_context.trace_state().header());
        }
        (!context.0.is_empty()).then_some(context)
    }

    /// A context of this `traceparent` alone.
    pub fn from_traceparent(traceparent: impl Into<String>) -> Self {
        Self(BTreeMap::from([(TRACEPARENT.to_owned(), traceparent.into())]))
    }

    /// The `traceparent`, whether valid or not.
    pub fn traceparent(&self) -> Option<&str> {
        self.0.get(TRACEPARENT).map(String::as_str)
    }

    /// The id of the request that caused it, if it is known.
    pub fn request_id(&self) -> Option<&str> {
        self.0.get(REQUEST_ID).map(String::as_str)
    }

    /// The same without the id of the request.
    #[must_use]
    pub fn without_request_id(mut self) -> Self {
        self.0.remove(REQUEST_ID);
        self
    }

    /// The id of the trace in hexadecimal digits; `None` when this is not valid.
    pub fn trace_id(&self) -> Option<String> {
        self.span_context().map(|span_context| span_context.trace_id().to_string())
    }

    /// An OpenTelemetry context whose current span is the one that wrote this, if this is valid,
    /// and that knows the id of the request. It inherits nothing else from the context that the
    /// caller runs in.
    pub fn remote_context(&self) -> Context {
        let mut cx = Context::new();
        if let Some(request_id) = self.request_id() {
            cx = cx.with_baggage([KeyValue::new(REQUEST_ID, request_id.to_owned())]);
        }
        match self.span_context() {
            Some(span_context) => cx.with_remote_span_context(span_context),
            None => cx,
        }
    }

    /// The span that wrote this; `None` when this is not valid.
    pub fn span_context(&self) -> Option<SpanContext> {
        let (trace_id, span_id, flags) = parse(self.traceparent()?)?;
        let state = self.0.get(TRACESTATE).and_then(|state| state.parse::<TraceState>().ok());
        let span_context =
            SpanContext::new(trace_id, span_id, flags, true, state.unwrap_or_default());
        span_context.is_valid().then_some(span_context)
    }
}

/// The fields of a `traceparent`, by the W3C's rules: version 00 has four, later versions may have
/// more, 255 is none; of the flags only `sampled` counts.
fn parse(traceparent: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let mut fields = traceparent.splitn(5, '-');
    let version = hex(fields.next()?, 2)?;
    let trace_id = TraceId::from(hex(fields.next()?, 32)?);
    let span_id = SpanId::from(u64::try_from(hex(fields.next()?, 16)?).ok()?);
    let flags = TraceFlags::new(u8::try_from(hex(fields.next()?, 2)?).ok()?);
    let is_known = match version {
        0 => fields.next().is_none(),
        version => version < 255,
    };
    is_known.then_some((trace_id, span_id, flags & TraceFlags::SAMPLED))
}

/// A number of so many hexadecimal digits, in lower case.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() == digits && is_hex { u128::from_str_radix(text, 16).ok() } else { None }
}

impl Injector for TraceContext {
    fn set(&mut self, key: &str, value: String) {
        // A propagator writes an empty tracestate when there is none.
        let wanted = match key {
            TRACEPARENT => true,
            TRACESTATE => !value.is_empty() && value.len() <= MAX_TRACESTATE_BYTES,
            REQUEST_ID => {
                (1..=MAX_REQUEST_ID_BYTES).contains(&value.len())
                    && value.bytes().all(|byte| byte.is_ascii_graphic())
            }
            _ => false,
        };
        if wanted {
            self.0.insert(key.to_owned(), value);
        }
    }
}

/// Takes any JSON and keeps what it knows, so that no content of the column makes a row unreadable.
impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut context = Self::default();
        if let serde_json::Value::Object(fields) = Deserialize::deserialize(deserializer)? {
            for (name, value) in fields {
                if let serde_json::Value::String(value) = value {
                    context.set(&name, value);
                }
            }
        }
        Ok(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT_HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn from_json(json: &str) -> TraceContext {
        serde_json::from_str(json).expect("every JSON document is taken")
    }

    #[test]
    fn a_context_survives_the_way_through_json() {
        let json = format!(r#"{{"traceparent":"{TRACEPARENT_HEADER}","tracestate":"a=b"}}"#);
        let context = from_json(&json);
        let remote = context.remote_context();

        assert_eq!(serde_json::to_string(&context).expect("it is a map of strings"), json);
        assert!(remote.span().span_context().is_remote());
        assert_eq!(TraceContext::of(&remote), Some(context));
    }

    #[test]
    fn the_id_of_the_request_goes_along_with_and_without_a_trace() {
        for traceparent in ["", &format!(r#","traceparent":"{TRACEPARENT_HEADER}""#)] {
            let json = format!(r#"{{"app.request.id":"r-7"{traceparent}}}"#);
            let remote = from_json(&json).remote_context();

            assert_eq!(TraceContext::of(&remote), Some(from_json(&json)));
            assert_eq!(from_json(&json).request_id(), Some("r-7"));
        }
        for rubbish in ["".to_owned(), "a b".to_owned(), "ä".to_owned(), "x".repeat(129)] {
            let json = serde_json::json!({ REQUEST_ID: rubbish }).to_string();
            assert_eq!(from_json(&json).request_id(), None, "{rubbish}");
        }
    }

    #[test]
    fn an_empty_tracestate_is_left_out() {
        let remote = TraceContext::from_traceparent(TRACEPARENT_HEADER).remote_context();

        assert_eq!(
            TraceContext::of(&remote),
            Some(TraceContext::from_traceparent(TRACEPARENT_HEADER))
        );
    }

    #[test]
    fn the_sampling_decision_is_kept_either_way() {
        for flags in ["00", "01"] {
            let traceparent =
                format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            let remote = TraceContext::from_traceparent(&traceparent).remote_context();

            assert_eq!(remote.span().span_context().is_sampled(), flags == "01");
            assert_eq!(
                TraceContext::of(&remote).expect("it is valid").traceparent(),
                Some(traceparent.as_str())
            );
        }
    }

    #[test]
    fn outside_of_a_trace_there_is_no_context() {
        assert_eq!(TraceContext::current(), None);
    }

    #[test]
    fn inside_a_trace_the_current_span_is_the_context() {
        let _entered = TraceContext::from_traceparent(TRACEPARENT_HEADER).remote_context().attach();

        assert_eq!(
            TraceContext::current().as_ref().and_then(TraceContext::traceparent),
            Some(TRACEPARENT_HEADER)
        );
    }

    #[test]
    fn baggage_and_an_oversized_tracestate_are_not_stored() {
        let oversized = format!("a={}", "x".repeat(MAX_TRACESTATE_BYTES));
        let context = from_json(&format!(
            r#"{{"traceparent":"{TRACEPARENT_HEADER}","tracestate":"{oversized}","baggage":"a=b"}}"#
        ));

        assert_eq!(context, TraceContext::from_traceparent(TRACEPARENT_HEADER));
    }

    #[test]
    fn a_later_version_and_unknown_flags_are_read_as_far_as_they_are_known() {
        let traceparent = "42-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-more-and-more";
        let remote = TraceContext::from_traceparent(traceparent).remote_context();

        assert_eq!(
            TraceContext::of(&remote),
            Some(TraceContext::from_traceparent(TRACEPARENT_HEADER))
        );
    }

    #[test]
    fn rubbish_counts_as_no_context() {
        let rubbish = [
            "null",
            "[]",
            "7",
            r#""00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01""#,
            "{}",
            r#"{"traceparent": null}"#,
            r#"{"traceparent": 7}"#,
            r#"{"traceparent": {"a": []}}"#,
            r#"{"traceparent": ""}"#,
            r#"{"traceparent": "----"}"#,
            r#"{"traceparent": "00-00000000000000000000000000000000-00f067aa0ba902b7-01"}"#,
            r#"{"traceparent": "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#,
            r#"{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-äöü"}"#,
            r#"{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"}"#,
            r#"{"traceparent": "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"}"#,
            r#"{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01"}"#,
            r#"{"traceparent": "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#,
            r#"{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"}"#,
            r#"{"tracestate": "a=b"}"#,
        ];
        for json in rubbish {
            let context = from_json(json);

            assert_eq!(context.span_context(), None, "{json}");
            assert_eq!(TraceContext::of(&context.remote_context()), None, "{json}");
        }
    }
}
