//! A tracer provider for unit tests: what it collects is looked up by trace, because tests run side
//! by side.

use std::sync::{Mutex, OnceLock};

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};

static SPANS: Mutex<Vec<SpanData>> = Mutex::new(Vec::new());
static INSTALLED: OnceLock<()> = OnceLock::new();

#[derive(Debug)]
struct Collector;

impl SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        SPANS.lock().expect("no test panics while it holds this").extend(batch);
        Ok(())
    }
}

/// A trace of the test's own, with this caller's span as its root.
pub fn new_trace(flags: TraceFlags) -> SpanContext {
    INSTALLED.get_or_init(|| {
        let provider = SdkTracerProvider::builder().with_simple_exporter(Collector).build();
        opentelemetry::global::set_tracer_provider(provider);
    });
    let trace_id = TraceId::from(uuid::Uuid::new_v4().as_u128());
    SpanContext::new(trace_id, SpanId::from(0xca11e4), flags, true, TraceState::NONE)
}

/// The trace's context.
pub fn within(caller: &SpanContext) -> Context {
    Context::new().with_remote_span_context(caller.clone())
}

/// The trace's spans so far, in the order in which they ended.
pub fn spans_of(caller: &SpanContext) -> Vec<SpanData> {
    let spans = SPANS.lock().expect("no test panics while it holds this");
    spans.iter().filter(|span| span.span_context.trace_id() == caller.trace_id()).cloned().collect()
}

/// The attribute's value as text.
pub fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let mut named = span.attributes.iter().filter(|attribute| attribute.key.as_str() == name);
    let value = named.next().map(|attribute| attribute.value.to_string());
    assert!(named.next().is_none(), "{name} is there twice");
    value
}
