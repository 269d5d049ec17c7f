//! Queues: pausing them, limiting them, looking at them.
//!
//! A queue exists by its name alone. What is set here holds for all workers, from the commit on: no
//! claim that begins later overlooks it.
//!
//! - A *paused* queue starts no job; those that run go on.
//! - *Limits* bound how many jobs run at once and how many start in a period, in all and of one
//!   key. Claims from a limited queue take turns, so limits hold exactly.
//! - In an *ordered* queue the jobs of one key run one after another, in the order of their
//!   numbers: of two jobs that were enqueued one after the other, the first commits before the
//!   second begins. [`OnPoison`] says what a failing one means for those behind it.
//!
//! Jobs with keys take fair turns in any queue, limited or not: each key with due jobs gets the
//! same share of the free slots, however many jobs it has.
//!
//! ```
//! # use std::time::Duration;
//! use surety_queue::operate::queues::{self, Limits, OnPoison, Which};
//!
//! # async fn example(conn: &mut sqlx::PgConnection) -> Result<(), surety_queue::QueueError> {
//! let limits = Limits {
//!     max_running: Some(20),
//!     rate: Some(100),
//!     rate_period: Duration::from_secs(60),
//!     ordered: Some(OnPoison::SkipAfter(3)),
//!     ..Limits::default()
//! };
//! queues::set_limits(conn, "payouts", &limits, "ada").await?;
//! queues::pause(conn, Which::One("payouts"), "ada", "the bank is down").await?;
//! queues::resume(conn, Which::One("payouts")).await?;
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

pub use super::blocked_keys::{
    BlockCause, BlockedKey, blocked_keys, blocked_keys_by_name, unblock_key,
};
use crate::QueueError;

/// Jobs of one sort are counted up to so many.
pub const COUNT_CAP: i64 = 10_000;

/// The most queues of one list.
pub const MAX_LISTED: u32 = 1_000;

/// One queue, or all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which<'a> {
    /// The one of this name.
    One(&'a str),
    /// All, those included that do not exist yet.
    All,
}

impl<'a> Which<'a> {
    fn stored(self) -> &'a str {
        match self {
            Self::One(queue) => queue,
            Self::All => "*",
        }
    }
}

/// Starts no more jobs of a queue, or of all. False when that was so before.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn pause(
    conn: &mut PgConnection,
    which: Which<'_>,
    by: &str,
    reason: &str,
) -> Result<bool, QueueError> {
    let paused = sqlx::query_file!("src/sql/pause.sql", which.stored(), by, reason)
        .fetch_optional(conn)
        .await?;
    Ok(paused.is_some())
}

/// Undoes a [`pause`]; false when there was none. A queue that was paused by itself stays paused
/// when all are resumed.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn resume(conn: &mut PgConnection, which: Which<'_>) -> Result<bool, QueueError> {
    let resumed = sqlx::query!("delete from queue.pauses where queue = $1", which.stored())
        .execute(conn)
        .await?;
    Ok(resumed.rows_affected() > 0)
}

/// The pause of a queue: when, by whom and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Pause {
    /// The person who paused it.
    pub paused_by: String,
    /// The reason that was given.
    pub reason: String,
    /// The moment of the pause.
    #[serde(with = "time::serde::rfc3339")]
    pub paused_at: OffsetDateTime,
}

/// The limits of a queue; null is no limit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Limits {
    /// The most jobs that run at once, over all workers.
    pub max_running: Option<u32>,
    /// The most jobs of one key that run at once.
    pub max_running_per_key: Option<u32>,
    /// The most jobs that start in any stretch of time as long as the period. Counted in
    /// twentieths of the period, so a start may count for a twentieth longer.
    pub rate: Option<u32>,
    /// The same for the jobs of one key.
    pub rate_per_key: Option<u32>,
    /// The period of both rates; 1 s by default, at least 20 ms.
    pub rate_period: Duration,
    /// Jobs of one key run one after another, with this rule for a failing one.
    pub ordered: Option<OnPoison>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_running: None,
            max_running_per_key: None,
            rate: None,
            rate_per_key: None,
            rate_period: Duration::from_secs(1),
            ordered: None,
        }
    }
}

/// The effect of a failing job of an ordered queue on those of its key behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPoison {
    /// They wait for its retries; and if it is discarded, until somebody redrives or dismisses it,
    /// or [unblocks](unblock_key) the key.
    Block,
    /// After so many failed attempts it is discarded, and they go on.
    SkipAfter(u32),
    /// They wait, and it is not even tried again, until somebody [unblocks](unblock_key) the key.
    Park,
}

/// Waits until nobody else changes the limits of this queue, and keeps others waiting until the
/// caller's transaction ends: for whoever reads them to change some of them.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn lock_limits(conn: &mut PgConnection, queue: &str) -> Result<(), QueueError> {
    // The row may not be there yet, so there is nothing to lock but a number made of the name.
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0)) is null as done", queue)
        .fetch_one(conn)
        .await?;
    Ok(())
}

/// Sets the limits of a queue, in place of those it had.
///
/// # Errors
///
/// [`QueueError::Settings`] when they cannot work, [`QueueError::Database`].
pub async fn set_limits(
    conn: &mut PgConnection,
    queue: &str,
    limits: &Limits,
    by: &str,
) -> Result<(), QueueError> {
    let numbers =
        [limits.max_running, limits.max_running_per_key, limits.rate, limits.rate_per_key];
    if numbers.contains(&Some(0)) || limits.ordered == Some(OnPoison::SkipAfter(0)) {
        return Err(QueueError::Settings("a limit must be at least 1; to start nothing, pause"));
    }
    if limits.rate_period < Duration::from_millis(20) {
        return Err(QueueError::Settings("the period of a rate must be at least 20 ms"));
    }
    let (on_poison, skip_after) = match limits.ordered {
        None | Some(OnPoison::Block) => ("block", None),
        Some(OnPoison::SkipAfter(attempts)) => ("skip_after", Some(attempts)),
        Some(OnPoison::Park) => ("park", None),
    };
    sqlx::query_file!(
        "src/sql/set_limits.sql",
        queue,
        stored(limits.max_running),
        stored(limits.max_running_per_key),
        stored(limits.rate),
        stored(limits.rate_per_key),
        limits.rate_period.as_secs_f64(),
        limits.ordered.is_some(),
        on_poison,
        stored(skip_after),
        by,
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn stored(limit: Option<u32>) -> Option<i32> {
    limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX))
}

/// Takes all limits from a queue; false when it had none. Its blocked keys go on.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn clear_limits(conn: &mut PgConnection, queue: &str) -> Result<bool, QueueError> {
    let cleared = sqlx::query!("delete from queue.limits where queue = $1", queue)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("delete from queue.blocked_keys where queue = $1", queue).execute(conn).await?;
    Ok(cleared.rows_affected() > 0)
}

/// The limits of a queue, if it has any.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn limits(conn: &mut PgConnection, queue: &str) -> Result<Option<Limits>, QueueError> {
    let row = sqlx::query!(
        r#"
        select
          max_running, max_running_per_key, rate, rate_per_key,
          extract(epoch from rate_period)::float8 as "rate_period_secs!", ordered, on_poison,
          skip_after
        from queue.limits
        where queue = $1
        "#,
        queue,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Limits {
        max_running: row.max_running.map(i32::unsigned_abs),
        max_running_per_key: row.max_running_per_key.map(i32::unsigned_abs),
        rate: row.rate.map(i32::unsigned_abs),
        rate_per_key: row.rate_per_key.map(i32::unsigned_abs),
        rate_period: Duration::from_secs_f64(row.rate_period_secs),
        ordered: row.ordered.then_some(match (row.on_poison.as_str(), row.skip_after) {
            ("skip_after", Some(attempts)) => OnPoison::SkipAfter(attempts.unsigned_abs()),
            ("park", _) => OnPoison::Park,
            _ => OnPoison::Block,
        }),
    }))
}

/// A queue at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct QueueSummary {
    /// Its name.
    pub queue: String,
    /// Jobs that run. This and the other counts stop at [`COUNT_CAP`].
    pub running: i64,
    /// Jobs that are due.
    pub available: i64,
    /// Jobs that wait for another attempt. This and `scheduled` are told apart among the
    /// [`COUNT_CAP`] that are due first.
    pub retryable: i64,
    /// Jobs that wait for their time, or for other jobs.
    pub scheduled: i64,
    /// The due time of the job that has been due for longest.
    #[serde(with = "time::serde::rfc3339::option")]
    pub oldest_due: Option<OffsetDateTime>,
    /// Keys that wait for somebody to decide.
    pub blocked_keys: i64,
    /// If it is paused, by itself or with all others.
    pub pause: Option<Pause>,
    /// If it has limits.
    pub limits: Option<Limits>,
}

/// All queues that have unfinished jobs, a pause or limits, by name; the first [`MAX_LISTED`].
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn list(conn: &mut PgConnection) -> Result<Vec<QueueSummary>, QueueError> {
    summaries(conn, "", MAX_LISTED, None).await
}

/// Those after the queue of this name, or from the first on; at most `limit`, which is capped at
/// [`MAX_LISTED`].
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn page(
    conn: &mut PgConnection,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<QueueSummary>, QueueError> {
    summaries(conn, after.unwrap_or_default(), limit.min(MAX_LISTED), None).await
}

/// The queue of this name; none if it has no unfinished jobs, no pause and no limits.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn find(conn: &mut PgConnection, name: &str) -> Result<Option<QueueSummary>, QueueError> {
    Ok(summaries(conn, "", 1, Some(name)).await?.pop())
}

async fn summaries(
    conn: &mut PgConnection,
    after: &str,
    limit: u32,
    only: Option<&str>,
) -> Result<Vec<QueueSummary>, QueueError> {
    let rows =
        sqlx::query_file!("src/sql/list_queues.sql", COUNT_CAP, after, i64::from(limit), only,)
            .fetch_all(&mut *conn)
            .await?;
    let mut queues = Vec::with_capacity(rows.len());
    for row in rows {
        let pause = match (row.paused_by, row.pause_reason, row.paused_at) {
            (Some(paused_by), Some(reason), Some(paused_at)) => {
                Some(Pause { paused_by, reason, paused_at })
            }
            _ => None,
        };
        queues.push(QueueSummary {
            limits: limits(conn, &row.queue).await?,
            queue: row.queue,
            running: row.running,
            available: row.available,
            retryable: row.retryable,
            scheduled: row.scheduled,
            oldest_due: row.oldest_due,
            blocked_keys: row.blocked_keys,
            pause,
        });
    }
    Ok(queues)
}

/// The number of jobs of a queue that run. After a [pause] it falls to 0; a claim that began before
/// the pause may still be on its way for a moment.
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
