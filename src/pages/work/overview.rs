//! The overview: whether anybody has to do something, and how the work goes.

use std::sync::Arc;

use askama::Template;

use super::attention::Todo;
use super::failures::FailureRow;
use super::queues::QueueRow;
use crate::operations::activity::{self, IntakePoint, JobsPoint, Span};
use crate::operations::failures;
use crate::operations::overview::{self, Overview};
use crate::pages::charts::{self, Stack};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Visit};
use crate::pages::words;

/// The failures that are shown here; the others have a page.
const FAILURES_SHOWN: u32 = 6;
/// A pace is that of so many of the latest whole minutes.
const PACE_MINUTES: usize = 5;
/// The times that stand below a chart.
const TIMES: usize = 7;
/// The size of the small lines.
const LINE: (f64, f64) = (120.0, 24.0);

#[derive(Template)]
#[template(path = "overview.html", config = "src/pages/askama.toml")]
struct OverviewPage {
    frame: Frame,
    spans: [(&'static str, bool); 3],
    tiles: Vec<Tile>,
    todo: Vec<Todo>,
    chart: Chart,
    rows: Vec<QueueRow>,
    failures: Vec<FailureRow>,
}

/// A figure, with its course.
struct Tile {
    name: &'static str,
    value: String,
    note: String,
    tone: &'static str,
    /// The points of a line; empty for none.
    line: String,
}

/// The jobs by time.
pub(in crate::pages) struct Chart {
    /// The shapes.
    pub(in crate::pages) stack: Stack,
    /// The time that one point stands for.
    pub(in crate::pages) step: &'static str,
    /// The times below it.
    pub(in crate::pages) times: Vec<String>,
    /// The chart in a sentence.
    pub(in crate::pages) summary: String,
    /// The latest waits and runs, in words; empty while there are none.
    pub(in crate::pages) speed: String,
}

/// The overview.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let query = visit.query.only(&["span"])?;
    let span = query.parsed("span", "must be 1h, 24h or 7d")?.unwrap_or(Span::Hour);
    let mut conn = visit.connect().await?;
    let jobs = activity::jobs(&mut conn, span, None, None).await?;
    let intake = activity::intake(&mut conn, span).await?;
    let depth = activity::depth(&mut conn, span, None).await?;
    let failures = failures::list(&mut conn, FAILURES_SHOWN).await?;
    let overview = overview::read(&mut conn).await?;

    let mut tiles = Vec::from(paces(span, &jobs, &intake));
    let waited: Vec<f64> = depth.iter().map(|point| point.waiting as f64).collect();
    tiles.extend(waits(&overview, &waited));
    tiles.push(ledger(&overview));
    let row = |queue| QueueRow::new(queue, overview.as_of);
    Answer::page(&OverviewPage {
        frame: visit.frame("Overview"),
        spans: [Span::Hour, Span::Day, Span::Week].map(|it| (it.as_str(), it == span)),
        tiles,
        todo: overview.needs_attention.into_iter().map(Todo::from).collect(),
        chart: Chart::new(span, &jobs),
        rows: overview.queues.into_iter().map(row).collect(),
        failures: failures.into_iter().map(FailureRow::from).collect(),
    })
}

/// Accepted, settled and failed per minute.
fn paces(span: Span, jobs: &[JobsPoint], intake: &[IntakePoint]) -> [Tile; 3] {
    let minutes = span.step().secs() as f64 / 60.0;
    let tile = |name, values: Vec<f64>, tone| Tile {
        name,
        value: pace(span, &values, minutes),
        note: String::new(),
        tone,
        line: charts::line(&values, LINE.0, LINE.1),
    };
    let failed = |point: &JobsPoint| (point.retried + point.discarded) as f64;
    let failures: Vec<f64> = jobs.iter().map(failed).collect();
    let tone = if latest(span, &failures).iter().sum::<f64>() > 0.0 { "bad" } else { "" };
    [
        tile("Accepted / min", intake.iter().map(|point| point.accepted as f64).collect(), ""),
        tile("Done / min", jobs.iter().map(|point| point.completed as f64).collect(), ""),
        tile("Failed / min", failures, tone),
    ]
}

/// The latest points that are whole: the last one is still being filled.
fn latest(span: Span, values: &[f64]) -> &[f64] {
    let points = if span == Span::Hour { PACE_MINUTES } else { 1 };
    let whole = &values[..values.len().saturating_sub(1)];
    &whole[whole.len().saturating_sub(points)..]
}

fn pace(span: Span, values: &[f64], minutes: f64) -> String {
    let latest = latest(span, values);
    let pace = latest.iter().sum::<f64>() / (latest.len().max(1) as f64 * minutes);
    match pace {
        0.0 => "0".to_owned(),
        pace if pace < 10.0 => format!("{pace:.1}"),
        pace => words::count(pace.round() as i64),
    }
}

/// The number of due jobs, and the time for which the oldest has waited.
fn waits(overview: &Overview, waited: &[f64]) -> [Tile; 2] {
    let jobs = &overview.jobs;
    let more = if jobs.is_more { "+" } else { "" };
    let oldest = jobs.oldest_due.map(|due| words::between(due, overview.as_of));
    [
        Tile {
            name: "Due",
            value: format!("{}{more}", words::count(jobs.waiting)),
            note: String::new(),
            tone: "",
            line: charts::line(waited, LINE.0, LINE.1),
        },
        Tile {
            name: "Oldest due",
            value: oldest.unwrap_or_else(|| "–".to_owned()),
            note: format!("{} running", words::count(jobs.running)),
            tone: "",
            line: String::new(),
        },
    ]
}

fn ledger(overview: &Overview) -> Tile {
    let now = overview.as_of;
    let (value, note, tone) = match &overview.ledger {
        None => ("unchecked".to_owned(), "app verify checks it".to_owned(), ""),
        Some(last) if last.ok => {
            ("balanced".to_owned(), format!("checked {}", words::relative(last.at, now)), "")
        }
        Some(last) => {
            (words::counted(last.violations, "violation"), words::relative(last.at, now), "bad")
        }
    };
    Tile { name: "Ledger", value, note, tone, line: String::new() }
}

impl Chart {
    /// The chart of these points.
    pub(in crate::pages) fn new(span: Span, points: &[JobsPoint]) -> Self {
        let values = |of: fn(&JobsPoint) -> i64| points.iter().map(|it| of(it) as f64).collect();
        let stack = Stack::new(&[
            ("ok", values(|point| point.completed)),
            ("warn", values(|point| point.retried)),
            ("bad", values(|point| point.discarded)),
        ]);
        let step = match span {
            Span::Hour => "minute",
            Span::Day => "quarter of an hour",
            Span::Week => "hour",
        };
        Self {
            stack,
            step,
            times: times(span, points),
            summary: summary(step, points),
            speed: speed(points),
        }
    }
}

fn times(span: Span, points: &[JobsPoint]) -> Vec<String> {
    let Some(last) = points.len().checked_sub(1).filter(|last| *last > 0) else {
        return Vec::new();
    };
    let time = |mark: usize| match mark {
        mark if mark == TIMES - 1 => "now".to_owned(),
        mark => {
            let at = points[last * mark / (TIMES - 1)].at;
            if span == Span::Week { words::day(at) } else { words::minute(at) }
        }
    };
    (0..TIMES).map(time).collect()
}

fn summary(step: &str, points: &[JobsPoint]) -> String {
    let sum = |of: fn(&JobsPoint) -> i64| words::count(points.iter().map(of).sum::<i64>());
    let most = points.iter().max_by_key(|point| point.completed + point.retried + point.discarded);
    let most = most.map_or(String::new(), |point| {
        let jobs = words::count(point.completed + point.retried + point.discarded);
        format!("; the most were {jobs} in one {step}, at {}", words::utc(point.at))
    });
    format!(
        "Jobs per {step}: {} completed, {} retried and {} discarded in all{most}",
        sum(|point| point.completed),
        sum(|point| point.retried),
        sum(|point| point.discarded),
    )
}

/// The latest waits and runs that there are.
fn speed(points: &[JobsPoint]) -> String {
    let latest = points.iter().rev().find(|point| point.run.p50.is_some());
    let told = |secs: Option<f64>| secs.map_or("–".to_owned(), words::span);
    latest.map_or(String::new(), |point| {
        format!(
            "wait p50 {}, p99 {} · run p50 {}, p99 {}",
            told(point.wait.p50),
            told(point.wait.p99),
            told(point.run.p50),
            told(point.run.p99),
        )
    })
}
