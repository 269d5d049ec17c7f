//! Other arguments for a job that waits, or that is discarded and to be redriven.

use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::{JobChange, JobId, JobRefusal, JobResult, JobsError, known_kinds};
use crate::audit::{self, Subject};
use crate::jobs::dead_letters;
use crate::operations::{Actor, Mode};
use crate::queue::QueueError;
use crate::queue::operate::interventions::{self, standings};

pub use crate::queue::operate::interventions::ArgsChange;
pub use crate::queue::{JsonText, JsonTextError};

/// A change of a job's arguments.
#[derive(Clone, Debug)]
pub struct EditJob {
    /// The job.
    pub id: JobId,
    /// The change.
    pub change: ArgsChange,
    /// The mode: the change is kept or tried out.
    pub mode: Mode,
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
    EditJob { id, change, mode: _ }: EditJob,
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
        _ => EditError::Jobs(error.into()),
    })?;
    let edited = match edited {
        Ok(edited) => edited,
        Err(refusal) => return Ok(Err(refusal.into())),
    };
    known_kinds(pool)
        .check_args(&standing.kind, &edited.new)
        .map_err(|source| EditError::Args { kind: standing.kind.clone(), source })?;
    // The arguments stay with the job, before and after: there they are sealed or redacted.
    let entry = actor.entry("job.edit", Subject::new("job", id));
    audit::record(conn, &[entry.data(&json!({ "kind": standing.kind }))]).await?;
    Ok(Ok(JobChange::Edited))
}
