//! A queue as callers see it.

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{BlockedKey, COUNT_CAP, LimitsView, Pause, QueueScope, QueuesError};
use crate::operations::database_now;
use crate::queue::operate::queues;
use crate::queue::operate::queues::QueueSummary;

/// The blocked keys that are listed with a queue.
const SHOWN_KEYS: u32 = 20;

/// A queue at one moment.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct QueueView {
    /// Its name.
    pub queue: String,
    /// Jobs that run. This and the other counts stop at [`COUNT_CAP`].
    pub running: i64,
    /// Jobs that are due.
    pub available: i64,
    /// Jobs that wait for another attempt.
    pub retryable: i64,
    /// Jobs that wait for their time, or for other jobs.
    pub scheduled: i64,
    /// The time at which the job that has been due for longest became due.
    #[serde(with = "time::serde::rfc3339::option")]
    pub oldest_due: Option<OffsetDateTime>,
    /// The number of keys that wait for a decision.
    pub blocked_keys: i64,
    /// The pause of the queue, or of all; null if it is not paused.
    pub pause: Option<Pause>,
    /// Its limits; null if it has none.
    pub limits: Option<LimitsView>,
    /// The number at which counts stop.
    pub counts_capped_at: i64,
}

impl From<QueueSummary> for QueueView {
    fn from(queue: QueueSummary) -> Self {
        Self {
            queue: queue.queue,
            running: queue.running,
            available: queue.available,
            retryable: queue.retryable,
            scheduled: queue.scheduled,
            oldest_due: queue.oldest_due,
            blocked_keys: queue.blocked_keys,
            pause: queue.pause,
            limits: queue.limits.map(LimitsView),
            counts_capped_at: COUNT_CAP,
        }
    }
}

/// The queues that have unfinished jobs, a pause or limits.
#[derive(Clone, PartialEq, Debug)]
pub struct QueueList {
    /// The queues, by name.
    pub queues: Vec<QueueView>,
    /// The pause of all queues, if there is one.
    pub pause_of_all: Option<Pause>,
    /// The moment of the list, by the database's clock.
    pub as_of: OffsetDateTime,
}

/// Lists all queues that have unfinished jobs, a pause or limits.
///
/// # Errors
///
/// [`QueuesError::Queue`].
pub async fn list(conn: &mut PgConnection) -> Result<QueueList, QueuesError> {
    let queues = queues::list(conn).await?.into_iter().map(QueueView::from).collect();
    let pauses = queues::pauses(conn).await?;
    let of_all = pauses.into_iter().find(|(queue, _)| queue.is_none());
    let pause_of_all = of_all.map(|(_, pause)| pause);
    Ok(QueueList { queues, pause_of_all, as_of: database_now(conn).await? })
}

/// The queues after the one of this name, or from the first on, by name; at most `limit`.
///
/// # Errors
///
/// [`QueuesError::Queue`].
pub async fn page(
    conn: &mut PgConnection,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<QueueView>, QueuesError> {
    let page = queues::page(conn, after, limit).await?;
    Ok(page.into_iter().map(QueueView::from).collect())
}

/// A queue with some of its blocked keys.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ShownQueue {
    /// The queue.
    #[serde(flatten)]
    pub queue: QueueView,
    /// The keys that have been blocked for longest.
    pub blocked: Vec<BlockedKey>,
    /// The moment of all this, by the database's clock.
    #[serde(skip)]
    pub as_of: OffsetDateTime,
}

/// The queue of this name; none if it has no unfinished job, no pause and no limits.
///
/// # Errors
///
/// [`QueuesError::Queue`].
pub async fn find(conn: &mut PgConnection, name: &str) -> Result<Option<ShownQueue>, QueuesError> {
    let Some(queue) = queues::find(conn, name).await? else { return Ok(None) };
    let blocked = queues::blocked_keys(conn, Some(name), SHOWN_KEYS).await?;
    let as_of = database_now(conn).await?;
    Ok(Some(ShownQueue { queue: queue.into(), blocked, as_of }))
}

/// The blocked keys of a queue, longest blocked first; at most `limit`.
///
/// # Errors
///
/// [`QueuesError::Queue`].
pub async fn blocked_keys(
    conn: &mut PgConnection,
    queue: &str,
    limit: u32,
) -> Result<Vec<BlockedKey>, QueuesError> {
    Ok(queues::blocked_keys(conn, Some(queue), limit).await?)
}

/// The blocked keys of a queue by name, after `after` or from the first on; at most `limit`.
///
/// # Errors
///
/// [`QueuesError::Queue`].
pub async fn blocked_keys_by_name(
    conn: &mut PgConnection,
    queue: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<BlockedKey>, QueuesError> {
    Ok(queues::blocked_keys_by_name(conn, queue, after, limit).await?)
}

/// The pause of a queue, by itself or with all others; none if it is not paused.
///
/// # Errors
///
/// [`QueuesError::Queue`].
pub async fn pause_of(
    conn: &mut PgConnection,
    scope: &QueueScope,
) -> Result<Option<Pause>, QueuesError> {
    let pauses = queues::pauses(conn).await?;
    let is_meant = |queue: &Option<String>| match (scope, queue) {
        (_, None) => true,
        (QueueScope::One(name), Some(queue)) => name == queue,
        (QueueScope::All, Some(_)) => false,
    };
    // That of the queue itself comes after that of all.
    Ok(pauses.into_iter().rfind(|(queue, _)| is_meant(queue)).map(|(_, pause)| pause))
}
