//! One conflict: both bodies side by side, what differs, and the decision.

use std::sync::Arc;

use askama::Template;

use super::conflicts::state;
use super::{status_tag, transactions};
use crate::http::wire::problem::Problem;
use crate::operations::Mode;
use crate::operations::conflicts::{self, ConflictId, ConflictView, Resolution, Resolve};
use crate::pages::frame::Frame;
use crate::pages::json_text::indented;
use crate::pages::refusals::{Refusal, not_found};
use crate::pages::visit::{Answer, Visit};
use crate::queue::JsonText;

/// The most characters of a body that the page shows, of which each line is compared.
const MAX_BODY_CHARS: usize = 20_000;

#[derive(Template)]
#[template(path = "conflict.html", config = "src/pages/askama.toml")]
struct ConflictPage {
    frame: Frame,
    state: (&'static str, &'static str),
    transaction_url: String,
    status: (&'static str, &'static str),
    /// The transactions of a correction, each with its page.
    linked: Vec<(&'static str, String, String)>,
    /// The lines of both bodies, each with whether the other one lacks it.
    ours: Vec<(String, bool)>,
    theirs: Vec<(String, bool)>,
    conflict: ConflictView,
}

/// The page of a conflict.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let id = ConflictId(visit.parsed("id")?);
    let mut conn = visit.connect().await?;
    let found = conflicts::find(&mut conn, id).await.map_err(Problem::from)?;
    let conflict = found.ok_or_else(|| not_found(&format!("conflict {id}")))?;
    let linked = [("Reversal", &conflict.reversal), ("Correction", &conflict.correction)];
    let linked = linked.into_iter().filter_map(|(title, transaction_id)| {
        let transaction_id = transaction_id.clone()?;
        Some((title, transactions::url(&transaction_id), transaction_id))
    });
    let (ours, theirs) = match &conflict.our_dropped_body_sha256 {
        None => (
            compared(&conflict.ours.body, &conflict.theirs.body),
            compared(&conflict.theirs.body, &conflict.ours.body),
        ),
        Some(hash) => {
            let theirs = laid_out(&conflict.theirs.body);
            let dropped = format!("The body was dropped after its retention.\nSHA-256 {hash}");
            let plain = |text: String| text.lines().map(|line| (line.to_owned(), false)).collect();
            (plain(dropped), plain(theirs))
        }
    };
    Answer::page(&ConflictPage {
        frame: visit.frame(format!("Conflict {id}")),
        state: state(&conflict),
        transaction_url: transactions::url(&conflict.transaction_id),
        status: status_tag(conflict.transaction.0.status),
        linked: linked.collect(),
        ours,
        theirs,
        conflict,
    })
}

/// The lines of a body, each with whether the other one lacks it.
fn compared(body: &str, other: &str) -> Vec<(String, bool)> {
    let (body, other) = (laid_out(body), laid_out(other));
    let others: Vec<&str> = other.lines().collect();
    body.lines().map(|line| (line.to_owned(), !others.contains(&line))).collect()
}

/// A body with a line for each member, at most so many characters of it; as it is, if it is no
/// JSON.
fn laid_out(body: &str) -> String {
    let text = match body.parse::<JsonText>() {
        Ok(json) => indented(json.get()),
        Err(_) => body.to_owned(),
    };
    match text.char_indices().nth(MAX_BODY_CHARS) {
        None => text,
        Some((end, _)) => format!("{}\n… cut here", &text[..end]),
    }
}

/// Lets ours stand.
pub(in crate::pages) async fn keep(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    resolve(&visit, Resolution::Kept, "Ours stands").await
}

/// Puts the ledger right by transactions of its own.
pub(in crate::pages) async fn correct(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    resolve(&visit, Resolution::Corrected, "The correction is recorded, and will be settled").await
}

async fn resolve(visit: &Visit, resolution: Resolution, told: &str) -> Result<Answer, Refusal> {
    let id = ConflictId(visit.parsed("id")?);
    let actor = visit.actor()?;
    let mut conn = visit.connect().await?;
    let request = Resolve { id, resolution, mode: Mode::Commit };
    conflicts::resolve(&mut conn, request, &actor).await.map_err(Problem::from)?;
    visit.site.wake_workers().await;
    Ok(visit.done(format!("{told}: conflict {id} is resolved.")))
}
