//! The audit log, with a filter that is in its URL, and its last head.

use std::sync::Arc;

use askama::Template;
use sqlx::PgConnection;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::operations::audit::{self, AuditFilter, EntryView, Head};
use crate::operations::database_now;
use crate::pages::access::Entry;
use crate::pages::filters::{self, FilterBar, Filters, Pager, Tab};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::download::{ROWS_AT_ONCE, download};
use crate::pages::visit::{Answer, Visit};
use crate::pages::words;

/// The entries of one page.
const SHOWN: u16 = 50;

const FILTERS: Filters = Filters {
    path: "/ui/audit",
    parts: &[
        ("actor", "Actor"),
        ("action", "Action"),
        ("subject_kind", "Sort of subject"),
        ("subject_id", "Subject"),
        ("since", "Since"),
        ("until", "Until"),
    ],
    tabs: &["by_whom"],
    one: Some("Entry number"),
};

const TABS: [(&str, &str); 2] = [("", "By people and machines"), ("all", "All")];

#[derive(Template)]
#[template(path = "audit.html", config = "src/pages/askama.toml")]
struct AuditPage {
    frame: Frame,
    head: Option<ShownHead>,
    tabs: Vec<Tab>,
    filter: FilterBar,
    rows: Vec<Row>,
    pager: Pager,
}

/// The newest head in words.
struct ShownHead {
    size: String,
    root: String,
    at: Option<OffsetDateTime>,
}

impl From<Head> for ShownHead {
    fn from(head: Head) -> Self {
        Self {
            size: words::count(i64::try_from(head.size).unwrap_or(i64::MAX)),
            root: hex::encode(head.root),
            at: moment(&head.at),
        }
    }
}

struct Row {
    at: Option<OffsetDateTime>,
    reason: String,
    entry: EntryView,
}

impl From<EntryView> for Row {
    fn from(entry: EntryView) -> Self {
        let reason = entry.reason.as_deref().unwrap_or_default();
        Self { at: moment(&entry.at), reason: words::line(reason, 140), entry }
    }
}

/// The moment of an entry; none of one whose time somebody has spoilt.
pub(super) fn moment(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// The list, newest first.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let query = &visit.query;
    if let Some(elsewhere) = FILTERS.check(query)? {
        return Ok(elsewhere);
    }
    let before = query.parsed("before", "must be the number of an entry")?;
    let filter = filter(&mut *visit.connect().await?, &visit).await?;
    let mut conn = visit.connect_to_list().await?;
    let (found, next) = audit::browse(&mut conn, &filter, before, SHOWN).await?;
    Answer::page(&AuditPage {
        frame: visit.frame("Audit"),
        head: audit::head(&mut conn).await?.map(ShownHead::from),
        tabs: FILTERS.tabs(query, "by_whom", &TABS),
        filter: FILTERS.bar(query),
        rows: found.into_iter().map(Row::from).collect(),
        pager: FILTERS.pager(query, next),
    })
}

async fn filter(conn: &mut PgConnection, visit: &Visit) -> Result<AuditFilter, Refusal> {
    let query = &visit.query;
    let text = |name: &str| query.one(name).map(str::to_owned);
    let now = database_now(conn).await?;
    Ok(AuditFilter {
        actor: text("actor"),
        action: text("action"),
        subject_kind: text("subject_kind"),
        subject_id: text("subject_id"),
        since: filters::moment(query, "since", now)?,
        until: filters::moment(query, "until", now)?,
        // Of the rest there are thousands a second.
        callers_only: query.one("by_whom") != Some("all") && query.one("actor").is_none(),
        local_pages_too: visit.site.entry == Entry::Open,
    })
}

const COLUMNS: [&str; 10] = [
    "number",
    "at",
    "actor",
    "action",
    "subject_kind",
    "subject_id",
    "reason",
    "address",
    "request_id",
    "trace_id",
];

/// The list as a file.
pub(in crate::pages) async fn csv(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    FILTERS.check(&visit.query)?;
    let filter = Arc::new(filter(&mut *visit.connect().await?, &visit).await?);
    download(visit, "audit", &COLUMNS, move |mut conn, before| {
        let filter = Arc::clone(&filter);
        async move {
            let (found, next) = audit::browse(&mut conn, &filter, before, ROWS_AT_ONCE).await?;
            Ok((found.into_iter().map(cells).collect(), next))
        }
    })
    .await
}

fn cells(entry: EntryView) -> Vec<String> {
    vec![
        entry.seq.to_string(),
        entry.at,
        entry.actor,
        entry.action,
        entry.subject_kind,
        entry.subject_id,
        entry.reason.unwrap_or_default(),
        entry.address.unwrap_or_default(),
        entry.request_id.unwrap_or_default(),
        entry.trace_id.unwrap_or_default(),
    ]
}
