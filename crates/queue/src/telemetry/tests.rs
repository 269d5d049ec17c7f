use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::{SpanKind, Status, TraceFlags};
use opentelemetry_sdk::trace::SpanData;
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::collected::{attribute, new_trace, spans_of, within};
use super::spans::{MAX_STATUS_CHARS, SCHEMA_URL};
use super::{Ending, EnqueueSpan, Failure, ProcessSpan, Run, TraceContext};
use crate::ids::JobId;

const ERROR: &str = "the ledger is closed: until tomorrow";

fn first_run(trace_context: Option<&TraceContext>) -> Run<'_> {
    Run {
        job_id: JobId(7),
        queue: "mail",
        kind: "send_receipt",
        attempt: 1,
        max_attempts: 3,
        worker_id: uuid::Uuid::nil(),
        waited: Duration::from_micros(1500),
        trace_context,
        last_traceparent: None,
    }
}

/// The one span that a run with this ending leaves.
fn ended(ending: Ending<'_>) -> SpanData {
    let caller = new_trace(TraceFlags::SAMPLED);
    let trace_context = TraceContext::of(&within(&caller));
    let run = first_run(trace_context.as_ref());
    ProcessSpan::start(&run).end(&run, ending);
    let mut spans = spans_of(&caller);
    assert_eq!(spans.len(), 1);
    spans.remove(0)
}

#[test]
fn a_run_is_a_child_of_its_enqueue_and_links_to_it() {
    let caller = new_trace(TraceFlags::SAMPLED);
    let entered = within(&caller).attach();
    let enqueue = EnqueueSpan::start("mail", "send_receipt", None);
    let trace_context = enqueue.trace_context().cloned();
    enqueue.enqueued(JobId(7));
    drop(entered);
    let run = first_run(trace_context.as_ref());
    ProcessSpan::start(&run).end(&run, Ending::Completed);

    let spans = spans_of(&caller);
    let [enqueue, process] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(enqueue.name, "enqueue mail");
    assert_eq!(enqueue.span_kind, SpanKind::Producer);
    assert_eq!(enqueue.parent_span_id, caller.span_id());
    assert_eq!(attribute(enqueue, "messaging.system").as_deref(), Some("surety"));
    assert_eq!(attribute(enqueue, "messaging.operation.name").as_deref(), Some("enqueue"));
    assert_eq!(attribute(enqueue, "messaging.operation.type").as_deref(), Some("send"));
    assert_eq!(attribute(enqueue, "messaging.destination.name").as_deref(), Some("mail"));
    assert_eq!(attribute(enqueue, "messaging.message.id").as_deref(), Some("7"));

    assert_eq!(process.name, "process mail");
    assert_eq!(process.span_kind, SpanKind::Consumer);
    assert_eq!(process.parent_span_id, enqueue.span_context.span_id());
    assert_eq!(process.links.len(), 1);
    assert_eq!(process.links[0].span_context.span_id(), enqueue.span_context.span_id());
    assert_eq!(attribute(process, "messaging.operation.name").as_deref(), Some("process"));
    assert_eq!(attribute(process, "messaging.operation.type").as_deref(), Some("process"));
    assert_eq!(attribute(process, "messaging.message.id").as_deref(), Some("7"));
    assert_eq!(attribute(process, "app.job.kind").as_deref(), Some("send_receipt"));
    assert_eq!(attribute(process, "app.job.attempt").as_deref(), Some("1"));
    assert_eq!(attribute(process, "app.job.max_attempts").as_deref(), Some("3"));
    assert_eq!(attribute(process, "app.job.queue_wait_ms").as_deref(), Some("1.5"));
    assert_eq!(attribute(process, "app.job.outcome").as_deref(), Some("completed"));
    assert_eq!(process.status, Status::Unset);
    assert_eq!(process.instrumentation_scope.schema_url(), Some(SCHEMA_URL));
}

#[test]
fn a_second_attempt_links_to_the_first() {
    let caller = new_trace(TraceFlags::SAMPLED);
    let trace_context = TraceContext::of(&within(&caller));
    let first = first_run(trace_context.as_ref());
    let span = ProcessSpan::start(&first);
    let traceparent = span.traceparent().expect("the run is recorded");
    span.end(&first, Ending::Completed);
    let second = Run { attempt: 2, last_traceparent: Some(&traceparent), ..first };
    ProcessSpan::start(&second).end(&second, Ending::Completed);

    let spans = spans_of(&caller);
    let [first, second] = spans.as_slice() else { panic!("{spans:?}") };
    let linked: Vec<_> = second.links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!(linked, [caller.span_id(), first.span_context.span_id()]);
    assert_eq!(second.parent_span_id, caller.span_id());
}

#[test]
fn a_job_goes_on_in_the_context_that_it_is_given_and_not_in_the_current_one() {
    let (caller, bystander) = (new_trace(TraceFlags::SAMPLED), new_trace(TraceFlags::SAMPLED));
    let _entered = within(&bystander).attach();
    let given = TraceContext::of(&within(&caller));
    EnqueueSpan::start("mail", "send_receipt", given.as_ref()).enqueued(JobId(7));

    assert_eq!(spans_of(&caller).len(), 1);
    assert_eq!(spans_of(&bystander).len(), 0);
}

#[test]
fn only_failures_are_errors() {
    let failure = Failure::TimedOut;
    let bad = [
        (Ending::Retried { failure, error: ERROR, delay: Duration::ZERO }, "retried", "timed_out"),
        (Ending::Discarded { failure, error: ERROR }, "discarded", "timed_out"),
        (Ending::LeaseLost, "lease_lost", "lease_lost"),
    ];
    for (ending, outcome, error_type) in bad {
        let span = ended(ending);
        assert_eq!(attribute(&span, "app.job.outcome").as_deref(), Some(outcome));
        assert_eq!(attribute(&span, "error.type").as_deref(), Some(error_type));
        assert!(matches!(span.status, Status::Error { .. }), "{:?}", span.status);
    }
    let good = [
        (Ending::Completed, "completed"),
        (Ending::Snoozed { delay: Duration::ZERO, reason: None }, "snoozed"),
        (Ending::Cancelled { reason: ERROR }, "cancelled"),
        (Ending::HandedBack, "handed_back"),
    ];
    for (ending, outcome) in good {
        let span = ended(ending);
        assert_eq!(attribute(&span, "app.job.outcome").as_deref(), Some(outcome));
        assert_eq!(attribute(&span, "error.type"), None);
        assert_eq!(span.status, Status::Unset);
    }
}

#[test]
fn an_error_on_a_span_is_short() {
    let error = "ä".repeat(10_000);
    let span = ended(Ending::Discarded { failure: Failure::Failed, error: &error });
    let Status::Error { description } = span.status else { panic!("{:?}", span.status) };
    assert_eq!(description.chars().count(), MAX_STATUS_CHARS);
}

#[test]
fn an_enqueue_that_came_to_nothing_says_so() {
    let caller = new_trace(TraceFlags::SAMPLED);
    drop(EnqueueSpan::start("mail", "send_receipt", TraceContext::of(&within(&caller)).as_ref()));

    let spans = spans_of(&caller);
    assert_eq!(spans.len(), 1);
    assert_eq!(attribute(&spans[0], "error.type").as_deref(), Some("not_enqueued"));
}

#[test]
fn an_enqueue_that_was_not_needed_is_no_failure() {
    let caller = new_trace(TraceFlags::SAMPLED);
    let context = TraceContext::of(&within(&caller));
    EnqueueSpan::start("mail", "send_receipt", context.as_ref()).not_needed();

    let spans = spans_of(&caller);
    assert_eq!(spans.len(), 1);
    assert_eq!(attribute(&spans[0], "app.job.not_needed").as_deref(), Some("true"));
    assert_eq!(attribute(&spans[0], "error.type"), None);
    assert_eq!(spans[0].status, Status::Unset);
}

#[test]
fn an_unsampled_trace_is_handed_on_and_leaves_no_spans() {
    let caller = new_trace(TraceFlags::NOT_SAMPLED);
    let given = TraceContext::of(&within(&caller));
    let enqueue = EnqueueSpan::start("mail", "send_receipt", given.as_ref());
    assert_eq!(enqueue.trace_context(), given.as_ref());
    let run = first_run(given.as_ref());
    let process = ProcessSpan::start(&run);
    assert_eq!(process.traceparent(), None);
    let seen_by_the_handler = futures_util::FutureExt::now_or_never(
        process.scope(&run, async { TraceContext::current() }),
    );
    assert_eq!(seen_by_the_handler.flatten().as_ref(), given.as_ref());
    process.end(&run, Ending::Completed);
    enqueue.enqueued(JobId(7));

    assert_eq!(spans_of(&caller), []);
}

#[tokio::test]
async fn what_a_handler_enqueues_goes_on_in_its_span() {
    let caller = new_trace(TraceFlags::SAMPLED);
    let trace_context = TraceContext::of(&within(&caller));
    let run = first_run(trace_context.as_ref());
    let span = ProcessSpan::start(&run);
    let handler = async {
        tokio::task::yield_now().await;
        EnqueueSpan::start("mail", "send_reminder", None).enqueued(JobId(8));
    };
    span.scope(&run, handler).await;
    assert_eq!(TraceContext::current(), None, "the span is left with the handler");
    span.end(&run, Ending::Completed);

    let spans = spans_of(&caller);
    let [enqueue, process] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(enqueue.parent_span_id, process.span_context.span_id());
}

/// Keeps the messages of events.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<String>>>);

impl Subscriber for Messages {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut |field: &Field, value: &dyn std::fmt::Debug| {
            if field.name() == "message" {
                self.0.lock().unwrap().push(format!("{value:?}"));
            }
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A bank that was called before the lease was lost has been called.
#[test]
fn a_lost_lease_undoes_what_was_written_and_no_call() {
    let messages = Messages::default();
    tracing::subscriber::with_default(messages.clone(), || {
        let run = first_run(None);
        ProcessSpan::start(&run).end(&run, Ending::LeaseLost);
    });
    let line = "job 7 send_receipt lost its lease in attempt 1: what it wrote to the database was \
                undone, and a call that it made is not";
    assert_eq!(*messages.0.lock().unwrap(), [line]);
}
