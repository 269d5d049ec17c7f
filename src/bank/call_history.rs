//! History of the calls for one effect key, as the log has them.

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::EffectKey;

/// A call to the bank.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BankCall {
    /// The number of the call.
    pub id: i64,
    /// `send` or `enquire`.
    pub operation: String,
    /// The moment before the call.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// The moment after it; null while it is under way, or if its process died.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    /// The outcome; null as long as `ended_at` is.
    pub outcome: Option<String>,
    /// The reason that it was declined, unavailable or malformed; null otherwise.
    pub reason: Option<String>,
    /// The bank's reference; null unless it booked.
    pub bank_reference: Option<String>,
}

/// The calls under a key, in order; the first 200.
///
/// # Errors
///
/// When the database refuses.
pub async fn of_key(conn: &mut PgConnection, key: &EffectKey) -> sqlx::Result<Vec<BankCall>> {
    sqlx::query_as!(
        BankCall,
        r#"
        select
          id, operation::text as "operation!", started_at, ended_at, outcome::text as outcome,
          reason, bank_reference
        from bank.calls
        where effect_key = $1
        order by id
        limit 200
        "#,
        key.as_str(),
    )
    .fetch_all(conn)
    .await
}
