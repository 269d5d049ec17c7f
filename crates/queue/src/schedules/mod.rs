//! Schedules: jobs that are enqueued by the clock.
//!
//! # Who is who
//!
//! - A [`Schedule`] has a name, a [`Cadence`] (a cron expression in a time zone, or an interval), a
//!   [`MissedPolicy`], and the job that each of its *ticks* enqueues. Those of a program's code are
//!   [registered](crate::worker::Registry::schedule) with its kinds, and every worker makes sure
//!   at its start that they are defined; others are [put](put()) at run time. Both are rows of
//!   `queue.schedules`.
//! - Every worker looks once a second, and at the moment of the next tick, whether something is
//!   due. Whoever locks a due schedule first settles its ticks: for each a row of
//!   `queue.schedule_ticks`, and its job, in one transaction.
//! - An operator [pauses](pause), [resumes](resume) or [removes](remove) a schedule, or has its job
//!   [run now](run_now).
//!
//! # What is guaranteed
//!
//! - **Each tick makes its job once**, however many workers look, whichever die, and whatever is
//!   edited meanwhile: the primary key `(schedule, tick_at)` decides, and the job commits with it.
//!   There is no leader.
//! - Only the database's clock decides what is due (G8). A clock that is set back makes ticks come
//!   again that have their rows, and so no second job.
//! - What the clocks of a time zone skip or show twice is settled by one rule: see [`cadence`].
//! - What nobody ran in time is settled by the schedule's policy: see [`MissedPolicy`].
//! - Ticks of a schedule that is paused are passed over, whatever its policy; its definition can
//!   change meanwhile, and the pause stays.
//! - A schedule that is changed while something is due settles that by its old definition first.
//! - One that cannot be settled, because it was written by a program that knows more, costs no
//!   other (G9).
//!
//! The job of a tick is due when it is enqueued, never earlier: claims rely on it. Which tick it is
//! for, its handler asks by [`find_tick`].
//!
//! # Example
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use surety_queue::{Committed, Job, JobContext, JobError, Registry};
//! use surety_queue::schedules::{self, MissedPolicy, Schedule, ScheduleError};
//! use time::macros::datetime;
//!
//! /// Reports on what happened since the last report.
//! #[derive(Serialize, Deserialize)]
//! struct Report {
//!     recipient: String,
//! }
//!
//! impl Job for Report {
//!     const KIND: &'static str = "report";
//!     type State = ();
//!
//!     async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
//!         let mut tx = cx.begin().await?;
//!         if let Some(tick) = schedules::find_tick(&mut tx, cx.id()).await? {
//!             println!("the report of {} to {}", tick.tick_at, self.recipient);
//!         }
//!         cx.complete(tx).await
//!     }
//! }
//!
//! # fn main() -> Result<(), ScheduleError> {
//! let nightly = Schedule::cron("nightly-report", "0 3 * * *")
//!     .time_zone("Europe/Paris")
//!     .policy(MissedPolicy::Coalesce)
//!     .job(&Report { recipient: "ada@example.com".into() })?;
//!
//! // The clocks of Paris go back in the morning of the second day.
//! let ticks: Vec<_> = nightly
//!     .cadence()
//!     .ticks_after(datetime!(2027-10-29 12:00 UTC))
//!     .take(3)
//!     .collect();
//! assert_eq!(
//!     ticks,
//!     [
//!         datetime!(2027-10-30 1:00 UTC),
//!         datetime!(2027-10-31 2:00 UTC),
//!         datetime!(2027-11-01 2:00 UTC),
//!     ]
//! );
//!
//! // Every worker of this registry sees to it that the schedule is defined, and runs.
//! let registry = Registry::new(()).register::<Report>().schedule(nightly);
//! # assert_eq!(registry.schedules().len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! At run time, and by an operator:
//!
//! ```
//! use std::time::Duration;
//!
//! use surety_queue::NewJob;
//! use surety_queue::schedules::{self, PauseOutcome, Schedule};
//!
//! # async fn example(conn: &mut sqlx::PgConnection) -> Result<(), Box<dyn std::error::Error>> {
//! let job = NewJob::raw("refresh_rates", serde_json::json!({ "base": "EUR" }));
//! let rates = Schedule::every("rates", Duration::from_secs(900)).new_job(job)?;
//! schedules::put(conn, &rates, "ada").await?;
//!
//! match schedules::pause(conn, "rates", "ada", "the source is wrong").await? {
//!     Some(PauseOutcome::Paused) => println!("no more ticks until it is resumed"),
//!     Some(PauseOutcome::AlreadyPaused(pause)) => println!("paused by {}", pause.by),
//!     None => println!("there is no such schedule"),
//! }
//! if let Some(job) = schedules::run_now(conn, "rates", "ada").await? {
//!     println!("job {job} runs all the same");
//! }
//! # Ok(())
//! # }
//! ```

pub mod cadence;
mod crontab;
mod definition;
mod due;
mod policy;
mod status;
mod store;
mod ticks;

use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

pub use cadence::{Cadence, CadenceError};
pub use definition::{Draft, MAX_NAME_CHARS, Schedule, ScheduleError};
pub(super) use due::run_for_ever;
pub use due::{Ran, run_due, run_due_at};
pub use policy::{DEFAULT_GRACE, MAX_AGE, MAX_CATCH_UP, MissedPolicy, ON_TIME};
pub use status::{Pause, ScheduleStatus};
pub use ticks::{Tick, TickOfJob};

use crate::QueueError;
use crate::enqueue::{enqueue, try_out};
use crate::ids::JobId;

/// The most ticks of one [`list_ticks`].
pub const MAX_TICKS_LISTED: u32 = 1000;

/// The author of schedules that a program's code defines, in [`ScheduleStatus::defined_by`].
pub const CODE: &str = "code";

/// The result of defining a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// There was none of this name.
    Created,
    /// There was one, and it was another.
    Changed,
    /// It was there already.
    Unchanged,
}

/// The result of pausing a schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PauseOutcome {
    /// It ticks no more until it is resumed.
    Paused,
    /// Somebody had paused it before, whose word stays.
    AlreadyPaused(Pause),
}

/// The result of resuming a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResumeOutcome {
    /// It ticks again, next at this moment, if ever; what came while it was paused is passed over.
    Resumed(Option<OffsetDateTime>),
    /// It was not paused.
    NotPaused,
}

/// Defines a schedule: makes it, or gives the one of its name this definition; all of it once the
/// caller's transaction is committed. `by` is who defines it, for whoever asks.
///
/// A new schedule first ticks after now. One that is changed first settles what is due by its old
/// definition, and a pause stays. One that is defined like this already stays as it is, so each
/// worker of a program can define what its code names at every start.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn put(
    conn: &mut PgConnection,
    schedule: &Schedule,
    by: &str,
) -> Result<Put, QueueError> {
    let mut tx = conn.begin().await?;
    let put = loop {
        let now = store::clock(&mut tx).await?;
        if store::insert(&mut tx, schedule, by, now).await? {
            try_out(&mut tx, &schedule.job).await?;
            // Of an earlier one of this name.
            ticks::forget_missed_after(&mut tx, &schedule.name, now).await?;
            break Put::Created;
        }
        // None: it was removed since the insert found it.
        if let Some(row) = store::lock(&mut tx, &schedule.name).await? {
            break redefine(&mut tx, schedule, by, &row).await?;
        }
    };
    tx.commit().await?;
    Ok(put)
}

async fn redefine(
    conn: &mut PgConnection,
    schedule: &Schedule,
    by: &str,
    row: &store::Row,
) -> Result<Put, QueueError> {
    let has_args = store::has_args(conn, &row.name, &schedule.job.args).await?;
    if has_args && row.is_defined_as(schedule) {
        // What is known of time zones may have changed since the next tick was computed.
        let next = schedule.cadence.next_after(row.settled_at);
        if next != row.next_tick_at {
            store::advance(conn, &row.name, row.settled_at, next, None).await?;
        }
        return Ok(Put::Unchanged);
    }
    // What cannot be enqueued when its time comes must not be taken now.
    try_out(conn, &schedule.job).await?;
    if row.paused_at.is_none() {
        match due::settle(conn, row).await {
            Ok(_ran) => {}
            // It could not be settled by its old definition, which ends here.
            Err(QueueError::Schedule { name, source }) => {
                tracing::warn!(schedule = name, error = %source, "what was due cannot be told");
            }
            Err(error) => return Err(error),
        }
    }
    store::redefine(conn, schedule, by, row.as_of).await?;
    Ok(Put::Changed)
}

/// All schedules, by name.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn list(conn: &mut PgConnection) -> Result<Vec<ScheduleStatus>, QueueError> {
    let rows = store::list(conn).await?;
    Ok(rows.into_iter().map(ScheduleStatus::from).collect())
}

/// The schedule of this name, if there is one.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn find(
    conn: &mut PgConnection,
    name: &str,
) -> Result<Option<ScheduleStatus>, QueueError> {
    Ok(store::find(conn, name, None).await?.map(ScheduleStatus::from))
}

/// The latest ticks of a schedule and their results, newest first; at most `limit`, which is capped
/// at [`MAX_TICKS_LISTED`]. They are kept as long as the attempts of jobs.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn list_ticks(
    conn: &mut PgConnection,
    name: &str,
    limit: u32,
) -> Result<Vec<Tick>, QueueError> {
    ticks::list(conn, name, limit.min(MAX_TICKS_LISTED)).await
}

/// The tick that a job is for. None when it is of no schedule, or older than what is kept.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn find_tick(
    conn: &mut PgConnection,
    job: JobId,
) -> Result<Option<TickOfJob>, QueueError> {
    ticks::find(conn, job).await
}

/// Stops a schedule until it is [resumed](resume). None when there is none of this name.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn pause(
    conn: &mut PgConnection,
    name: &str,
    by: &str,
    reason: &str,
) -> Result<Option<PauseOutcome>, QueueError> {
    let mut tx = conn.begin().await?;
    let Some(row) = store::lock(&mut tx, name).await? else {
        tx.rollback().await?;
        return Ok(None);
    };
    if let Some(pause) = ScheduleStatus::from(row).pause {
        // At once, because of the lock; a transaction that is only dropped may keep it for a while.
        tx.rollback().await?;
        return Ok(Some(PauseOutcome::AlreadyPaused(pause)));
    }
    store::pause(&mut tx, name, by, reason).await?;
    tx.commit().await?;
    Ok(Some(PauseOutcome::Paused))
}

/// Lets a paused schedule tick again, from now on. None when there is none of this name.
///
/// # Errors
///
/// [`QueueError::Database`]; [`QueueError::Schedule`] when this program cannot read it.
pub async fn resume(
    conn: &mut PgConnection,
    name: &str,
) -> Result<Option<ResumeOutcome>, QueueError> {
    let mut tx = conn.begin().await?;
    let Some(row) = store::lock(&mut tx, name).await? else {
        tx.rollback().await?;
        return Ok(None);
    };
    if row.paused_at.is_none() {
        tx.rollback().await?;
        return Ok(Some(ResumeOutcome::NotPaused));
    }
    let next_tick_at = row.cadence()?.next_after(row.as_of);
    store::resume(&mut tx, name, row.as_of, next_tick_at).await?;
    tx.commit().await?;
    Ok(Some(ResumeOutcome::Resumed(next_tick_at)))
}

/// Enqueues the job of a schedule now, beside its ticks, also while it is paused. None when there
/// is none of this name.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn run_now(
    conn: &mut PgConnection,
    name: &str,
    by: &str,
) -> Result<Option<JobId>, QueueError> {
    let mut tx = conn.begin().await?;
    let Some(row) = store::lock(&mut tx, name).await? else {
        tx.rollback().await?;
        return Ok(None);
    };
    let job = enqueue(&mut tx, row.job()).await?.id();
    ticks::record_requested_run(&mut tx, name, job, by).await?;
    tx.commit().await?;
    Ok(Some(job))
}

/// Removes a schedule. False when there is none of this name. What became of its ticks is kept, and
/// its jobs are. One that a program's code defines is back when a worker of it starts: pause that.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn remove(conn: &mut PgConnection, name: &str) -> Result<bool, QueueError> {
    store::remove(conn, name).await
}

/// The ticks of a cron expression in a time zone after a moment: what an operator wants to see
/// before it is defined.
///
/// # Errors
///
/// [`CadenceError`], when there is no such cadence.
pub fn preview(
    expression: &str,
    time_zone: &str,
    after: OffsetDateTime,
    count: usize,
) -> Result<Vec<OffsetDateTime>, CadenceError> {
    Ok(Cadence::cron(expression, time_zone)?.ticks_after(after).take(count).collect())
}
