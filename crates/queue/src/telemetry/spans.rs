//! The spans of enqueues and of runs.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{
    FutureExt, Span, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue, global};
use tracing::Instrument;

use super::run::{Ending, Run, log_ending, millis};
use super::trace_context::TraceContext;
use crate::ids::JobId;

/// The target of the `tracing` span whose fields every log line of a run carries. It is no span of
/// the trace: an OpenTelemetry layer should filter it out.
pub const LOG_CONTEXT_TARGET: &str = "surety::log_context";

pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";
pub(super) const MESSAGING_SYSTEM: &str = "surety";
/// A span's status is for a list on a screen; the whole error chain is with the attempt.
pub(super) const MAX_STATUS_CHARS: usize = 256;

/// The span of one job being enqueued. Dropped without [`enqueued`](Self::enqueued) it says that
/// nothing was.
#[derive(Debug)]
pub struct EnqueueSpan {
    /// Set while the span is recorded and not yet ended.
    recorded: Option<Context>,
    trace_context: Option<TraceContext>,
}

impl EnqueueSpan {
    /// Starts the span as a child of `parent`, or of the span that this code runs in.
    pub fn start(queue: &str, kind: &str, parent: Option<&TraceContext>) -> Self {
        let parent_cx = parent.map_or_else(Context::current, TraceContext::remote_context);
        let mut span = start_bare("enqueue", SpanKind::Producer, &parent_cx);
        if !span.is_recording() {
            // A span that is recorded nowhere can be nobody's parent, so the job continues the one
            // above it. Without one it still keeps a sampler's decision against this trace, and
            // nothing when there is no sampler.
            let cx = match parent_cx.span().span_context().is_valid() {
                true => parent_cx,
                false => parent_cx.with_span(span),
            };
            return Self { recorded: None, trace_context: TraceContext::of(&cx) };
        }
        span.update_name(format!("enqueue {queue}"));
        span.set_attributes(messaging_attributes("enqueue", "send", queue, kind));
        let cx = parent_cx.with_span(span);
        Self { trace_context: TraceContext::of(&cx), recorded: Some(cx) }
    }

    /// The context that is stored with the job, for its runs to continue.
    pub fn trace_context(&self) -> Option<&TraceContext> {
        self.trace_context.as_ref()
    }

    /// Ends the span without a job: it turned out that none is needed, which is no failure.
    pub fn not_needed(mut self) {
        if let Some(cx) = self.recorded.take() {
            cx.span().set_attribute(KeyValue::new("app.job.not_needed", true));
            cx.span().end();
        }
    }

    /// Ends the span: the job is in the database transaction under this number.
    pub fn enqueued(mut self, job_id: JobId) {
        if let Some(cx) = self.recorded.take() {
            cx.span().set_attribute(message_id(job_id));
            cx.span().end();
        }
    }
}

impl Drop for EnqueueSpan {
    fn drop(&mut self) {
        if let Some(cx) = self.recorded.take() {
            fail(&cx, "not_enqueued", "the job was not enqueued");
        }
    }
}

/// The span of one run. It costs some 100 ns where nothing is recorded (measured), so every run has
/// one, those of a batch included.
#[derive(Debug)]
pub struct ProcessSpan {
    /// The context that the handler runs in: that of this span where it is recorded, else the job's
    /// own.
    cx: Context,
    recorded: bool,
    started: Instant,
}

impl ProcessSpan {
    /// Starts the span, as a child of the enqueue where the job has a trace context, else as a
    /// trace of its own.
    pub fn start(run: &Run<'_>) -> Self {
        let parent_cx = run.trace_context.map_or_else(Context::new, TraceContext::remote_context);
        let mut span = start_bare("process", SpanKind::Consumer, &parent_cx);
        let recorded = span.is_recording();
        if recorded {
            span.update_name(format!("process {}", run.queue));
            span.set_attributes(process_attributes(run));
            add_links(&mut span, run, &parent_cx);
        }
        // As in an enqueue: what is not recorded is nobody's parent, but a sampler's decision holds
        // for what follows.
        let is_its_own_trace = span.span_context().is_valid() && !parent_cx.has_active_span();
        let cx = if recorded || is_its_own_trace { parent_cx.with_span(span) } else { parent_cx };
        Self { cx, recorded, started: Instant::now() }
    }

    /// The `traceparent` that is stored with the job for the next attempt to link to; `None` where
    /// this run is not recorded.
    pub fn traceparent(&self) -> Option<String> {
        let context = self.recorded.then(|| TraceContext::of(&self.cx)).flatten()?;
        context.traceparent().map(str::to_owned)
    }

    /// The context of what the run causes.
    pub fn context(&self) -> &Context {
        &self.cx
    }

    /// The time since the run began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs `handler` inside the span: what it logs carries the job's fields, what it enqueues or
    /// calls continues the trace.
    pub fn scope<F: Future>(
        &self,
        run: &Run<'_>,
        handler: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        // Of level ERROR, so that a filter that lets only warnings and errors through does not
        // strip them of the fields that tell whose they are.
        let log_context = tracing::error_span!(
            target: LOG_CONTEXT_TARGET,
            "job",
            job_id = run.job_id.0,
            kind = run.kind,
            queue = run.queue,
            attempt = run.attempt,
            request_id = run.trace_context.and_then(TraceContext::request_id),
        );
        handler.instrument(log_context).with_context(self.cx.clone())
    }

    /// Ends the span and logs the run.
    pub fn end(self, run: &Run<'_>, ending: Ending<'_>) {
        if self.recorded {
            record_ending(&self.cx, ending);
            self.cx.span().end();
        }
        // The line belongs to the trace, too.
        let _entered = self.cx.attach();
        log_ending(run, ending, self.started.elapsed());
    }
}

/// Starts a span with a name but without attributes: these cost five times as much as all the rest
/// (measured: 346 ns with them, 60 ns without), and most of the time nothing is recorded. A sampler
/// that decides by attributes would not see them; those that `OTEL_TRACES_SAMPLER` can name do not
/// look.
fn start_bare(
    operation: &'static str,
    kind: SpanKind,
    parent_cx: &Context,
) -> impl Span + Send + Sync + use<> {
    tracer().build_with_context(SpanBuilder::from_name(operation).with_kind(kind), parent_cx)
}

pub(super) fn tracer() -> BoxedTracer {
    let scope = InstrumentationScope::builder("surety.queue")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(SCHEMA_URL)
        .build();
    global::tracer_with_scope(scope)
}

pub(super) fn messaging_attributes(
    operation: &'static str,
    operation_type: &'static str,
    queue: &str,
    kind: &str,
) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", MESSAGING_SYSTEM),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", operation_type),
        KeyValue::new("messaging.destination.name", queue.to_owned()),
        KeyValue::new("app.job.kind", kind.to_owned()),
    ]
}

pub(super) fn message_id(job_id: JobId) -> KeyValue {
    KeyValue::new("messaging.message.id", job_id.to_string())
}

fn process_attributes(run: &Run<'_>) -> Vec<KeyValue> {
    let mut attributes = messaging_attributes("process", "process", run.queue, run.kind);
    attributes.extend([
        message_id(run.job_id),
        KeyValue::new("messaging.client.id", run.worker_id.to_string()),
        KeyValue::new("app.job.attempt", i64::from(run.attempt)),
        KeyValue::new("app.job.max_attempts", i64::from(run.max_attempts)),
        KeyValue::new("app.job.queue_wait_ms", millis(run.waited)),
    ]);
    attributes
}

/// A link to the enqueue, as the conventions ask for even where it is the parent; and one to the
/// attempt before.
fn add_links(span: &mut impl Span, run: &Run<'_>, parent_cx: &Context) {
    let creation = parent_cx.span().span_context().clone();
    if creation.is_valid() {
        span.add_link(creation, vec![message_id(run.job_id)]);
    }
    let previous = run
        .last_traceparent
        .and_then(|traceparent| TraceContext::from_traceparent(traceparent).span_context());
    if let Some(previous) = previous {
        span.add_link(previous, vec![KeyValue::new("app.job.link", "previous_attempt")]);
    }
}

fn record_ending(cx: &Context, ending: Ending<'_>) {
    cx.span().set_attribute(KeyValue::new("app.job.outcome", ending.outcome()));
    match ending {
        Ending::Retried { failure, error, .. } | Ending::Discarded { failure, error } => {
            fail(cx, failure.error_type(), error);
        }
        Ending::LeaseLost => fail(cx, "lease_lost", "another worker has the job"),
        // None of these is an error: the job does what its handler or an operator asked for.
        Ending::Completed
        | Ending::Snoozed { .. }
        | Ending::Cancelled { .. }
        | Ending::HandedBack => {}
    }
}

fn fail(cx: &Context, error_type: &'static str, description: &str) {
    let description: String = description.chars().take(MAX_STATUS_CHARS).collect();
    cx.span().set_attribute(KeyValue::new("error.type", error_type));
    cx.span().set_status(Status::Error { description: Cow::Owned(description) });
}
