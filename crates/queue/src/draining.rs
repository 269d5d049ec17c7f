//! Whether a queue stands still: who has paused it, and what of it still runs.

use sqlx::PgConnection;

use super::QueueError;
use super::queues::Pause;

/// How many jobs of a queue run. After a [pause](super::queues::pause) it falls to 0; a claim that
/// began before the pause may still be on its way for a moment.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn running(conn: &mut PgConnection, queue: &str) -> Result<i64, QueueError> {
    Ok(sqlx::query_file_scalar!("src/sql/running_of_queue.sql", queue).fetch_one(conn).await?)
}

/// Every pause with the name of its queue, or none for the one of all queues, which comes first.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn pauses(conn: &mut PgConnection) -> Result<Vec<(Option<String>, Pause)>, QueueError> {
    let rows = sqlx::query!(
        r#"
        select nullif(queue, '*') as queue, paused_by, reason, paused_at
        from queue.pauses
        order by 1 nulls first
        "#
    )
    .fetch_all(conn)
    .await?;
    let pause = |paused_by, reason, paused_at| Pause { paused_by, reason, paused_at };
    Ok(rows
        .into_iter()
        .map(|row| (row.queue, pause(row.paused_by, row.reason, row.paused_at)))
        .collect())
}
