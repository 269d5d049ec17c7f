//! Schedules on the wire.

use poem_openapi::{Enum, Object};
use serde::Serialize;
use time::OffsetDateTime;

use crate::http::wire::any_json::AnyJson;
use crate::operations::schedules::{MissedPolicy, Pause, ScheduleStatus, ShownSchedule, Tick};

/// A schedule: which job is enqueued by the clock, and when.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Schedule")]
pub(super) struct ScheduleOut {
    /// The name of the schedule.
    name: String,
    /// The cron expression; null where it ticks in an interval.
    #[oai(nullable)]
    cron: Option<String>,
    /// The interval in seconds; null where it ticks by a cron expression.
    #[oai(nullable)]
    every_secs: Option<i64>,
    /// The time zone that the expression is read in.
    time_zone: String,
    /// The treatment of ticks that nobody ran in time.
    policy: MissedPolicyName,
    /// The kind of its jobs.
    kind: String,
    /// Their arguments, without what their kind hides.
    args: AnyJson,
    /// Their queue.
    queue: String,
    /// Their priority, from 1, which is claimed first, to 4.
    priority: i16,
    /// After so many failed attempts one is discarded.
    max_attempts: i16,
    /// Their key; null for none.
    #[oai(nullable)]
    key: Option<String>,
    /// The words that they can be found by.
    tags: Vec<String>,
    /// The pause; null while it runs.
    #[oai(nullable)]
    pause: Option<SchedulePauseOut>,
    /// The next tick; null while it is paused, or if there is none.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    next_tick_at: Option<OffsetDateTime>,
    /// The last tick that got a job; null before the first.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    last_tick_at: Option<OffsetDateTime>,
    /// `code`, or whoever defined it last.
    defined_by: String,
    /// The moment at which it was made.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// The moment at which its definition was last changed.
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

impl From<ScheduleStatus> for ScheduleOut {
    fn from(schedule: ScheduleStatus) -> Self {
        Self {
            name: schedule.name,
            cron: schedule.cron,
            every_secs: schedule.every_secs,
            time_zone: schedule.time_zone,
            policy: match schedule.policy {
                MissedPolicy::Skip { .. } => MissedPolicyName::Skip,
                MissedPolicy::Coalesce => MissedPolicyName::Coalesce,
                MissedPolicy::CatchUp { .. } => MissedPolicyName::CatchUp,
            },
            kind: schedule.kind,
            args: AnyJson(schedule.args),
            queue: schedule.queue,
            priority: schedule.priority,
            max_attempts: schedule.max_attempts,
            key: schedule.key,
            tags: schedule.tags,
            pause: schedule.pause.map(Into::into),
            next_tick_at: schedule.next_tick_at,
            last_tick_at: schedule.last_tick_at,
            defined_by: schedule.defined_by,
            created_at: schedule.created_at,
            updated_at: schedule.updated_at,
        }
    }
}

/// The treatment of ticks that nobody ran in time.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename = "MissedPolicy", rename_all = "snake_case")]
enum MissedPolicyName {
    /// Only the latest gets a job, if it is not very late.
    Skip,
    /// One job for all of them.
    Coalesce,
    /// Each gets its own, up to a bound.
    CatchUp,
}

/// The pause of a schedule.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "SchedulePause")]
struct SchedulePauseOut {
    /// The one who paused it.
    paused_by: String,
    /// The reason that was given.
    reason: String,
    /// The moment of the pause.
    #[serde(with = "time::serde::rfc3339")]
    paused_at: OffsetDateTime,
}

impl From<Pause> for SchedulePauseOut {
    fn from(pause: Pause) -> Self {
        Self { paused_by: pause.by, reason: pause.reason, paused_at: pause.at }
    }
}

/// A page of schedules, by name.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "SchedulePage")]
pub(super) struct SchedulePageOut {
    /// The schedules of this page.
    pub(super) schedules: Vec<ScheduleOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    pub(super) next_cursor: Option<String>,
}

/// A moment at which a schedule ticked, or was asked to run.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "ScheduleTick")]
struct TickOut {
    /// The moment.
    #[serde(with = "time::serde::rfc3339")]
    tick_at: OffsetDateTime,
    /// The job, which may be that of a later tick, too; null if the tick was missed.
    #[oai(nullable)]
    job_id: Option<i64>,
    /// The one who asked for the run; null for a tick of the clock.
    #[oai(nullable)]
    requested_by: Option<String>,
}

impl From<Tick> for TickOut {
    fn from(tick: Tick) -> Self {
        Self {
            tick_at: tick.tick_at,
            job_id: tick.job_id.map(|job| job.0),
            requested_by: tick.requested_by,
        }
    }
}

/// A moment in the future.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "UpcomingTick")]
struct UpcomingOut {
    /// The moment.
    #[serde(with = "time::serde::rfc3339")]
    tick_at: OffsetDateTime,
}

/// A schedule with its coming and its latest ticks.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "ScheduleDetails")]
pub(super) struct ScheduleDetailsOut {
    /// The schedule.
    schedule: ScheduleOut,
    /// The next five ticks, as if it were not paused.
    upcoming: Vec<UpcomingOut>,
    /// The latest ticks, newest first.
    ticks: Vec<TickOut>,
}

impl From<ShownSchedule> for ScheduleDetailsOut {
    fn from(shown: ShownSchedule) -> Self {
        Self {
            schedule: shown.schedule.into(),
            upcoming: shown.upcoming.into_iter().map(|tick_at| UpcomingOut { tick_at }).collect(),
            ticks: shown.ticks.into_iter().map(Into::into).collect(),
        }
    }
}

/// A run of a schedule that was asked for.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "ScheduleRun")]
pub(super) struct ScheduleRunOut {
    /// The job that was enqueued.
    pub(super) job_id: i64,
}
