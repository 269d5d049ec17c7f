//! The last traces, in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use super::span::Span;
use super::tree::{self, Trace};

/// The most traces that are kept.
pub const MAX_TRACES: usize = 500;
/// The most spans of one trace that are kept; later ones are counted.
pub const MAX_SPANS_OF_TRACE: usize = 500;
/// The most spans that are kept, of all traces together.
pub const MAX_SPANS: usize = 20_000;

/// The last traces. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct TraceStore {
    kept: Arc<Mutex<Kept>>,
    /// Spans that are not worth their place.
    is_ignored: Option<fn(&Span) -> bool>,
}

#[derive(Debug, Default)]
struct Kept {
    traces: HashMap<String, KeptTrace>,
    /// The ids of the traces, in the order in which their first spans came.
    arrivals: VecDeque<String>,
    next_arrival: u64,
    spans: usize,
    dropped: Dropped,
}

#[derive(Debug, Default)]
struct KeptTrace {
    arrival: u64,
    spans: Vec<Span>,
    /// Spans that came when there was no more room in this trace.
    dropped: u64,
}

/// The numbers of what came and is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dropped {
    /// Traces that newer ones have taken the place of.
    pub traces: u64,
    /// Spans of traces that were full.
    pub spans: u64,
}

/// A choice of traces.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TraceFilter {
    /// Only those with a span that failed.
    pub failed: bool,
    /// Only those with this text in a name or value: a transaction, an order, a job. Case counts
    /// not.
    pub text: Option<String>,
    /// Only those that came before the one with this [`TraceSummary::arrival`].
    pub before: Option<u64>,
}

/// A trace in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceSummary {
    /// 32 hexadecimal digits.
    pub id: String,
    /// The place in the order of arrival: the later, the higher.
    pub arrival: u64,
    /// The name of its first span.
    pub name: String,
    /// The moment at which its first span began.
    pub started_at: OffsetDateTime,
    /// The time from then to the end of its last one.
    pub duration: Duration,
    /// The number of spans that are kept.
    pub spans: usize,
    /// The number of those that failed.
    pub errors: usize,
    /// The processes that took part, by name.
    pub services: Vec<String>,
}

impl TraceStore {
    /// A store that keeps none of the spans that `is_ignored` names.
    #[must_use]
    pub fn ignoring(is_ignored: fn(&Span) -> bool) -> Self {
        Self { is_ignored: Some(is_ignored), ..Self::default() }
    }

    /// Keeps spans, each with the id of its trace, and drops the oldest traces for them.
    pub(super) fn add(&self, spans: Vec<(String, Span)>) {
        let mut kept = self.lock();
        for (trace, span) in spans {
            if !self.is_ignored.is_some_and(|is_ignored| is_ignored(&span)) {
                kept.add(trace, span);
            }
        }
    }

    /// The newest `limit` traces of a choice, by the arrival of their first spans, newest first.
    #[must_use]
    pub fn list(&self, filter: &TraceFilter, limit: usize) -> Vec<TraceSummary> {
        let kept = self.lock();
        let newest = kept.arrivals.iter().rev().filter_map(|id| Some((id, kept.traces.get(id)?)));
        let chosen = newest.filter(|(id, trace)| filter.includes(id, trace));
        chosen.take(limit).map(|(id, trace)| trace.summary(id)).collect()
    }

    /// The trace with this id, if it is kept.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Trace> {
        let (spans, dropped) = {
            let kept = self.lock();
            let trace = kept.traces.get(id)?;
            (trace.spans.clone(), trace.dropped)
        };
        Some(tree::of_spans(id, spans, dropped))
    }

    /// True if the trace with this id is kept.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        self.lock().traces.contains_key(id)
    }

    /// The numbers of what came and is not kept.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, id: String, span: Span) {
        let arrival = self.next_arrival;
        let trace = self.traces.entry(id).or_insert_with_key(|id| {
            self.arrivals.push_back(id.clone());
            self.next_arrival += 1;
            KeptTrace { arrival, ..KeptTrace::default() }
        });
        if trace.spans.len() == MAX_SPANS_OF_TRACE {
            trace.dropped += 1;
            self.dropped.spans += 1;
            return;
        }
        trace.spans.push(span);
        self.spans += 1;
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.arrivals.len() > MAX_TRACES || self.spans > MAX_SPANS {
            let Some(oldest) = self.arrivals.pop_front() else { return };
            let dropped = self.traces.remove(&oldest).map_or(0, |trace| trace.spans.len());
            self.spans -= dropped;
            self.dropped.traces += 1;
        }
    }
}

impl TraceFilter {
    fn includes(&self, id: &str, trace: &KeptTrace) -> bool {
        self.before.is_none_or(|before| trace.arrival < before)
            && (!self.failed || trace.spans.iter().any(|span| span.failure.is_some()))
            && self.text.as_deref().is_none_or(|text| {
                let text = text.to_lowercase();
                id == text || trace.spans.iter().any(|span| mentions(span, &text))
            })
    }
}

fn mentions(span: &Span, text: &str) -> bool {
    let mut values = span.attributes.iter().map(|(_, value)| value).chain(&span.failure);
    span.name.to_lowercase().contains(text) || values.any(|it| it.to_lowercase().contains(text))
}

impl KeptTrace {
    fn summary(&self, id: &str) -> TraceSummary {
        let outline = tree::outline(&self.spans);
        TraceSummary {
            id: id.to_owned(),
            arrival: self.arrival,
            name: outline.name,
            started_at: outline.started_at,
            duration: outline.duration,
            spans: self.spans.len(),
            errors: outline.errors,
            services: outline.services,
        }
    }
}
