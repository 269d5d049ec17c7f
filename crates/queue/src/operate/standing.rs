//! The standing of jobs: whether operators may intervene in them, and why not.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::interventions::{InterventionRefusal, Retried};
use crate::QueueError;
use crate::ids::JobId;
use crate::state::JobState;

/// The facts about a job that decide whether it can be intervened in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobStanding {
    /// Its number.
    pub id: JobId,
    /// Its kind, which never changes.
    pub kind: String,
    /// Its state at this moment.
    pub state: JobState,
    /// It waits for other jobs.
    is_held: bool,
    /// Its key waits for somebody to ask for it.
    is_parked: bool,
    /// Once completed, it leaves a trace.
    pub(super) keeps_history: bool,
    /// It has begun as many attempts as can be counted.
    is_exhausted: bool,
    /// Somebody decided over its last discard.
    is_decided: bool,
}

impl JobStanding {
    /// The result of [`run_now`](super::interventions::run_now) as things stand. Of a discarded job
    /// that nobody has decided over, [`InterventionRefusal::Discarded`].
    ///
    /// # Errors
    ///
    /// The reason that it would be refused.
    pub fn run_now(&self) -> Result<Retried, InterventionRefusal> {
        match self.state {
            _ if self.is_held => Err(InterventionRefusal::Held),
            JobState::Available if self.is_parked => Ok(Retried::DueNow),
            JobState::Available => Ok(Retried::AlreadyDue),
            JobState::Scheduled | JobState::Retryable => Ok(Retried::DueNow),
            JobState::Discarded => Err(self.why_not_redriven()),
            JobState::Running | JobState::Completed | JobState::Cancelled => {
                Err(self.why_not_changed())
            }
        }
    }

    /// The result of [`retry`](super::interventions::retry) as things stand.
    ///
    /// # Errors
    ///
    /// The reason that it would be refused.
    pub fn retry(&self) -> Result<Retried, InterventionRefusal> {
        match self.run_now() {
            Err(InterventionRefusal::Discarded) => Ok(Retried::Redriven),
            other => other,
        }
    }

    /// The result of [`discard`](super::interventions::discard) as things stand.
    ///
    /// # Errors
    ///
    /// The reason that it would be refused.
    pub fn discard(&self) -> Result<(), InterventionRefusal> {
        match self.state.is_waiting() {
            true if self.is_decided => Err(InterventionRefusal::Redriven),
            true => Ok(()),
            false => Err(self.why_not_changed()),
        }
    }

    /// Tells if it is discarded.
    pub fn is_discarded(&self) -> bool {
        self.state == JobState::Discarded
    }

    /// Tells if a worker has it.
    pub fn is_running(&self) -> bool {
        self.state == JobState::Running
    }

    /// Tells if it has ended.
    pub fn is_finished(&self) -> bool {
        !self.state.is_unfinished()
    }

    /// Tells if it is discarded and nobody has decided over that.
    pub fn is_open(&self) -> bool {
        self.state == JobState::Discarded && !self.is_decided
    }

    /// For what only waiting jobs can undergo.
    pub(super) fn why_not_changed(&self) -> InterventionRefusal {
        match self.state {
            JobState::Running => InterventionRefusal::Running,
            JobState::Completed => InterventionRefusal::Completed,
            JobState::Cancelled => InterventionRefusal::Cancelled,
            JobState::Discarded => InterventionRefusal::Discarded,
            JobState::Scheduled | JobState::Available | JobState::Retryable => {
                InterventionRefusal::Changed
            }
        }
    }

    fn why_not_redriven(&self) -> InterventionRefusal {
        match self {
            Self { is_decided: true, .. } => InterventionRefusal::Decided,
            Self { is_exhausted: true, .. } => InterventionRefusal::Exhausted,
            _ => InterventionRefusal::Discarded,
        }
    }
}

/// The facts about these jobs that decide whether they can be intervened in. Jobs that do not exist
/// are missing.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn standings(
    conn: &mut PgConnection,
    ids: &[JobId],
) -> Result<BTreeMap<JobId, JobStanding>, QueueError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let numbers: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query_file_as!(JobStanding, "src/sql/standings.sql", &numbers)
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}
