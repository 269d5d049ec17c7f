//! Discarded jobs: what has failed for good waits here for an operator.
//!
//! A discarded job is *open* until somebody decides over it, once: it is [*redriven*](redrive), and
//! runs again under its old number, or [*dismissed*](dismiss), and stays in the history as it is.
//! Who decided, when and why is kept in `queue.resolutions`, which outlives the history. A job that
//! is discarded again after a redrive is open again.
//!
//! ```
//! # use sqlx::PgConnection;
//! use surety_queue::operate::discarded::{self, Decision, Filter, Resolved};
//!
//! # async fn example(conn: &mut PgConnection) -> Result<(), surety_queue::QueueError> {
//! let by_ada = Decision { by: "ada", reason: "the bank is back" };
//! for job in discarded::list(conn, &Filter::default(), None, 50).await? {
//!     match discarded::redrive(conn, job.id, by_ada).await? {
//!         Resolved::Done => println!("job {} runs again", job.id),
//!         Resolved::NotOpen => println!("somebody else has decided over job {}", job.id),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::inspect::StoredArgs;
use crate::QueueError;
use crate::ids::JobId;
use crate::json::JsonText;

/// The most jobs of one [`list`].
pub const MAX_LISTED: u32 = 200;

/// The author of a decision over a discarded job, and the reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision<'a> {
    /// The author; not empty.
    pub by: &'a str,
    /// The reason, for whoever asks later.
    pub reason: &'a str,
}

/// The result of a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Resolved {
    /// It holds once the caller's transaction is committed.
    Done,
    /// There is nothing to decide: no such job is discarded, or somebody has decided over it by
    /// now. [`find_job`](super::inspect::find_job) tells. A job that has been run 1,000 times is
    /// not redriven either.
    NotOpen,
}

/// Runs a discarded job again, under its old number: with the same effect key, due now.
///
/// Its attempts are numbered on, and it may have as many more as it had at first; the waits between
/// them, and the count of workers lost, begin anew. Of several calls at once one wins. Workers
/// learn of it as they do of a job that is [enqueued](crate::enqueue::enqueue).
///
/// What its [`FollowUp`](crate::FollowUp) does or has done stays done: a handler whose kind has one
/// must look before it acts.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn redrive(
    conn: &mut PgConnection,
    id: JobId,
    decision: Decision<'_>,
) -> Result<Resolved, QueueError> {
    let moved = redrive_many(conn, &[id], decision).await?;
    Ok(if moved.is_empty() { Resolved::NotOpen } else { Resolved::Done })
}

/// The same for several jobs by one statement: those that now run again. The others are
/// [not open](Resolved::NotOpen).
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn redrive_many(
    conn: &mut PgConnection,
    ids: &[JobId],
    decision: Decision<'_>,
) -> Result<Vec<JobId>, QueueError> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let moved = sqlx::query_file_scalar!("src/sql/redrive.sql", &ids, decision.by, decision.reason)
        .fetch_all(conn)
        .await?;
    Ok(moved.into_iter().map(JobId).collect())
}

/// Writes a discarded job off: it stays in the history, and is open no more. It cannot be redriven,
/// because whoever wrote it off may have settled by hand what it was about.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn dismiss(
    conn: &mut PgConnection,
    id: JobId,
    decision: Decision<'_>,
) -> Result<Resolved, QueueError> {
    let dismissed = dismiss_many(conn, &[id], decision).await?;
    Ok(if dismissed.is_empty() { Resolved::NotOpen } else { Resolved::Done })
}

/// The same for several jobs by one statement: those that are written off by it. The others are
/// [not open](Resolved::NotOpen).
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn dismiss_many(
    conn: &mut PgConnection,
    ids: &[JobId],
    decision: Decision<'_>,
) -> Result<Vec<JobId>, QueueError> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let dismissed =
        sqlx::query_file_scalar!("src/sql/dismiss.sql", &ids, decision.by, decision.reason)
            .fetch_all(conn)
            .await?;
    Ok(dismissed.into_iter().map(JobId).collect())
}

/// A discarded job that nobody has decided over, as programs need it.
#[derive(Clone, Debug)]
pub struct OpenJob {
    /// Its number.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its arguments as they are stored.
    pub stored_args: StoredArgs,
}

/// Those of these jobs that are open, in the order of their numbers.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn open_among(
    conn: &mut PgConnection,
    ids: &[JobId],
) -> Result<Vec<OpenJob>, QueueError> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let open = sqlx::query_as!(
        OpenJob,
        r#"
        select id as "id: JobId", kind, args as "stored_args: StoredArgs"
        from queue.finished_jobs as job
        where id = any ($1)
          and state = 'discarded'
          and not exists (
            select from queue.resolutions as resolved
            where resolved.job_id = job.id and resolved.attempt = job.attempt
          )
        order by id
        "#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(open)
}

/// Those of these jobs that somebody has decided over, at whichever discard.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn decided_among(
    conn: &mut PgConnection,
    ids: &[JobId],
) -> Result<Vec<JobId>, QueueError> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let decided = sqlx::query_scalar!(
        r#"
        select distinct job_id as "id: JobId"
        from queue.resolutions
        where job_id = any ($1)
        "#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(decided)
}

/// The discarded jobs to list; all by default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only of this queue.
    pub queue: Option<String>,
}

/// A place in the list, newest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The moment at which the job at this position was discarded.
    pub discarded_at: OffsetDateTime,
    /// Its number.
    pub id: JobId,
}

/// A discarded job that nobody has decided over.
#[derive(Clone, Debug, Serialize)]
pub struct DiscardedJob {
    /// Its number.
    pub id: JobId,
    /// The queue that it was in.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// Attempts begun.
    pub attempt: i16,
    /// Failed attempts that it was allowed.
    pub max_attempts: i16,
    /// Attempts that ended with their worker, since the last redrive.
    pub crash_count: i16,
    /// The moment at which it was enqueued.
    #[serde(with = "time::serde::rfc3339")]
    pub enqueued_at: OffsetDateTime,
    /// The moment at which it was discarded.
    #[serde(with = "time::serde::rfc3339")]
    pub discarded_at: OffsetDateTime,
    /// Its arguments as people may see them: without what its kind
    /// [redacts](crate::handler::Job::REDACTED), and not opened if they are sealed.
    pub args: JsonText,
    /// The error of its last attempt; null only if retention has dropped it.
    pub error: Option<String>,
}

impl DiscardedJob {
    /// Its place in the list: the next page is of those before it.
    pub fn position(&self) -> Position {
        Position { discarded_at: self.discarded_at, id: self.id }
    }
}

/// The open discarded jobs in figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct OpenJobs {
    /// The number of them, among those discarded jobs that were looked at.
    pub jobs: i64,
    /// True if there are discarded jobs that were not looked at, so that there may be more open
    /// ones.
    pub is_more: bool,
    /// The one that was discarded first; null if there is none.
    pub oldest_job: Option<JobId>,
    /// The moment at which it was discarded.
    #[serde(with = "time::serde::rfc3339::option")]
    pub oldest_at: Option<OffsetDateTime>,
    /// The moment at which the last of them was.
    #[serde(with = "time::serde::rfc3339::option")]
    pub newest_at: Option<OffsetDateTime>,
}

/// Discarded jobs that are looked at from either end to count the open ones.
const MAX_EXAMINED: i64 = 1_000;

/// Counts the open discarded jobs among the oldest and the newest 1,000 discarded ones.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn count_open(conn: &mut PgConnection) -> Result<OpenJobs, QueueError> {
    let open = sqlx::query_file_as!(OpenJobs, "src/sql/count_open_discarded.sql", MAX_EXAMINED)
        .fetch_one(conn)
        .await?;
    Ok(open)
}

/// The open discarded jobs, newest first: those before `before`, or from the newest on. At most
/// `limit`, which is capped at [`MAX_LISTED`].
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    before: Option<Position>,
    limit: u32,
) -> Result<Vec<DiscardedJob>, QueueError> {
    let jobs = sqlx::query_file_as!(
        DiscardedJob,
        "src/sql/list_discarded.sql",
        filter.kind.as_deref(),
        filter.queue.as_deref(),
        before.map(|position| position.discarded_at),
        before.map(|position| position.id.0),
        i64::from(limit.min(MAX_LISTED)),
    )
    .fetch_all(conn)
    .await?;
    Ok(jobs)
}
