//! Health: what the doctor finds, with what mends it; the bank's breaker, the database, versions.

use std::sync::Arc;

use askama::Template;

use crate::http::wire::problem::{Code, Problem};
use crate::operations::health::{Finding, Fix, HealthError, HealthReport, Level};
use crate::operations::orders::{self, BreakerState, Phase};
use crate::operations::verify;
use crate::pages::frame::Frame;
use crate::pages::money::ledger::Verified;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Visit, segment};
use crate::pages::words;

#[derive(Template)]
#[template(path = "health.html", config = "src/pages/askama.toml")]
struct HealthPage {
    frame: Frame,
    /// The findings in one sentence, and the class of that.
    verdict: (String, &'static str),
    wrong: Vec<Line>,
    right: Vec<Line>,
    breakers: Vec<BreakerRow>,
    verified: Option<Verified>,
    report: Arc<HealthReport>,
}

/// A finding in words.
struct Line {
    check: &'static str,
    level: (&'static str, &'static str),
    found: String,
    remedy: Option<Remedy>,
}

/// A remedy: in words, as a command, and as a page where it can be done.
struct Remedy {
    words: String,
    command: Option<String>,
    page: Option<(String, &'static str)>,
}

impl From<&Finding> for Line {
    fn from(finding: &Finding) -> Self {
        Self {
            check: finding.check,
            level: match finding.level {
                Level::Ok => ("Ok", "ok"),
                Level::Unseen => ("Not seen", "idle"),
                Level::Warn => ("Warning", "warn"),
                Level::Fail => ("Failure", "bad"),
            },
            found: finding.found.clone(),
            remedy: finding.fix.as_ref().map(Remedy::of),
        }
    }
}

impl Remedy {
    fn of(fix: &Fix) -> Self {
        let queue_page = |queue: &str| (format!("/ui/queues/{}", segment(queue)), "See the queue");
        let (command, page) = match fix {
            Fix::AddWorkers { queue, .. } | Fix::StartWorkerFor { queue, .. } => {
                (Some(format!("app work --queues {queue}")), Some(queue_page(queue)))
            }
            Fix::ReviewLimits { queue, .. } => {
                (Some(format!("app queues limits {queue}")), Some(queue_page(queue)))
            }
            Fix::StartWorker | Fix::StartRescuer => {
                (Some("app work".to_owned()), Some(("/ui/workers".to_owned(), "See workers")))
            }
            Fix::Resume { queue } => (
                Some(format!("app queues resume {}", queue.as_deref().unwrap_or("--all"))),
                Some(("/ui/queues".to_owned(), "See queues")),
            ),
            Fix::UnblockKeys { queue } => {
                (Some(format!("app queues blocked {queue}")), Some(queue_page(queue)))
            }
            Fix::ReviewFailures { job, .. } => (
                Some(format!("app jobs show {job}")),
                Some(("/ui/failures".to_owned(), "See failures")),
            ),
            Fix::DecideDiscarded => (
                Some("app dead-letters list".to_owned()),
                Some(("/ui/jobs?state=discarded".to_owned(), "See discarded jobs")),
            ),
            Fix::ApplyMigrations => (Some("app migrate run".to_owned()), None),
            Fix::CompareMigrations => (Some("app migrate status".to_owned()), None),
            Fix::Other(_) => (None, None),
        };
        Self { words: fix.to_string(), command, page }
    }
}

struct BreakerRow {
    name: String,
    state: (&'static str, &'static str),
    words: String,
}

impl From<BreakerState> for BreakerRow {
    fn from(breaker: BreakerState) -> Self {
        let failures = words::counted(breaker.failures.into(), "failure");
        let (state, words) = match breaker.phase {
            Phase::Closed => (("Closed", "ok"), format!("calls pass; {failures} in a row")),
            Phase::Open { probe_in } => (
                ("Open", "bad"),
                format!(
                    "nobody calls, after {failures}; one asks again in {}",
                    words::span(probe_in.as_secs_f64())
                ),
            ),
            Phase::HalfOpen { probing: true } => {
                (("Half open", "warn"), "one call asks whether it is back".to_owned())
            }
            Phase::HalfOpen { probing: false } => {
                (("Half open", "warn"), "the next call asks whether it is back".to_owned())
            }
        };
        Self { name: breaker.name, state, words }
    }
}

/// The page.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let report = visit.site.looks.take(&visit.site.pool).await.map_err(refused)?;
    let mut conn = visit.connect().await?;
    let breakers = orders::bank_breakers(&mut conn).await?;
    let lines = |is_wrong: bool| {
        let chosen =
            report.findings.iter().filter(move |it| (it.level > Level::Unseen) == is_wrong);
        chosen.map(Line::from).collect::<Vec<_>>()
    };
    let (mut wrong, right) = (lines(true), lines(false));
    // The worst first; stable, so that the rest stays in the order of the examination.
    wrong.sort_by_key(|line| line.level.1 != "bad");
    Answer::page(&HealthPage {
        frame: visit.frame("Health"),
        verdict: verdict(&report),
        wrong,
        right,
        breakers: breakers.into_iter().map(BreakerRow::from).collect(),
        verified: verify::last(&mut conn).await?.map(Verified::from),
        report,
    })
}

fn verdict(report: &HealthReport) -> (String, &'static str) {
    let number = |level| report.findings.iter().filter(|it| it.level == level).count() as i64;
    let (failures, warnings) = (number(Level::Fail), number(Level::Warn));
    let (failed, warned) =
        (words::counted(failures, "failure"), words::counted(warnings, "warning"));
    match (failures, warnings) {
        (0, 0) => (format!("All is well: {} checks passed.", number(Level::Ok)), "ok"),
        (0, _) => (format!("It works, with {warned}."), "warn"),
        (_, 0) => (format!("{}.", words::capital(&failed)), "bad"),
        (_, _) => (format!("{failed} and {warned}."), "bad"),
    }
}

fn refused(error: HealthError) -> Refusal {
    match error {
        HealthError::Connection(error) => error.into(),
        HealthError::Schema(error) => Problem::new(Code::Unavailable).cause(error).into(),
    }
}
