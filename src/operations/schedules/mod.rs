//! Schedules: reading, previewing, defining, running, pausing, resuming and removing them.
//!
//! - Here: the operations that change something.
//! - `definition`: a schedule to be defined, as it is asked for.
//! - `views`: a schedule as callers see it, and the ticks of an expression.

mod definition;
mod views;

pub use self::definition::{ScheduleDefinition, Timing};
pub use self::views::{PreviewedTick, ShownSchedule, find, list, page, preview};
pub use crate::queue::schedules::{
    Cadence, CadenceError, DEFAULT_GRACE, MissedPolicy, ON_TIME, Pause, Schedule, ScheduleError,
    ScheduleStatus, Tick,
};

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

use super::{Actor, Identity, Mode};
use crate::audit::{self, Subject};
use crate::queue::schedules::{self, PauseOutcome, Put, ResumeOutcome};
use crate::queue::{JobId, QueueError};

/// An operation on a schedule that was not carried out. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum SchedulesError {
    /// There is no schedule of this name.
    #[error("there is no such schedule")]
    NotFound,
    /// There is a schedule of this name, and it was not to be replaced.
    #[error("there is a schedule of this name")]
    NameTaken,
    /// Somebody has paused the schedule before.
    #[error("it was paused before, by {}", .0.by)]
    AlreadyPaused(Pause),
    /// The schedule is not paused.
    #[error("it is not paused")]
    NotPaused,
    /// The queue's database refused or did not answer.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl From<sqlx::Error> for SchedulesError {
    fn from(error: sqlx::Error) -> Self {
        Self::Queue(error.into())
    }
}

/// A schedule that was defined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DefinedSchedule {
    /// The change that this made.
    pub change: DefinitionChange,
    /// The next tick; none if there is none, or it is paused.
    pub next_tick_at: Option<OffsetDateTime>,
}

/// The change that a definition made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefinitionChange {
    /// There is a new schedule.
    Created,
    /// A schedule has another definition.
    Changed,
    /// The schedule was defined like this already.
    Unchanged,
}

/// The treatment of a schedule that has the name already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IfTaken {
    /// [`SchedulesError::NameTaken`].
    Refuse,
    /// The schedule gets the new definition.
    Replace,
}

/// Defines a schedule. Workers see it within a second.
///
/// # Errors
///
/// [`SchedulesError::NameTaken`] or [`SchedulesError::Queue`].
pub async fn define(
    conn: &mut PgConnection,
    schedule: &Schedule,
    if_taken: IfTaken,
    by: &Identity,
    mode: Mode,
) -> Result<DefinedSchedule, SchedulesError> {
    let mut tx = conn.begin().await?;
    let before = schedules::find(&mut tx, schedule.name()).await?;
    let change = match schedules::put(&mut tx, schedule, by.as_str()).await? {
        Put::Created => DefinitionChange::Created,
        Put::Changed => DefinitionChange::Changed,
        Put::Unchanged => DefinitionChange::Unchanged,
    };
    if change != DefinitionChange::Created && if_taken == IfTaken::Refuse {
        tx.rollback().await?;
        return Err(SchedulesError::NameTaken);
    }
    let status = schedules::find(&mut tx, schedule.name()).await?;
    if change != DefinitionChange::Unchanged {
        let entry = by.entry("schedule.define", subject(schedule.name()));
        let entry = entry.before(&before.as_ref().map(audited));
        audit::record(&mut tx, &[entry.after(&status.as_ref().map(audited))]).await?;
    }
    mode.end(tx).await?;
    Ok(DefinedSchedule { change, next_tick_at: status.and_then(|status| status.next_tick_at) })
}

/// Enqueues the job of a schedule now, beside its ticks. Returns the job; none in a dry run.
///
/// # Errors
///
/// [`SchedulesError::NotFound`] or [`SchedulesError::Queue`].
pub async fn run_now(
    conn: &mut PgConnection,
    name: &str,
    by: &Identity,
    mode: Mode,
) -> Result<Option<JobId>, SchedulesError> {
    let mut tx = conn.begin().await?;
    let job = schedules::run_now(&mut tx, name, by.as_str()).await?;
    let job = job.ok_or(SchedulesError::NotFound)?;
    let entry = by.entry("schedule.run", subject(name)).data(&json!({ "job": job }));
    audit::record(&mut tx, &[entry]).await?;
    mode.end(tx).await?;
    // The number of a job that was rolled back would lead nowhere.
    Ok(Some(job).filter(|_| mode == Mode::Commit))
}

/// Stops a schedule until it is resumed.
///
/// # Errors
///
/// [`SchedulesError::NotFound`], [`SchedulesError::AlreadyPaused`] or [`SchedulesError::Queue`].
pub async fn pause(
    conn: &mut PgConnection,
    name: &str,
    actor: &Actor,
    mode: Mode,
) -> Result<(), SchedulesError> {
    let (by, reason) = (actor.identity.as_str(), actor.reason.as_str());
    let mut tx = conn.begin().await?;
    match schedules::pause(&mut tx, name, by, reason).await? {
        None => Err(SchedulesError::NotFound),
        Some(PauseOutcome::AlreadyPaused(pause)) => Err(SchedulesError::AlreadyPaused(pause)),
        Some(PauseOutcome::Paused) => {
            let entry = actor.entry("schedule.pause", subject(name));
            let entry = entry.before(&json!({ "paused": false }));
            audit::record(&mut tx, &[entry.after(&json!({ "paused": true }))]).await?;
            Ok(mode.end(tx).await?)
        }
    }
}

/// Lets a paused schedule tick again; ticks that came meanwhile are passed over. Returns the next
/// tick, if there is one.
///
/// # Errors
///
/// [`SchedulesError::NotFound`], [`SchedulesError::NotPaused`] or [`SchedulesError::Queue`].
pub async fn resume(
    conn: &mut PgConnection,
    name: &str,
    by: &Identity,
    mode: Mode,
) -> Result<Option<OffsetDateTime>, SchedulesError> {
    let mut tx = conn.begin().await?;
    match schedules::resume(&mut tx, name).await? {
        None => Err(SchedulesError::NotFound),
        Some(ResumeOutcome::NotPaused) => Err(SchedulesError::NotPaused),
        Some(ResumeOutcome::Resumed(next_tick_at)) => {
            let entry = by.entry("schedule.resume", subject(name));
            let entry = entry.before(&json!({ "paused": true }));
            audit::record(&mut tx, &[entry.after(&json!({ "paused": false }))]).await?;
            mode.end(tx).await?;
            Ok(next_tick_at)
        }
    }
}

/// Removes a schedule and returns it as it was; its jobs stay. One that a program's code defines is
/// back when a worker of that program starts.
///
/// # Errors
///
/// [`SchedulesError::NotFound`] or [`SchedulesError::Queue`].
pub async fn remove(
    conn: &mut PgConnection,
    name: &str,
    by: &Identity,
    mode: Mode,
) -> Result<ScheduleStatus, SchedulesError> {
    let mut tx = conn.begin().await?;
    let schedule = schedules::find(&mut tx, name).await?.ok_or(SchedulesError::NotFound)?;
    if !schedules::remove(&mut tx, name).await? {
        return Err(SchedulesError::NotFound);
    }
    let entry = by.entry("schedule.remove", subject(name));
    let entry = entry.before(&audited(&schedule)).after(&Value::Null);
    audit::record(&mut tx, &[entry]).await?;
    mode.end(tx).await?;
    Ok(schedule)
}

fn subject(name: &str) -> Subject {
    Subject::new("schedule", name)
}

/// A schedule as the audit log keeps it: without the arguments of its jobs, which may be secret.
fn audited(schedule: &ScheduleStatus) -> Value {
    json!({
        "cron": schedule.cron,
        "every_secs": schedule.every_secs,
        "time_zone": schedule.time_zone,
        "kind": schedule.kind,
        "queue": schedule.queue,
        "key": schedule.key,
        "paused": schedule.pause.is_some(),
        "defined_by": schedule.defined_by,
    })
}
