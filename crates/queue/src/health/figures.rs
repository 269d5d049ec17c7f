//! The queue in numbers, for whoever watches many systems at a time.
//!
//! Counts have a bound and say so, and are read by index: they cost milliseconds, whatever waits
//! and whatever the history weighs.

use sqlx::PgConnection;

/// Available jobs of a queue, and running jobs of all, are counted up to so many.
pub const READY_CAP: i64 = 10_000;
/// Jobs of a queue that are not due, keys and schedules are counted up to so many.
pub const LATER_CAP: i64 = 1_000;
/// The number of the newest discarded jobs that are looked at.
pub const DISCARDED_CAP: i64 = 5_000;

/// The unfinished jobs of a queue.
#[derive(Clone, PartialEq, Debug)]
pub struct Waiting {
    /// The queue.
    pub queue: String,
    /// Due jobs that nobody runs, up to [`READY_CAP`].
    pub available: i64,
    /// Jobs that run, up to [`READY_CAP`] of all queues.
    pub running: i64,
    /// Jobs that were never run and are not due, or wait for others, up to [`LATER_CAP`].
    pub scheduled: i64,
    /// Jobs that wait for another attempt, up to [`LATER_CAP`].
    pub retryable: i64,
    /// The seconds for which the oldest due job has waited; `None` if none is due.
    pub oldest_secs: Option<f64>,
}

/// The state of everything else.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    /// Discarded jobs that nobody has decided over, among the newest [`DISCARDED_CAP`].
    pub undecided: i64,
    /// Pauses, up to [`LATER_CAP`]; one of all queues is one.
    pub paused: i64,
    /// Keys that wait for somebody to decide, up to [`LATER_CAP`].
    pub blocked_keys: i64,
    /// Live workers that claim.
    pub working: i64,
    /// Live workers that claim nothing more.
    pub draining: i64,
    /// Workers that were not heard of for as long as their lease.
    pub lost: i64,
    /// Slots of live workers.
    pub slots: i64,
    /// Slots in which a job ran at the worker's last heartbeat.
    pub busy: i64,
    /// Schedules that tick, up to [`LATER_CAP`] with those that are paused.
    pub active_schedules: i64,
    /// Schedules that are paused.
    pub paused_schedules: i64,
    /// The seconds for which the schedule that is most overdue has been; 0 if none is.
    pub schedule_lag_secs: f64,
}

/// Every queue that has unfinished jobs, by name.
///
/// # Errors
///
/// When the database refuses.
pub async fn waiting(conn: &mut PgConnection) -> Result<Vec<Waiting>, sqlx::Error> {
    sqlx::query_file_as!(Waiting, "src/sql/health_waiting.sql", READY_CAP, LATER_CAP)
        .fetch_all(conn)
        .await
}

/// The state of everything else.
///
/// # Errors
///
/// When the database refuses.
pub async fn standing(conn: &mut PgConnection) -> Result<Standing, sqlx::Error> {
    sqlx::query_file_as!(Standing, "src/sql/health_standing.sql", DISCARDED_CAP, LATER_CAP)
        .fetch_one(conn)
        .await
}
