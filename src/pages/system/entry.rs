//! One entry of the audit log, with what was before and after.

use std::sync::Arc;

use askama::Template;
use time::OffsetDateTime;

use super::audit::moment;
use crate::operations::audit::{self, EntryView};
use crate::pages::frame::Frame;
use crate::pages::json_text::indented;
use crate::pages::refusals::{Refusal, not_found};
use crate::pages::visit::{Answer, Pairs, Visit, segment};
use crate::queue::JsonText;

#[derive(Template)]
#[template(path = "entry.html", config = "src/pages/askama.toml")]
struct EntryPage {
    frame: Frame,
    at: Option<OffsetDateTime>,
    before: Option<String>,
    after: Option<String>,
    data: Option<String>,
    /// The page of the subject, if it has one.
    subject_url: Option<String>,
    /// The entries about the same subject.
    history_url: String,
    entry: EntryView,
}

/// The page of an entry.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let seq: i64 = visit.parsed("id")?;
    let found = audit::find(&mut *visit.connect().await?, seq).await?;
    let entry = found.ok_or_else(|| not_found(&format!("entry {seq}")))?;
    let laid_out = |json: &Option<JsonText>| json.as_ref().map(|json| indented(json.get()));
    let history = Pairs::default()
        .with("by_whom", "all")
        .with("subject_kind", &entry.subject_kind)
        .with("subject_id", &entry.subject_id);
    Answer::page(&EntryPage {
        frame: visit.frame(format!("Entry {seq}")),
        at: moment(&entry.at),
        before: laid_out(&entry.before),
        after: laid_out(&entry.after),
        data: laid_out(&entry.data),
        subject_url: subject_url(&entry.subject_kind, &entry.subject_id),
        history_url: history.url("/ui/audit"),
        entry,
    })
}

/// The page of a subject, if there is one for its sort.
fn subject_url(kind: &str, id: &str) -> Option<String> {
    let folder = match kind {
        "transaction" => "transactions",
        "order" => "orders",
        "job" => "jobs",
        "queue" => "queues",
        "schedule" => "schedules",
        "endpoint" => "endpoints",
        "bulk_operation" => "operations",
        _ => return None,
    };
    Some(format!("/ui/{folder}/{}", segment(id)))
}
