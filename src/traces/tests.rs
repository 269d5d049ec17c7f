//! Bounds of the store, and the order of a waterfall.

use std::time::Duration;

use time::OffsetDateTime;

use super::span::{Span, SpanKind};
use super::{MAX_SPANS, MAX_SPANS_OF_TRACE, MAX_TRACES, TraceFilter, TraceStore};

fn span(id: u64, parent: Option<u64>, start_ms: u64, name: &str) -> Span {
    let begun = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_000);
    Span {
        id: format!("{id:016x}"),
        parent: parent.map(|id| format!("{id:016x}")),
        name: name.to_owned(),
        service: "surety-test".to_owned(),
        kind: SpanKind::Internal,
        started_at: begun + Duration::from_millis(start_ms),
        duration: Duration::from_millis(10),
        failure: None,
        attributes: vec![("app.event.id".to_owned(), name.to_owned())],
        links: Vec::new(),
    }
}

fn trace_id(number: usize) -> String {
    format!("{number:032x}")
}

fn names(store: &TraceStore, filter: &TraceFilter) -> Vec<String> {
    store.list(filter, 1_000).into_iter().map(|trace| trace.name).collect()
}

#[test]
fn the_oldest_traces_make_room_for_new_ones_and_are_counted() {
    let store = TraceStore::default();
    for number in 0..MAX_TRACES + 3 {
        store.add(vec![(trace_id(number + 1), span(1, None, 0, &format!("trace {number}")))]);
    }
    let listed = names(&store, &TraceFilter::default());
    assert_eq!(listed.len(), MAX_TRACES);
    assert_eq!(listed[0], format!("trace {}", MAX_TRACES + 2), "the newest comes first");
    assert_eq!(listed[MAX_TRACES - 1], "trace 3");
    assert!(!store.contains(&trace_id(1)) && store.find(&trace_id(1)).is_none());
    assert_eq!(store.dropped().traces, 3);
}

#[test]
fn spans_that_are_to_be_ignored_take_no_place() {
    let store = TraceStore::ignoring(|span| span.name == "noise");
    let spans = [span(1, None, 0, "noise"), span(2, Some(1), 1, "a step")];
    store.add(spans.into_iter().map(|span| (trace_id(1), span)).collect());
    store.add(vec![(trace_id(2), span(1, None, 0, "noise"))]);
    assert_eq!(names(&store, &TraceFilter::default()), ["a step"]);
}

#[test]
fn a_trace_has_a_bounded_number_of_spans_and_says_how_many_more_there_were() {
    let store = TraceStore::default();
    let id = trace_id(1);
    for number in 0..MAX_SPANS_OF_TRACE as u64 + 7 {
        store.add(vec![(id.clone(), span(number + 1, None, number, "a step"))]);
    }
    let trace = store.find(&id).expect("it is kept");
    assert_eq!((trace.rows.len(), trace.dropped), (MAX_SPANS_OF_TRACE, 7));
    assert_eq!(store.dropped().spans, 7);
}

#[test]
fn all_traces_together_have_a_bounded_number_of_spans() {
    let store = TraceStore::default();
    let traces = MAX_SPANS / MAX_SPANS_OF_TRACE + 1;
    for number in 0..traces {
        let spans = (0..MAX_SPANS_OF_TRACE as u64)
            .map(|it| (trace_id(number + 1), span(it + 1, None, it, "a step")));
        store.add(spans.collect());
    }
    assert!(traces < MAX_TRACES);
    let kept = store.list(&TraceFilter::default(), traces);
    assert_eq!(kept.iter().map(|trace| trace.spans).sum::<usize>(), MAX_SPANS);
    assert_eq!((kept.len(), store.dropped().traces), (traces - 1, 1));
}

#[test]
fn a_waterfall_has_each_span_after_its_parent_and_siblings_by_their_beginning() {
    let store = TraceStore::default();
    let id = trace_id(1);
    let spans = [
        span(4, Some(2), 60, "bank"),
        span(2, Some(1), 50, "process"),
        span(3, Some(1), 5, "enqueue"),
        span(1, Some(99), 0, "request"),
    ];
    store.add(spans.into_iter().map(|span| (id.clone(), span)).collect());
    let trace = store.find(&id).expect("it is kept");
    let shown: Vec<_> = trace
        .rows
        .iter()
        .map(|row| (row.span.name.as_str(), row.depth, row.offset.as_millis(), row.is_orphan))
        .collect();
    assert_eq!(
        shown,
        [
            ("request", 0, 0, true),
            ("enqueue", 1, 5, false),
            ("process", 1, 50, false),
            ("bank", 2, 60, false),
        ]
    );
    assert_eq!((trace.name.as_str(), trace.duration), ("request", Duration::from_millis(70)));
}

#[test]
fn spans_that_are_each_others_ancestors_are_shown_once() {
    let store = TraceStore::default();
    let id = trace_id(1);
    let circle = [
        span(1, Some(2), 0, "a"),
        span(2, Some(1), 1, "b"),
        span(3, Some(3), 2, "itself"),
        span(4, Some(2), 3, "below"),
    ];
    store.add(circle.into_iter().map(|span| (id.clone(), span)).collect());
    let trace = store.find(&id).expect("it is kept");
    let mut shown: Vec<_> = trace.rows.iter().map(|row| row.span.name.as_str()).collect();
    shown.sort_unstable();
    assert_eq!(shown, ["a", "b", "below", "itself"]);
}

#[test]
fn traces_are_found_by_a_text_in_them_and_by_failure() {
    let store = TraceStore::default();
    let mut failed = span(1, None, 0, "txn_B");
    failed.failure = Some("the bank is away".to_owned());
    store.add(vec![(trace_id(1), span(1, None, 0, "txn_A")), (trace_id(2), failed)]);
    let found = |filter: TraceFilter| names(&store, &filter);
    let of_text =
        |text: &str| TraceFilter { text: Some(text.to_owned()), ..TraceFilter::default() };
    assert_eq!(found(of_text("TXN_a")), ["txn_A"]);
    assert_eq!(found(of_text("bank is away")), ["txn_B"]);
    assert_eq!(found(of_text(&trace_id(1))), ["txn_A"]);
    assert_eq!(found(of_text("txn_C")), [""; 0]);
    assert_eq!(found(TraceFilter { failed: true, ..TraceFilter::default() }), ["txn_B"]);
    assert_eq!(found(TraceFilter { before: Some(1), ..TraceFilter::default() }), ["txn_A"]);
}
