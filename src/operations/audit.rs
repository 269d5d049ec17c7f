//! The audit log, as operators and auditors read and check it.

use std::time::Duration;

use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

pub use crate::audit::findings::{Finding, Report};
pub use crate::audit::proofs::{Proof, ProofError};
pub use crate::audit::reading::Filter as AuditFilter;
pub use crate::audit::{Head, Subject};

use crate::audit::{Entry, heads, proofs, reading, verification};
use crate::queue::JsonText;

/// An entry as callers see it.
#[derive(Clone, Debug, Serialize)]
pub struct EntryView {
    /// The number of the entry, in the order of writing.
    pub seq: i64,
    /// The id of the entry.
    pub id: Uuid,
    /// The moment, in RFC 3339 to the microsecond.
    pub at: String,
    /// The actor: `cli:ada`, `user:<uuid>`, `key:<uuid>`, `job:<kind>`, `system`.
    pub actor: String,
    /// The action: `queue.pause`.
    pub action: String,
    /// The sort of the subject.
    pub subject_kind: String,
    /// The name of the subject.
    pub subject_id: String,
    /// The address that the request came from; null where there was no request.
    pub address: Option<String>,
    /// The id of the request; null where there was none.
    pub request_id: Option<String>,
    /// The trace; null where there was none.
    pub trace_id: Option<String>,
    /// The reason that was given; null where none was.
    pub reason: Option<String>,
    /// The subject as it was; null where nothing is said.
    pub before: Option<JsonText>,
    /// The subject as it was afterwards; null where nothing is said.
    pub after: Option<JsonText>,
    /// Whatever else there is to say; null where nothing is.
    pub data: Option<JsonText>,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
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
            before: entry.before.map(|text| json(&text)),
            after: entry.after.map(|text| json(&text)),
            data: entry.data.map(|text| json(&text)),
        }
    }
}

/// The text as JSON; one that somebody has spoilt, as a string.
fn json(text: &str) -> JsonText {
    text.parse().unwrap_or_else(|_| serde_json::Value::from(text).into())
}

/// The newest `limit` entries that match, newest first; with `before`, only those with a lower
/// number.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(
    conn: &mut PgConnection,
    filter: &AuditFilter,
    before: Option<i64>,
    limit: u16,
) -> sqlx::Result<Vec<EntryView>> {
    let entries = reading::list(conn, filter, before, limit).await?;
    Ok(entries.into_iter().map(EntryView::from).collect())
}

/// The newest entries that match, at most `limit` of those with a number below `before`, and the
/// number that the next page goes on below. A page looks at a bounded number of entries, so that it
/// may be empty and still say where to go on.
///
/// # Errors
///
/// When the database refuses.
pub async fn browse(
    conn: &mut PgConnection,
    filter: &AuditFilter,
    before: Option<i64>,
    limit: u16,
) -> sqlx::Result<(Vec<EntryView>, Option<i64>)> {
    let (entries, next) = reading::browse(conn, filter, before, limit).await?;
    Ok((entries.into_iter().map(EntryView::from).collect(), next))
}

/// The entry with this number, if there is one.
///
/// # Errors
///
/// When the database refuses.
pub async fn find(conn: &mut PgConnection, seq: i64) -> sqlx::Result<Option<EntryView>> {
    Ok(reading::find(conn, seq).await?.map(EntryView::from))
}

/// The newest head; none while nothing is sealed.
///
/// # Errors
///
/// When the database refuses.
pub async fn head(conn: &mut PgConnection) -> sqlx::Result<Option<Head>> {
    heads::newest(conn).await
}

/// The proof of the sealed entries about a subject, in the tree of the newest head, or of the head
/// of this size; none if there is no such head, or no such entry in its tree yet.
///
/// # Errors
///
/// When the database refuses, or lacks a part of the tree.
pub async fn prove(
    conn: &mut PgConnection,
    subject: &Subject,
    size: Option<u64>,
) -> sqlx::Result<Option<Proof>> {
    proofs::prove(conn, subject, size).await
}

/// Computes the whole log again, in one snapshot, and compares it with what is stored and with
/// these exported heads. Changes nothing and makes nobody wait.
///
/// # Errors
///
/// When the database refuses, or one statement takes longer than `timeout`.
pub async fn verify(
    conn: &mut PgConnection,
    exported: &[Head],
    timeout: Duration,
) -> sqlx::Result<Report> {
    let mut tx = conn.begin_with("begin isolation level repeatable read read only").await?;
    let prepare = format!("set local statement_timeout = '{}ms'", timeout.as_millis());
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *tx).await?;
    let report = verification::verify(&mut tx, exported).await?;
    tx.rollback().await?;
    Ok(report)
}
