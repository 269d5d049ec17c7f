//! Other arguments for a job that waits, or that is discarded and to be redriven.

use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::{JobChange, JobDetails, JobId, JobRefusal, JobResult, JobsError, known_kinds};
use crate::audit::{self, Subject};
use crate::jobs::dead_letters;
use crate::operations::{Actor, Mode};
use crate::queue::operate::inspect;
use crate::queue::operate::interventions::{self, standings};
use crate::queue::{InvalidJob, QueueError};

pub use crate::queue::operate::interventions::ArgsChange;
pub use crate::queue::{JsonText, JsonTextError};

/// A change of a job's arguments.
#[derive(Clone, Debug)]
pub struct EditJob {
    /// The job.
    pub id: JobId,
    /// The change.
    pub change: ArgsChange,
    /// The version that the job must still have; none for any.
    pub if_version: Option<JobVersion>,
    /// The mode: the change is kept or tried out.
    pub mode: Mode,
}

/// A version of a job, for changes that are meant for what somebody has seen: another attempt, and
/// whatever an operator does to the job, gives it another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobVersion(String);

impl JobVersion {
    /// The version of a job as it was read.
    #[must_use]
    pub fn of(job: &JobDetails) -> Self {
        Self::counted(job, job.interventions.len())
    }

    /// The version in a text, as [`as_str`](Self::as_str) gives it.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The version as a text without white space or quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn counted(job: &JobDetails, interventions: usize) -> Self {
        Self(format!("{}-{interventions}-{}", job.attempt, job.resolutions.len()))
    }
}

/// An edit that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// No job of this kind has such arguments.
    #[error("arguments of kind {kind} cannot be these")]
    Args {
        /// The kind of the job.
        kind: String,
        /// The error of the arguments.
        source: serde_json::Error,
    },
    /// The arguments have more JSON than the queue takes.
    #[error("{0}")]
    TooLong(QueueError),
    /// No job has such arguments.
    #[error("{0}")]
    Invalid(InvalidJob),
    /// The job has another version than the edit was meant for.
    #[error("the job has changed since that version")]
    Stale,
    /// The database refused or did not answer.
    #[error(transparent)]
    Jobs(#[from] JobsError),
}

impl From<sqlx::Error> for EditError {
    fn from(error: sqlx::Error) -> Self {
        Self::Jobs(error.into())
    }
}

/// Gives a job other arguments, if its kind can have them; both are kept with who and why. A job
/// about money is not edited.
///
/// # Errors
///
/// [`EditError`]; nothing has changed then.
pub async fn edit(pool: &PgPool, request: EditJob, actor: &Actor) -> Result<JobResult, EditError> {
    let (id, mode) = (request.id, request.mode);
    let mut tx = pool.begin().await?;
    let outcome = edit_in(&mut tx, pool, request, actor).await;
    match &outcome {
        Ok(Ok(_)) => mode.end(tx).await?,
        // At once, because of the lock: a transaction that is only dropped may keep it for a while.
        Ok(Err(_)) | Err(_) => tx.rollback().await?,
    }
    Ok(JobResult { id, outcome: outcome?, mode })
}

async fn edit_in(
    conn: &mut PgConnection,
    pool: &PgPool,
    EditJob { id, change, if_version, mode: _ }: EditJob,
    actor: &Actor,
) -> Result<Result<JobChange, JobRefusal>, EditError> {
    let found = standings(conn, &[id]).await.map_err(JobsError::from)?;
    let Some(standing) = found.get(&id) else { return Ok(Err(JobRefusal::NOT_FOUND)) };
    if dead_letters::is_about_money(&standing.kind) {
        return Ok(Err(JobRefusal::MoneyNotEdited));
    }
    let edited = interventions::edit(conn, id, change, actor.decision());
    let edited = edited.await.map_err(|error| match error {
        QueueError::ArgsTooLong { .. } => EditError::TooLong(error),
        QueueError::InvalidJob(problem) => EditError::Invalid(problem),
        _ => EditError::Jobs(error.into()),
    })?;
    let edited = match edited {
        Ok(edited) => edited,
        Err(refusal) => return Ok(Err(refusal.into())),
    };
    known_kinds(pool)
        .check_args(&standing.kind, &edited.new)
        .map_err(|source| EditError::Args { kind: standing.kind.clone(), source })?;
    if let Some(version) = if_version {
        // Nobody else edits the job now; what this did is one intervention more.
        let job = inspect::find_job(conn, id).await.map_err(JobsError::from)?;
        let before =
            job.map(|job| JobVersion::counted(&job, job.interventions.len().saturating_sub(1)));
        if before != Some(version) {
            return Err(EditError::Stale);
        }
    }
    // The arguments stay with the job, before and after: there they are sealed or redacted.
    let entry = actor.entry("job.edit", Subject::new("job", id));
    audit::record(conn, &[entry.data(&json!({ "kind": standing.kind }))]).await?;
    Ok(Ok(JobChange::Edited))
}
