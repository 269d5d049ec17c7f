//! The changes, each in the database transaction of whoever asks for them.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::PgConnection;

use super::{JobAction, JobChange, JobRefusal};
use crate::audit::{self, NewEntry, Subject};
use crate::ids::BulkOperationId;
use crate::jobs::RunBulkOperation;
use crate::jobs::dead_letters::{self, DeadLetterError, DecisionRefusal};
use crate::queue::operate::discarded::{self, Decision};
use crate::queue::operate::interventions::{self, InterventionRefusal, JobStanding, Retried};
use crate::queue::operate::{self, CancelOutcome};
use crate::queue::{Job as _, JobId, QueueError};

/// The result for each of several jobs.
pub type Outcomes = Vec<(JobId, Result<JobChange, JobRefusal>)>;

/// Jobs that exist, as they were before.
pub type Standings = BTreeMap<JobId, JobStanding>;

/// A change that could not be made to any of the jobs.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The queue's database refused or did not answer.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// An order or transaction could not be brought along.
    #[error(transparent)]
    Money(#[from] DeadLetterError),
}

impl From<sqlx::Error> for ChangeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Queue(error.into())
    }
}

/// Somebody who changes jobs, as the queue and the audit log keep it.
pub trait By {
    /// The name and the reason, as the queue keeps them.
    fn decision(&self) -> Decision<'_>;

    /// An entry of the audit log that this one did `action` to `subject`.
    fn entry(&self, action: &'static str, subject: Subject) -> NewEntry;

    /// The bulk operation that the changes are part of, if they are.
    fn operation(&self) -> Option<BulkOperationId> {
        None
    }
}

/// The result of [`together`].
#[derive(Debug, Default)]
pub struct Together {
    /// The results of those that were seen to.
    pub outcomes: Outcomes,
    /// The others: each needs a transaction of its own, because of the locks that it takes.
    pub left: Vec<JobId>,
}

/// Makes the change to those of these jobs that can undergo it in one transaction, and keeps it in
/// the audit log.
///
/// # Errors
///
/// [`ChangeError`]. Nothing may be committed then.
pub async fn together(
    conn: &mut PgConnection,
    action: JobAction,
    found: &Standings,
    by: &impl By,
) -> Result<Together, ChangeError> {
    let (own, others): (Vec<&JobStanding>, Vec<&JobStanding>) =
        found.values().partition(|job| job.kind == RunBulkOperation::KIND);
    let mut done = Together::default();
    done.outcomes.extend(own.iter().map(|job| (job.id, Err(JobRefusal::BulkOperation))));
    let (money, plain): (Vec<&JobStanding>, Vec<&JobStanding>) =
        others.into_iter().partition(|job| dead_letters::is_about_money(&job.kind));
    let (money, plain) = (ids(&money), ids(&plain));
    let decision = by.decision();
    match action {
        JobAction::Retry => {
            let retried = interventions::retry(&mut *conn, &plain, decision).await?;
            done.outcomes.extend(retried.into_iter().map(of_retried));
            let due = interventions::run_now(&mut *conn, &money, decision).await?;
            let (discarded, rest): (Vec<_>, Vec<_>) =
                due.into_iter().partition(|(_, due)| *due == Err(InterventionRefusal::Discarded));
            done.outcomes.extend(rest.into_iter().map(of_retried));
            let discarded: Vec<JobId> = discarded.into_iter().map(|(id, _)| id).collect();
            done.outcomes.extend(redrive(&mut *conn, &discarded, decision).await?);
        }
        JobAction::RunNow => {
            let all = [plain, money].concat();
            let due = interventions::run_now(&mut *conn, &all, decision).await?;
            done.outcomes.extend(due.into_iter().map(of_retried));
        }
        JobAction::Redrive => {
            let (open, rest) = open_ones(found, &[plain, money].concat());
            done.outcomes.extend(rest);
            done.outcomes.extend(redrive(&mut *conn, &open, decision).await?);
        }
        JobAction::Cancel => {
            let refused = money.iter().map(|id| (*id, Err(JobRefusal::MoneyNotCancelled)));
            done.outcomes.extend(refused);
            cancel_waiting(&mut *conn, &plain, decision, &mut done).await?;
        }
        JobAction::Discard => {
            let discarded =
                interventions::discard(&mut *conn, &[plain, money].concat(), decision).await?;
            done.outcomes.extend(discarded.into_iter().map(|(id, discarded)| {
                (id, discarded.map(|()| JobChange::Discarded).map_err(JobRefusal::from))
            }));
        }
        JobAction::WriteOff => {
            let (open, rest) = open_ones(found, &plain);
            done.outcomes.extend(rest);
            let gone = discarded::dismiss_many(&mut *conn, &open, decision).await?;
            done.outcomes.extend(open.into_iter().map(|id| match gone.contains(&id) {
                true => (id, Ok(JobChange::WrittenOff)),
                false => (id, Err(JobRefusal::Money(DecisionRefusal::AlreadyDecided))),
            }));
            let (open, rest) = open_ones(found, &money);
            done.outcomes.extend(rest);
            done.left = open;
        }
    }
    audit::record(conn, &entries(action, found, &done.outcomes, by)).await?;
    Ok(done)
}

/// Makes the change to one of those that [`together`] has left.
///
/// # Errors
///
/// [`ChangeError`]. Nothing may be committed then, nor after a refusal.
pub async fn alone(
    conn: &mut PgConnection,
    action: JobAction,
    job: &JobStanding,
    by: &impl By,
) -> Result<Result<JobChange, JobRefusal>, ChangeError> {
    let decision = by.decision();
    let outcome = match action {
        JobAction::Cancel => cancel(&mut *conn, job.id, decision).await?,
        JobAction::WriteOff => {
            let written_off = dead_letters::write_off(&mut *conn, job.id, decision).await?;
            written_off.map(|()| JobChange::WrittenOff).map_err(JobRefusal::from)
        }
        JobAction::Retry | JobAction::RunNow | JobAction::Redrive | JobAction::Discard => {
            let found = Standings::from([(job.id, job.clone())]);
            let done = Box::pin(together(&mut *conn, action, &found, by)).await?;
            let outcome = done.outcomes.into_iter().next().map(|(_, outcome)| outcome);
            return Ok(outcome.unwrap_or(Err(JobRefusal::NOT_FOUND)));
        }
    };
    let found = Standings::from([(job.id, job.clone())]);
    audit::record(conn, &entries(action, &found, &[(job.id, outcome)], by)).await?;
    Ok(outcome)
}

fn ids(jobs: &[&JobStanding]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

fn of_retried(
    (id, retried): (JobId, Result<Retried, InterventionRefusal>),
) -> (JobId, Result<JobChange, JobRefusal>) {
    (id, retried.map(JobChange::from).map_err(JobRefusal::from))
}

impl From<Retried> for JobChange {
    fn from(retried: Retried) -> Self {
        match retried {
            Retried::DueNow => Self::DueNow,
            Retried::AlreadyDue => Self::AlreadyDue,
            Retried::Redriven => Self::Redriven,
        }
    }
}

async fn redrive(
    conn: &mut PgConnection,
    ids: &[JobId],
    decision: Decision<'_>,
) -> Result<Outcomes, ChangeError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let redriven = dead_letters::redrive_many(conn, ids, decision).await?;
    let outcome = |(id, redriven): (JobId, Result<(), DecisionRefusal>)| {
        (id, redriven.map(|()| JobChange::Redriven).map_err(JobRefusal::from))
    };
    Ok(redriven.into_iter().map(outcome).collect())
}

/// The open discarded ones among these jobs, and the refusals of the others.
fn open_ones(found: &Standings, ids: &[JobId]) -> (Vec<JobId>, Outcomes) {
    let (mut open, mut rest) = (Vec::new(), Vec::new());
    for id in ids {
        match found.get(id).map(not_open) {
            Some(None) => open.push(*id),
            Some(Some(refusal)) => rest.push((*id, Err(refusal))),
            None => rest.push((*id, Err(JobRefusal::NOT_FOUND))),
        }
    }
    (open, rest)
}

/// The reason that there is nothing to decide over a job; none if there is.
pub(super) fn not_open(job: &JobStanding) -> Option<JobRefusal> {
    match (job.is_discarded(), job.is_open()) {
        (_, true) => None,
        (true, false) => Some(JobRefusal::Money(DecisionRefusal::AlreadyDecided)),
        (false, false) => Some(JobRefusal::NotDiscarded),
    }
}

async fn cancel_waiting(
    conn: &mut PgConnection,
    ids: &[JobId],
    decision: Decision<'_>,
    done: &mut Together,
) -> Result<(), ChangeError> {
    let cancelled = operate::cancel_waiting(conn, ids, decision.by, decision.reason).await?;
    for id in ids {
        match cancelled.contains(id) {
            true => done.outcomes.push((*id, Ok(JobChange::Cancelled))),
            false => done.left.push(*id),
        }
    }
    Ok(())
}

async fn cancel(
    conn: &mut PgConnection,
    id: JobId,
    decision: Decision<'_>,
) -> Result<Result<JobChange, JobRefusal>, QueueError> {
    Ok(match operate::cancel(conn, id, decision.by, decision.reason).await? {
        Some(CancelOutcome::Cancelled) => Ok(JobChange::Cancelled),
        Some(CancelOutcome::Requested) => Ok(JobChange::CancelRequested),
        Some(CancelOutcome::Finished) => Err(JobRefusal::Ended),
        None => Err(JobRefusal::NOT_FOUND),
    })
}

/// The entries of the audit log about the jobs that were changed.
fn entries(
    action: JobAction,
    found: &Standings,
    outcomes: &[(JobId, Result<JobChange, JobRefusal>)],
    by: &impl By,
) -> Vec<NewEntry> {
    let changed = outcomes.iter().filter_map(|(id, outcome)| match outcome {
        Ok(JobChange::AlreadyDue) | Err(_) => None,
        Ok(change) => Some((found.get(id)?, change)),
    });
    changed
        .map(|(before, change)| {
            let entry = by.entry(action.audited_as(), Subject::new("job", before.id));
            entry
                .before(&json!({ "state": before.state.name() }))
                .after(&json!({ "result": change.code() }))
                .data(&json!({ "kind": before.kind, "operation": by.operation() }))
        })
        .collect()
}
