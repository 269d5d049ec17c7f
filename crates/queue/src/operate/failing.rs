//! Kinds whose jobs fail, while they still do: their jobs wait to be tried again.

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::QueueError;
use crate::ids::JobId;

/// Jobs that are looked at of each queue and priority: so many that are due, and so many that come
/// next.
pub const MAX_EXAMINED: i64 = 1_000;

/// Jobs of one kind in one queue that failed, and wait to be tried again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FailingKind {
    /// The queue.
    pub queue: String,
    /// The kind.
    pub kind: String,
    /// The number of such jobs, among those looked at.
    pub jobs: i64,
    /// The newest of them.
    pub sample_job: JobId,
    /// The error of its last attempt; null if retention has dropped it, or it failed without one.
    pub error: Option<String>,
    /// The moment at which that attempt ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub failed_at: Option<OffsetDateTime>,
}

/// The kinds whose jobs failed and wait to be tried again, those with the most jobs first; at most
/// `limit`. Of each queue and priority [`MAX_EXAMINED`] jobs are looked at from either side of now.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn kinds(conn: &mut PgConnection, limit: u32) -> Result<Vec<FailingKind>, QueueError> {
    let kinds = sqlx::query_file_as!(
        FailingKind,
        "src/sql/failing_kinds.sql",
        MAX_EXAMINED,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    Ok(kinds)
}
