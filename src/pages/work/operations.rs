//! Bulk operations under way and done: how far each is, and cancelling one.

use std::sync::Arc;

use askama::Template;

use super::bulk::number;
use crate::operations::bulk::{self, BulkOperationId, BulkState, BulkView};
use crate::pages::frame::Frame;
use crate::pages::refusals::{Refusal, not_found};
use crate::pages::visit::{Answer, Visit};
use crate::pages::words;

/// The operations of one page.
const SHOWN: u16 = 50;
const PATH: &str = "/ui/operations";

/// An operation, with what is worked out from it.
struct Row {
    operation: BulkView,
    id: String,
    /// The state in words, and the class of that.
    state: (String, &'static str),
    eligible: String,
    done: String,
    /// The share of its jobs that were seen to, in hundredths.
    percent: u64,
}

impl From<BulkView> for Row {
    fn from(operation: BulkView) -> Self {
        let skipped: u64 = operation.skipped.iter().map(|skipped| skipped.jobs).sum();
        let seen = operation.done + operation.failed + skipped;
        let percent = match operation.state {
            BulkState::Completed => 100,
            _ => (seen * 100 / (operation.eligible + skipped).max(1)).min(100),
        };
        Self {
            id: operation.id.map(|id| id.to_string()).unwrap_or_default(),
            state: (words::capital(operation.state.name()), tone(&operation)),
            eligible: number(operation.eligible, operation.eligible_is_more),
            done: number(operation.done, false),
            percent,
            operation,
        }
    }
}

fn tone(operation: &BulkView) -> &'static str {
    match operation.state {
        BulkState::Planned | BulkState::Waiting | BulkState::Cancelled => "idle",
        BulkState::Running => "run",
        BulkState::Stopped => "bad",
        BulkState::Completed if operation.failed > 0 => "warn",
        BulkState::Completed => "ok",
    }
}

#[derive(Template)]
#[template(path = "operations.html", config = "src/pages/askama.toml")]
struct OperationsPage {
    frame: Frame,
    rows: Vec<Row>,
    newest: Option<String>,
    older: Option<String>,
}

/// The list, newest first.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let query = visit.query.only(&["before"])?;
    let before = query.parsed("before", "must be the number of an operation")?;
    let before = before.map(BulkOperationId);
    let found = bulk::list(&mut *visit.connect().await?, before, SHOWN + 1).await?;
    let has_more = found.len() > usize::from(SHOWN);
    let rows: Vec<Row> = found.into_iter().take(SHOWN.into()).map(Row::from).collect();
    let older = rows.last().filter(|_| has_more).map(|last| format!("{PATH}?before={}", last.id));
    Answer::page(&OperationsPage {
        frame: visit.frame("Operations"),
        rows,
        newest: before.map(|_| PATH.to_owned()),
        older,
    })
}

#[derive(Template)]
#[template(path = "operation.html", config = "src/pages/askama.toml")]
struct OperationPage {
    frame: Frame,
    row: Row,
    is_finished: bool,
}

/// One operation.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let id = BulkOperationId(visit.parsed("id")?);
    let found = bulk::find(&mut *visit.connect().await?, id).await?;
    let operation = found.ok_or_else(|| not_found(&format!("operation {id}")))?;
    Answer::page(&OperationPage {
        frame: visit.frame(format!("Operation {id}")),
        is_finished: operation.state.is_finished(),
        row: operation.into(),
    })
}

/// Ends it where it is: what was done stays done.
pub(in crate::pages) async fn cancel(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let id = BulkOperationId(visit.parsed("id")?);
    let actor = visit.actor()?;
    let cancelled = bulk::cancel(&mut *visit.connect().await?, id, &actor).await?;
    let done = number(cancelled.done, false);
    Ok(visit.done(format!("Operation {id} is cancelled; {done} jobs were changed before.")))
}
