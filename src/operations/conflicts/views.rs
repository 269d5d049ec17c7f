//! A conflict as callers see it: both sides, and what differs.

use serde::Serialize;
use time::OffsetDateTime;

use super::ConflictId;
use crate::operations::dead_letters::TransactionView;
use crate::payments::conflicts::{Conflict, Content, Resolution};
use crate::payments::transactions::{Body, Transaction};

/// A transaction that came again with other content.
#[derive(Clone, Debug, Serialize)]
pub struct ConflictView {
    /// The number of the conflict.
    pub id: ConflictId,
    /// The id that came with other content.
    pub transaction_id: String,
    /// The transaction as it was recorded first, and as it stands.
    pub transaction: TransactionView,
    /// The content that was received first, and recorded; its body is empty once it was dropped.
    pub ours: Side,
    /// The SHA-256 of our body in hexadecimal, once it was dropped after its retention; null while
    /// it is kept.
    pub our_dropped_body_sha256: Option<String>,
    /// The content that was received later, and kept aside.
    pub theirs: Side,
    /// The fields that differ.
    pub differences: Vec<Difference>,
    /// The times that the later content came.
    pub received_count: i64,
    /// The first of them.
    #[serde(with = "time::serde::rfc3339")]
    pub first_seen_at: OffsetDateTime,
    /// The last of them.
    #[serde(with = "time::serde::rfc3339")]
    pub last_seen_at: OffsetDateTime,
    /// The decision, `kept` or `corrected`; null while nobody has decided.
    pub resolution: Option<&'static str>,
    /// The author of the decision; null while there is none.
    pub resolved_by: Option<String>,
    /// The reason; null while there is none.
    pub resolve_reason: Option<String>,
    /// The moment of the decision; null while there is none.
    #[serde(with = "time::serde::rfc3339::option")]
    pub resolved_at: Option<OffsetDateTime>,
    /// The id of the transaction that moves our money back; null if there is none.
    pub reversal: Option<String>,
    /// The id of the transaction with their content; null if there is none.
    pub correction: Option<String>,
}

/// One of the contents.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Side {
    /// The body as it was received.
    pub body: String,
}

/// A field that both contents have, with another value in each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// The name of the field.
    pub field: &'static str,
    /// The value that was recorded.
    pub ours: String,
    /// The value that came later.
    pub theirs: String,
}

impl ConflictView {
    pub(super) fn new(conflict: Conflict, ours: Transaction, our_body: Body) -> Self {
        let theirs = conflict.content();
        let (our_body, our_hash) = match our_body {
            Body::Kept(body) => (body, None),
            Body::Dropped(hash) => (Vec::new(), Some(hex::encode(hash))),
        };
        let text = |body: &[u8]| Side { body: String::from_utf8_lossy(body).into_owned() };
        Self {
            id: conflict.id,
            transaction_id: conflict.transaction_id,
            differences: theirs.map(|theirs| differences(&ours, &theirs)).unwrap_or_default(),
            transaction: TransactionView(ours),
            ours: text(&our_body),
            our_dropped_body_sha256: our_hash,
            theirs: text(&conflict.body),
            received_count: conflict.received_count,
            first_seen_at: conflict.first_seen_at,
            last_seen_at: conflict.last_seen_at,
            resolution: conflict.resolution.map(|resolution| match resolution {
                Resolution::Kept => "kept",
                Resolution::Corrected => "corrected",
            }),
            resolved_by: conflict.resolved_by,
            resolve_reason: conflict.resolve_reason,
            resolved_at: conflict.resolved_at,
            reversal: conflict.reversal,
            correction: conflict.correction,
        }
    }
}

fn differences(ours: &Transaction, theirs: &Content) -> Vec<Difference> {
    let amount = |money: crate::money::Money| money.amount_text();
    let currency = |money: crate::money::Money| money.currency().code().to_owned();
    let fields = [
        ("source_account", ours.source_account.clone(), theirs.source_account.clone()),
        (
            "destination_account",
            ours.destination_account.clone(),
            theirs.destination_account.clone(),
        ),
        ("amount", amount(ours.money), amount(theirs.money)),
        ("currency", currency(ours.money), currency(theirs.money)),
    ];
    fields
        .into_iter()
        .filter(|(_, ours, theirs)| ours != theirs)
        .map(|(field, ours, theirs)| Difference { field, ours, theirs })
        .collect()
}
