//! Bulk operations on the wire.

use std::collections::BTreeMap;

use poem_openapi::{Enum, Object};
use serde::Serialize;
use time::OffsetDateTime;

use crate::http::wire::field_types::{FieldType, Text};
use crate::http::wire::fields::Fields;
use crate::http::wire::json_body::json_object;
use crate::http::wire::lists::cursor_after;
use crate::http::wire::moment::Moment;
use crate::operations::bulk::{
    BulkOperationId, BulkState, BulkView, JobAction, NewBulk, SampleJob, Skipped,
};
use crate::operations::jobs::selection::{self, InvalidValue};
use crate::operations::jobs::{ArgsMatch, Fingerprint, JobSelection, JobState};
use crate::operations::{MAX_REASON_CHARS, Mode, Reason};

/// The most values of one list in a filter.
const MAX_VALUES: usize = 50;
/// The most characters of one of them.
const MAX_VALUE_CHARS: usize = 200;

/// An action on jobs.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename = "JobAction", rename_all = "kebab-case")]
pub(super) enum ActionIn {
    /// Runs jobs now: waiting ones become due, discarded ones are redriven.
    Retry,
    /// Makes waiting jobs due.
    RunNow,
    /// Runs discarded jobs again.
    Redrive,
    /// Cancels jobs; the worker of one that runs is asked to stop it.
    Cancel,
    /// Discards waiting jobs, for a later decision.
    Discard,
    /// Writes off discarded jobs.
    WriteOff,
}

impl From<ActionIn> for JobAction {
    fn from(action: ActionIn) -> Self {
        match action {
            ActionIn::Retry => Self::Retry,
            ActionIn::RunNow => Self::RunNow,
            ActionIn::Redrive => Self::Redrive,
            ActionIn::Cancel => Self::Cancel,
            ActionIn::Discard => Self::Discard,
            ActionIn::WriteOff => Self::WriteOff,
        }
    }
}

impl FieldType for ActionIn {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        let choices =
            [Self::Retry, Self::RunNow, Self::Redrive, Self::Cancel, Self::Discard, Self::WriteOff];
        fields.choice(name, &choices.map(|choice| (JobAction::from(choice).name(), choice)))
    }
}

json_object! {
    /// An action on all jobs that match: all that is given must hold, and something must be given.
    #[oai(rename = "NewBulkOperation")]
    pub(super) struct OperationIn {
        /// The action.
        action: ActionIn,
        /// The reason, for whoever asks later.
        reason: Text<MAX_REASON_CHARS>,
        /// Only count what would be done.
        dry_run: Option<bool>,
        /// States, any of which a job may have: `scheduled`, `available`, `retryable`, `running`,
        /// `discarded`; those that usually undergo the action when absent.
        states: Option<Vec<String>>,
        /// Kinds, any of which a job may be of.
        kinds: Option<Vec<String>>,
        /// Queues, any of which a job may be in.
        queues: Option<Vec<String>>,
        /// Tags, all of which a job must have.
        tags: Option<Vec<String>>,
        /// Keys, any of which a job may have.
        keys: Option<Vec<String>>,
        /// A text in the last error, whatever its case.
        error: Option<Text<300>>,
        /// The fingerprint of the last failure.
        #[oai(validator(pattern = "^[0-9a-f]{16}$"))]
        fingerprint: Option<Text<16>>,
        /// The least number of attempts begun.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        attempt_gte: Option<u32>,
        /// The moment from which on a job was enqueued (RFC 3339).
        since: Option<Moment>,
        /// The moment before which a job was enqueued (RFC 3339).
        until: Option<Moment>,
        /// The moment from which on a job was discarded, or had its last attempt fail (RFC 3339).
        failed_since: Option<Moment>,
        /// The moment before which it was or had (RFC 3339).
        failed_until: Option<Moment>,
        /// Fields at the top of the arguments, with the values that they must have.
        args: Option<BTreeMap<String, String>>,
        /// The provider's id of the transaction that a job is about.
        transaction_id: Option<Text<255>>,
        /// The most jobs, the newest first; all when absent.
        #[oai(validator(minimum(value = "1")))]
        limit: Option<u32>,
    }

    fn value(fields) -> (NewBulk, Reason) {
        let states = fields.accept("states", states_of(states?))?;
        let attempt = attempt_gte?.map(attempts).transpose();
        let fingerprint = fingerprint?.map(|Text(text)| text.parse::<Fingerprint>()).transpose();
        let selection = JobSelection {
            states,
            kinds: fields.accept("kinds", values(kinds?))?,
            queues: fields.accept("queues", values(queues?))?,
            tags: fields.accept("tags", values(tags?))?,
            keys: fields.accept("keys", values(keys?))?,
            error: error?.map(|Text(text)| text),
            min_attempt: fields.accept("attempt_gte", attempt)?,
            since: since?.map(|at| selection::Moment::At(at.boundary())),
            until: until?.map(|at| selection::Moment::At(at.boundary())),
            failed_since: failed_since?.map(|at| selection::Moment::At(at.boundary())),
            failed_until: failed_until?.map(|at| selection::Moment::At(at.boundary())),
            // Whatever is decided over needs no decision; what is not is what an action finds.
            decided: None,
            ids: None,
            args: fields.accept("args", args_of(args?))?,
            fingerprint: fields.accept("fingerprint", fingerprint)?,
            transaction: transaction_id?.map(|Text(text)| text),
        };
        let mode = if dry_run?.unwrap_or(false) { Mode::DryRun } else { Mode::Commit };
        let limit = limit?.map(some_jobs).transpose();
        let limit = fields.accept("limit", limit)?;
        let reason = fields.accept("reason", reason?.0.parse())?;
        Some((NewBulk { action: action?.into(), selection, limit, mode }, reason))
    }
}

fn attempts(least: u32) -> Result<i16, &'static str> {
    let least = i16::try_from(least).ok().filter(|least| (1..=1000).contains(least));
    least.ok_or("must be from 1 to 1000")
}

fn some_jobs(limit: u32) -> Result<u64, &'static str> {
    if limit == 0 { Err("must be at least 1") } else { Ok(limit.into()) }
}

/// A list in a filter that is too long, or holds what nothing can match.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "has at most {MAX_VALUES} values of 1 to {MAX_VALUE_CHARS} characters, none of them U+0000"
)]
struct InvalidList;

fn values(given: Option<Vec<String>>) -> Result<Vec<String>, InvalidList> {
    let given = given.unwrap_or_default();
    match given.len() <= MAX_VALUES && given.iter().all(|value| is_value(value)) {
        true => Ok(given),
        false => Err(InvalidList),
    }
}

fn is_value(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_VALUE_CHARS && !text.contains('\0')
}

fn states_of(given: Option<Vec<String>>) -> Result<Vec<JobState>, InvalidValue> {
    let mut states = Vec::new();
    for name in given.unwrap_or_default().iter().take(MAX_VALUES) {
        let state = selection::parse_state(name)?;
        if !states.contains(&state) {
            states.push(state);
        }
    }
    Ok(states)
}

fn args_of(given: Option<BTreeMap<String, String>>) -> Result<Vec<ArgsMatch>, InvalidList> {
    let given = given.unwrap_or_default();
    let fits = |text: &String| text.chars().count() <= MAX_VALUE_CHARS && !text.contains('\0');
    match given.len() <= MAX_VALUES && given.iter().all(|(name, it)| fits(name) && fits(it)) {
        true => Ok(given.into_iter().map(|(name, value)| ArgsMatch::new(name, value)).collect()),
        false => Err(InvalidList),
    }
}

json_object! {
    /// A reason to cancel a bulk operation.
    #[oai(rename = "BulkCancel")]
    pub(super) struct CancelIn {
        /// The reason, for whoever asks later.
        reason: Text<MAX_REASON_CHARS>,
    }

    fn value(fields) -> Reason {
        fields.accept("reason", reason?.0.parse())
    }
}

/// The state of a bulk operation.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename = "BulkState", rename_all = "snake_case")]
enum StateOut {
    /// A dry run: it was only counted.
    Planned,
    /// No worker has begun.
    Waiting,
    /// A worker works through it.
    Running,
    /// Its job was cancelled or given up; a retry of that job goes on with it.
    Stopped,
    /// All of its jobs were seen to.
    Completed,
    /// Somebody cancelled it; what was done stays done.
    Cancelled,
}

impl From<BulkState> for StateOut {
    fn from(state: BulkState) -> Self {
        match state {
            BulkState::Planned => Self::Planned,
            BulkState::Waiting => Self::Waiting,
            BulkState::Running => Self::Running,
            BulkState::Stopped => Self::Stopped,
            BulkState::Completed => Self::Completed,
            BulkState::Cancelled => Self::Cancelled,
        }
    }
}

/// Jobs that are passed over for one reason.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "SkippedJobs")]
struct SkippedOut {
    /// The code of the reason.
    reason: String,
    /// The number of jobs.
    jobs: u64,
}

impl From<Skipped> for SkippedOut {
    fn from(Skipped { reason, jobs }: Skipped) -> Self {
        Self { reason, jobs }
    }
}

/// A job of the sample.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "SampleJob")]
struct SampleOut {
    /// The number of the job.
    id: i64,
    /// The kind of the job.
    kind: String,
    /// The state of the job when the operation was asked for.
    state: String,
    /// The beginning of its last error; null if there is none.
    #[oai(nullable)]
    error: Option<String>,
}

impl From<SampleJob> for SampleOut {
    fn from(job: SampleJob) -> Self {
        let state = job.state.name().to_owned();
        Self { id: job.id.0, kind: job.kind, state, error: job.error }
    }
}

/// A bulk operation.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "BulkOperation")]
pub(super) struct OperationOut {
    /// The number of the operation; null of a dry run.
    #[oai(nullable)]
    id: Option<i64>,
    /// The action.
    action: String,
    /// The filter in words.
    filter: String,
    /// The state of the operation.
    state: StateOut,
    /// The number of jobs that would be changed, as counted when it was asked for.
    eligible: u64,
    /// True if there are more than were counted.
    eligible_is_more: bool,
    /// The jobs that are passed over, by reason; of a dry run those that would be.
    skipped: Vec<SkippedOut>,
    /// The number of jobs that were changed so far.
    done: u64,
    /// The number of jobs that could not be changed because of an error.
    failed: u64,
    /// The last such error; null for none.
    #[oai(nullable)]
    last_error: Option<String>,
    /// The author: `user:` or `key:` and an id, or `cli:` and a name.
    made_by: String,
    /// The reason that was given.
    reason: String,
    /// The job that carries it out; null of a dry run.
    #[oai(nullable)]
    job_id: Option<i64>,
    /// The moment at which it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// The moment at which it began; null until then.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    started_at: Option<OffsetDateTime>,
    /// The moment at which it was completed or cancelled; null until then.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    finished_at: Option<OffsetDateTime>,
    /// The person who cancelled it; null if nobody did.
    #[oai(nullable)]
    cancelled_by: Option<String>,
    /// The reason for that; null if nobody did.
    #[oai(nullable)]
    cancel_reason: Option<String>,
    /// The newest jobs that would be changed, at most five.
    sample: Vec<SampleOut>,
}

impl From<BulkView> for OperationOut {
    fn from(view: BulkView) -> Self {
        Self {
            id: view.id.map(|id| id.0),
            action: view.action,
            filter: view.filter,
            state: view.state.into(),
            eligible: view.eligible,
            eligible_is_more: view.eligible_is_more,
            skipped: view.skipped.into_iter().map(SkippedOut::from).collect(),
            done: view.done,
            failed: view.failed,
            last_error: view.last_error,
            made_by: view.made_by,
            reason: view.reason,
            job_id: view.job_id.map(|id| id.0),
            created_at: view.created_at,
            started_at: view.started_at,
            finished_at: view.finished_at,
            cancelled_by: view.cancelled_by,
            cancel_reason: view.cancel_reason,
            sample: view.sample.into_iter().map(SampleOut::from).collect(),
        }
    }
}

/// A page of bulk operations, newest first.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "BulkOperationPage")]
pub(super) struct OperationPage {
    /// The operations of this page.
    operations: Vec<OperationOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl OperationPage {
    /// The page of these operations, of which `last` is the last when there is another page.
    pub(super) fn new(found: Vec<BulkView>, last: Option<BulkOperationId>, list: &str) -> Self {
        Self {
            operations: found.into_iter().map(OperationOut::from).collect(),
            next_cursor: last.map(|last| cursor_after(last.0.to_be_bytes(), list)),
        }
    }
}
