//! Interventions of operators in jobs, with author and reason. A job that runs is its worker's: it
//! can be [cancelled](super::cancel()), and nothing else.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use sqlx::PgConnection;

use super::discarded::{self, Decision};
pub use super::standing::{JobStanding, standings};
use crate::QueueError;
use crate::enqueue::bounds;
use crate::ids::JobId;
use crate::json::JsonText;
use crate::state::JobState;

/// The result of making a job run again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retried {
    /// It waited, and is due now.
    DueNow,
    /// It was due already. Nothing has changed, and nothing is kept of it.
    AlreadyDue,
    /// It had been discarded, and runs again under its old number.
    Redriven,
}

impl fmt::Display for Retried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DueNow => "is due now",
            Self::AlreadyDue => "is due already",
            Self::Redriven => "runs again",
        })
    }
}

/// The reason that an intervention was refused. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InterventionRefusal {
    /// There is no such job, or retention has dropped it.
    #[error("there is no such job")]
    NotFound,
    /// A worker has it.
    #[error("it runs: wait for its end, or cancel it")]
    Running,
    /// It is done.
    #[error("it is completed; enqueue it anew to have it done once more")]
    Completed,
    /// It was cancelled, and so is no longer wanted.
    #[error("it was cancelled; enqueue it anew if it is wanted after all")]
    Cancelled,
    /// It is discarded.
    #[error("it is discarded already")]
    Discarded,
    /// It waits for other jobs to end.
    #[error("it waits for other jobs to end")]
    Held,
    /// Somebody has decided over it since it was discarded.
    #[error("somebody has decided over it already")]
    Decided,
    /// It was redriven, and has not run since.
    #[error("it was redriven and has not run since; it can be cancelled")]
    Redriven,
    /// It has begun as many attempts as can be counted.
    #[error("it has been run 1,000 times, which is all that a job may; enqueue it anew")]
    Exhausted,
    /// Its arguments are sealed.
    #[error("its arguments are sealed; cancel it, and enqueue it anew with others")]
    Sealed,
    /// Somebody changed it in this moment.
    #[error("it changed in this moment; try again")]
    Changed,
}

impl InterventionRefusal {
    /// Its stable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Discarded => "discarded",
            Self::Held => "held",
            Self::Decided => "already-decided",
            Self::Redriven => "redriven",
            Self::Exhausted => "exhausted",
            Self::Sealed => "sealed",
            Self::Changed => "changed",
        }
    }
}

/// One result for each of several jobs.
pub type Each<T> = Vec<(JobId, Result<T, InterventionRefusal>)>;

/// Runs jobs again: those that wait for their time or their retry are due now, and discarded ones
/// are [redriven](discarded::redrive). The answers are in the order of `ids`.
///
/// # Errors
///
/// [`QueueError::Database`]; then nothing may be committed.
pub async fn retry(
    conn: &mut PgConnection,
    ids: &[JobId],
    decision: Decision<'_>,
) -> Result<Each<Retried>, QueueError> {
    let redriven = discarded::redrive_many(conn, ids, decision).await?;
    let waiting: Vec<JobId> = ids.iter().copied().filter(|id| !redriven.contains(id)).collect();
    let rest: BTreeMap<JobId, _> = run_now(conn, &waiting, decision).await?.into_iter().collect();
    let each = |id: &JobId| {
        let retried = rest.get(id).copied().unwrap_or(Ok(Retried::Redriven));
        // What is discarded and was not redriven has been decided over in this moment.
        (
            *id,
            retried.map_err(|refusal| match refusal {
                InterventionRefusal::Discarded => InterventionRefusal::Changed,
                other => other,
            }),
        )
    };
    Ok(ids.iter().map(each).collect())
}

/// Makes waiting jobs due now, and leaves discarded ones: [`InterventionRefusal::Discarded`]. For
/// applications whose discarded jobs need more than a redrive to run again.
///
/// # Errors
///
/// [`QueueError::Database`]; then nothing may be committed.
pub async fn run_now(
    conn: &mut PgConnection,
    ids: &[JobId],
    decision: Decision<'_>,
) -> Result<Each<Retried>, QueueError> {
    let due: Vec<i64> = sqlx::query_file_scalar!(
        "src/sql/run_now.sql",
        &numbers(ids),
        decision.by,
        decision.reason,
    )
    .fetch_all(&mut *conn)
    .await?;
    let rest = others(ids, &due);
    let standing = standings(conn, &rest).await?;
    let each = |id: &JobId| match standing.get(id) {
        None if rest.contains(id) => Err(InterventionRefusal::NotFound),
        None => Ok(Retried::DueNow),
        // What would be due now was not when the statement looked.
        Some(standing) => match standing.run_now() {
            Ok(Retried::AlreadyDue) => Ok(Retried::AlreadyDue),
            Ok(Retried::DueNow | Retried::Redriven) => Err(InterventionRefusal::Changed),
            Err(refusal) => Err(refusal),
        },
    };
    Ok(ids.iter().map(|id| (*id, each(id))).collect())
}

/// Discards waiting jobs, for somebody to decide over later: they can be edited and redriven, or
/// dismissed. What their [`FollowUp`](crate::handler::FollowUp) is, is enqueued. The answers are
/// in the order of `ids`.
///
/// # Errors
///
/// [`QueueError::Database`]; then nothing may be committed.
pub async fn discard(
    conn: &mut PgConnection,
    ids: &[JobId],
    decision: Decision<'_>,
) -> Result<Each<()>, QueueError> {
    let discarded: Vec<i64> = sqlx::query_scalar!(
        r#"select id as "id!" from queue.discard_waiting($1, $2, $3)"#,
        &numbers(ids),
        decision.by,
        decision.reason,
    )
    .fetch_all(&mut *conn)
    .await?;
    let rest = others(ids, &discarded);
    let standing = standings(conn, &rest).await?;
    let each = |id: &JobId| match standing.get(id) {
        None if rest.contains(id) => Err(InterventionRefusal::NotFound),
        None => Ok(()),
        Some(standing) => Err(standing.discard().err().unwrap_or(InterventionRefusal::Changed)),
    };
    Ok(ids.iter().map(|id| (*id, each(id))).collect())
}

/// A change of a job's arguments.
#[derive(Clone, Debug)]
pub enum ArgsChange {
    /// New arguments instead of the old ones.
    Replace(JsonText),
    /// The old ones with some fields set and others left out. Arguments that are no object become
    /// one.
    Fields {
        /// Fields with their values from now on.
        set: BTreeMap<String, JsonText>,
        /// Fields to be left out.
        unset: Vec<String>,
    },
}

/// The arguments of a job before and after [`edit`].
#[derive(Clone, PartialEq, Debug)]
pub struct Edited {
    /// The arguments before.
    pub old: JsonText,
    /// The arguments now.
    pub new: JsonText,
}

/// Gives a job that waits or is discarded other arguments. Both are kept; what is not changed stays
/// as it is, to the last digit. Nobody else changes the job until the caller's transaction ends, so
/// this must be in one.
///
/// What a unique job reserves, it keeps.
///
/// # Errors
///
/// [`QueueError::ArgsTooLong`], and [`QueueError::InvalidJob`] for values that PostgreSQL does not
/// store, after which nothing is changed and the caller's transaction can go on;
/// [`QueueError::Database`].
pub async fn edit(
    conn: &mut PgConnection,
    id: JobId,
    change: ArgsChange,
    decision: Decision<'_>,
) -> Result<Result<Edited, InterventionRefusal>, QueueError> {
    let Some(job) = lock(conn, id).await? else {
        let standing = standings(conn, &[id]).await?;
        return Ok(Err(match standing.get(&id) {
            None => InterventionRefusal::NotFound,
            Some(standing) if standing.state == JobState::Discarded => InterventionRefusal::Decided,
            Some(standing) => standing.why_not_changed(),
        }));
    };
    if job.args_key.is_some() {
        return Ok(Err(InterventionRefusal::Sealed));
    }
    let (replacement, set, unset) = match change {
        ArgsChange::Replace(args) => (Some(args), BTreeMap::new(), Vec::new()),
        ArgsChange::Fields { set, unset } => (None, set, unset),
    };
    let set = JsonText::of(&set).expect("fields of JSON are JSON");
    for values in replacement.iter().chain([&set]) {
        bounds::check_args(&job.kind, values)?;
    }
    let edited = sqlx::query_file!(
        "src/sql/edit_args.sql",
        id.0,
        &job.args as _,
        decision.by,
        decision.reason,
        replacement as _,
        &unset,
        set as _,
    )
    .fetch_one(conn)
    .await?;
    let Some(new) = edited.args else {
        let bytes = |number: i32| u64::try_from(number).unwrap_or_default();
        let (kind, max_bytes) = (job.kind, bytes(edited.max_args_bytes));
        return Err(QueueError::ArgsTooLong { kind, bytes: bytes(edited.bytes), max_bytes });
    };
    Ok(Ok(Edited { old: job.args, new }))
}

struct LockedArgs {
    kind: String,
    args: JsonText,
    args_key: Option<String>,
}

/// Locks a job that waits, or is discarded and open; none if it is neither.
async fn lock(conn: &mut PgConnection, id: JobId) -> Result<Option<LockedArgs>, QueueError> {
    let waiting = sqlx::query_as!(
        LockedArgs,
        r#"
        select kind, args as "args: JsonText", args_key
        from queue.jobs
        where id = $1 and not running
        for update
        "#,
        id.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    if waiting.is_some() {
        return Ok(waiting);
    }
    let discarded = sqlx::query_as!(
        LockedArgs,
        r#"
        select kind, args as "args: JsonText", args_key
        from queue.finished_jobs
        where id = $1
          and state = 'discarded'
          and not exists (
            select from queue.resolutions as resolved
            where resolved.job_id = finished_jobs.id and resolved.attempt = finished_jobs.attempt
          )
        for update
        "#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(discarded)
}

fn numbers(ids: &[JobId]) -> Vec<i64> {
    ids.iter().map(|id| id.0).collect()
}

fn others(ids: &[JobId], done: &[i64]) -> Vec<JobId> {
    ids.iter().copied().filter(|id| !done.contains(&id.0)).collect()
}
