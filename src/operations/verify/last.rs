//! The results of verifications, kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::Report;

/// The last verification of the database.
#[derive(Clone, Debug, Serialize)]
pub struct LastVerify {
    /// The moment as of which all was checked.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// True if every guarantee held.
    pub ok: bool,
    /// Rows that broke a guarantee.
    pub violations: i64,
    /// The guarantees that were broken.
    pub broken: Vec<Broken>,
    /// The time that it took.
    pub took: Duration,
}

/// A guarantee that was broken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Broken {
    /// The name of the invariant.
    pub invariant: String,
    /// Rows that broke it.
    pub rows: i64,
}

/// Keeps the result of a verification.
///
/// # Errors
///
/// When the database refuses.
pub async fn record(conn: &mut PgConnection, report: &Report) -> Result<(), sqlx::Error> {
    let failures = report.findings().iter().filter(|finding| finding.is_failure());
    let broken: Vec<Broken> = failures
        .map(|finding| Broken {
            invariant: finding.invariant.name.to_owned(),
            rows: finding.violations,
        })
        .collect();
    sqlx::query!(
        "
        insert into api.verifications (checked_at, ok, violations, broken, took_secs)
        values ($1, $2, $3, $4, $5)
        ",
        report.checked_at,
        report.holds(),
        broken.iter().map(|broken| broken.rows).sum::<i64>(),
        Json(&broken) as _,
        report.took.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The last verification; `None` if there was none yet.
///
/// # Errors
///
/// When the database refuses.
pub async fn last(conn: &mut PgConnection) -> Result<Option<LastVerify>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select checked_at, ok, violations, broken as "broken: Json<Vec<Broken>>", took_secs
        from api.verifications
        order by id desc
        limit 1
        "#
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| LastVerify {
        at: row.checked_at,
        ok: row.ok,
        violations: row.violations,
        broken: row.broken.0,
        took: Duration::try_from_secs_f64(row.took_secs).unwrap_or_default(),
    }))
}
