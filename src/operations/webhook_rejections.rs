//! Inbound webhooks that were refused: kept for operators, bounded for each source.

use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

/// The most rejections of one [`list`].
pub const MAX_LISTED: u16 = 200;

/// Deliveries with one body that were refused for one reason.
#[derive(Clone, Debug, Serialize)]
pub struct NewRejections {
    /// The source that they came to.
    pub source: String,
    /// The reason, as a stable code.
    pub reason: String,
    /// The reason in words, that repeat nothing of the body.
    pub detail: String,
    /// True if the signature was right.
    pub is_verified: bool,
    /// The SHA-256 of the body in hexadecimal; empty if it was not read.
    pub body_sha256: String,
    /// The bytes of the body.
    pub body_bytes: u64,
    /// The beginning of the body, if the signature was right.
    pub excerpt: Option<String>,
    /// The address that the last one came from, if it is known.
    pub address: Option<String>,
    /// The number of them.
    pub received_count: u64,
    /// Seconds since the first one came.
    pub first_age_secs: f64,
    /// Seconds since the last one came.
    pub last_age_secs: f64,
}

/// Deliveries with one body that were refused for one reason, as they are stored.
#[derive(Clone, Debug, Serialize)]
pub struct Rejection {
    /// The number of it.
    pub id: i64,
    /// The source that they came to.
    pub source: String,
    /// The reason, as a stable code.
    pub reason: String,
    /// The reason in words.
    pub detail: String,
    /// True if the signature was right.
    pub is_verified: bool,
    /// The SHA-256 of the body in hexadecimal; null if it was not read.
    pub body_sha256: Option<String>,
    /// The bytes of the body.
    pub body_bytes: i64,
    /// The beginning of the body; null if the signature was not right.
    pub excerpt: Option<String>,
    /// The address that the last one came from, if it is known.
    pub address: Option<String>,
    /// The number of them.
    pub received_count: i64,
    /// The moment at which the first one came.
    #[serde(with = "time::serde::rfc3339")]
    pub first_seen_at: OffsetDateTime,
    /// The moment at which the last one came.
    #[serde(with = "time::serde::rfc3339")]
    pub last_seen_at: OffsetDateTime,
}

/// The rejections to list; all by default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RejectionFilter {
    /// Only of this source.
    pub source: Option<String>,
    /// Only those whose signature was right.
    pub verified_only: bool,
}

/// A source that a process serves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DeclaredSource {
    /// Its name.
    pub name: String,
    /// The seconds without a transaction after which somebody should look; null if nobody should.
    pub silent_after_secs: Option<u64>,
}

/// Keeps rejections; of each source the newest 1,000 that were signed, and 200 of the others.
///
/// # Errors
///
/// When the database refuses.
pub async fn record(conn: &mut PgConnection, rejections: &[NewRejections]) -> sqlx::Result<()> {
    sqlx::query!("select api.record_webhook_rejections($1)", Json(rejections) as _)
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes that this process serves these sources.
///
/// # Errors
///
/// When the database refuses.
pub async fn declare_sources(
    conn: &mut PgConnection,
    sources: &[DeclaredSource],
) -> sqlx::Result<()> {
    sqlx::query!("select api.declare_webhook_sources($1)", Json(sources) as _)
        .execute(conn)
        .await?;
    Ok(())
}

/// The rejections that match, newest first: at most `limit`, which is capped at one more than
/// [`MAX_LISTED`], of those before `before`.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(
    conn: &mut PgConnection,
    filter: &RejectionFilter,
    before: Option<i64>,
    limit: u16,
) -> sqlx::Result<Vec<Rejection>> {
    sqlx::query_as!(
        Rejection,
        r#"
        select
          id, source, reason, detail, is_verified,
          nullif(encode(body_sha256, 'hex'), '') as body_sha256, body_bytes, excerpt,
          address, received_count, first_seen_at, last_seen_at
        from api.webhook_rejections
        where ($1::text is null or source = $1) and (is_verified or not $2) and id < $3
        order by id desc
        limit $4
        "#,
        filter.source,
        filter.verified_only,
        before.unwrap_or(i64::MAX),
        i64::from(limit.clamp(1, MAX_LISTED + 1)),
    )
    .fetch_all(conn)
    .await
}
