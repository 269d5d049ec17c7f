//! All that the database knows of one job: for whoever asks why it has not run, or what it did.

use std::fmt;

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::failures::Fingerprint;
use crate::QueueError;
use crate::groups::{self, Groups};
use crate::handler::{AttemptOutcome, Job};
use crate::ids::{Fence, JobId};
use crate::json::JsonText;
use crate::state::JobState;

mod cause;
mod traces;
mod why_not_run;

pub use cause::Cause;
pub use traces::{JobTraces, traces};
pub use why_not_run::{Explanation, MAX_COUNTED, why_not_run};

/// One job, finished or not.
#[derive(Clone, Debug, Serialize)]
pub struct JobDetails {
    /// Its number.
    pub id: JobId,
    /// The queue that it is in.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// 1 (claimed first) to 4 (last).
    pub priority: i16,
    /// Its state.
    pub state: JobState,
    /// The reason for its wait, if its handler gave one when it snoozed.
    pub wait_reason: Option<String>,
    /// The moment at which it is due, or was when it last ran.
    #[serde(with = "time::serde::rfc3339")]
    pub run_at: OffsetDateTime,
    /// Attempts begun.
    pub attempt: i16,
    /// After so many failed attempts it is discarded.
    pub max_attempts: i16,
    /// Attempts that ended with their worker, since the last redrive.
    pub crash_count: i16,
    /// The key that it was enqueued with.
    pub key: Option<String>,
    /// The words that it can be found by; null for none.
    pub tags: Option<Vec<String>>,
    /// The batch that it belongs to.
    pub batch_id: Option<i64>,
    /// The worker that has it now.
    pub worker_id: Option<Uuid>,
    /// The moment at which that worker claimed it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// The end of that worker's lease, unless it is renewed.
    #[serde(with = "time::serde::rfc3339::option")]
    pub lease_expires_at: Option<OffsetDateTime>,
    /// The person who asked to cancel it while it runs.
    pub cancel_requested_by: Option<String>,
    /// Progress in percent, if its handler records any.
    pub progress: Option<i16>,
    /// The same in words.
    pub progress_text: Option<String>,
    /// The checkpoint that its handler stored to go on from.
    pub checkpoint: Option<JsonText>,
    /// The output of its handler.
    pub output: Option<JsonText>,
    /// The moment at which it was enqueued.
    #[serde(with = "time::serde::rfc3339")]
    pub enqueued_at: OffsetDateTime,
    /// The moment at which it was finished.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// The fingerprint of its last failure; null if it has not failed, has ended otherwise, or
    /// somebody has decided over it since.
    pub fingerprint: Option<Fingerprint>,
    /// Its arguments as people may see them: without what its kind
    /// [redacts](crate::handler::Job::REDACTED), and not opened if they are sealed.
    pub args: JsonText,
    /// The same as they are stored, for programs.
    #[serde(skip)]
    pub stored_args: StoredArgs,
    /// The jobs that it waits for, and its batch.
    #[serde(flatten)]
    pub groups: Groups,
    /// All ended attempts that retention has kept, in order.
    pub attempts: Vec<Attempt>,
    /// Decisions of operators over it, in order.
    pub resolutions: Vec<Resolution>,
    /// Other interventions of operators, in order.
    pub interventions: Vec<Intervention>,
}

/// The arguments of a job as they are stored, with what nobody is to be shown: `Debug` leaves them
/// out.
#[derive(Clone, sqlx::Type)]
#[sqlx(transparent)]
pub struct StoredArgs(JsonText);

impl fmt::Debug for StoredArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredArgs(..)")
    }
}

impl StoredArgs {
    /// The arguments as those of a job of kind `J`; none if they do not parse, or are sealed.
    #[must_use]
    pub fn parse<J: Job>(&self) -> Option<J> {
        self.0.parse().ok()
    }

    /// The arguments as JSON; not opened if they are sealed.
    #[must_use]
    pub fn as_json(&self) -> &JsonText {
        &self.0
    }
}

/// One ended attempt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: i16,
    /// The number of the claim.
    pub fence: Fence,
    /// The worker that ran it.
    pub worker_id: Uuid,
    /// The moment at which it began.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// The moment at which it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub ended_at: OffsetDateTime,
    /// The kind of end.
    pub outcome: AttemptOutcome,
    /// The whole error chain; null exactly when it completed the job.
    pub error: Option<String>,
}

/// A decision of an operator over the job after it was discarded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Resolution {
    /// The attempt that the job was discarded at.
    pub attempt: i16,
    /// The decision.
    pub resolution: ResolutionKind,
    /// The author of the decision.
    pub resolved_by: String,
    /// The reason that was given.
    pub reason: String,
    /// The moment of the decision.
    #[serde(with = "time::serde::rfc3339")]
    pub resolved_at: OffsetDateTime,
}

/// An intervention of an operator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Intervention {
    /// One of `cancel`, `retry`, `discard` and `edit`.
    pub action: String,
    /// The author of the intervention.
    pub made_by: String,
    /// The reason that was given.
    pub reason: String,
    /// Details beyond that; of an edit the arguments before and after.
    pub detail: Option<JsonText>,
    /// The moment of the intervention.
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
}

/// The decisions that there are over a discarded job.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "queue.resolution", rename_all = "snake_case")]
pub enum ResolutionKind {
    /// It was to run again.
    Redriven,
    /// It was written off.
    Dismissed,
}

/// All that is known of a job, or nothing if there is none or retention has dropped it.
///
/// Read by several statements: in a REPEATABLE READ transaction they tell of one moment.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn find_job(
    conn: &mut PgConnection,
    id: JobId,
) -> Result<Option<JobDetails>, QueueError> {
    let Some(job) = sqlx::query!(
        r#"
        select
          queue as "queue!", kind as "kind!", priority as "priority!", state as "state!: JobState",
          wait_reason, run_at as "run_at!", attempt as "attempt!", max_attempts as "max_attempts!",
          crash_count as "crash_count!", worker_id, lease_expires_at,
          enqueued_at as "enqueued_at!", finished_at, args as "stored_args!: JsonText",
          queue.shown_args(kind, args, args_key) as "args!: JsonText", key, tags, batch_id,
          started_at, cancel_requested_by, progress, progress_text,
          checkpoint as "checkpoint: JsonText", output as "output: JsonText",
          failure as "fingerprint: Fingerprint"
        from queue.all_jobs
        where id = $1
        "#,
        id.0,
    )
    .fetch_optional(&mut *conn)
    .await?
    else {
        return Ok(None);
    };
    Ok(Some(JobDetails {
        id,
        interventions: interventions(conn, id, &job.kind).await?,
        queue: job.queue,
        kind: job.kind,
        priority: job.priority,
        state: job.state,
        wait_reason: job.wait_reason,
        run_at: job.run_at,
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        crash_count: job.crash_count,
        key: job.key,
        tags: job.tags,
        batch_id: job.batch_id,
        worker_id: job.worker_id,
        started_at: job.started_at,
        lease_expires_at: job.lease_expires_at,
        cancel_requested_by: job.cancel_requested_by,
        progress: job.progress,
        progress_text: job.progress_text,
        checkpoint: job.checkpoint,
        output: job.output,
        enqueued_at: job.enqueued_at,
        finished_at: job.finished_at,
        fingerprint: job.fingerprint,
        args: job.args,
        stored_args: StoredArgs(job.stored_args),
        groups: groups::waits_for(conn, id).await?,
        attempts: attempts(conn, id).await?,
        resolutions: resolutions(conn, id).await?,
    }))
}

/// The arguments of a job as they are stored.
#[derive(Clone, Debug)]
pub struct StoredJobArgs {
    /// The kind of the job.
    pub kind: String,
    /// The arguments with what nobody is to be shown; none if they are sealed.
    pub plain: Option<StoredArgs>,
}

/// The arguments of a job as they are stored, for somebody who has a reason to see what is hidden
/// elsewhere; none if there is no such job or retention has dropped it.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn stored_args(
    conn: &mut PgConnection,
    id: JobId,
) -> Result<Option<StoredJobArgs>, QueueError> {
    let stored = sqlx::query!(
        r#"
        select
          kind as "kind!", case when args_key is null then args end as "plain: JsonText"
        from queue.all_jobs
        where id = $1
        "#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(stored.map(|job| StoredJobArgs { kind: job.kind, plain: job.plain.map(StoredArgs) }))
}

async fn attempts(conn: &mut PgConnection, id: JobId) -> Result<Vec<Attempt>, QueueError> {
    let attempts = sqlx::query_as!(
        Attempt,
        r#"
        select
          attempt, fence as "fence: Fence", worker_id, started_at, ended_at,
          outcome as "outcome: AttemptOutcome", error
        from queue.attempts
        where job_id = $1
        order by attempt
        "#,
        id.0,
    )
    .fetch_all(conn)
    .await?;
    Ok(attempts)
}

async fn resolutions(conn: &mut PgConnection, id: JobId) -> Result<Vec<Resolution>, QueueError> {
    let resolutions = sqlx::query_as!(
        Resolution,
        r#"
        select
          attempt, resolution as "resolution: ResolutionKind", resolved_by, reason, resolved_at
        from queue.resolutions
        where job_id = $1
        order by attempt
        "#,
        id.0,
    )
    .fetch_all(conn)
    .await?;
    Ok(resolutions)
}

async fn interventions(
    conn: &mut PgConnection,
    id: JobId,
    kind: &str,
) -> Result<Vec<Intervention>, QueueError> {
    // What an edit changed is shown like all arguments.
    let interventions = sqlx::query_as!(
        Intervention,
        r#"
        select
          action, made_by, reason, made_at,
          case action
            when 'edit' then jsonb_build_object(
              'old', queue.shown_args($2, detail -> 'old', null),
              'new', queue.shown_args($2, detail -> 'new', null)
            )
            else detail
          end as "detail: JsonText"
        from queue.interventions
        where job_id = $1
        order by id
        "#,
        id.0,
        kind,
    )
    .fetch_all(conn)
    .await?;
    Ok(interventions)
}
