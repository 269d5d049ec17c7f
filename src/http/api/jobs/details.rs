//! One job on the wire, with all that is known of it.

use poem_openapi::{Enum, Object};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::bodies::JobStateName;
use crate::http::api::orders::OrderOut;
use crate::http::api::transactions::TransactionOut;
use crate::http::wire::any_json::AnyJson;
use crate::operations::jobs::reading::ExplainedJob;
use crate::operations::jobs::{Attempt, Intervention, ResolutionKind};
use crate::queue::groups::Dependency;
use crate::queue::operate::inspect::Resolution;
use crate::queue::{AttemptOutcome, JsonText};

/// A job, with all that is known of it and why it has not run.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "JobDetails")]
pub(super) struct JobDetailsOut {
    /// The main reason why it has not run, or what became of it, in one sentence.
    explanation: String,
    /// Further reasons.
    also: Vec<String>,
    /// The same reasons for programs: each has its name in `cause`, and what belongs to it.
    causes: AnyJson,
    /// The number of the job.
    id: i64,
    /// The queue that it is in.
    queue: String,
    /// The kind of the job.
    kind: String,
    /// The state of the job.
    state: JobStateName,
    /// From 1, which is claimed first, to 4.
    priority: i16,
    /// The number of attempts begun.
    attempt: i16,
    /// After so many failed attempts it is discarded.
    max_attempts: i16,
    /// The number of attempts that ended with their worker, since it was last redriven.
    crash_count: i16,
    /// The moment at which it is due, or was when it last ran.
    #[serde(with = "time::serde::rfc3339")]
    run_at: OffsetDateTime,
    /// The moment at which it was enqueued.
    #[serde(with = "time::serde::rfc3339")]
    enqueued_at: OffsetDateTime,
    /// The moment at which the attempt that is under way began; null while none is.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    started_at: Option<OffsetDateTime>,
    /// The moment at which it was finished; null while it is not.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    finished_at: Option<OffsetDateTime>,
    /// The worker that has it; null while none has.
    #[oai(nullable)]
    worker_id: Option<Uuid>,
    /// The end of that worker's lease, unless it is renewed.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    lease_expires_at: Option<OffsetDateTime>,
    /// The one who asked to cancel it while it runs; null if nobody did.
    #[oai(nullable)]
    cancel_requested_by: Option<String>,
    /// The reason for its wait that its handler gave; null for none.
    #[oai(nullable)]
    wait_reason: Option<String>,
    /// The key that it shares with others; null for none.
    #[oai(nullable)]
    key: Option<String>,
    /// The words that it can be found by.
    tags: Vec<String>,
    /// The batch that it belongs to; null for none.
    #[oai(nullable)]
    batch_id: Option<i64>,
    /// The jobs that it waits for; at most 100 of them.
    waits_for: Vec<DependencyOut>,
    /// The progress in percent; null if its handler tells of none.
    #[oai(nullable)]
    progress: Option<i16>,
    /// The same in words.
    #[oai(nullable)]
    progress_text: Option<String>,
    /// The arguments of the job, without what its kind hides.
    args: AnyJson,
    /// The output of its handler; null where there is none.
    output: AnyJson,
    /// The checkpoint that its handler goes on from; null where there is none.
    checkpoint: AnyJson,
    /// The ended attempts that are still kept, in order.
    attempts: Vec<RunOut>,
    /// The decisions over it after it was discarded, in order.
    decisions: Vec<ResolutionOut>,
    /// Whatever else operators did to it, in order.
    interventions: Vec<InterventionOut>,
    /// The order that it is about; absent when it is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    order: Option<OrderOut>,
    /// The provider's transaction that it is about; absent when it is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    transaction: Option<TransactionOut>,
}

impl From<ExplainedJob> for JobDetailsOut {
    fn from(explained: ExplainedJob) -> Self {
        let causes = explained.causes_as_json();
        let job = explained.job;
        Self {
            explanation: explained.explanation,
            also: explained.also,
            causes: AnyJson(causes),
            id: job.id.0,
            queue: job.queue,
            kind: job.kind,
            state: job.state.into(),
            priority: job.priority,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            crash_count: job.crash_count,
            run_at: job.run_at,
            enqueued_at: job.enqueued_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            worker_id: job.worker_id,
            lease_expires_at: job.lease_expires_at,
            cancel_requested_by: job.cancel_requested_by,
            wait_reason: job.wait_reason,
            key: job.key,
            tags: job.tags.unwrap_or_default(),
            batch_id: job.batch_id,
            waits_for: job.groups.waits_for.into_iter().map(Into::into).collect(),
            progress: job.progress,
            progress_text: job.progress_text,
            args: AnyJson(job.args),
            output: or_null(job.output),
            checkpoint: or_null(job.checkpoint),
            attempts: job.attempts.into_iter().map(Into::into).collect(),
            decisions: job.resolutions.into_iter().map(Into::into).collect(),
            interventions: job.interventions.into_iter().map(Into::into).collect(),
            order: explained.order.map(|order| order.0.into()),
            transaction: explained.transaction.map(|transaction| transaction.0.into()),
        }
    }
}

fn or_null(json: Option<JsonText>) -> AnyJson {
    AnyJson(json.unwrap_or_else(|| serde_json::Value::Null.into()))
}

/// A job that another one waits for.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "JobDependency")]
struct DependencyOut {
    /// The number of the job that is waited for.
    job_id: i64,
    /// The state of that job; null when nothing is left of it.
    #[oai(nullable)]
    state: Option<JobStateName>,
}

impl From<Dependency> for DependencyOut {
    fn from(dependency: Dependency) -> Self {
        Self { job_id: dependency.job.0, state: dependency.state.map(Into::into) }
    }
}

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
enum RunEnd {
    /// The job is done.
    Completed,
    /// The attempt failed.
    Failed,
    /// The attempt took too long.
    TimedOut,
    /// The worker was lost.
    Crashed,
    /// The job found that it can never succeed.
    Discarded,
    /// The job was no longer wanted.
    Cancelled,
}

/// An ended attempt of a job, and who made it.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "JobRun")]
struct RunOut {
    /// The number of the attempt, from 1.
    attempt: i16,
    /// The worker that made it.
    worker_id: Uuid,
    /// The moment at which the attempt began.
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    /// The moment at which the attempt ended.
    #[serde(with = "time::serde::rfc3339")]
    ended_at: OffsetDateTime,
    /// The outcome of the attempt.
    outcome: RunEnd,
    /// The error with all of its causes; null exactly when it completed the job.
    #[oai(nullable)]
    error: Option<String>,
}

impl From<Attempt> for RunOut {
    fn from(attempt: Attempt) -> Self {
        Self {
            attempt: attempt.attempt,
            worker_id: attempt.worker_id,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            outcome: match attempt.outcome {
                AttemptOutcome::Completed => RunEnd::Completed,
                AttemptOutcome::Failed => RunEnd::Failed,
                AttemptOutcome::TimedOut => RunEnd::TimedOut,
                AttemptOutcome::Crashed => RunEnd::Crashed,
                AttemptOutcome::Discarded => RunEnd::Discarded,
                AttemptOutcome::Cancelled => RunEnd::Cancelled,
            },
            error: attempt.error,
        }
    }
}

/// A decision over a discarded job.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
enum JobResolutionKind {
    /// The job was to run again.
    Redriven,
    /// The job was not to run again.
    WrittenOff,
}

/// A decision that was made over a discarded job.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "JobResolution")]
struct ResolutionOut {
    /// The decision.
    decision: JobResolutionKind,
    /// The attempt that the job had been discarded at.
    attempt: i16,
    /// The one who decided.
    decided_by: String,
    /// The reason that was given.
    reason: String,
    /// The moment of the decision.
    #[serde(with = "time::serde::rfc3339")]
    decided_at: OffsetDateTime,
}

impl From<Resolution> for ResolutionOut {
    fn from(resolution: Resolution) -> Self {
        Self {
            decision: match resolution.resolution {
                ResolutionKind::Redriven => JobResolutionKind::Redriven,
                ResolutionKind::Dismissed => JobResolutionKind::WrittenOff,
            },
            attempt: resolution.attempt,
            decided_by: resolution.resolved_by,
            reason: resolution.reason,
            decided_at: resolution.resolved_at,
        }
    }
}

/// Something else that an operator did to a job.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "JobIntervention")]
struct InterventionOut {
    /// One of `cancel`, `retry`, `discard` and `edit`.
    action: String,
    /// The one who did it.
    made_by: String,
    /// The reason that was given.
    reason: String,
    /// More about it: of an edit the arguments before and after, without what is hidden; null where
    /// there is no more.
    detail: AnyJson,
    /// The moment.
    #[serde(with = "time::serde::rfc3339")]
    made_at: OffsetDateTime,
}

impl From<Intervention> for InterventionOut {
    fn from(made: Intervention) -> Self {
        Self {
            action: made.action,
            made_by: made.made_by,
            reason: made.reason,
            detail: or_null(made.detail),
            made_at: made.made_at,
        }
    }
}
