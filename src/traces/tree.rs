//! The spans of one trace under their parents, in the order of a waterfall.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use time::OffsetDateTime;

use super::span::Span;

/// A trace, as far as its spans are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// 32 hexadecimal digits.
    pub id: String,
    /// The name of its first span.
    pub name: String,
    /// The moment at which its first span began.
    pub started_at: OffsetDateTime,
    /// The time from then to the end of its last one.
    pub duration: Duration,
    /// The number of spans that failed.
    pub errors: usize,
    /// The processes that took part, by name.
    pub services: Vec<String>,
    /// The spans, each after its parent, those of one parent by their beginning.
    pub rows: Vec<Row>,
    /// Spans that came when the trace was full.
    pub dropped: u64,
}

/// A span in a waterfall.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The span.
    pub span: Span,
    /// The number of its ancestors that are kept.
    pub depth: usize,
    /// The time from the beginning of the trace to that of the span.
    pub offset: Duration,
    /// True if its parent is not kept: a caller's span, or one that is under way or was lost.
    pub is_orphan: bool,
}

/// The facts about a trace that a list has.
pub(super) struct Outline {
    pub(super) name: String,
    pub(super) started_at: OffsetDateTime,
    pub(super) duration: Duration,
    pub(super) errors: usize,
    pub(super) services: Vec<String>,
}

/// Reads the outline off the spans, of which there is at least one in each trace that is kept.
pub(super) fn outline(spans: &[Span]) -> Outline {
    let ids: HashSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let is_root = |span: &&Span| span.parent.as_deref().is_none_or(|it| !ids.contains(it));
    let earliest = |span: &&Span| span.started_at;
    let first = spans.iter().filter(is_root).min_by_key(earliest);
    let started_at = spans.iter().map(|span| span.started_at).min();
    let started_at = started_at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let ended_at = spans.iter().map(Span::ended_at).max().unwrap_or(started_at);
    let mut services: Vec<String> = spans.iter().map(|span| span.service.clone()).collect();
    services.sort_unstable();
    services.dedup();
    Outline {
        name: first.or(spans.first()).map(|span| span.name.clone()).unwrap_or_default(),
        started_at,
        duration: (ended_at - started_at).unsigned_abs(),
        errors: spans.iter().filter(|span| span.failure.is_some()).count(),
        services,
    }
}

/// Puts spans under their parents.
pub(super) fn of_spans(id: &str, spans: Vec<Span>, dropped: u64) -> Trace {
    let Outline { name, started_at, duration, errors, services } = outline(&spans);
    let rows = rows(spans, started_at);
    Trace { id: id.to_owned(), name, started_at, duration, errors, services, rows, dropped }
}

fn rows(mut spans: Vec<Span>, started_at: OffsetDateTime) -> Vec<Row> {
    spans.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
    let numbers: HashMap<&str, usize> =
        spans.iter().enumerate().map(|(number, span)| (span.id.as_str(), number)).collect();
    let parent_of = |span: &Span| numbers.get(span.parent.as_deref()?).copied();
    let parents: Vec<Option<usize>> = spans.iter().map(parent_of).collect();
    let mut children = vec![Vec::new(); spans.len()];
    for (number, parent) in parents.iter().enumerate() {
        if let Some(parent) = parent {
            children[*parent].push(number);
        }
    }
    let roots = (0..spans.len()).filter(|number| parents[*number].is_none());
    // Spans that are each other's ancestors hang under no root: the earliest is taken for one.
    let in_order = depth_first(roots.chain(0..spans.len()), &children);
    let mut spans: Vec<Option<Span>> = spans.into_iter().map(Some).collect();
    let row = |(number, depth): (usize, usize)| {
        let span = spans[number].take()?;
        let offset = (span.started_at - started_at).unsigned_abs();
        let is_orphan = span.parent.is_some() && parents[number].is_none();
        Some(Row { depth, offset, is_orphan, span })
    };
    in_order.into_iter().filter_map(row).collect()
}

/// Numbers with their depths, each once, from these roots down.
fn depth_first(roots: impl Iterator<Item = usize>, children: &[Vec<usize>]) -> Vec<(usize, usize)> {
    let mut in_order = Vec::with_capacity(children.len());
    let mut seen = vec![false; children.len()];
    for root in roots {
        let mut waiting = vec![(root, 0)];
        while let Some((number, depth)) = waiting.pop() {
            if std::mem::replace(&mut seen[number], true) {
                continue;
            }
            in_order.push((number, depth));
            waiting.extend(children[number].iter().rev().map(|child| (*child, depth + 1)));
        }
    }
    in_order
}
