//! Conflicts on the wire.

use poem_openapi::{Enum, Object};
use serde::Serialize;
use time::OffsetDateTime;

use crate::http::api::transactions::TransactionOut;
use crate::http::wire::field_types::{FieldType, Text};
use crate::http::wire::fields::Fields;
use crate::http::wire::json_body::json_object;
use crate::http::wire::lists::cursor_after;
use crate::operations::conflicts::{ConflictId, ConflictView, Difference, Resolution};
use crate::operations::{MAX_REASON_CHARS, Mode, Reason};

/// A decision over a conflict.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "lowercase")]
#[oai(rename = "ConflictResolution", rename_all = "lowercase")]
pub(super) enum ResolutionIn {
    /// The first content stands; no money moves.
    Kept,
    /// The later content was right: linked transactions move our money back and theirs forth.
    Corrected,
}

impl FieldType for ResolutionIn {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.choice(name, &[("kept", Self::Kept), ("corrected", Self::Corrected)])
    }
}

impl From<ResolutionIn> for Resolution {
    fn from(resolution: ResolutionIn) -> Self {
        match resolution {
            ResolutionIn::Kept => Self::Kept,
            ResolutionIn::Corrected => Self::Corrected,
        }
    }
}

json_object! {
    /// A decision over a conflict.
    #[oai(rename = "NewConflictResolution")]
    pub(super) struct ResolveIn {
        /// The decision.
        resolution: ResolutionIn,
        /// The reason, for whoever asks later.
        reason: Text<MAX_REASON_CHARS>,
        /// Only say what would be done.
        dry_run: Option<bool>,
    }

    fn value(fields) -> (Resolution, Reason, Mode) {
        let mode = if dry_run?.unwrap_or(false) { Mode::DryRun } else { Mode::Commit };
        let reason = fields.accept("reason", reason?.0.parse())?;
        Some((resolution?.into(), reason, mode))
    }
}

/// A field that differs.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "ConflictDifference")]
struct DifferenceOut {
    /// The name of the field.
    field: String,
    /// The value that was recorded.
    ours: String,
    /// The value that came later.
    theirs: String,
}

impl From<Difference> for DifferenceOut {
    fn from(Difference { field, ours, theirs }: Difference) -> Self {
        Self { field: field.to_owned(), ours, theirs }
    }
}

/// A transaction that came again with other content.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Conflict")]
pub(super) struct ConflictOut {
    /// The number of the conflict.
    id: i64,
    /// The id that came with other content.
    transaction_id: String,
    /// The transaction as it was recorded first, and as it stands.
    transaction: TransactionOut,
    /// The body that was received first, as text; empty once it was dropped after its retention.
    our_body: String,
    /// The SHA-256 of that body in hexadecimal, once it was dropped; null while it is kept.
    #[oai(nullable)]
    our_dropped_body_sha256: Option<String>,
    /// The body that was received later and kept aside, as text.
    their_body: String,
    /// The fields that differ.
    differences: Vec<DifferenceOut>,
    /// The number of times that the later content came.
    received_count: i64,
    /// The first time.
    #[serde(with = "time::serde::rfc3339")]
    first_seen_at: OffsetDateTime,
    /// The last time.
    #[serde(with = "time::serde::rfc3339")]
    last_seen_at: OffsetDateTime,
    /// The decision; null while nobody has decided.
    #[oai(nullable)]
    resolution: Option<String>,
    /// The author of the decision; null while there is none.
    #[oai(nullable)]
    resolved_by: Option<String>,
    /// The reason; null while there is no decision.
    #[oai(nullable)]
    resolve_reason: Option<String>,
    /// The moment of the decision; null while there is none.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    resolved_at: Option<OffsetDateTime>,
    /// The id of the transaction that moves our money back; null if there is none.
    #[oai(nullable)]
    reversal: Option<String>,
    /// The id of the transaction with the later content; null if there is none.
    #[oai(nullable)]
    correction: Option<String>,
}

impl From<ConflictView> for ConflictOut {
    fn from(view: ConflictView) -> Self {
        Self {
            id: view.id.0,
            transaction_id: view.transaction_id,
            transaction: view.transaction.0.into(),
            our_body: view.ours.body,
            our_dropped_body_sha256: view.our_dropped_body_sha256,
            their_body: view.theirs.body,
            differences: view.differences.into_iter().map(DifferenceOut::from).collect(),
            received_count: view.received_count,
            first_seen_at: view.first_seen_at,
            last_seen_at: view.last_seen_at,
            resolution: view.resolution.map(str::to_owned),
            resolved_by: view.resolved_by,
            resolve_reason: view.resolve_reason,
            resolved_at: view.resolved_at,
            reversal: view.reversal,
            correction: view.correction,
        }
    }
}

/// A page of conflicts, newest first.
#[derive(Debug, Serialize, Object)]
pub(super) struct ConflictPage {
    /// The conflicts of this page.
    conflicts: Vec<ConflictOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl ConflictPage {
    /// The page of these conflicts, of which `last` is the last when there is another page.
    pub(super) fn new(found: Vec<ConflictView>, last: Option<ConflictId>, list: &str) -> Self {
        Self {
            conflicts: found.into_iter().map(ConflictOut::from).collect(),
            next_cursor: last.map(|last| cursor_after(last.0.to_be_bytes(), list)),
        }
    }
}
