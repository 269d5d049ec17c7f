//! The list of jobs, with a filter that is in its URL.

use std::sync::Arc;

use askama::Template;
use time::OffsetDateTime;

use super::bulk::{self, Choice};
use super::job_filter::{self, Chip, StateLink};
use crate::http::wire::spreadsheet::rfc3339;
use crate::operations::jobs::{JobId, JobState, JobSummary, reading};
use crate::operations::known_names;
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::visit::download::{ROWS_AT_ONCE, download};
use crate::pages::visit::{Answer, Visit};
use crate::pages::words;

/// The jobs of one page.
const SHOWN: u32 = 50;
/// An error in a list has so many characters; the whole one is on the job's own page.
const ERROR_CHARS: usize = 160;

#[derive(Template)]
#[template(path = "jobs.html", config = "src/pages/askama.toml")]
struct JobsPage {
    frame: Frame,
    states: Vec<StateLink>,
    chips: Vec<Chip>,
    /// The parts of the filter that a form takes along.
    kept: Vec<(String, String)>,
    kinds: Vec<String>,
    queues: Vec<String>,
    rows: Vec<Row>,
    newest: Option<String>,
    older: Option<String>,
    is_filtered: bool,
    /// The actions on all that match.
    actions: Vec<Choice>,
    /// The address of all that matches, as a file.
    csv: String,
}

/// A job in a list.
pub(in crate::pages) struct Row {
    /// The number.
    pub(in crate::pages) id: JobId,
    /// The state.
    pub(in crate::pages) state: JobState,
    /// The kind.
    pub(in crate::pages) kind: String,
    /// The queue.
    pub(in crate::pages) queue: String,
    /// The attempts begun, and how many there may be.
    pub(in crate::pages) attempts: String,
    /// The meaning of `at`.
    pub(in crate::pages) verb: &'static str,
    /// The moment that says most.
    pub(in crate::pages) at: OffsetDateTime,
    /// The beginning of the last error; empty for none.
    pub(in crate::pages) error: String,
}

impl From<JobSummary> for Row {
    fn from(job: JobSummary) -> Self {
        let (verb, at) = when(&job);
        Self {
            id: job.id,
            state: job.state,
            attempts: format!("{} of {}", job.attempt, job.max_attempts),
            verb,
            at,
            error: job.error.map(|error| words::line(&error, ERROR_CHARS)).unwrap_or_default(),
            kind: job.kind,
            queue: job.queue,
        }
    }
}

/// The moment that says most of a job in its state, and its meaning.
fn when(job: &JobSummary) -> (&'static str, OffsetDateTime) {
    match job.state {
        JobState::Scheduled | JobState::Retryable => ("due", job.run_at),
        JobState::Available => ("due since", job.run_at),
        JobState::Running => ("enqueued", job.enqueued_at),
        JobState::Completed | JobState::Cancelled | JobState::Discarded => {
            ("", job.finished_at.unwrap_or(job.enqueued_at))
        }
    }
}

/// The list.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let query = visit.query.only(&job_filter::KNOWN)?;
    if let Some(path) = job_filter::added(query) {
        return Ok(Answer::redirect(path));
    }
    let selection = job_filter::selection(query)?;
    let before = query.parsed("before", "must be the number of a job")?.map(JobId);
    let is_filtered = !selection.is_everything();
    let actions = bulk::choices(&selection, query);

    let filter = selection.into_filter(&mut *visit.connect().await?).await?;
    let mut conn = visit.connect_to_list().await?;
    let page = reading::list(&mut conn, &filter, before, SHOWN).await?;
    let names = known_names(&mut conn).await?;

    let parts = query.without_all("before");
    let older = page.next.map(|next| parts.with("before", &next.to_string()).url(job_filter::PATH));
    Answer::page(&JobsPage {
        frame: visit.frame("Jobs"),
        states: job_filter::state_links(query),
        chips: job_filter::chips(query),
        kept: parts.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        kinds: names.kinds.into_iter().collect(),
        queues: names.queues.into_iter().collect(),
        rows: page.jobs.into_iter().map(Row::from).collect(),
        newest: before.map(|_| parts.url(job_filter::PATH)),
        older,
        is_filtered,
        actions,
        csv: parts.url("/ui/jobs.csv"),
    })
}

const COLUMNS: [&str; 14] = [
    "number",
    "state",
    "kind",
    "queue",
    "priority",
    "attempt",
    "max_attempts",
    "enqueued_at",
    "run_at",
    "finished_at",
    "key",
    "tags",
    "args",
    "error",
];

/// The list as a file.
pub(in crate::pages) async fn csv(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let selection = job_filter::selection(visit.query.only(&job_filter::KNOWN)?)?;
    let filter = Arc::new(selection.into_filter(&mut *visit.connect().await?).await?);
    download(visit, "jobs", &COLUMNS, move |mut conn, before| {
        let filter = Arc::clone(&filter);
        async move {
            let page = reading::list(&mut conn, &filter, before, ROWS_AT_ONCE.into()).await?;
            Ok((page.jobs.into_iter().map(cells).collect(), page.next))
        }
    })
    .await
}

fn cells(job: JobSummary) -> Vec<String> {
    vec![
        job.id.to_string(),
        job.state.name().to_owned(),
        job.kind,
        job.queue,
        job.priority.to_string(),
        job.attempt.to_string(),
        job.max_attempts.to_string(),
        rfc3339(job.enqueued_at),
        rfc3339(job.run_at),
        job.finished_at.map(rfc3339).unwrap_or_default(),
        job.key.unwrap_or_default(),
        job.tags.map(|tags| tags.join(" ")).unwrap_or_default(),
        job.args.get().to_owned(),
        job.error.unwrap_or_default(),
    ]
}
