//! Other arguments for a job that waits, or that is discarded and to be redriven.

use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool};

use super::{JobChange, JobId, JobRefusal, JobResult, JobsError, known_kinds};
use crate::jobs::dead_letters;
use crate::operations::{Actor, Mode};
use crate::queue::operate::interventions::{self, standings};

/// A change of a job's arguments.
#[derive(Clone, Debug)]
pub struct EditJob {
    /// The job.
    pub id: JobId,
    /// The change.
    pub edit: ArgsEdit,
    /// The mode: the change is kept or tried out.
    pub mode: Mode,
}

/// Other arguments.
#[derive(Clone, Debug)]
pub enum ArgsEdit {
    /// New arguments instead of the old ones.
    Replace(Value),
    /// The old ones with some fields set and others left out. Arguments that are no object become
    /// one.
    Fields {
        /// Fields with their values from now on.
        set: Vec<(String, Value)>,
        /// Fields to be left out.
        unset: Vec<String>,
    },
}

impl ArgsEdit {
    fn apply(self, old: Value) -> Value {
        let (set, unset) = match self {
            Self::Replace(args) => return args,
            Self::Fields { set, unset } => (set, unset),
        };
        let mut fields = match old {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        for field in &unset {
            fields.shift_remove(field);
        }
        fields.extend(set);
        Value::Object(fields)
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
    EditJob { id, edit, mode: _ }: EditJob,
    actor: &Actor,
) -> Result<Result<JobChange, JobRefusal>, EditError> {
    let found = standings(conn, &[id]).await.map_err(JobsError::from)?;
    let Some(standing) = found.get(&id) else { return Ok(Err(JobRefusal::NOT_FOUND)) };
    if dead_letters::is_about_money(&standing.kind) {
        return Ok(Err(JobRefusal::MoneyNotEdited));
    }
    let edited = interventions::edit(conn, id, |old| edit.apply(old), actor.decision());
    let edited = match edited.await.map_err(JobsError::from)? {
        Ok(edited) => edited,
        Err(refusal) => return Ok(Err(refusal.into())),
    };
    known_kinds(pool)
        .check_args(&standing.kind, &edited.new)
        .map_err(|source| EditError::Args { kind: standing.kind.clone(), source })?;
    Ok(Ok(JobChange::Edited))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_set_and_left_out_and_the_others_stay() {
        let edit = |set: &[(&str, i32)], unset: &[&str]| ArgsEdit::Fields {
            set: set.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect(),
            unset: unset.iter().map(|name| (*name).to_owned()).collect(),
        };
        let old = json!({ "a": 1, "b": 2, "c": 3 });
        assert_eq!(edit(&[("a", 9)], &["b"]).apply(old), json!({ "a": 9, "c": 3 }));
        assert_eq!(edit(&[("a", 1)], &[]).apply(json!([1])), json!({ "a": 1 }));
        assert_eq!(ArgsEdit::Replace(json!(7)).apply(json!({})), json!(7));
    }
}
