//! The spans of the engine's own work, for many jobs at a time: claims, and completions that jobs
//! share. Each is linked to the traces of its jobs; a claim is a trace of its own, because it
//! belongs to all of them, and so is a completion of more than one.
//!
//! Recorded when the work is done, so that a claim that brought nothing has none, and where nothing
//! is recorded it costs next to nothing.

use std::time::SystemTime;

use opentelemetry::trace::{
    Span, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use uuid::Uuid;

use super::spans::{message_id, messaging_attributes, tracer};
use super::trace_context::TraceContext;
use crate::ids::JobId;

/// The most jobs that one span is linked to.
const MAX_LINKS: usize = 32;

/// A job that was claimed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimed<'a> {
    pub(crate) job_id: JobId,
    pub(crate) queue: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) trace_context: Option<&'a TraceContext>,
}

/// Records the span of a claim that brought these jobs, if one of the first is in a sampled trace.
pub(crate) fn record_claim<'a>(
    began_at: SystemTime,
    worker_id: Uuid,
    jobs: impl ExactSizeIterator<Item = Claimed<'a>> + Clone,
) {
    let created = |job: Claimed<'a>| {
        let created = job.trace_context.and_then(TraceContext::span_context)?;
        created.is_sampled().then_some((job, created))
    };
    let linked: Vec<_> = jobs.clone().take(MAX_LINKS).filter_map(created).collect();
    let Some((first, _)) = linked.first() else { return };
    let mut span = start("claim", began_at, &Context::new());
    if !span.is_recording() {
        return;
    }
    span.update_name(format!("claim {}", first.queue));
    span.set_attributes(messaging_attributes("claim", "receive", first.queue, first.kind));
    span.set_attribute(KeyValue::new("messaging.client.id", worker_id.to_string()));
    span.set_attribute(batch_size(jobs.len()));
    for (job, created) in linked {
        span.add_link(created, vec![message_id(job.job_id)]);
    }
    span.end();
}

/// Records the span of a completion that jobs shared, if one of them is recorded. `traceparents`
/// are those of their runs.
pub(crate) fn record_completion<'a>(
    began_at: SystemTime,
    traceparents: impl Iterator<Item = (JobId, Option<&'a str>)>,
    is_committed: bool,
) {
    let (mut count, mut runs) = (0, Vec::new());
    for (job_id, traceparent) in traceparents {
        count += 1;
        if runs.len() < MAX_LINKS {
            let run = traceparent.map(TraceContext::from_traceparent);
            runs.extend(run.and_then(|run| Some((job_id, run.span_context()?))));
        }
    }
    let parent = match runs.as_slice() {
        [] => return,
        [(_, run)] if count == 1 => Context::new().with_remote_span_context(run.clone()),
        _ => Context::new(),
    };
    let mut span = start("complete", began_at, &parent);
    if !span.is_recording() {
        return;
    }
    span.set_attributes([
        KeyValue::new("messaging.system", super::spans::MESSAGING_SYSTEM),
        KeyValue::new("messaging.operation.name", "complete"),
        KeyValue::new("messaging.operation.type", "settle"),
        batch_size(count),
    ]);
    for (job_id, run) in runs {
        span.add_link(run, vec![message_id(job_id)]);
    }
    if !is_committed {
        span.set_status(Status::error("the database refused or did not answer"));
    }
    span.end();
}

fn start(
    name: &'static str,
    began_at: SystemTime,
    parent: &Context,
) -> impl Span + Send + Sync + use<> {
    let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Client);
    tracer().build_with_context(builder.with_start_time(began_at), parent)
}

fn batch_size(count: usize) -> KeyValue {
    KeyValue::new("messaging.batch.message_count", i64::try_from(count).unwrap_or(i64::MAX))
}
