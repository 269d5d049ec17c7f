//! Queues: the list, one of them with its limits and blocked keys, pausing and limiting.

use std::str::FromStr;
use std::sync::Arc;

use askama::Template;
use time::OffsetDateTime;

use super::overview::Chart;
use crate::http::wire::problem::{Code, Problem};
use crate::operations::activity::{self, Span};
use crate::operations::queues::limits::InvalidLimit;
use crate::operations::queues::{
    self, BlockCause, BlockedKey, COUNT_CAP, LimitChange, Pause, PauseResult, QueueScope,
    QueueView, ShownQueue,
};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Visit, segment};
use crate::pages::words;

/// The name of a queue has at most so many characters.
const MAX_NAME_CHARS: usize = 100;
/// The name under which all queues are paused together: no queue can have it.
const ALL: &str = "*";

#[derive(Template)]
#[template(path = "queues.html", config = "src/pages/askama.toml")]
struct QueuesPage {
    frame: Frame,
    rows: Vec<QueueRow>,
    pause_of_all: Option<Pause>,
}

/// A queue in a list.
pub(in crate::pages) struct QueueRow {
    /// The queue.
    pub(in crate::pages) queue: QueueView,
    /// Its page.
    pub(in crate::pages) url: String,
    /// The state in words, and the class of that.
    pub(in crate::pages) state: (String, &'static str),
    /// The time for which its oldest due job has waited.
    pub(in crate::pages) oldest: Option<String>,
}

impl QueueRow {
    /// The row of a queue, as of `now`.
    pub(in crate::pages) fn new(queue: QueueView, now: OffsetDateTime) -> Self {
        Self {
            url: url(&queue.queue),
            state: state(&queue),
            oldest: queue.oldest_due.map(|due| words::between(due, now)),
            queue,
        }
    }

    /// A count, marked where it stopped at the cap.
    pub(in crate::pages) fn capped(&self, count: &i64) -> String {
        words::capped(*count, COUNT_CAP)
    }
}

fn url(name: &str) -> String {
    format!("/ui/queues/{}", segment(name))
}

fn state(queue: &QueueView) -> (String, &'static str) {
    match (&queue.pause, queue.blocked_keys) {
        (Some(pause), _) => (format!("Paused by {}", pause.paused_by), "warn"),
        (None, 1..) => (words::counted(queue.blocked_keys, "blocked key"), "warn"),
        (None, _) if queue.running > 0 => ("Running".to_owned(), "run"),
        (None, _) if queue.available > 0 => ("Due".to_owned(), "idle"),
        (None, _) => ("Idle".to_owned(), "idle"),
    }
}

/// The list.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let listed = queues::list(&mut *visit.connect().await?).await?;
    let row = |queue| QueueRow::new(queue, listed.as_of);
    Answer::page(&QueuesPage {
        frame: visit.frame("Queues"),
        rows: listed.queues.into_iter().map(row).collect(),
        pause_of_all: listed.pause_of_all,
    })
}

#[derive(Template)]
#[template(path = "queue.html", config = "src/pages/askama.toml")]
struct QueuePage {
    frame: Frame,
    name: String,
    url: String,
    /// None while nothing is in it and nothing set for it.
    row: Option<QueueRow>,
    blocked: Vec<Blocked>,
    chart: Chart,
    limits: LimitFields,
}

struct Blocked {
    key: BlockedKey,
    cause: &'static str,
    waiting: String,
}

/// The limits as the form shows them.
#[derive(Default)]
struct LimitFields {
    max_running: String,
    max_running_per_key: String,
    rate: String,
    rate_per_key: String,
    ordered: String,
}

impl LimitFields {
    fn of(queue: &QueueView) -> Self {
        let Some(limits) = queue.limits.as_ref().map(|limits| &limits.0) else {
            return Self::default();
        };
        let number = |limit: Option<u32>| limit.map(|it| it.to_string()).unwrap_or_default();
        let period = humantime::format_duration(limits.rate_period);
        let rate =
            |limit: Option<u32>| limit.map(|it| format!("{it}/{period}")).unwrap_or_default();
        Self {
            max_running: number(limits.max_running),
            max_running_per_key: number(limits.max_running_per_key),
            rate: rate(limits.rate),
            rate_per_key: rate(limits.rate_per_key),
            ordered: limits.ordered.map(queues::limits::spelled).unwrap_or_default(),
        }
    }
}

/// One queue. One without jobs, pause and limits is shown, too: it can be paused and limited.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let name = name(&visit)?;
    let mut conn = visit.connect().await?;
    let found = queues::find(&mut conn, &name).await?;
    let done = activity::jobs(&mut conn, Span::Hour, Some(&name), None).await?;
    let cause = |key: BlockedKey| Blocked {
        cause: match key.cause {
            BlockCause::Discarded => "its head was discarded",
            BlockCause::Parked => "its head failed and is parked",
        },
        waiting: words::capped(key.waiting, COUNT_CAP),
        key,
    };
    let (row, blocked, limits) = match found {
        Some(ShownQueue { queue, blocked, as_of }) => {
            let limits = LimitFields::of(&queue);
            (Some(QueueRow::new(queue, as_of)), blocked, limits)
        }
        None => (None, Vec::new(), LimitFields::default()),
    };
    Answer::page(&QueuePage {
        frame: visit.frame(format!("Queue {name}")),
        url: url(&name),
        name,
        row,
        blocked: blocked.into_iter().map(cause).collect(),
        chart: Chart::new(Span::Hour, &done),
        limits,
    })
}

fn name(visit: &Visit) -> Result<String, Refusal> {
    let name = visit.parameter("name");
    match (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && !name.contains(char::is_control) {
        true => Ok(name.to_owned()),
        false => Err(Problem::new(Code::NotFound).into()),
    }
}

/// The queue that is meant, or all.
fn scope(visit: &Visit) -> Result<(QueueScope, String), Refusal> {
    let name = name(visit)?;
    Ok(match name.as_str() {
        ALL => (QueueScope::All, "All queues".to_owned()),
        _ => (QueueScope::One(name.clone()), format!("Queue {name}")),
    })
}

/// Starts no more jobs of it, or of all.
pub(in crate::pages) async fn pause(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let (scope, name) = scope(&visit)?;
    let actor = visit.actor()?;
    let paused = queues::pause(&mut *visit.connect().await?, &scope, &actor).await?;
    Ok(visit.done(match paused {
        PauseResult::Paused => {
            format!("{name}: paused. What runs goes on. Resume takes this back.")
        }
        PauseResult::WasPaused => format!("{name}: somebody had paused it before."),
    }))
}

/// Undoes that.
pub(in crate::pages) async fn resume(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let (scope, name) = scope(&visit)?;
    let resumed = queues::resume(&mut *visit.connect().await?, &scope, &visit.identity()).await?;
    visit.site.wake_workers().await;
    Ok(visit.done(match (resumed.was_paused, resumed.remaining) {
        (true, None) => format!("{name}: resumed. Pause takes this back."),
        (true, Some(_)) => format!("{name}: resumed, but another pause remains."),
        (false, _) => format!("{name}: was not paused."),
    }))
}

/// Sets its limits: an empty field is no limit.
pub(in crate::pages) async fn limit(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let name = name(&visit)?;
    let change = LimitChange {
        max_running: Some(setting(&visit, "max_running")?),
        max_running_per_key: Some(setting(&visit, "max_running_per_key")?),
        rate: Some(setting(&visit, "rate")?),
        rate_per_key: Some(setting(&visit, "rate_per_key")?),
        ordered: Some(setting(&visit, "ordered")?),
    };
    let mut conn = visit.connect().await?;
    queues::change_limits(&mut conn, &name, change, None, &visit.identity()).await?;
    Ok(visit.done(format!("Queue {name}: the limits are set. What they were is in the audit log.")))
}

fn setting<T: FromStr<Err = InvalidLimit>>(visit: &Visit, field: &str) -> Result<T, Refusal> {
    let text = visit.form.one(field).unwrap_or("off");
    text.parse().map_err(|error| {
        let words = format!("The field {field} must be {error}.");
        Problem::new(Code::UnacceptableValues).detail(words).into()
    })
}

/// Lets a blocked key go on.
pub(in crate::pages) async fn unblock(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let name = name(&visit)?;
    let actor = visit.actor()?;
    let key = visit.form.as_typed("key").unwrap_or_default();
    let head = queues::unblock_key(&mut *visit.connect().await?, &name, key, &actor).await?;
    visit.site.wake_workers().await;
    Ok(visit.done(match head {
        Some(job) => format!("Key {key} goes on; at its head was job {job}."),
        None => format!("Key {key} was not blocked."),
    }))
}
