//! One action on all jobs that match a filter: first what it would do, then doing it.

use std::sync::Arc;

use askama::Template;

use super::job_filter;
use crate::http::wire::problem::{Code, Problem};
use crate::operations::bulk::{self, BulkView, NewBulk};
use crate::operations::jobs::{JobAction, JobSelection};
use crate::operations::{Actor, Mode};
use crate::pages::access::Right;
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::{Answer, Pairs, Visit};
use crate::pages::words;

/// The page of what an action would do.
const PATH: &str = "/ui/jobs/bulk";

/// An action that is offered for all jobs of a filter.
pub(in crate::pages) struct Choice {
    /// The action in words.
    pub(in crate::pages) title: &'static str,
    /// The page of what it would do.
    pub(in crate::pages) url: String,
}

/// The choice of this action, for the jobs of this query.
pub(in crate::pages) fn choice(action: JobAction, query: &Pairs) -> Choice {
    let query = query.without_all("before").with("action", action.name());
    Choice { title: title(action), url: query.url(PATH) }
}

/// The actions that jobs of a selection can undergo; none for all jobs there are.
pub(in crate::pages) fn choices(selection: &JobSelection, query: &Pairs) -> Vec<Choice> {
    if selection.is_everything() {
        return Vec::new();
    }
    let usual = [JobAction::Retry, JobAction::Cancel, JobAction::Discard, JobAction::WriteOff];
    let fits = |action: &JobAction| action.states(&selection.states).is_ok();
    usual.into_iter().filter(fits).map(|action| choice(action, query)).collect()
}

fn title(action: JobAction) -> &'static str {
    match action {
        JobAction::Retry => "Retry all",
        JobAction::RunNow => "Run all now",
        JobAction::Redrive => "Redrive all",
        JobAction::Cancel => "Cancel all",
        JobAction::Discard => "Discard all",
        JobAction::WriteOff => "Write off all",
    }
}

/// The effect on each job.
fn effect(action: JobAction) -> &'static str {
    match action {
        JobAction::Retry => "Waiting jobs become due, and discarded ones run again.",
        JobAction::RunNow => "Waiting jobs become due.",
        JobAction::Redrive => "Discarded jobs run again.",
        JobAction::Cancel => "They do not run again. Those that run are asked to stop.",
        JobAction::Discard => "They are put away for a later decision.",
        JobAction::WriteOff => "They do not run again, and what they were to do is given up.",
    }
}

/// Tells if the number has to be typed: what is done cannot be undone in one go.
fn is_risky(action: JobAction) -> bool {
    matches!(action, JobAction::Cancel | JobAction::Discard | JobAction::WriteOff)
}

/// The action and the jobs that a URL names.
struct Asked {
    action: JobAction,
    selection: JobSelection,
    /// The query without the action: that of the list.
    query: Pairs,
}

impl Asked {
    fn read(visit: &Visit) -> Result<Self, Refusal> {
        let known: Vec<&str> = job_filter::KNOWN.into_iter().chain(["action"]).collect();
        let query = visit.query.only(&known)?.without_all("action");
        let name = visit.query.one("action").unwrap_or_default();
        let action = JobAction::ALL.into_iter().find(|action| action.name() == name);
        let action = action.ok_or_else(|| {
            let names = JobAction::ALL.map(JobAction::name).join(", ");
            Problem::parameter("action", &format!("There are {names}."))
        })?;
        Ok(Self { action, selection: job_filter::selection(&query)?, query })
    }

    /// The right that it needs.
    fn right(&self) -> Result<Right, Refusal> {
        let states = self.action.states(&self.selection.states).map_err(bulk::BulkError::from)?;
        Ok(if self.action.decides(&states) { Right::Decide } else { Right::Operate })
    }
}

#[derive(Template)]
#[template(path = "bulk.html", config = "src/pages/askama.toml")]
struct BulkPage {
    frame: Frame,
    title: &'static str,
    effect: &'static str,
    planned: BulkView,
    eligible: String,
    /// The path of the form, which takes the filter along.
    path: String,
    list: String,
    is_risky: bool,
    may: bool,
}

/// The page of what the action would do: how many jobs, and which are passed over and why.
pub(in crate::pages) async fn preview(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let asked = Asked::read(&visit)?;
    let right = asked.right()?;
    let looking = "a look at what it would do".parse().expect("it is a reason");
    let actor = Actor { identity: visit.identity(), reason: looking };
    let (action, selection) = (asked.action, asked.selection);
    let new = NewBulk { action, selection, limit: None, mode: Mode::DryRun };
    let planned = bulk::start_on(&mut *visit.connect().await?, new, &actor).await?;
    Answer::page(&BulkPage {
        frame: visit.frame(title(action)),
        title: title(action),
        effect: effect(action),
        eligible: number(planned.eligible, planned.eligible_is_more),
        path: choice(action, &asked.query).url,
        list: asked.query.url(job_filter::PATH),
        is_risky: is_risky(action),
        may: visit.visitor.may(right),
        planned,
    })
}

/// A number of jobs, marked where there are more than were counted.
pub(in crate::pages) fn number(jobs: u64, is_more: bool) -> String {
    let jobs = words::count(i64::try_from(jobs).unwrap_or(i64::MAX));
    if is_more { format!("{jobs}+") } else { jobs }
}

/// Begins it.
pub(in crate::pages) async fn start(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let asked = Asked::read(&visit)?;
    visit.require(asked.right()?)?;
    let actor = visit.actor()?;
    if is_risky(asked.action) && visit.form.one("typed") != visit.form.one("eligible") {
        let words = "The number of jobs was not typed as it stands there. Nothing was done.";
        return Err(Problem::new(Code::UnacceptableValues).detail(words).into());
    }
    let (action, selection) = (asked.action, asked.selection);
    let new = NewBulk { action, selection, limit: None, mode: Mode::Commit };
    let begun = bulk::start_on(&mut *visit.connect().await?, new, &actor).await?;
    visit.site.wake_workers().await;
    let id = begun.id.map(|id| id.to_string()).unwrap_or_default();
    Ok(Answer::Elsewhere {
        path: format!("/ui/operations/{id}"),
        notice: Some("It has begun, and goes on whether you watch or not.".to_owned()),
    })
}
