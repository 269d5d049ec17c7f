//! Keys of ordered queues that stand still until somebody decides.

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::queues::COUNT_CAP;
use crate::QueueError;
use crate::ids::JobId;

/// The reason that a key is blocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum BlockCause {
    /// Its head was discarded.
    Discarded,
    /// Its head failed, and the queue's rule is
    /// [`OnPoison::Park`](super::queues::OnPoison::Park).
    Parked,
}

/// A key of an ordered queue of which nothing runs until somebody decides.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BlockedKey {
    /// The queue.
    pub queue: String,
    /// The key.
    pub key: String,
    /// The job at its head.
    pub job_id: JobId,
    /// The reason that it is blocked.
    pub cause: BlockCause,
    /// The moment at which it was blocked.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Jobs of the key that wait behind the head; at most [`COUNT_CAP`] are counted.
    pub waiting: i64,
}

/// The blocked keys of a queue, or of all, longest blocked first; at most `limit`.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn blocked_keys(
    conn: &mut PgConnection,
    queue: Option<&str>,
    limit: u32,
) -> Result<Vec<BlockedKey>, QueueError> {
    listed(conn, queue, None, limit).await
}

/// The blocked keys of a queue by name, after `after` or from the first on; at most `limit`.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn blocked_keys_by_name(
    conn: &mut PgConnection,
    queue: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<BlockedKey>, QueueError> {
    listed(conn, Some(queue), Some(after.unwrap_or_default()), limit).await
}

async fn listed(
    conn: &mut PgConnection,
    queue: Option<&str>,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<BlockedKey>, QueueError> {
    let keys = sqlx::query_as!(
        BlockedKey,
        r#"
        select
          blocked.queue, blocked.key, blocked.job_id as "job_id: JobId",
          blocked.cause as "cause: BlockCause", blocked.since,
          (select count(*) from (
            select from queue.jobs
            where jobs.queue = blocked.queue
              and jobs.key = blocked.key
              and jobs.id <> blocked.job_id
            limit $2
          ) as behind) as "waiting!"
        from queue.blocked_keys as blocked
        where ($1::text is null or blocked.queue = $1)
          and ($4::text is null or blocked.key > $4)
        order by case when $4 is null then blocked.since end, blocked.queue, blocked.key
        limit $3
        "#,
        queue,
        COUNT_CAP,
        i64::from(limit),
        after,
    )
    .fetch_all(conn)
    .await?;
    Ok(keys)
}

/// Lets a blocked key go on: a parked head is tried again now, a discarded one stays behind. Gives
/// the head, or nothing when the key was not blocked.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn unblock_key(
    conn: &mut PgConnection,
    queue: &str,
    key: &str,
    by: &str,
    reason: &str,
) -> Result<Option<JobId>, QueueError> {
    let head = sqlx::query_file!("src/sql/unblock_key.sql", queue, key, by, reason)
        .fetch_optional(conn)
        .await?;
    Ok(head.map(|row| row.job_id))
}
