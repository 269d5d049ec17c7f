//! Jobs on the wire: in lists, and what is asked for.

use std::time::Duration;

use poem_openapi::{Enum, Object};
use serde::Serialize;
use time::OffsetDateTime;

use crate::http::wire::any_json::{AnyFields, AnyJson};
use crate::http::wire::field_types::Text;
use crate::http::wire::json_body::json_object;
use crate::http::wire::lists::cursor_after;
use crate::http::wire::moment::Moment;
use crate::operations::MAX_REASON_CHARS;
use crate::operations::Reason;
use crate::operations::jobs::edit::{ArgsChange, JsonText};
use crate::operations::jobs::enqueue::{Due, EnqueueJob, EnqueuedJob};
use crate::operations::jobs::reading::JobPage;
use crate::operations::jobs::reveal::RevealedArgs;
use crate::operations::jobs::{JobChange, JobId, JobState, JobSummary};

/// The state of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename = "JobState", rename_all = "snake_case")]
pub(in crate::http::api) enum JobStateName {
    /// It waits for its time, and has never run.
    Scheduled,
    /// It is due, and waits for a worker.
    Available,
    /// It has run, and waits for its time to run again.
    Retryable,
    /// A worker has it.
    Running,
    /// It is done.
    Completed,
    /// It is no longer wanted.
    Cancelled,
    /// It failed for good.
    Discarded,
}

impl From<JobStateName> for JobState {
    fn from(name: JobStateName) -> Self {
        match name {
            JobStateName::Scheduled => Self::Scheduled,
            JobStateName::Available => Self::Available,
            JobStateName::Retryable => Self::Retryable,
            JobStateName::Running => Self::Running,
            JobStateName::Completed => Self::Completed,
            JobStateName::Cancelled => Self::Cancelled,
            JobStateName::Discarded => Self::Discarded,
        }
    }
}

impl From<JobState> for JobStateName {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Scheduled => Self::Scheduled,
            JobState::Available => Self::Available,
            JobState::Retryable => Self::Retryable,
            JobState::Running => Self::Running,
            JobState::Completed => Self::Completed,
            JobState::Cancelled => Self::Cancelled,
            JobState::Discarded => Self::Discarded,
        }
    }
}

/// A job.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Job")]
pub(super) struct JobOut {
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
    /// The moment at which it is due, or was when it last ran.
    #[serde(with = "time::serde::rfc3339")]
    run_at: OffsetDateTime,
    /// The moment at which it was enqueued.
    #[serde(with = "time::serde::rfc3339")]
    enqueued_at: OffsetDateTime,
    /// The moment at which it was finished; null while it is not.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    finished_at: Option<OffsetDateTime>,
    /// The moment at which it was discarded, or its last attempt failed; null if neither was.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    failed_at: Option<OffsetDateTime>,
    /// The key that it shares with others; null for none.
    #[oai(nullable)]
    key: Option<String>,
    /// The words that it can be found by.
    tags: Vec<String>,
    /// The batch that it belongs to; null for none.
    #[oai(nullable)]
    batch_id: Option<i64>,
    /// The arguments of the job, without what its kind hides.
    args: AnyJson,
    /// The error of its last ended attempt, or why an operator discarded it; null where there is
    /// none.
    #[oai(nullable)]
    error: Option<String>,
}

impl From<JobSummary> for JobOut {
    fn from(job: JobSummary) -> Self {
        Self {
            id: job.id.0,
            queue: job.queue,
            kind: job.kind,
            state: job.state.into(),
            priority: job.priority,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            run_at: job.run_at,
            enqueued_at: job.enqueued_at,
            finished_at: job.finished_at,
            failed_at: job.failed_at,
            key: job.key,
            tags: job.tags.unwrap_or_default(),
            batch_id: job.batch_id,
            args: AnyJson(job.args),
            error: job.error,
        }
    }
}

/// A page of jobs, newest first.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "JobPage")]
pub(super) struct JobPageOut {
    /// The jobs of this page. It may have fewer than were asked for, even none, and not be the
    /// last: only so many jobs are looked at for one page.
    jobs: Vec<JobOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl JobPageOut {
    /// This page of the list that `list` describes.
    pub(super) fn new(page: JobPage, list: &str) -> Self {
        Self {
            jobs: page.jobs.into_iter().map(Into::into).collect(),
            next_cursor: page.next.map(|JobId(next)| cursor_after(next.to_be_bytes(), list)),
        }
    }
}

json_object! {
    /// The reason for a change.
    #[oai(rename = "Because")]
    pub(in crate::http::api) struct BecauseIn {
        /// The reason, for whoever asks later.
        reason: Text<MAX_REASON_CHARS>,
    }

    fn value(fields) -> Reason {
        fields.accept("reason", reason?.0.parse())
    }
}

json_object! {
    /// A change of a job's arguments: all of them, or some fields.
    #[oai(rename = "JobEdit")]
    pub(super) struct JobEditIn {
        /// The reason, for whoever asks later.
        reason: Text<MAX_REASON_CHARS>,
        /// All arguments, in place of those before; then there is neither `set` nor `unset`.
        args: Option<AnyJson>,
        /// Fields with their values from now on; the others stay.
        set: Option<AnyFields>,
        /// Fields to be left out.
        unset: Option<Vec<String>>,
    }

    fn value(fields) -> (Reason, ArgsChange) {
        let reason = fields.accept("reason", reason?.0.parse());
        let change = match (args?, set?, unset?) {
            (Some(AnyJson(args)), None, None) => Ok(ArgsChange::Replace(args)),
            (None, None, None) => Err("must be there, or else set or unset"),
            (None, set, unset) => Ok(ArgsChange::Fields {
                set: set.map(|AnyFields(set)| set).unwrap_or_default(),
                unset: unset.unwrap_or_default(),
            }),
            (Some(_), ..) => Err("replaces all arguments, so there can be no set or unset"),
        };
        Some((reason?, fields.accept("args", change)?))
    }
}

json_object! {
    /// A job to be enqueued; what is absent is as the kind has it.
    #[oai(rename = "NewJob")]
    pub(super) struct NewJobIn {
        /// The reason, for whoever asks later.
        reason: Text<MAX_REASON_CHARS>,
        /// The kind, one that this program knows.
        kind: Text<100>,
        /// The arguments of the job: fields by name.
        args: AnyFields,
        /// The queue.
        queue: Option<Text<100>>,
        /// From 1, which is claimed first, to 4.
        #[oai(validator(minimum(value = "1"), maximum(value = "4")))]
        priority: Option<u32>,
        /// The time until it is due, in seconds; not with `run_at`.
        #[oai(validator(maximum(value = "31536000")))]
        delay_secs: Option<u32>,
        /// The moment at which it is due; at once when absent.
        run_at: Option<Moment>,
        /// The key that it shares with others.
        key: Option<Text<200>>,
        /// Words to find it by; at most 50.
        tags: Option<Vec<String>>,
        /// After so many failed attempts it is discarded.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        max_attempts: Option<u32>,
    }

    fn value(fields) -> (Reason, EnqueueJob) {
        let reason = fields.accept("reason", reason?.0.parse());
        let due = match (delay_secs?, run_at?) {
            (None, None) => Ok(Due::Now),
            (Some(secs), None) => Ok(Due::After(Duration::from_secs(secs.into()))),
            (None, Some(at)) => Ok(Due::At(at.boundary())),
            (Some(_), Some(_)) => Err("and run_at exclude each other"),
        };
        let due = fields.accept("delay_secs", due);
        let small = |number: Option<u32>| number.map(|it| i16::try_from(it).unwrap_or(i16::MAX));
        let job = EnqueueJob {
            kind: kind?.0,
            args: JsonText::of(&args?.0).ok()?,
            queue: queue?.map(|Text(queue)| queue),
            priority: small(priority?),
            due: due?,
            key: key?.map(|Text(key)| key),
            tags: tags?.unwrap_or_default(),
            max_attempts: small(max_attempts?),
            uniqueness: None,
            allow_unknown_kind: false,
        };
        Some((reason?, job))
    }
}

/// A change that was made to a job.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
enum JobChangeName {
    /// The job waited, and is due now.
    DueNow,
    /// The job was due already; nothing has changed.
    AlreadyDue,
    /// The job was discarded, and runs again.
    Redriven,
    /// The job waited, and is cancelled.
    Cancelled,
    /// The job runs, and its worker is asked to stop it.
    CancelRequested,
    /// The job waited, and is discarded.
    Discarded,
    /// The job has other arguments.
    Edited,
    /// The job was discarded, and is written off.
    WrittenOff,
}

/// A job that was changed.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "ChangedJob")]
pub(super) struct ChangedJobOut {
    /// The number of the job.
    id: i64,
    /// The change.
    result: JobChangeName,
}

impl ChangedJobOut {
    /// The job with this change.
    pub(super) fn new(JobId(id): JobId, change: JobChange) -> Self {
        let result = match change {
            JobChange::DueNow => JobChangeName::DueNow,
            JobChange::AlreadyDue => JobChangeName::AlreadyDue,
            JobChange::Redriven => JobChangeName::Redriven,
            JobChange::Cancelled => JobChangeName::Cancelled,
            JobChange::CancelRequested => JobChangeName::CancelRequested,
            JobChange::Discarded => JobChangeName::Discarded,
            JobChange::Edited => JobChangeName::Edited,
            JobChange::WrittenOff => JobChangeName::WrittenOff,
        };
        Self { id, result }
    }
}

/// A job that was enqueued.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "EnqueuedJob")]
pub(super) struct EnqueuedJobOut {
    /// The number of the job.
    id: i64,
}

impl From<EnqueuedJob> for EnqueuedJobOut {
    fn from(enqueued: EnqueuedJob) -> Self {
        Self { id: enqueued.id.0 }
    }
}

/// The arguments of a job, with what is hidden elsewhere.
#[derive(Serialize, Object)]
#[oai(rename = "RevealedJobArgs")]
pub(super) struct RevealedArgsOut {
    /// The number of the job.
    id: i64,
    /// The kind of the job.
    kind: String,
    /// The arguments as they are stored.
    args: AnyJson,
}

impl From<RevealedArgs> for RevealedArgsOut {
    fn from(revealed: RevealedArgs) -> Self {
        Self { id: revealed.id.0, kind: revealed.kind, args: AnyJson(revealed.args) }
    }
}
