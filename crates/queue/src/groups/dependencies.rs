//! Dependencies: jobs that wait for others.

use serde::Serialize;
use sqlx::PgConnection;

use crate::QueueError;
use crate::enqueue::IfFailed;
use crate::ids::{BatchId, JobId};
use crate::state::JobState;

/// The most dependencies that [`waits_for`] lists.
const MAX_LISTED: i64 = 100;

/// The relations of a job to others.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Groups {
    /// The batch that it is a member of.
    pub batch: Option<BatchId>,
    /// The jobs that it waits for, in the order of their numbers; at most 100 of them.
    pub waits_for: Vec<Dependency>,
}

/// A job that another one waits for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Dependency {
    /// Its number.
    pub job: JobId,
    /// Its state; null when nothing is left of it.
    pub state: Option<JobState>,
    /// The consequence for the waiting job when this one is discarded or cancelled.
    pub if_failed: IfFailed,
}

/// The jobs that this job waits for, and its batch.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn waits_for(conn: &mut PgConnection, id: JobId) -> Result<Groups, QueueError> {
    let batch = sqlx::query_scalar!(
        r#"
        select batch_id as "batch_id: BatchId" from queue.jobs where id = $1
        union all
        select batch_id from queue.finished_jobs where id = $1
        "#,
        id.0,
    )
    .fetch_optional(&mut *conn)
    .await?
    .flatten();
    let waits_for = sqlx::query_as!(
        Dependency,
        r#"
        select
          depends_on as "job: JobId", queue.state_of(depends_on) as "state: JobState",
          if_failed as "if_failed: IfFailed"
        from queue.dependencies
        where job_id = $1
        order by depends_on
        limit $2
        "#,
        id.0,
        MAX_LISTED,
    )
    .fetch_all(conn)
    .await?;
    Ok(Groups { batch, waits_for })
}
