//! Dependencies: jobs that wait for others.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::batch::BatchId;
use crate::QueueError;
use crate::enqueue::NewJob;
use crate::inspect::JobState;
use crate::job::JobId;

/// The most dependencies that [`waits_for`] lists.
const MAX_LISTED: i64 = 100;

/// What becomes of a job when one that it waits for is discarded or cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum IfFailed {
    /// It is cancelled, and told why; and so are those that wait for it, if they are of the same
    /// mind.
    #[default]
    Cancel,
    /// It waits until the other one is redriven and completed. If that can no longer happen,
    /// because the other one was cancelled, or was dismissed by an operator, it is cancelled.
    Wait,
    /// It goes on, as if the other one had been completed.
    Run,
}

impl IfFailed {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Wait => "wait",
            Self::Run => "run",
        }
    }
}

impl NewJob {
    /// The job waits until all of these are completed; called again, until the others are, too. A
    /// delay or a moment counts from the enqueue, and holds besides.
    ///
    /// Those that have ended already count as what they are. A unique job that is there already
    /// goes on to wait for what it waits for.
    #[must_use]
    pub fn after(mut self, jobs: &[JobId]) -> Self {
        self.after.extend_from_slice(jobs);
        self.extras.held = !self.after.is_empty();
        self
    }

    /// What becomes of the job if one that it waits for is discarded or cancelled; without this it
    /// is [cancelled](IfFailed::Cancel).
    #[must_use]
    pub fn after_if_failed(mut self, policy: IfFailed) -> Self {
        self.if_failed = policy;
        self
    }
}

/// What a job has to do with others.
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
    /// What becomes of the waiting job if this one is discarded or cancelled.
    pub if_failed: IfFailed,
}

/// What this job waits for, and its batch.
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

/// One dependency to be written.
pub(super) struct NewDependency {
    pub(super) job: JobId,
    pub(super) depends_on: JobId,
    pub(super) if_failed: IfFailed,
}

/// Writes dependencies, each once, in the transaction that enqueues the jobs that wait.
pub(super) async fn insert(
    conn: &mut PgConnection,
    dependencies: &[NewDependency],
) -> Result<(), QueueError> {
    if dependencies.is_empty() {
        return Ok(());
    }
    let jobs: Vec<i64> = dependencies.iter().map(|dependency| dependency.job.0).collect();
    let parents: Vec<i64> = dependencies.iter().map(|dependency| dependency.depends_on.0).collect();
    let policies: Vec<String> =
        dependencies.iter().map(|dependency| dependency.if_failed.name().to_owned()).collect();
    sqlx::query!(
        "
        insert into queue.dependencies (job_id, depends_on, if_failed)
        select job_id, depends_on, if_failed
        from unnest($1::bigint[], $2::bigint[], $3::text[]) as new (job_id, depends_on, if_failed)
        on conflict do nothing
        ",
        &jobs,
        &parents,
        &policies,
    )
    .execute(conn)
    .await?;
    Ok(())
}
