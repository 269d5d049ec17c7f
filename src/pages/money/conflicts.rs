//! The list of conflicts: transactions that came again with other content.

use std::sync::Arc;

use askama::Template;

use super::transactions;
use crate::http::wire::problem::Problem;
use crate::operations::conflicts::{self, ConflictFilter, ConflictId, ConflictView};
use crate::pages::filters::{FilterBar, Filters, Pager, Tab};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Visit};

/// The conflicts of one page.
const SHOWN: u16 = 50;

const FILTERS: Filters = Filters {
    path: "/ui/conflicts",
    parts: &[("transaction", "Transaction id")],
    tabs: &["show"],
    one: None,
};

const TABS: [(&str, &str); 2] = [("", "Open"), ("all", "All")];

#[derive(Template)]
#[template(path = "conflicts.html", config = "src/pages/askama.toml")]
struct ConflictsPage {
    frame: Frame,
    tabs: Vec<Tab>,
    filter: FilterBar,
    rows: Vec<Row>,
    is_all: bool,
    pager: Pager,
}

struct Row {
    conflict: ConflictView,
    transaction_url: String,
    state: (&'static str, &'static str),
}

impl From<ConflictView> for Row {
    fn from(conflict: ConflictView) -> Self {
        Self {
            transaction_url: transactions::url(&conflict.transaction_id),
            state: state(&conflict),
            conflict,
        }
    }
}

/// The state of a conflict in a word, and the class of that.
pub(super) fn state(conflict: &ConflictView) -> (&'static str, &'static str) {
    match conflict.resolution {
        None => ("Open", "warn"),
        Some("kept") => ("Ours kept", "idle"),
        Some(_) => ("Corrected", "ok"),
    }
}

/// The list, newest first.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let query = &visit.query;
    if let Some(elsewhere) = FILTERS.check(query)? {
        return Ok(elsewhere);
    }
    let is_all = match query.one("show") {
        None => false,
        Some("all") => true,
        Some(_) => return Err(Problem::parameter("show", "must be all").into()),
    };
    let before = query.parsed("before", "must be the number of a conflict")?.map(ConflictId);
    let transaction_id = query.one("transaction").map(str::to_owned);
    let filter = ConflictFilter { open_only: !is_all, transaction_id };
    let mut conn = visit.connect().await?;
    let found = conflicts::list(&mut conn, &filter, before, SHOWN + 1).await;
    let mut found = found.map_err(Problem::from)?;
    let has_more = found.len() > usize::from(SHOWN);
    found.truncate(SHOWN.into());
    let next = found.last().filter(|_| has_more).map(|last| last.id);
    Answer::page(&ConflictsPage {
        frame: visit.frame("Conflicts"),
        tabs: FILTERS.tabs(query, "show", &TABS),
        filter: FILTERS.bar(query),
        rows: found.into_iter().map(Row::from).collect(),
        is_all,
        pager: FILTERS.pager(query, next),
    })
}
