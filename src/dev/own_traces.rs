//! The last traces of `app dev` and its children, kept in memory, unless the environment says what
//! is to become of spans.
//!
//! They are exported as any program exports its spans, to a receiver of our own: so those of a
//! worker that is a process of its own are among them.

use super::Args;
use crate::traces::{self, Span, SpanKind, TraceStore};

/// The variables that say whether and where spans are exported.
const EXPORT_SETTINGS: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_SDK_DISABLED",
];
/// Settings of our own export: this process and its children read them from the environment, as
/// any program does. Spans can be looked at soon, and many at once are not lost.
const OWN_EXPORT: [(&str, &str); 3] = [
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
    ("OTEL_BSP_SCHEDULE_DELAY", "500"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "16384"),
];

/// Keeps the last traces of this process and its children, unless the environment says what is to
/// become of spans. To be called before there is any other thread, and before telemetry is set up.
pub fn keep_traces(args: &mut Args) {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if EXPORT_SETTINGS.iter().any(|name| is_set(name)) {
        return;
    }
    // Without a port there are no traces to look at, and everything else.
    let Ok(receiver) = traces::Receiver::bind() else { return };
    let endpoint = format!("http://{}{}", receiver.address(), traces::PATH);
    let own = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str())];
    for (name, value) in own.into_iter().chain(OWN_EXPORT.into_iter().filter(|it| !is_set(it.0))) {
        // SAFETY: no other thread runs yet that could read the environment.
        unsafe { std::env::set_var(name, value) };
    }
    leave_out_proxies();
    let store = TraceStore::ignoring(is_page_view);
    args.traces = receiver.start(store.clone()).is_ok().then_some(store);
}

/// Has spans for this machine go past the proxy that others may need.
fn leave_out_proxies() {
    const HERE: &str = "127.0.0.1";
    let except = ["NO_PROXY", "no_proxy"].into_iter().find_map(|name| std::env::var(name).ok());
    let except = except.filter(|hosts| !hosts.is_empty());
    let hosts = except.map_or(HERE.to_owned(), |hosts| format!("{hosts},{HERE}"));
    for name in ["NO_PROXY", "no_proxy"] {
        // SAFETY: no other thread runs yet that could read the environment.
        unsafe { std::env::set_var(name, &hosts) };
    }
}

/// Tells if a span is a page of the dashboard being looked at: of that there is so much that what
/// the pages are about would soon be gone.
fn is_page_view(span: &Span) -> bool {
    span.kind == SpanKind::Server && span.name.starts_with("GET /ui")
}
