//! One transaction: its facts, what happened to it, its entries, and the proof of what the log says
//! of it.

use std::sync::Arc;

use askama::Template;

use super::dead_letters::{self, OpenLetter};
use super::holders::{self, EntryRow};
use super::timeline::{self, Step};
use super::{status_tag, transactions};
use crate::http::wire::problem::{Code, Problem};
use crate::operations::audit::{self, Head, Proof, Subject};
use crate::operations::jobs::JobSummary;
use crate::operations::transactions::{self as operation, ShownTransaction, Transaction};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Visit};

#[derive(Template)]
#[template(path = "transaction.html", config = "src/pages/askama.toml")]
struct TransactionPage {
    frame: Frame,
    transaction: Transaction,
    url: String,
    status: (&'static str, &'static str),
    steps: Vec<Step>,
    entries: Vec<EntryRow>,
    /// Its entries are in a file.
    is_archived: bool,
    jobs: Vec<JobSummary>,
    letters: Vec<OpenLetter>,
    conflicts: usize,
}

/// The page of a transaction.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let id = visit.parameter("id");
    let mut conn = visit.connect().await?;
    let shown = operation::show(&mut conn, id).await.map_err(Problem::from)?;
    let ShownTransaction { transaction, timeline, entries, jobs } =
        shown.ok_or_else(|| Problem::new(Code::TransactionNotFound))?;
    let names = holders::named_in(&mut conn, &timeline).await?;
    let is_archived =
        timeline.iter().any(|it| (it.source, it.event.as_str()) == ("money", "archived"));
    let conflicts = timeline.iter().filter(|it| it.event == "conflict").count();
    Answer::page(&TransactionPage {
        frame: visit.frame(id),
        url: transactions::url(&transaction.transaction_id),
        status: status_tag(transaction.status),
        steps: timeline::steps(timeline, &names, visit.site.traces.as_ref()),
        entries: holders::entry_rows(&mut conn, entries).await?,
        is_archived,
        letters: dead_letters::open_among(&mut conn, &jobs).await?,
        jobs,
        conflicts,
        transaction,
    })
}

#[derive(Template)]
#[template(path = "proof.html", config = "src/pages/askama.toml")]
struct ProofPage {
    frame: Frame,
    transaction_id: String,
    url: String,
    proof: Option<ShownProof>,
    head: Option<Head>,
}

struct ShownProof {
    root: String,
    size: u64,
    at: String,
    positions: Vec<(u64, usize)>,
    json: String,
}

impl From<Proof> for ShownProof {
    fn from(proof: Proof) -> Self {
        Self {
            root: hex::encode(proof.head.root),
            size: proof.head.size,
            at: proof.head.at.clone(),
            positions: proof.entries.iter().map(|it| (it.position, it.path.len())).collect(),
            json: serde_json::to_string(&proof).unwrap_or_default(),
        }
    }
}

/// The proof that the entries about a transaction are in the log.
pub(in crate::pages) async fn prove(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let id = visit.parameter("id");
    let mut conn = visit.connect().await?;
    let found = operation::find(&mut conn, id).await.map_err(Problem::from)?;
    let transaction = found.ok_or_else(|| Problem::new(Code::TransactionNotFound))?;
    let subject = Subject::transaction(&transaction.transaction_id);
    let proof = audit::prove(&mut conn, &subject, None).await?;
    Answer::page(&ProofPage {
        frame: visit.frame(format!("Proof of {id}")),
        url: transactions::url(&transaction.transaction_id),
        transaction_id: transaction.transaction_id,
        head: audit::head(&mut conn).await?,
        proof: proof.map(ShownProof::from),
    })
}
