//! One order: its facts, what happened to it, its calls to the bank, and what is to be decided.

use std::sync::Arc;

use askama::Template;

use super::dead_letters::{self, OpenLetter};
use super::holders::{self, EntryRow};
use super::status_tag;
use super::timeline::{self, Step};
use crate::http::wire::problem::{Code, Problem};
use crate::operations::jobs::JobSummary;
use crate::operations::orders::{self, BankCall, Order, OrderId, ShownOrder, is_holding};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Visit};
use crate::pages::words;

#[derive(Template)]
#[template(path = "order.html", config = "src/pages/askama.toml")]
struct OrderPage {
    frame: Frame,
    order: Order,
    kind: String,
    status: (&'static str, &'static str),
    owner: String,
    source: String,
    destination: String,
    is_holding: bool,
    steps: Vec<Step>,
    entries: Vec<EntryRow>,
    jobs: Vec<JobSummary>,
    letters: Vec<OpenLetter>,
    calls: Vec<CallRow>,
}

/// A call to the bank, in words.
struct CallRow {
    call: BankCall,
    took: String,
    outcome: String,
    tone: &'static str,
}

impl From<BankCall> for CallRow {
    fn from(call: BankCall) -> Self {
        Self {
            took: call
                .ended_at
                .map_or_else(String::new, |end| words::between(call.started_at, end)),
            outcome: match &call.outcome {
                Some(outcome) => words::capital(&outcome.replace('_', " ")),
                None => "No answer".to_owned(),
            },
            tone: match call.outcome.as_deref() {
                Some("booked") => "ok",
                Some("declined") => "bad",
                Some("pending") => "run",
                Some("unknown_key") => "idle",
                Some(_) | None => "warn",
            },
            call,
        }
    }
}

/// The page of an order.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let id = OrderId(visit.parsed("id")?);
    let mut conn = visit.connect().await?;
    let shown = orders::show(&mut conn, id).await.map_err(Problem::from)?;
    let ShownOrder { order, timeline, entries, jobs, calls } =
        shown.ok_or_else(|| Problem::new(Code::OrderNotFound))?;
    let told = holders::named_in(&mut conn, &timeline).await?;
    let names = holders::names(&mut conn, &[order.source, order.destination]).await?;
    let name = |account| names.get(&account).cloned().unwrap_or_default();
    let kind = words::capital(order.kind.as_str());
    Answer::page(&OrderPage {
        frame: visit.frame(format!("{kind} {id}")),
        status: status_tag(order.status),
        owner: holders::owner_name(&mut conn, order.owner).await?,
        source: name(order.source),
        destination: name(order.destination),
        is_holding: is_holding(&order),
        steps: timeline::steps(timeline, &told, visit.site.traces.as_ref()),
        entries: holders::entry_rows(&mut conn, entries).await?,
        letters: dead_letters::open_among(&mut conn, &jobs).await?,
        jobs,
        calls: calls.into_iter().map(CallRow::from).collect(),
        kind,
        order,
    })
}
