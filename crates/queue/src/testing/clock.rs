//! A clock that can be moved.
//!
//! Only the database's clock counts (G8), and neither it nor the statements that read it are there
//! to be bent by tests. So it is not the clock that moves: everything that waits is moved towards
//! it.

use std::time::Duration;

use sqlx::PgPool;

use super::TestingError;

/// The mark of a test database, as the comment on the schema.
const MARK: &str = "a test database: surety_queue::testing may move its times";

/// A hundred years.
const MAX_ADVANCE: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// Marks the database as one for tests, which [`advance`] asks for. To be done after the migrations
/// and before the first job: a database that has or had jobs is refused, so that no mistake in a
/// URL can mark one that somebody works with.
///
/// A database that is cloned from a marked template is marked.
///
/// # Errors
///
/// [`TestingError::InUse`], [`TestingError::Queue`].
pub async fn mark_as_test_database(pool: &PgPool) -> Result<(), TestingError> {
    let mut tx = pool.begin().await?;
    let in_use = sqlx::query_scalar!(
        r#"
        select
          exists (select from queue.jobs)
          or exists (select from queue.finished_jobs)
          or exists (select from queue.attempts) as "in_use!"
        "#
    )
    .fetch_one(&mut *tx)
    .await?;
    if in_use {
        return Err(TestingError::InUse);
    }
    // A comment takes no parameters.
    let comment = format!("comment on schema queue is '{MARK}'");
    sqlx::query(sqlx::AssertSqlSafe(comment)).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Makes so much time pass at once for all unfinished work, in one transaction: what was due in an
/// hour is due now after an hour. To the millisecond.
///
/// Moved into the past are
///
/// - of every unfinished job: when it is due, was enqueued and was started, and until when its
///   lease holds. So the jobs of a worker that does nothing can be made to be rescued; one that
///   lives renews its leases, if it gets to it before the rescue.
/// - until when a unique job keeps others from being enqueued;
/// - when the jobs started that a rate counts.
///
/// Not moved are the history (finished jobs, attempts, what operators decided), of which retention
/// drops what is old by the real clock; schedules, which follow the calendar, and which
/// [`run_due_at`](crate::schedules::run_due_at) runs as of any moment; tables of the
/// application; and what processes count by their own clocks, such as timeouts of handlers, polls
/// and heartbeats.
///
/// [`run_until_idle`](crate::worker::Worker::run_until_idle) finds at once what has become
/// due by this. A worker that is running remembers up to when it has seen all
/// (`worker/claim/floor.rs`), and jobs do not become due in the past in any other way: it finds
/// them when it next reads from the very start, within ten seconds.
///
/// # Errors
///
/// [`TestingError::NotMarked`] unless [`mark_as_test_database`] was called; then nothing is moved.
/// [`TestingError::TooLong`], [`TestingError::Queue`].
pub async fn advance(pool: &PgPool, by: Duration) -> Result<(), TestingError> {
    if by > MAX_ADVANCE {
        return Err(TestingError::TooLong(by));
    }
    let mut tx = pool.begin().await?;
    let comment = sqlx::query_scalar!("select obj_description('queue'::regnamespace)")
        .fetch_one(&mut *tx)
        .await?;
    if comment.as_deref() != Some(MARK) {
        return Err(TestingError::NotMarked);
    }
    let secs = by.as_secs_f64();
    sqlx::query_file!("src/sql/advance_jobs.sql", secs).execute(&mut *tx).await?;
    sqlx::query_file!("src/sql/advance_unique_keys.sql", secs).execute(&mut *tx).await?;
    sqlx::query_file!("src/sql/advance_starts.sql", secs).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}
