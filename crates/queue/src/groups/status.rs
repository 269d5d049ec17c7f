//! The status of a batch.

use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::QueueError;
use crate::ids::BatchId;

/// Members in one state are counted up to this number.
pub const MAX_COUNTED: i64 = 10_000;

/// A batch, and what has become of its members.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BatchStatus {
    /// Its number.
    pub id: BatchId,
    /// The description that it was made with.
    pub description: Option<String>,
    /// The moment at which it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// The moment at which the first member was found to be discarded or cancelled.
    #[serde(with = "time::serde::rfc3339::option")]
    pub failed_at: Option<OffsetDateTime>,
    /// The moment at which all members were found to have ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub done_at: Option<OffsetDateTime>,
    /// The moment at which all members were found to be completed.
    #[serde(with = "time::serde::rfc3339::option")]
    pub completed_at: Option<OffsetDateTime>,
    /// Its members by state, without those that retention has dropped.
    pub members: Members,
}

/// Counts of a batch's members by state. Each number is capped at [`MAX_COUNTED`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Members {
    /// Members that no worker has: waiting for their time, for other jobs, or for a worker.
    pub waiting: i64,
    /// Members that a worker has.
    pub running: i64,
    /// Members that are done.
    pub completed: i64,
    /// Members that are no longer wanted.
    pub cancelled: i64,
    /// Members that have failed for good.
    pub discarded: i64,
    /// True when a number reached the cap: there may be more.
    pub is_capped: bool,
}

/// The status of this batch; none if there is no such batch or retention has dropped it.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn batch_status(
    conn: &mut PgConnection,
    id: BatchId,
) -> Result<Option<BatchStatus>, QueueError> {
    let row = sqlx::query_file!("src/sql/batch_status.sql", id.0, MAX_COUNTED)
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|row| {
        let counts = [row.waiting, row.running, row.completed, row.cancelled, row.discarded];
        BatchStatus {
            id,
            description: row.description,
            created_at: row.created_at,
            failed_at: row.failed_at,
            done_at: row.done_at,
            completed_at: row.completed_at,
            members: Members {
                waiting: row.waiting,
                running: row.running,
                completed: row.completed,
                cancelled: row.cancelled,
                discarded: row.discarded,
                is_capped: counts.contains(&MAX_COUNTED),
            },
        }
    }))
}

/// Drops batches that were done so many days ago, unless the clock that says so is in doubt.
pub(crate) async fn prune(pool: &PgPool, keep_days: u16) -> Result<(), QueueError> {
    sqlx::query!(
        "delete from queue.batches
         where done_at < now() - make_interval(days => $1)
           and not exists (select from queue.retention where held_back > 0)",
        i32::from(keep_days),
    )
    .execute(pool)
    .await?;
    Ok(())
}
