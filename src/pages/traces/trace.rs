//! One trace as a waterfall: each span under its parent, as long as it took.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;

use super::{outcome, took};
use crate::pages::frame::Frame;
use crate::pages::refusals::{Refusal, not_found};
use crate::pages::visit::{Answer, Visit, segment};
use crate::pages::words;
use crate::traces::{self, Span, SpanKind, Trace};

/// The deepest level that is set in; what is deeper stands below it.
const MAX_DEPTH: usize = 8;
/// The narrowest bar, in hundredths of the width: a short span can be seen, too.
const MIN_WIDTH: f64 = 0.4;
/// The most links to other pages.
const MAX_SUBJECTS: usize = 12;

#[derive(Template)]
#[template(path = "trace.html", config = "src/pages/askama.toml")]
struct TracePage {
    frame: Frame,
    trace: Trace,
    took: String,
    /// Half of that, for the middle of the scale.
    half: String,
    spans: String,
    /// The class of the outcome, and the outcome in words.
    tone: &'static str,
    outcome: String,
    services: String,
    /// Other pages about the same: path, noun, id.
    subjects: Vec<Subject>,
    rows: Vec<Row>,
}

struct Subject {
    noun: &'static str,
    path: String,
    id: String,
}

/// A span of the waterfall.
struct Row {
    id: String,
    name: String,
    service: String,
    /// The kind of the span, and of a call the host that it went to.
    kind: String,
    depth: usize,
    /// The parent is not among the spans that are kept.
    is_orphan: bool,
    failure: Option<String>,
    /// The class of its bar.
    tone: &'static str,
    /// The place and length of its bar, in hundredths of the width.
    x: String,
    width: String,
    offset: String,
    took: String,
    attributes: Vec<(String, String)>,
    /// Spans that it has to do with, and the page of their trace if that is kept, and another one.
    links: Vec<(String, Option<String>)>,
    /// The page of the job that it is about.
    job: Option<String>,
}

/// One trace.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let missing = || not_found("such trace here: the last ones are kept, by 'app dev' only");
    let store = visit.site.traces.as_ref().ok_or_else(missing)?;
    let mut trace = store.find(visit.parameter("id")).ok_or_else(missing)?;
    let rows = std::mem::take(&mut trace.rows);
    let is_kept = |id: &str| id != trace.id && store.contains(id);
    let subjects = subjects(&rows);
    let rows: Vec<Row> =
        rows.into_iter().map(|row| self::row(row, trace.duration, is_kept)).collect();
    let (tone, outcome) = outcome(trace.errors);
    let spans = words::counted(i64::try_from(rows.len()).unwrap_or(i64::MAX), "span");
    Answer::page(&TracePage {
        spans,
        tone,
        outcome,
        frame: visit.frame(trace.name.clone()),
        took: took(trace.duration),
        half: took(trace.duration / 2),
        services: trace.services.join(", "),
        subjects,
        rows,
        trace,
    })
}

/// The pages of what the spans are about.
fn subjects(rows: &[traces::Row]) -> Vec<Subject> {
    let of_span = |span: &Span| {
        let transaction = span.attribute("app.event.id").map(|id| Subject {
            noun: "transaction",
            path: format!("/ui/transactions/{}", segment(id)),
            id: id.to_owned(),
        });
        let job = job_of(span).map(|id| Subject {
            noun: "job",
            path: format!("/ui/jobs/{id}"),
            id: id.to_string(),
        });
        [transaction, job].into_iter().flatten()
    };
    let mut seen = HashSet::new();
    let all = rows.iter().flat_map(|row| of_span(&row.span));
    all.filter(|subject| seen.insert(subject.path.clone())).take(MAX_SUBJECTS).collect()
}

/// The job that a span of the queue is about.
fn job_of(span: &Span) -> Option<i64> {
    span.attribute("messaging.message.id")?.parse().ok()
}

fn row(row: traces::Row, whole: Duration, is_kept: impl Fn(&str) -> bool) -> Row {
    let traces::Row { span, depth, offset, is_orphan } = row;
    let whole = whole.as_secs_f64().max(f64::MIN_POSITIVE);
    let hundredths = |part: Duration| (part.as_secs_f64() / whole * 100.0).clamp(0.0, 100.0);
    let width = hundredths(span.duration).max(MIN_WIDTH);
    let x = hundredths(offset).min(100.0 - width);
    let links = span.links.iter().map(|link| {
        let page = is_kept(&link.trace).then(|| format!("/ui/traces/{}", link.trace));
        (link.span.clone(), page)
    });
    Row {
        depth: depth.min(MAX_DEPTH),
        is_orphan,
        tone: tone(&span),
        x: format!("{x:.2}"),
        width: format!("{width:.2}"),
        offset: took(offset),
        took: took(span.duration),
        links: links.collect(),
        job: job_of(&span).map(|id| format!("/ui/jobs/{id}")),
        kind: kind(&span),
        id: span.id,
        name: span.name,
        service: span.service,
        failure: span.failure,
        attributes: span.attributes,
    }
}

fn kind(span: &Span) -> String {
    let host = span.attribute("server.address").filter(|_| span.kind == SpanKind::Client);
    match (host, span.attribute("server.port")) {
        (Some(host), Some(port)) => format!("client to {host}:{port}"),
        (Some(host), None) => format!("client to {host}"),
        (None, _) => span.kind.as_str().to_owned(),
    }
}

/// The class of a span's bar; its kind stands beside it in words.
fn tone(span: &Span) -> &'static str {
    match span.kind {
        _ if span.failure.is_some() => "bad",
        SpanKind::Server | SpanKind::Consumer => "run",
        SpanKind::Client => "ok",
        SpanKind::Internal | SpanKind::Producer => "idle",
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    fn span(kind: SpanKind, attributes: &[(&str, &str)]) -> Span {
        let attributes =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Span {
            id: "0000000000000001".to_owned(),
            parent: None,
            name: "a span".to_owned(),
            service: "surety".to_owned(),
            kind,
            started_at: OffsetDateTime::UNIX_EPOCH,
            duration: Duration::from_millis(10),
            failure: None,
            attributes: attributes.collect(),
            links: Vec::new(),
        }
    }

    fn in_tree(span: Span, offset_ms: u64) -> traces::Row {
        let offset = Duration::from_millis(offset_ms);
        traces::Row { span, depth: 30, offset, is_orphan: false }
    }

    #[test]
    fn a_bar_lies_within_the_picture_whatever_the_span_says() {
        let kept = |_: &str| false;
        for (offset, whole, expected) in [
            (0, 40, ("0.00", "25.00")),
            (30, 40, ("75.00", "25.00")),
            (40_000, 40_000, ("99.60", "0.40")),
            (0, 0, ("0.00", "100.00")),
            (90, 40, ("75.00", "25.00")),
        ] {
            let shown = in_tree(span(SpanKind::Client, &[]), offset);
            let shown = row(shown, Duration::from_millis(whole), kept);
            assert_eq!((shown.x.as_str(), shown.width.as_str()), expected);
            assert_eq!(shown.depth, MAX_DEPTH);
        }
    }

    #[test]
    fn a_trace_leads_to_its_transaction_and_its_jobs() {
        let rows = [
            in_tree(span(SpanKind::Server, &[("app.event.id", "txn/1")]), 0),
            in_tree(span(SpanKind::Producer, &[("messaging.message.id", "12")]), 0),
            in_tree(span(SpanKind::Consumer, &[("messaging.message.id", "12")]), 0),
            in_tree(span(SpanKind::Consumer, &[("messaging.message.id", "<b>")]), 0),
        ];
        let paths: Vec<String> = subjects(&rows).into_iter().map(|it| it.path).collect();
        assert_eq!(paths, ["/ui/transactions/txn%2F1", "/ui/jobs/12"]);
    }
}
