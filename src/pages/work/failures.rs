//! Failures by what they say: thousands of jobs that failed for one cause as one line.

use std::sync::Arc;

use askama::Template;

use super::job_filter;
use crate::operations::failures::{self, FailureView, Fingerprint, MAX_COUNTED};
use crate::operations::jobs::{JobAction, JobSelection, reading};
use crate::pages::frame::Frame;
use crate::pages::refusals::{Refusal, not_found};
use crate::pages::visit::{Answer, Pairs, Visit};
use crate::pages::words;
use crate::pages::work::bulk;
use crate::pages::work::jobs::Row;

/// The failures of the list.
const SHOWN: u32 = 100;
/// The jobs that are shown with one.
const JOBS_SHOWN: u32 = 20;

/// A failure in a list.
pub(in crate::pages) struct FailureRow {
    /// The failure.
    pub(in crate::pages) failure: FailureView,
    /// Its page.
    pub(in crate::pages) url: String,
    /// The number of its jobs.
    pub(in crate::pages) jobs: String,
}

impl From<FailureView> for FailureRow {
    fn from(failure: FailureView) -> Self {
        let jobs = words::count(failure.jobs);
        Self {
            url: format!("/ui/failures/{}", failure.fingerprint),
            jobs: if failure.jobs_capped { format!("{jobs}+") } else { jobs },
            failure,
        }
    }
}

#[derive(Template)]
#[template(path = "failures.html", config = "src/pages/askama.toml")]
struct FailuresPage {
    frame: Frame,
    rows: Vec<FailureRow>,
    counted: String,
}

/// The list.
pub(in crate::pages) async fn list(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let found = failures::list(&mut *visit.connect_to_list().await?, SHOWN).await?;
    Answer::page(&FailuresPage {
        frame: visit.frame("Failures"),
        rows: found.into_iter().map(FailureRow::from).collect(),
        counted: words::count(MAX_COUNTED),
    })
}

#[derive(Template)]
#[template(path = "failure.html", config = "src/pages/askama.toml")]
struct FailurePage {
    frame: Frame,
    row: FailureRow,
    rows: Vec<Row>,
    /// The list of all its jobs.
    all: String,
    actions: Vec<bulk::Choice>,
}

/// One failure, with its latest jobs.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let fingerprint: Fingerprint = visit.parsed("id")?;
    let mut conn = visit.connect().await?;
    let found = failures::find(&mut conn, fingerprint).await?;
    let failure = found.ok_or_else(|| not_found("such failure: no job has it any more"))?;
    let selection = JobSelection { fingerprint: Some(fingerprint), ..JobSelection::default() };
    let filter = selection.clone().into_filter(&mut conn).await?;
    let jobs = reading::list(&mut conn, &filter, None, JOBS_SHOWN).await?.jobs;
    let query = Pairs::default().with("fingerprint", &failure.fingerprint);
    let offered = [
        (JobAction::Retry, true),
        (JobAction::WriteOff, failure.discarded > 0),
        (JobAction::Discard, failure.waiting > 0),
    ];
    let offered = offered.into_iter().filter(|(_, is_offered)| *is_offered);
    Answer::page(&FailurePage {
        frame: visit.frame("Failure"),
        all: query.url(job_filter::PATH),
        actions: offered.map(|(action, _)| bulk::choice(action, &query)).collect(),
        row: failure.into(),
        rows: jobs.into_iter().map(Row::from).collect(),
    })
}
