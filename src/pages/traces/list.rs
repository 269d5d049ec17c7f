//! The list of traces.

use std::sync::Arc;

use askama::Template;
use time::OffsetDateTime;

use super::{PATH, outcome, took};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Visit};
use crate::traces::{MAX_TRACES, TraceFilter, TraceSummary};

/// The traces of one page.
const SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "traces.html", config = "src/pages/askama.toml")]
struct TracesPage {
    frame: Frame,
    /// False where no traces are kept.
    is_kept: bool,
    most: usize,
    /// Traces that newer ones have taken the place of.
    dropped: u64,
    text: String,
    is_failed_only: bool,
    rows: Vec<Row>,
    newest: Option<String>,
    older: Option<String>,
}

struct Row {
    id: String,
    name: String,
    at: OffsetDateTime,
    took: String,
    spans: usize,
    /// The class of the outcome, and the outcome in words.
    tone: &'static str,
    outcome: String,
    services: String,
}

impl From<TraceSummary> for Row {
    fn from(trace: TraceSummary) -> Self {
        let (tone, outcome) = outcome(trace.errors);
        Self {
            tone,
            outcome,
            took: took(trace.duration),
            services: trace.services.join(", "),
            id: trace.id,
            name: trace.name,
            at: trace.started_at,
            spans: trace.spans,
        }
    }
}

/// The list.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let query = visit.query.only(&["text", "failed", "before"])?;
    let before: Option<u64> = query.parsed("before", "must be the number of a trace")?;
    let text = query.one("text").unwrap_or_default().trim().to_owned();
    let filter = TraceFilter {
        failed: query.one("failed").is_some(),
        text: (!text.is_empty()).then(|| text.clone()),
        before,
    };
    let store = visit.site.traces.as_ref();
    let mut traces = store.map(|store| store.list(&filter, SHOWN + 1)).unwrap_or_default();
    let is_more = traces.len() > SHOWN;
    traces.truncate(SHOWN);

    let parts = query.without_all("before");
    let last = traces.last().filter(|_| is_more).map(|last| last.arrival.to_string());
    Answer::page(&TracesPage {
        frame: visit.frame("Traces"),
        is_kept: store.is_some(),
        most: MAX_TRACES,
        dropped: store.map_or(0, |store| store.dropped().traces),
        text,
        is_failed_only: filter.failed,
        rows: traces.into_iter().map(Row::from).collect(),
        newest: before.map(|_| parts.url(PATH)),
        older: last.map(|last| parts.with("before", &last).url(PATH)),
    })
}
