//! A bulk operation as callers see it.

use serde::Serialize;
use time::OffsetDateTime;

use super::{BulkOperationId, JobAction, JobCount, SampleJob, Skipped};
use crate::jobs::bulk_operations::store::{StoredOperation, StoredState};
use crate::jobs::changes::forecast::Tally;
use crate::operations::Actor;
use crate::queue::{JobId, JobState};

/// The state of a bulk operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkState {
    /// A dry run: it was counted, and does not exist.
    Planned,
    /// Its job has not begun.
    Waiting,
    /// Its job works through it.
    Running,
    /// Its job was cancelled or given up; a retry of the job goes on with it.
    Stopped,
    /// All of its jobs were seen to.
    Completed,
    /// Somebody cancelled it; what was done stays done.
    Cancelled,
}

impl BulkState {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Tells if nothing more is to come of it by itself.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled)
    }
}

/// A bulk operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BulkView {
    /// Its number; null of a dry run.
    pub id: Option<BulkOperationId>,
    /// The action.
    pub action: String,
    /// The filter in words.
    pub filter: String,
    /// Its state.
    pub state: BulkState,
    /// The number of jobs that would be changed, counted when it was asked for.
    pub eligible: u64,
    /// True if there are more than were counted.
    pub eligible_is_more: bool,
    /// The jobs that are passed over, by reason, the most frequent first: of a dry run those that
    /// would be, else those so far.
    pub skipped: Vec<Skipped>,
    /// The number of jobs that were changed so far.
    pub done: u64,
    /// The number of jobs that could not be changed, because of an error.
    pub failed: u64,
    /// The last such error; null for none.
    pub last_error: Option<String>,
    /// The author.
    pub made_by: String,
    /// The reason.
    pub reason: String,
    /// The job that carries it out; null of a dry run.
    pub job_id: Option<JobId>,
    /// The moment at which it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// The moment at which it began; null until then.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// The moment at which it was completed or cancelled; null until then.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// The person who cancelled it; null if nobody did.
    pub cancelled_by: Option<String>,
    /// The reason for that; null if nobody did.
    pub cancel_reason: Option<String>,
    /// The newest jobs that would be changed, as they were when it was asked for.
    pub sample: Vec<SampleJob>,
}

impl BulkView {
    /// A dry run with this count.
    pub(super) fn planned(
        action: JobAction,
        filter: &str,
        count: JobCount,
        actor: &Actor,
        at: OffsetDateTime,
    ) -> Self {
        Self {
            id: None,
            action: action.name().to_owned(),
            filter: filter.to_owned(),
            state: BulkState::Planned,
            eligible: count.eligible,
            eligible_is_more: count.is_more,
            skipped: count.skipped,
            done: 0,
            failed: 0,
            last_error: None,
            made_by: actor.identity.as_str().to_owned(),
            reason: actor.reason.as_str().to_owned(),
            job_id: None,
            created_at: at,
            started_at: None,
            finished_at: None,
            cancelled_by: None,
            cancel_reason: None,
            sample: count.sample.into_iter().map(SampleJob::from).collect(),
        }
    }
}

impl From<StoredOperation> for BulkView {
    fn from(stored: StoredOperation) -> Self {
        let is_worked_on = stored.job_state.is_some_and(JobState::is_unfinished);
        let state = match stored.state {
            StoredState::Completed => BulkState::Completed,
            StoredState::Cancelled => BulkState::Cancelled,
            StoredState::Waiting | StoredState::Running if !is_worked_on => BulkState::Stopped,
            StoredState::Waiting => BulkState::Waiting,
            StoredState::Running => BulkState::Running,
        };
        let tally = Tally { changed: count(stored.done), skipped: stored.skipped.0 };
        Self {
            id: Some(stored.id),
            action: stored.action,
            filter: stored.filter_text,
            state,
            eligible: count(stored.eligible),
            eligible_is_more: stored.eligible_is_more,
            skipped: tally.skipped(),
            done: tally.changed,
            failed: count(stored.failed),
            last_error: stored.last_error,
            made_by: stored.made_by,
            reason: stored.reason,
            job_id: stored.job_id,
            created_at: stored.created_at,
            started_at: stored.started_at,
            finished_at: stored.finished_at,
            cancelled_by: stored.cancelled_by,
            cancel_reason: stored.cancel_reason,
            sample: stored.sample.0,
        }
    }
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
