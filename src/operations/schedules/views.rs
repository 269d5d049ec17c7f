//! A schedule as callers see it, and the ticks of an expression.

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Cadence, CadenceError, ScheduleStatus, SchedulesError, Tick};
use crate::queue::schedules;

/// The coming ticks that are shown with a schedule.
const UPCOMING: usize = 5;

/// All schedules, by name.
///
/// # Errors
///
/// [`SchedulesError::Queue`].
pub async fn list(conn: &mut PgConnection) -> Result<Vec<ScheduleStatus>, SchedulesError> {
    Ok(schedules::list(conn).await?)
}

/// The schedules after the one of this name, or from the first on, by name; at most `limit`. There
/// are as many of them as people and programs have defined, and no more.
///
/// # Errors
///
/// [`SchedulesError::Queue`].
pub async fn page(
    conn: &mut PgConnection,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<ScheduleStatus>, SchedulesError> {
    let all = schedules::list(conn).await?;
    let is_after = |schedule: &ScheduleStatus| after.is_none_or(|name| *schedule.name > *name);
    Ok(all.into_iter().filter(is_after).take(limit as usize).collect())
}

/// A schedule with its coming and its latest ticks.
#[derive(Clone, Debug, Serialize)]
pub struct ShownSchedule {
    /// The schedule.
    #[serde(flatten)]
    pub schedule: ScheduleStatus,
    /// The next ticks, as if it were not paused.
    #[serde(serialize_with = "rfc3339_each")]
    pub upcoming: Vec<OffsetDateTime>,
    /// The latest ticks, newest first.
    pub ticks: Vec<Tick>,
}

/// The schedule of this name with its latest ticks, at most `ticks` of them; none if there is no
/// such schedule.
///
/// # Errors
///
/// [`SchedulesError::Queue`].
pub async fn find(
    conn: &mut PgConnection,
    name: &str,
    ticks: u32,
) -> Result<Option<ShownSchedule>, SchedulesError> {
    let Some(schedule) = schedules::find(conn, name).await? else { return Ok(None) };
    let ticks = schedules::list_ticks(conn, name, ticks).await?;
    // This program may not know the time zone that another one knows.
    let cadence = schedule.cadence().ok();
    let upcoming = cadence
        .iter()
        .flat_map(|cadence| cadence.ticks_after(schedule.as_of).take(UPCOMING))
        .collect();
    Ok(Some(ShownSchedule { schedule, upcoming, ticks }))
}

/// A tick of an expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct PreviewedTick {
    /// The tick in UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub tick_at: OffsetDateTime,
    /// The same moment, as clocks of the time zone show it.
    #[serde(with = "time::serde::rfc3339")]
    pub local: OffsetDateTime,
}

/// The ticks of a cron expression after a moment, at most `count`.
///
/// # Errors
///
/// [`CadenceError`], if there is no such expression or time zone.
pub fn preview(
    expression: &str,
    time_zone: &str,
    after: OffsetDateTime,
    count: usize,
) -> Result<Vec<PreviewedTick>, CadenceError> {
    let cadence = Cadence::cron(expression, time_zone)?;
    let tick = |tick_at| PreviewedTick { tick_at, local: cadence.local(tick_at) };
    Ok(cadence.ticks_after(after).take(count).map(tick).collect())
}

fn rfc3339_each<S: serde::Serializer>(
    ticks: &[OffsetDateTime],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Rfc3339(#[serde(with = "time::serde::rfc3339")] OffsetDateTime);
    serializer.collect_seq(ticks.iter().map(|tick| Rfc3339(*tick)))
}
