//! Retention of bulk operations.

use sqlx::PgConnection;

/// Drops operations that ended more than `keep_days` days ago, at most `limit`, and gives their
/// number. The audit log keeps that they were. While the queue's history is held back because the
/// clock is in doubt, none is dropped.
///
/// # Errors
///
/// When the database refuses.
pub async fn prune(conn: &mut PgConnection, keep_days: u16, limit: u16) -> sqlx::Result<u64> {
    let pruned = sqlx::query!(
        "
        delete from operations.bulk_operations
        where id in (
          select id
          from operations.bulk_operations
          where finished_at < (select queue.old_before($1))
          order by id
          limit $2
        )
        ",
        i32::from(keep_days),
        i64::from(limit),
    );
    Ok(pruned.execute(conn).await?.rows_affected())
}
