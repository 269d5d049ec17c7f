//! Lists of jobs, one job with the reasons why it has not run, and waiting for jobs to end.

use std::time::Duration;

use serde::Serialize;
use sqlx::{Connection as _, PgConnection, PgPool};

use super::{Explanation, JobDetails, JobFilter, JobId, JobState, JobSummary, JobsError};
use crate::jobs::dead_letters::{JobSubject, Subject};
use crate::operations::dead_letters::{OrderView, TransactionView};
use crate::queue::JsonText;
use crate::queue::operate::{inspect, list as lists, waiting};

/// A page of a list, newest first.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobSummary>,
    /// The job before which the next page begins; null on the last page.
    pub next: Option<JobId>,
}

/// The jobs that match, newest first: at most `limit` of those before `before`.
///
/// # Errors
///
/// [`JobsError::Queue`].
pub async fn list(
    conn: &mut PgConnection,
    filter: &JobFilter,
    before: Option<JobId>,
    limit: u32,
) -> Result<JobPage, JobsError> {
    let lists::Page { jobs, next } = lists::list(conn, filter, before, limit).await?;
    Ok(JobPage { jobs, next })
}

/// A job, with the reasons why it has not run.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedJob {
    /// The main reason, in one sentence.
    pub explanation: String,
    /// Further reasons.
    pub also: Vec<String>,
    /// The same reasons for programs.
    causes: Vec<inspect::Cause>,
    /// The job.
    #[serde(flatten)]
    pub job: JobDetails,
    /// The order that it is about; absent when it is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderView>,
    /// The provider's transaction that it is about; absent when it is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionView>,
}

impl ExplainedJob {
    /// The reasons as JSON, for programs.
    #[must_use]
    pub fn causes_as_json(&self) -> JsonText {
        JsonText::of(&self.causes).expect("causes are JSON")
    }
}

/// The job, why it has not run, and the order or transaction that it is about, all as of one
/// moment. None if there is no such job, or retention has dropped it.
///
/// # Errors
///
/// [`JobsError`].
pub async fn explain(
    conn: &mut PgConnection,
    id: JobId,
) -> Result<Option<ExplainedJob>, JobsError> {
    let mut tx = conn.begin_with("begin isolation level repeatable read, read only").await?;
    let why = inspect::why_not_run(&mut tx, id).await?;
    let job = inspect::find_job(&mut tx, id).await?;
    let about = job.as_ref().and_then(|job| JobSubject::of(&job.kind, &job.stored_args));
    let subject = match about {
        Some(about) => about.find(&mut tx).await?,
        None => None,
    };
    tx.rollback().await?;
    Ok(why.zip(job).map(|(why, job)| explained(why, job, subject)))
}

fn explained(why: Explanation, job: JobDetails, subject: Option<Subject>) -> ExplainedJob {
    let also = why.also().collect();
    let (order, transaction) = match subject {
        Some(Subject::Order(order)) => (Some(OrderView(order)), None),
        Some(Subject::Transaction(it)) => (None, Some(TransactionView(it))),
        None => (None, None),
    };
    ExplainedJob { explanation: why.sentence, also, causes: why.causes, job, order, transaction }
}

/// The end of a job that was waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobEnd {
    /// The job has ended in this state.
    Ended(JobState),
    /// The job had not ended when the time was over.
    Unfinished,
    /// There is no such job, or it has left no trace.
    NotFound,
}

impl JobEnd {
    /// The stable name, for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Ended(state) => state.name(),
            Self::Unfinished => "unfinished",
            Self::NotFound => "not-found",
        }
    }
}

impl Serialize for JobEnd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// A job that was waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct WaitedJob {
    /// The job.
    pub id: JobId,
    /// The end of the job.
    #[serde(rename = "result")]
    pub end: JobEnd,
}

/// Waits until all these jobs have ended, at most for `timeout`; for ever without. The answers are
/// in the order of `ids`.
///
/// # Errors
///
/// [`JobsError::Queue`].
pub async fn wait(
    pool: &PgPool,
    ids: &[JobId],
    timeout: Option<Duration>,
) -> Result<Vec<WaitedJob>, JobsError> {
    let waited = waiting::wait(pool, ids, timeout).await?;
    let end = |id: &JobId| match waited.ended.get(id) {
        Some(state) => JobEnd::Ended(*state),
        None if waited.unfinished.contains(id) => JobEnd::Unfinished,
        None => JobEnd::NotFound,
    };
    Ok(ids.iter().map(|id| WaitedJob { id: *id, end: end(id) }).collect())
}
