//! The arguments of a job as they are stored, with what is hidden from operators otherwise.

use serde::Serialize;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::{JobId, JobRefusal, JobsError};
use crate::audit::{self, Subject};
use crate::operations::Actor;
use crate::queue::JsonText;
use crate::queue::commits::commit;
use crate::queue::operate::inspect;
use crate::queue::operate::interventions::InterventionRefusal;

/// The arguments of a job, with what is hidden elsewhere.
#[derive(Clone, Debug, Serialize)]
pub struct RevealedArgs {
    /// The job.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its arguments as they are stored.
    pub args: JsonText,
}

/// Reads the arguments of a job with all that its kind redacts; who did and why is in the audit log
/// before anything is shown. Sealed ones stay sealed: only workers have the keys.
///
/// # Errors
///
/// [`JobsError::Queue`].
pub async fn reveal(
    conn: &mut PgConnection,
    id: JobId,
    actor: &Actor,
) -> Result<Result<RevealedArgs, JobRefusal>, JobsError> {
    let mut tx = conn.begin().await?;
    let Some(stored) = inspect::stored_args(&mut tx, id).await? else {
        return Ok(Err(JobRefusal::NOT_FOUND));
    };
    let Some(args) = stored.plain else {
        return Ok(Err(JobRefusal::State(InterventionRefusal::Sealed)));
    };
    let entry = actor.entry("job.reveal", Subject::new("job", id));
    audit::record(&mut tx, &[entry.data(&json!({ "kind": stored.kind }))]).await?;
    commit(tx).await?;
    Ok(Ok(RevealedArgs { id, kind: stored.kind, args: args.as_json().clone() }))
}
