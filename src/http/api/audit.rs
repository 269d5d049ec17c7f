//! The audit log: the list of it for operators, and proofs that entries are in it.

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::ApiTags;
use crate::http::edge::caller::{self, Caller, Right, TransactionReader};
use crate::http::edge::database::within_seconds;
use crate::http::edge::reads::{Reads, read_recent};
use crate::http::wire::any_json::AnyJson;
use crate::http::wire::lists::{
    self, DEFAULT_LIMIT, cursor_after, read_cursor, refuse_unknown_parameters,
};
use crate::http::wire::moment::Moment;
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::{Refusals, Refused};
use crate::operations::audit::{self, AuditFilter, EntryView, Head, Proof, Subject};
use crate::payments::transactions;
use crate::queue::JsonText;

/// The API of the audit log.
#[derive(Clone)]
pub struct AuditApi {
    /// The database of the log.
    pub pool: PgPool,
    /// Where the list is read.
    pub reads: Reads,
}

#[OpenApi]
impl AuditApi {
    /// List the audit log
    ///
    /// What operators, admins and the program did, newest first; for viewers and above. A page that
    /// is not the last has a `next_cursor`: send it with the same filters to get the next page.
    #[oai(
        path = "/v1/audit",
        method = "get",
        operation_id = "list_audit_entries",
        tag = "ApiTags::Audit"
    )]
    #[allow(clippy::too_many_arguments)] // Each is a documented parameter.
    async fn list_audit_entries(
        &self,
        caller: Caller,
        uri: &Uri,
        /// Only what this one did: `user:` or `key:` and an id, `cli:` and a name, `job:` and a
        /// kind, or `system`.
        actor: Query<Option<String>>,
        /// Only this action; with a dot at its end, all that begin with it.
        action: Query<Option<String>>,
        /// Only about things of this sort.
        subject_kind: Query<Option<String>>,
        /// Only about the thing of this name.
        subject_id: Query<Option<String>>,
        /// Only since this time (RFC 3339).
        since: Query<Option<Moment>>,
        /// Only before this time (RFC 3339).
        until: Query<Option<Moment>>,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<ListAuditEntries>> {
        caller.require(Right::Read)?;
        refuse_unknown_parameters(uri, &LIST_PARAMETERS)?;
        let filter = AuditFilter {
            actor: text("actor", actor.0)?,
            action: text("action", action.0)?,
            subject_kind: text("subject_kind", subject_kind.0)?,
            subject_id: text("subject_id", subject_id.0)?,
            since: since.0.map(Moment::boundary),
            until: until.0.map(Moment::boundary),
            callers_only: false,
            local_pages_too: false,
        };
        let before = cursor.0.map(|text| read_cursor(&text, &list_of(&filter))).transpose()?;
        let before = before.map(i64::from_be_bytes);
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        // One more than the page holds, to know whether there is another page.
        let filter = &filter;
        let found = read_recent(&self.reads, move |mut conn| async move {
            Ok(audit::list(&mut conn, filter, before, limit + 1).await?)
        });
        let (found, age) = found.await?;
        let page = AuditPage::new(found, limit, filter);
        Ok(Listed::Ok(Json(page), age))
    }

    /// Prove what the audit log says of a transaction
    ///
    /// The entries about the transaction, each with the audit path from its leaf to the root of a
    /// head (RFC 6962): whoever has that head can check it without asking anybody, with
    /// `app audit check-proof` or a few lines of code. An entry is sealed a few seconds after its
    /// commit. Readers are those of the transaction itself.
    #[oai(
        path = "/v1/transactions/:transaction_id/proof",
        method = "get",
        operation_id = "prove_transaction",
        tag = "ApiTags::Transactions"
    )]
    async fn prove_transaction(
        &self,
        _reader: TransactionReader,
        /// The provider's id of the transaction, percent-encoded where needed.
        transaction_id: Path<String>,
        /// The size of the head to prove it with, such as one that was exported; that of the newest
        /// one when absent.
        #[oai(validator(minimum(value = "1")))]
        size: Query<Option<i64>>,
    ) -> Result<Proven, Refused<ProveTransaction>> {
        let id = transaction_id.0;
        if id.contains('\0') {
            return Err(Problem::new(Code::TransactionNotFound).into());
        }
        let size = size.0.and_then(|size| u64::try_from(size).ok());
        let proof = within_seconds(&self.pool, async |conn| {
            if let Some(proof) = audit::prove(conn, &Subject::transaction(&id), size).await? {
                return Ok(proof);
            }
            Err(Problem::new(match transactions::find(conn, &id).await? {
                Some(_) => Code::NotSealed,
                None => Code::TransactionNotFound,
            }))
        });
        Ok(Proven::Ok(Json(proof.await?.into())))
    }
}

const LIST_PARAMETERS: [&str; 8] =
    ["actor", "action", "subject_kind", "subject_id", "since", "until", "limit", "cursor"];

fn text(name: &str, value: Option<String>) -> Result<Option<String>, Problem> {
    match value.as_ref().is_some_and(|text| text.contains('\0')) {
        true => Err(Problem::parameter(name, "Nothing in the log has U+0000.")),
        false => Ok(value),
    }
}

/// The list that a cursor is bound to.
fn list_of(filter: &AuditFilter) -> String {
    format!("list_audit_entries 1 {filter:?}")
}

/// An entry of the audit log.
#[derive(Clone, Debug, Serialize, Object)]
#[oai(rename = "AuditEntry")]
struct AuditEntryOut {
    /// The number of the entry, in the order of writing.
    seq: i64,
    /// The id of the entry.
    id: Uuid,
    /// The moment, in RFC 3339 to the microsecond.
    at: String,
    /// The actor.
    actor: String,
    /// The action.
    action: String,
    /// The sort of thing that it was done to.
    subject_kind: String,
    /// The name of the thing.
    subject_id: String,
    /// The address that the request came from; null where there was no request.
    #[oai(nullable)]
    address: Option<String>,
    /// The id of the request; null where there was none.
    #[oai(nullable)]
    request_id: Option<String>,
    /// The trace; null where there was none.
    #[oai(nullable)]
    trace_id: Option<String>,
    /// The reason that was given; null where none was.
    #[oai(nullable)]
    reason: Option<String>,
    /// The thing as it was; null where nothing is said.
    before: AnyJson,
    /// The thing as it was afterwards; null where nothing is said.
    after: AnyJson,
    /// Whatever else there is to say; null where nothing is.
    data: AnyJson,
}

impl From<EntryView> for AuditEntryOut {
    fn from(entry: EntryView) -> Self {
        Self {
            seq: entry.seq,
            id: entry.id,
            at: entry.at,
            actor: entry.actor,
            action: entry.action,
            subject_kind: entry.subject_kind,
            subject_id: entry.subject_id,
            address: entry.address,
            request_id: entry.request_id,
            trace_id: entry.trace_id,
            reason: entry.reason,
            before: or_null(entry.before),
            after: or_null(entry.after),
            data: or_null(entry.data),
        }
    }
}

fn or_null(json: Option<JsonText>) -> AnyJson {
    AnyJson(json.unwrap_or_else(|| serde_json::Value::Null.into()))
}

/// A page of the audit log, newest first.
#[derive(Debug, Serialize, Object)]
struct AuditPage {
    /// The entries of this page.
    entries: Vec<AuditEntryOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl AuditPage {
    fn new(found: Vec<EntryView>, limit: u16, filter: &AuditFilter) -> Self {
        let (found, last) = lists::page(found, limit);
        let next_cursor = last.map(|last| cursor_after(last.seq.to_be_bytes(), &list_of(filter)));
        Self { entries: found.into_iter().map(Into::into).collect(), next_cursor }
    }
}

/// Entries of the audit log, each with the audit path to the root of a head.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "AuditProof")]
struct ProofOut {
    /// The entries, the earliest first; at most 50.
    entries: Vec<ProvenEntryOut>,
    /// The head whose tree has them.
    head: HeadOut,
}

/// An entry and its audit path.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "ProvenAuditEntry")]
struct ProvenEntryOut {
    /// The canonical text of the entry, which is JSON: SHA-256 of a zero byte and its bytes is the
    /// leaf.
    entry: String,
    /// The hashes beside the way from the leaf to the root, the nearest first, in hexadecimal.
    path: Vec<String>,
    /// The position of the leaf, from 0.
    position: i64,
}

/// The root of the audit log's tree at a size.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "AuditHead")]
struct HeadOut {
    /// The moment at which it was made, in RFC 3339 to the microsecond.
    at: String,
    /// SHA-256 of the head before as a line of JSON, in hexadecimal.
    previous: String,
    /// The root, in hexadecimal.
    root: String,
    /// The number of entries in the tree.
    size: i64,
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl From<Proof> for ProofOut {
    fn from(Proof { entries, head: Head { at, previous, root, size } }: Proof) -> Self {
        let entries = entries.into_iter().map(|proven| ProvenEntryOut {
            entry: proven.entry,
            path: proven.path.iter().map(hex::encode).collect(),
            position: number(proven.position),
        });
        let (previous, root) = (hex::encode(previous), hex::encode(root));
        let head = HeadOut { at, previous, root, size: number(size) };
        Self { entries: entries.collect(), head }
    }
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(
        Json<AuditPage>,
        /// The greatest age of what is shown, in seconds; absent when it is up to the moment.
        #[oai(header = "Data-Age")]
        Option<f64>,
    ),
}

#[derive(ApiResponse)]
enum Proven {
    /// The proof.
    #[oai(status = 200)]
    Ok(Json<ProofOut>),
}

/// The refusals of `list_audit_entries`.
#[derive(Debug)]
struct ListAuditEntries;

impl Refusals for ListAuditEntries {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}

/// The refusals of `prove_transaction`.
#[derive(Debug)]
struct ProveTransaction;

impl Refusals for ProveTransaction {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        &[Code::InvalidParameter, Code::Forbidden, Code::TransactionNotFound, Code::NotSealed],
    ];
}
