//! Lists of jobs, one job with the reasons why it has not run, and waiting for jobs to end.

use std::time::Duration;

use serde::Serialize;
use sqlx::{Connection as _, PgConnection, PgPool};

use super::{Explanation, JobDetails, JobFilter, JobId, JobState, JobSummary, JobsError};
use crate::ids::OrderId;
use crate::jobs::dead_letters::{JobSubject, Subject};
use crate::payments::transactions::Transaction;
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
    /// The transaction or order that it is about; null when it is about none.
    pub subject: Option<JobSubjectView>,
    /// The job.
    #[serde(flatten)]
    pub job: JobDetails,
}

/// The transaction or order that a job is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum JobSubjectView {
    /// A provider's transaction.
    Transaction {
        /// The provider's id of it.
        transaction_id: String,
    },
    /// A user's order.
    Order {
        /// Its id.
        order_id: OrderId,
        /// Its kind: `deposit`, `withdrawal`, `transfer` or `refund`.
        kind: &'static str,
    },
}

impl From<Subject> for JobSubjectView {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Transaction(Transaction { transaction_id, .. }) => {
                Self::Transaction { transaction_id }
            }
            Subject::Order(order) => Self::Order { order_id: order.id, kind: order.kind.as_str() },
        }
    }
}

/// The job and why it has not run, all as of one moment. None if there is no such job, or retention
/// has dropped it.
///
/// # Errors
///
/// [`JobsError::Queue`].
pub async fn explain(
    conn: &mut PgConnection,
    id: JobId,
) -> Result<Option<ExplainedJob>, JobsError> {
    let mut tx = conn.begin_with("begin isolation level repeatable read, read only").await?;
    let why = inspect::why_not_run(&mut tx, id).await?;
    let job = inspect::find_job(&mut tx, id).await?;
    let about = job.as_ref().and_then(|job| JobSubject::of(&job.kind, &job.stored_args));
    let subject = match about {
        Some(about) => about.find(&mut tx).await?.map(JobSubjectView::from),
        None => None,
    };
    tx.rollback().await?;
    Ok(why.zip(job).map(|(why, job)| explained(why, subject, job)))
}

fn explained(why: Explanation, subject: Option<JobSubjectView>, job: JobDetails) -> ExplainedJob {
    let also = why.also().collect();
    ExplainedJob { explanation: why.sentence, also, causes: why.causes, subject, job }
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
