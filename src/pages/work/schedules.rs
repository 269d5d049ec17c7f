//! Schedules: the list, one of them with its ticks, running now, pausing and resuming.

use std::sync::Arc;

use askama::Template;
use time::OffsetDateTime;

use crate::operations::Mode;
use crate::operations::schedules::{
    self, MissedPolicy, ON_TIME, ScheduleStatus, ShownSchedule, Tick,
};
use crate::pages::frame::Frame;
use crate::pages::json_text::indented;
use crate::pages::refusals::{Refusal, not_found};
use crate::pages::visit::{Answer, Visit, segment};
use crate::pages::words;

/// The latest ticks that are shown of one.
const TICKS: u32 = 25;

#[derive(Template)]
#[template(path = "schedules.html", config = "src/pages/askama.toml")]
struct SchedulesPage {
    frame: Frame,
    rows: Vec<Row>,
}

struct Row {
    schedule: ScheduleStatus,
    url: String,
    cadence: String,
    /// The state in words, and the class of that.
    state: (String, &'static str),
}

impl From<ScheduleStatus> for Row {
    fn from(schedule: ScheduleStatus) -> Self {
        Self {
            url: url(&schedule.name),
            cadence: cadence(&schedule),
            state: state(&schedule),
            schedule,
        }
    }
}

fn url(name: &str) -> String {
    format!("/ui/schedules/{}", segment(name))
}

fn cadence(schedule: &ScheduleStatus) -> String {
    match (schedule.cadence(), &schedule.cron) {
        (Ok(cadence), Some(_)) => format!("{cadence} {}", schedule.time_zone),
        (Ok(cadence), None) => cadence.to_string(),
        // Of a program that knows more time zones.
        (Err(_), Some(expression)) => format!("{expression} {}", schedule.time_zone),
        (Err(_), None) => "unknown".to_owned(),
    }
}

fn state(schedule: &ScheduleStatus) -> (String, &'static str) {
    match (&schedule.pause, schedule.next_tick_at) {
        (Some(pause), _) => (format!("Paused by {}", pause.by), "warn"),
        (None, Some(at)) if schedule.as_of - at > ON_TIME => ("Overdue".to_owned(), "bad"),
        (None, Some(_)) => ("On time".to_owned(), "ok"),
        (None, None) => ("Ended".to_owned(), "idle"),
    }
}

/// The list.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let listed = schedules::list(&mut *visit.connect().await?).await?;
    Answer::page(&SchedulesPage {
        frame: visit.frame("Schedules"),
        rows: listed.into_iter().map(Row::from).collect(),
    })
}

#[derive(Template)]
#[template(path = "schedule.html", config = "src/pages/askama.toml")]
struct SchedulePage {
    frame: Frame,
    row: Row,
    args: String,
    missed: String,
    upcoming: Vec<OffsetDateTime>,
    ticks: Vec<DoneTick>,
}

struct DoneTick {
    tick: Tick,
    late: String,
}

/// One schedule.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let name = visit.parameter("name");
    let found = schedules::find(&mut *visit.connect().await?, name, TICKS).await?;
    let ShownSchedule { schedule, upcoming, ticks } =
        found.ok_or_else(|| not_found("schedule of this name"))?;
    let done = |tick: Tick| DoneTick { late: words::between(tick.tick_at, tick.made_at), tick };
    Answer::page(&SchedulePage {
        frame: visit.frame(format!("Schedule {name}")),
        args: indented(schedule.args.get()),
        missed: missed(schedule.policy),
        row: schedule.into(),
        upcoming,
        ticks: ticks.into_iter().map(done).collect(),
    })
}

fn missed(policy: MissedPolicy) -> String {
    let span = |duration: std::time::Duration| words::span(duration.as_secs_f64());
    match policy {
        MissedPolicy::Skip { grace } => {
            format!("skipped; the latest runs if it is late by no more than {}", span(grace))
        }
        MissedPolicy::Coalesce => "made up for by one job".to_owned(),
        MissedPolicy::CatchUp { max, max_age } => {
            format!("made up for one by one: the latest {max}, up to {} old", span(max_age))
        }
    }
}

/// Enqueues its job now.
pub(in crate::pages) async fn run(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let name = visit.parameter("name");
    let mut conn = visit.connect().await?;
    let job = schedules::run_now(&mut conn, name, &visit.identity(), Mode::Commit).await?;
    visit.site.wake_workers().await;
    let job = job.map(|job| format!(" as job {job}")).unwrap_or_default();
    Ok(visit.done(format!("Schedule {name} runs now{job}.")))
}

/// Stops it until it is resumed.
pub(in crate::pages) async fn pause(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let name = visit.parameter("name");
    let actor = visit.actor()?;
    schedules::pause(&mut *visit.connect().await?, name, &actor, Mode::Commit).await?;
    Ok(visit.done(format!("Schedule {name} is paused. Resume takes this back.")))
}

/// Lets it tick again.
pub(in crate::pages) async fn resume(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let name = visit.parameter("name");
    let mut conn = visit.connect().await?;
    schedules::resume(&mut conn, name, &visit.identity(), Mode::Commit).await?;
    Ok(visit.done(format!("Schedule {name} ticks again. Pause takes this back.")))
}
