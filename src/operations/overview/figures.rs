//! The figures of an overview.

use serde::Serialize;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use crate::audit::reading;
use crate::bank::breaker::BreakerState;
use crate::events::EventType;
use crate::operations::queues::{COUNT_CAP, QueueView};
use crate::operations::schedules::{ON_TIME, ScheduleStatus};
use crate::payments::transactions::Intake;
use crate::queue::QueueError;
use crate::queue::operate::workers::{self, WorkerState};

/// The name of all sources of transactions together.
const WEBHOOKS: &str = "webhooks";

/// A source is silent after so many times its longest gap, and its mean gap, and not before this.
const LONGEST_GAPS: f64 = 3.0;
const MEAN_GAPS: f64 = 20.0;
const SILENT_AFTER_SECS: f64 = 600.0;

/// The pace of the money: numbers in a minute, in the last one or at the pace of the newest rows.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Pace {
    /// Transactions that were accepted.
    pub accepted_per_minute: f64,
    /// Transactions and orders that were completed.
    pub settled_per_minute: f64,
    /// Transactions and orders that failed.
    pub failed_per_minute: f64,
}

/// Reads the pace of outcomes from the audit log, which has an entry for each.
pub(super) async fn pace(conn: &mut PgConnection, intake: &Intake) -> Result<Pace, sqlx::Error> {
    let actions = reading::pace(conn).await?;
    let sum = |end: &str| {
        let names = EventType::ALL.iter().map(|it| it.as_str());
        names.filter(|name| name.ends_with(end)).filter_map(|name| actions.get(name)).sum()
    };
    Ok(Pace {
        accepted_per_minute: intake.accepted_per_minute,
        settled_per_minute: sum(".completed"),
        failed_per_minute: sum(".failed"),
    })
}

/// The jobs that are not finished. Each count is the sum over the queues, where it stops at a
/// bound.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct JobFigures {
    /// Jobs that run.
    pub running: i64,
    /// Jobs that are due.
    pub waiting: i64,
    /// Jobs that wait for another attempt.
    pub retryable: i64,
    /// Jobs that wait for their time, or for other jobs.
    pub scheduled: i64,
    /// True if a count has stopped at its bound in some queue, so that there are more.
    pub is_more: bool,
    /// The moment at which the job that waits longest became due, among queues that are not paused;
    /// null if none waits.
    #[serde(with = "time::serde::rfc3339::option")]
    pub oldest_due: Option<OffsetDateTime>,
    /// The queue of that job.
    pub oldest_due_queue: Option<String>,
}

impl JobFigures {
    /// The sums over these queues.
    pub(super) fn of(queues: &[QueueView]) -> Self {
        let sum = |of: fn(&QueueView) -> i64| queues.iter().map(of).sum();
        let counts = |it: &QueueView| [it.running, it.available, it.retryable, it.scheduled];
        let not_paused = queues.iter().filter(|queue| queue.pause.is_none());
        let oldest = not_paused
            .filter_map(|queue| Some((queue.oldest_due?, &queue.queue)))
            .min_by_key(|(due, _)| *due);
        Self {
            running: sum(|it| it.running),
            waiting: sum(|it| it.available),
            retryable: sum(|it| it.retryable),
            scheduled: sum(|it| it.scheduled),
            is_more: queues.iter().flat_map(counts).any(|count| count >= COUNT_CAP),
            oldest_due: oldest.map(|(due, _)| due),
            oldest_due_queue: oldest.map(|(_, queue)| queue.clone()),
        }
    }
}

/// The workers that were seen within the last day.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct WorkerFigures {
    /// Those that claim and run jobs.
    pub working: usize,
    /// Those that finish what they have, and end.
    pub draining: usize,
    /// Those that were lost within the last hour.
    pub lost: usize,
    /// The most jobs that the working ones can have in progress.
    pub slots: i64,
    /// Jobs that they had in progress when they were last seen.
    pub running: i64,
    /// The versions of those that are not lost.
    pub versions: Vec<String>,
}

/// A worker that was lost longer ago is no news.
const LOST_LATELY: Duration = Duration::HOUR;

pub(super) async fn workers(
    conn: &mut PgConnection,
    now: OffsetDateTime,
) -> Result<WorkerFigures, QueueError> {
    let seen = workers::list(&mut *conn).await?;
    let mut figures = WorkerFigures::default();
    for worker in seen {
        match worker.state {
            WorkerState::Working => {
                figures.working += 1;
                figures.slots += i64::from(worker.slots);
                figures.running += i64::from(worker.running);
            }
            WorkerState::Draining => {
                figures.draining += 1;
                figures.running += i64::from(worker.running);
            }
            WorkerState::Lost if now - worker.last_seen_at < LOST_LATELY => figures.lost += 1,
            WorkerState::Lost => {}
        }
        if worker.state != WorkerState::Lost && !figures.versions.contains(&worker.version) {
            figures.versions.push(worker.version);
        }
    }
    figures.versions.sort();
    Ok(figures)
}

/// A source of webhooks.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SourceFigures {
    /// Its name.
    pub source: String,
    /// The moment of the last transaction from it; null before the first.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_at: Option<OffsetDateTime>,
    /// Seconds since then, or since the source was first served.
    pub silent_secs: f64,
    /// Seconds that usually pass from one to the next; null before there were two, and of sources
    /// that are configured.
    pub usual_gap_secs: Option<f64>,
    /// True if it has been silent for much longer than is usual, or than it is configured to.
    pub is_silent: bool,
}

/// The sources that some process has served within the last hours, and since when each is silent.
pub(super) async fn configured_sources(
    conn: &mut PgConnection,
) -> Result<Vec<SourceFigures>, sqlx::Error> {
    sqlx::query_as!(
        SourceFigures,
        r#"
        select
          name as source, last_at, null::float8 as usual_gap_secs, silent_secs as "silent_secs!",
          coalesce(silent_secs > silent_after_secs, false) as "is_silent!"
        from api.webhook_sources
        left join lateral (
          select max(intake.last_at) as last_at
          from api.intake
          where step_secs = 86400 and source = name and outcome in ('accepted', 'duplicate')
        ) as heard on true
        cross join lateral (
          select extract(
            epoch from clock_timestamp() - coalesce(last_at, first_declared_at)
          )::float8
        ) as silence (silent_secs)
        where declared_at > clock_timestamp() - interval '3 hours'
        order by name
        "#
    )
    .fetch_all(conn)
    .await
}

pub(super) fn sources(intake: &Intake) -> Vec<SourceFigures> {
    let Some((last_at, silent_secs)) = intake.last_at.zip(intake.silent_secs) else {
        return Vec::new();
    };
    let is_beyond = |gap: Option<f64>, times: f64| gap.is_some_and(|gap| silent_secs > gap * times);
    let is_silent = silent_secs > SILENT_AFTER_SECS
        && is_beyond(intake.longest_gap_secs, LONGEST_GAPS)
        && is_beyond(intake.mean_gap_secs, MEAN_GAPS);
    vec![SourceFigures {
        source: WEBHOOKS.to_owned(),
        last_at: Some(last_at),
        silent_secs,
        usual_gap_secs: intake.mean_gap_secs,
        is_silent,
    }]
}

/// The bank, as its circuit breaker sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BankFigures {
    /// The phase of the breaker: `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// Failures in a row so far; while it is not closed, those that opened it.
    pub failures: i32,
    /// The moment since which it is not closed; null while it is.
    #[serde(with = "time::serde::rfc3339::option")]
    pub opened_at: Option<OffsetDateTime>,
}

impl BankFigures {
    pub(super) fn of(states: &[BreakerState], name: &str) -> Self {
        match states.iter().find(|state| state.name == name) {
            None => Self { breaker: "closed", failures: 0, opened_at: None },
            Some(state) => Self {
                breaker: state.phase.as_str(),
                failures: state.failures,
                opened_at: state.opened_at,
            },
        }
    }
}

/// The schedules whose next tick should have come long ago.
pub(super) fn late(schedules: Vec<ScheduleStatus>) -> Vec<ScheduleStatus> {
    let is_late = |schedule: &ScheduleStatus| {
        schedule.next_tick_at.is_some_and(|next| schedule.as_of - next > ON_TIME)
    };
    schedules.into_iter().filter(is_late).collect()
}
