//! Queues: reading them, pausing, draining and limiting them, and letting blocked keys go on.
//!
//! - Here: the operations that change something.
//! - `views`: a queue as callers see it.
//! - [`limits`](mod@limits): reading limits as people write them, and changing some of them.
//!
//! A queue exists by its name alone, so one that has no job yet can be paused and limited.

pub mod limits;
mod views;

pub use self::limits::{LimitChange, LimitsVersion, LimitsView};
pub use self::views::{
    QueueList, QueueView, ShownQueue, blocked_keys, blocked_keys_by_name, find, list, page,
    pause_of,
};
pub use crate::queue::operate::queues::{
    BlockCause, BlockedKey, COUNT_CAP, Limits, OnPoison, Pause,
};

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Connection as _, PgConnection, PgPool};

use super::{Actor, Identity};
use crate::audit::{self, Subject};
use crate::queue::commits::commit;
use crate::queue::operate::queues;
use crate::queue::operate::queues::Which;
use crate::queue::{JobId, QueueError};

/// An operation on a queue that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum QueuesError {
    /// The two rates of a queue would have different periods.
    #[error(
        "a queue has one period for both of its rates, not {} and {}",
        humantime::format_duration(*.0),
        humantime::format_duration(*.1)
    )]
    TwoPeriods(Duration, Duration),
    /// The limits have another version than the change was meant for.
    #[error("the limits have changed since that version")]
    Stale,
    /// The queue's database refused or did not answer, or the limits cannot work.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl From<sqlx::Error> for QueuesError {
    fn from(error: sqlx::Error) -> Self {
        Self::Queue(error.into())
    }
}

/// One queue, or all of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueueScope {
    /// The queue of this name.
    One(String),
    /// All queues, those included that do not exist yet.
    All,
}

impl QueueScope {
    fn which(&self) -> Which<'_> {
        match self {
            Self::One(name) => Which::One(name),
            Self::All => Which::All,
        }
    }

    fn subject(&self) -> Subject {
        match self {
            Self::One(name) => Subject::new("queue", name),
            Self::All => Subject::new("queue", "*"),
        }
    }
}

/// The result of a pause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PauseResult {
    /// No more jobs are started; those that run go on.
    Paused,
    /// Somebody had paused it before; that pause stays as it was.
    WasPaused,
}

/// Starts no more jobs of a queue, or of all.
///
/// # Errors
///
/// [`QueuesError::Queue`].
pub async fn pause(
    conn: &mut PgConnection,
    scope: &QueueScope,
    actor: &Actor,
) -> Result<PauseResult, QueuesError> {
    let (by, reason) = (actor.identity.as_str(), actor.reason.as_str());
    let mut tx = conn.begin().await?;
    if !queues::pause(&mut tx, scope.which(), by, reason).await? {
        return Ok(PauseResult::WasPaused);
    }
    let entry = actor.entry("queue.pause", scope.subject());
    let entry = entry.before(&json!({ "paused": false })).after(&json!({ "paused": true }));
    audit::record(&mut tx, &[entry]).await?;
    commit(tx).await?;
    Ok(PauseResult::Paused)
}

/// The result of a resume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResumeResult {
    /// True if there was a pause to undo.
    pub was_paused: bool,
    /// A pause of the other sort that stays, of all queues or of a single one, and its scope.
    pub remaining: Option<(QueueScope, Pause)>,
}

/// Undoes the pause of a queue, or of all. A queue that was paused by itself stays paused when all
/// are resumed.
///
/// # Errors
///
/// [`QueuesError::Queue`].
pub async fn resume(
    conn: &mut PgConnection,
    scope: &QueueScope,
    by: &Identity,
) -> Result<ResumeResult, QueuesError> {
    let mut tx = conn.begin().await?;
    let is_meant = |queue: &Option<String>| match scope {
        QueueScope::One(name) => queue.as_ref() == Some(name),
        QueueScope::All => queue.is_none(),
    };
    let pauses = queues::pauses(&mut tx).await?;
    let before = pauses.iter().find(|(queue, _)| is_meant(queue)).map(|(_, pause)| pause);
    let was_paused = queues::resume(&mut tx, scope.which()).await?;
    if was_paused {
        let entry = by.entry("queue.resume", scope.subject());
        let before = json!({ "paused": true, "pause": before });
        audit::record(&mut tx, &[entry.before(&before).after(&json!({ "paused": false }))]).await?;
    }
    let mut pauses = queues::pauses(&mut tx).await?.into_iter();
    commit(tx).await?;
    let remaining = pauses.find(|(queue, _)| match scope {
        QueueScope::One(_) => queue.is_none(),
        QueueScope::All => true,
    });
    let remaining =
        remaining.map(|(queue, pause)| (queue.map_or(QueueScope::All, QueueScope::One), pause));
    Ok(ResumeResult { was_paused, remaining })
}

/// The interval between two counts of the jobs that still run.
const DRAIN_POLL: Duration = Duration::from_millis(200);

/// No job may be seen running for this long: a claim that began before the pause may still commit.
const DRAINED_FOR: Duration = Duration::from_secs(1);

/// The result of a drain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DrainResult {
    /// The queue is paused and none of its jobs runs.
    Drained,
    /// The queue is paused, but this many of its jobs still run.
    StillRunning(i64),
}

/// Pauses a queue and waits until none of its jobs runs, at most for `timeout`. An earlier pause
/// stays as it was.
///
/// # Errors
///
/// [`QueuesError::Queue`].
pub async fn drain(
    pool: &PgPool,
    queue: &str,
    timeout: Duration,
    actor: &Actor,
) -> Result<DrainResult, QueuesError> {
    pause(&mut *pool.acquire().await?, &QueueScope::One(queue.to_owned()), actor).await?;
    let deadline = Instant::now() + timeout;
    let mut none_since = None;
    loop {
        let running = queues::running(&mut *pool.acquire().await?, queue).await?;
        let now = Instant::now();
        none_since = if running == 0 { none_since.or(Some(now)) } else { None };
        if none_since.is_some_and(|since| now - since >= DRAINED_FOR) {
            return Ok(DrainResult::Drained);
        }
        if now >= deadline {
            return Ok(DrainResult::StillRunning(running));
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

/// Lets a blocked key go on: a parked head is tried again, a discarded one stays behind. Returns
/// the head; none if the key was not blocked.
///
/// # Errors
///
/// [`QueuesError::Queue`].
pub async fn unblock_key(
    conn: &mut PgConnection,
    queue: &str,
    key: &str,
    actor: &Actor,
) -> Result<Option<JobId>, QueuesError> {
    let (by, reason) = (actor.identity.as_str(), actor.reason.as_str());
    let mut tx = conn.begin().await?;
    let head = queues::unblock_key(&mut tx, queue, key, by, reason).await?;
    if let Some(job) = head {
        let entry = actor.entry("queue.unblock_key", Subject::new("queue", queue));
        let change = |blocked: bool| json!({ "key": key, "blocked": blocked });
        let entry = entry.before(&change(true)).after(&change(false)).data(&json!({ "job": job }));
        audit::record(&mut tx, &[entry]).await?;
    }
    commit(tx).await?;
    Ok(head)
}

/// The limits of a queue, if it has any.
///
/// # Errors
///
/// [`QueuesError::Queue`].
pub async fn limits(conn: &mut PgConnection, queue: &str) -> Result<Option<Limits>, QueuesError> {
    Ok(queues::limits(conn, queue).await?)
}

/// Changes some limits of a queue, and returns all that it has from then on. With `if_version`,
/// only if they still have that [version](LimitsVersion).
///
/// # Errors
///
/// [`QueuesError`]; nothing has changed then.
pub async fn change_limits(
    conn: &mut PgConnection,
    queue: &str,
    change: LimitChange,
    if_version: Option<LimitsVersion>,
    by: &Identity,
) -> Result<Limits, QueuesError> {
    let mut tx = conn.begin().await?;
    queues::lock_limits(&mut tx, queue).await?;
    let current = queues::limits(&mut tx, queue).await?;
    if if_version.is_some_and(|version| version != LimitsVersion::of(current.as_ref())) {
        tx.rollback().await?;
        return Err(QueuesError::Stale);
    }
    let limits = change.apply(current.clone().unwrap_or_default())?;
    queues::set_limits(&mut tx, queue, &limits, by.as_str()).await?;
    let entry = by.entry("queue.limit", Subject::new("queue", queue));
    let entry = entry.before(&current.map(LimitsView)).after(&LimitsView(limits.clone()));
    audit::record(&mut tx, &[entry]).await?;
    commit(tx).await?;
    Ok(limits)
}

/// Takes all limits from a queue, so that its blocked keys go on. False when it had none.
///
/// # Errors
///
/// [`QueuesError::Queue`].
pub async fn clear_limits(
    conn: &mut PgConnection,
    queue: &str,
    by: &Identity,
) -> Result<bool, QueuesError> {
    let mut tx = conn.begin().await?;
    let before = queues::limits(&mut tx, queue).await?.map(LimitsView);
    let had_some = queues::clear_limits(&mut tx, queue).await?;
    if had_some {
        let entry = by.entry("queue.limit", Subject::new("queue", queue));
        audit::record(&mut tx, &[entry.before(&before).after(&json!(null))]).await?;
    }
    commit(tx).await?;
    Ok(had_some)
}
