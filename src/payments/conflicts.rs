//! Conflicts: known ids of transactions that came again with other content. Each distinct body is
//! kept once, and waits for somebody to decide over it.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::transactions::TransactionError;
use crate::ids::{ConflictId, TransactionId};
use crate::money::{Amount, Currency, Money};

/// The most open conflicts that are counted.
const MAX_COUNTED: i64 = 1_000;

/// A decision over a conflict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Resolution {
    /// The first content stands.
    Kept,
    /// The later content was right; linked transactions have put the ledger right.
    Corrected,
}

/// A conflict as it is stored.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// Its number.
    pub id: ConflictId,
    /// The id that came with other content.
    pub transaction_id: String,
    /// The other content, as received.
    pub body: Vec<u8>,
    /// Whom the money leaves by the other content; none of conflicts that were kept before the
    /// content was, and so of its other fields.
    pub source_account: Option<String>,
    /// Whom the money reaches by it.
    pub destination_account: Option<String>,
    /// The amount by it.
    pub amount: Option<Decimal>,
    /// The currency by it.
    pub currency: Option<String>,
    /// The times that it came.
    pub received_count: i64,
    /// The first of them.
    pub first_seen_at: OffsetDateTime,
    /// The last of them.
    pub last_seen_at: OffsetDateTime,
    /// The decision; none while it is open.
    pub resolution: Option<Resolution>,
    /// The author of the decision.
    pub resolved_by: Option<String>,
    /// The reason.
    pub resolve_reason: Option<String>,
    /// The moment of the decision.
    pub resolved_at: Option<OffsetDateTime>,
    /// Of a correction: the id of the transaction that moves our money back, if any was moved.
    pub reversal: Option<String>,
    /// Of a correction: the id of the transaction that moves theirs.
    pub correction: Option<String>,
}

/// Bodies that named a known transaction, were not the same, and wait for a decision, in figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct OpenConflicts {
    /// The number of such bodies.
    pub bodies: i64,
    /// True if there are more than were counted.
    pub is_more: bool,
    /// The moment at which the newest of them came for the first time; null if there is none.
    #[serde(with = "time::serde::rfc3339::option")]
    pub newest_at: Option<OffsetDateTime>,
}

/// The conflicts to list; all by default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Only open ones.
    pub open_only: bool,
    /// Only of the transaction with this id of the provider's.
    pub transaction_id: Option<String>,
}

/// The conflicts before this one, or from the newest on, newest first; at most `limit`.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    before: Option<ConflictId>,
    limit: u16,
) -> sqlx::Result<Vec<Conflict>> {
    // Said as a literal where it is asked for, because only that makes the partial index eligible.
    let before = before.map_or(i64::MAX, |before| before.0);
    let limit = i64::from(limit);
    if filter.open_only {
        return list_open(conn, filter.transaction_id.as_deref(), before, limit).await;
    }
    sqlx::query_as!(
        Conflict,
        r#"
        select
          conflict.id as "id: ConflictId", conflict.transaction_id, conflict.body,
          conflict.source_account, conflict.destination_account, conflict.amount,
          conflict.currency, received_count, first_seen_at, last_seen_at,
          resolution as "resolution: Resolution", resolved_by, resolve_reason, resolved_at,
          reversal.transaction_id as "reversal?",
          correction.transaction_id as "correction?"
        from payments.transaction_conflicts as conflict
        left join payments.transactions as reversal on reversal.id = conflict.reversal_id
        left join payments.transactions as correction on correction.id = conflict.correction_id
        where ($1::text is null or conflict.transaction_id = $1) and conflict.id < $2
        order by conflict.id desc
        limit $3
        "#,
        filter.transaction_id,
        before,
        limit,
    )
    .fetch_all(conn)
    .await
}

async fn list_open(
    conn: &mut PgConnection,
    transaction_id: Option<&str>,
    before: i64,
    limit: i64,
) -> sqlx::Result<Vec<Conflict>> {
    sqlx::query_as!(
        Conflict,
        r#"
        select
          id as "id: ConflictId", transaction_id, body, source_account, destination_account,
          amount, currency, received_count, first_seen_at, last_seen_at,
          resolution as "resolution: Resolution", resolved_by, resolve_reason, resolved_at,
          null as "reversal?", null as "correction?"
        from payments.transaction_conflicts
        where resolution is null and ($1::text is null or transaction_id = $1) and id < $2
        order by id desc
        limit $3
        "#,
        transaction_id,
        before,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// The conflict with this number, if there is one.
///
/// # Errors
///
/// When the database refuses.
pub async fn find(conn: &mut PgConnection, id: ConflictId) -> sqlx::Result<Option<Conflict>> {
    let newest =
        list(conn, &Filter::default(), Some(ConflictId(id.0.saturating_add(1))), 1).await?;
    Ok(newest.into_iter().find(|conflict| conflict.id == id))
}

/// Counts the bodies that named a known transaction, were not the same, and wait for a decision;
/// up to 1,000.
///
/// # Errors
///
/// When the database refuses.
pub async fn count_open(conn: &mut PgConnection) -> Result<OpenConflicts, sqlx::Error> {
    sqlx::query_as!(
        OpenConflicts,
        r#"
        select
          least(count(*), $1::bigint) as "bodies!",
          count(*) > $1::bigint as "is_more!",
          max(first_seen_at) as newest_at
        from (
          select first_seen_at
          from payments.transaction_conflicts
          where resolution is null
          order by id desc
          limit $1::bigint + 1
        ) as newest
        "#,
        MAX_COUNTED,
    )
    .fetch_one(conn)
    .await
}

/// A decision that is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// The decision.
    pub resolution: Resolution,
    /// The author.
    pub by: &'a str,
    /// The reason.
    pub reason: &'a str,
    /// Of a correction: what moves our money back, if any was moved.
    pub reversal: Option<TransactionId>,
    /// Of a correction: what moves theirs.
    pub correction: Option<TransactionId>,
}

/// The result of [`resolve`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Resolved {
    /// The decision holds once the caller's transaction is committed.
    Done,
    /// Somebody has decided over it, or there is no such conflict.
    NotOpen,
    /// Another conflict of the transaction was corrected: the caller's transaction is of no more
    /// use.
    CorrectedBefore,
}

/// Keeps a decision over an open conflict.
///
/// # Errors
///
/// When the database refuses.
pub async fn resolve(
    conn: &mut PgConnection,
    id: ConflictId,
    decision: Decision<'_>,
) -> Result<Resolved, TransactionError> {
    let updated = sqlx::query!(
        "
        update payments.transaction_conflicts
        set
          resolution = $2, resolved_by = $3, resolve_reason = $4,
          resolved_at = clock_timestamp(), reversal_id = $5, correction_id = $6
        where id = $1 and resolution is null
        ",
        id.0,
        decision.resolution as Resolution,
        decision.by,
        decision.reason,
        decision.reversal.map(|id| id.0),
        decision.correction.map(|id| id.0),
    )
    .execute(conn)
    .await;
    match updated {
        Ok(updated) if updated.rows_affected() == 0 => Ok(Resolved::NotOpen),
        Ok(_) => Ok(Resolved::Done),
        Err(error) => match error.as_database_error().and_then(|error| error.constraint()) {
            Some("transaction_conflicts_corrected_once") => Ok(Resolved::CorrectedBefore),
            _ => Err(error.into()),
        },
    }
}

/// The content of a body that was taken, as far as it says what money moves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// Whom the money leaves.
    pub source_account: String,
    /// Whom the money reaches.
    pub destination_account: String,
    /// The amount and its currency.
    pub money: Money,
}

impl Conflict {
    /// The other content; none if it says nothing that this program would take.
    #[must_use]
    pub fn content(&self) -> Option<Content> {
        let Some(source_account) = self.source_account.clone() else {
            return content_of(&self.body);
        };
        let money = Money::from_stored(self.amount?, self.currency.as_deref()?).ok()?;
        let destination_account = self.destination_account.clone()?;
        Some(Content { source_account, destination_account, money })
    }
}

/// Reads a body of our own shape that was taken before.
fn content_of(body: &[u8]) -> Option<Content> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        source_account: String,
        destination_account: String,
        #[serde(borrow)]
        amount: &'a RawValue,
        currency: String,
    }
    let fields: Fields<'_> = serde_json::from_slice(body).ok()?;
    let text = match fields.amount.get().starts_with('"') {
        true => serde_json::from_str(fields.amount.get()).ok()?,
        false => fields.amount.get().to_owned(),
    };
    let money = Money::new(Amount::parse(&text).ok()?, Currency::parse(&fields.currency).ok()?);
    Some(Content {
        source_account: fields.source_account,
        destination_account: fields.destination_account,
        money: money.ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_with_its_amount_to_the_last_digit() {
        let body = br#"{"transaction_id": "t", "source_account": "a", "destination_account": "b",
            "amount": 1500.10, "currency": "USD"}"#;
        let content = content_of(body).expect("it was taken");
        assert_eq!(content.money.amount_text(), "1500.10");
        assert_eq!(
            (content.source_account.as_str(), content.money.currency().code()),
            ("a", "USD")
        );
        let text = br#"{"source_account": "a", "destination_account": "b", "amount": "1500.1",
            "currency": "USD"}"#;
        assert_eq!(content_of(text).map(|it| it.money), Some(content.money));
        assert_eq!(content_of(b"{}"), None);
    }
}
