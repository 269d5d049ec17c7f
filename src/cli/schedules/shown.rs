//! Tables of schedules.

use humantime::format_duration;
use time::OffsetDateTime;

use crate::cli::output::{moment, table};
use crate::operations::schedules::{
    Cadence, MissedPolicy, ON_TIME, ScheduleStatus, ShownSchedule, Tick,
};

/// A table with a line for each schedule.
pub(super) fn all(schedules: &[ScheduleStatus]) -> String {
    let rows: Vec<_> = schedules
        .iter()
        .map(|schedule| {
            let cadence = schedule.cadence().ok();
            [
                schedule.name.clone(),
                when(schedule, cadence.as_ref()),
                schedule.kind.clone(),
                policy(schedule.policy),
                local(cadence.as_ref(), schedule.last_tick_at),
                next(schedule, cadence.as_ref()),
            ]
        })
        .collect();
    table(["NAME", "WHEN", "KIND", "MISSED TICKS", "LAST", "NEXT"], &rows)
}

/// All that is known of one schedule.
pub(super) fn one(ShownSchedule { schedule, upcoming, ticks }: &ShownSchedule) -> String {
    let read = schedule.cadence();
    let cadence = read.as_ref().ok();
    let mut text = format!(
        "schedule {} ({}), defined by {}\nkind: {}, queue {}, priority {}, {} attempts\nargs: {}\n",
        schedule.name,
        when(schedule, cadence),
        schedule.defined_by,
        schedule.kind,
        schedule.queue,
        schedule.priority,
        schedule.max_attempts,
        schedule.args,
    );
    if let Some(key) = &schedule.key {
        text += &format!("key: {key}\n");
    }
    if !schedule.tags.is_empty() {
        text += &format!("tags: {}\n", schedule.tags.join(", "));
    }
    text += &format!("missed ticks: {}\n", policy(schedule.policy));
    text += &format!("next: {}\n", next(schedule, cadence));
    if let Some(pause) = &schedule.pause {
        text += &format!("paused at {}: {}\n", moment(Some(pause.at)), pause.reason);
    }
    let coming = |tick: &OffsetDateTime| [local(cadence, Some(*tick)), moment(Some(*tick))];
    let rows: Vec<_> = upcoming.iter().map(coming).collect();
    text += &table(["COMING", "UTC"], &rows);
    if !ticks.is_empty() {
        text += &table(["TICK", "JOB", "LATE", "ASKED FOR BY"], &done(cadence, ticks));
    }
    text
}

fn done(cadence: Option<&Cadence>, ticks: &[Tick]) -> Vec<[String; 4]> {
    let late = |tick: &Tick| {
        let late = std::time::Duration::try_from(tick.made_at - tick.tick_at).unwrap_or_default();
        format_duration(std::time::Duration::from_millis(late.as_millis() as u64)).to_string()
    };
    ticks
        .iter()
        .map(|tick| {
            [
                local(cadence, Some(tick.tick_at)),
                tick.job_id.map_or_else(|| "missed".to_owned(), |job| job.to_string()),
                late(tick),
                tick.requested_by.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect()
}

fn when(schedule: &ScheduleStatus, cadence: Option<&Cadence>) -> String {
    match (cadence, &schedule.cron) {
        (Some(cadence), Some(_)) => format!("{cadence} {}", schedule.time_zone),
        (Some(cadence), None) => cadence.to_string(),
        // Of a program that knows more time zones.
        (None, Some(expression)) => format!("{expression} {} (unknown)", schedule.time_zone),
        (None, None) => "unknown".to_owned(),
    }
}

fn policy(policy: MissedPolicy) -> String {
    match policy {
        MissedPolicy::Skip { grace } => format!("skip, grace {}", format_duration(grace)),
        MissedPolicy::Coalesce => "coalesce".to_owned(),
        MissedPolicy::CatchUp { max, max_age } => {
            format!("catch up with {max}, up to {} old", format_duration(max_age))
        }
    }
}

fn next(schedule: &ScheduleStatus, cadence: Option<&Cadence>) -> String {
    let next = local(cadence, schedule.next_tick_at);
    match (&schedule.pause, schedule.next_tick_at) {
        (Some(pause), _) => format!("paused by {}", pause.by),
        (None, Some(at)) if schedule.as_of - at > ON_TIME => {
            format!("{next}, overdue: does a worker run?")
        }
        (None, _) => next,
    }
}

/// As clocks of the schedule's time zone show it.
fn local(cadence: Option<&Cadence>, at: Option<OffsetDateTime>) -> String {
    moment(at.map(|at| cadence.map_or(at, |cadence| cadence.local(at))))
}
