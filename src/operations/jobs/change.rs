//! Retry, early run, cancel and discard of jobs by number, in small transactions.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::{JobId, JobState, JobsError};
use crate::audit::{self, NewEntry, Subject};
use crate::jobs::dead_letters;
use crate::operations::{Actor, Mode};
use crate::queue::operate::interventions::{self, JobStanding, Retried, standings};
use crate::queue::operate::{self, CancelOutcome};

/// The most jobs that one transaction changes: others wait for the rows that it locks.
pub const MAX_PER_TRANSACTION: usize = 100;

/// An action on jobs that exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobAction {
    /// Runs jobs now: waiting ones become due, discarded ones are redriven.
    Retry,
    /// Runs waiting jobs now, and leaves discarded ones to be decided over.
    RunNow,
    /// Cancels jobs; the worker of one that runs is asked to stop it.
    Cancel,
    /// Discards waiting jobs, for a later decision.
    Discard,
}

/// No job in this state can undergo the action.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no {} job can undergo a {}", .state.name(), .action.name())]
pub struct UnsuitableState {
    /// The action.
    pub action: JobAction,
    /// The state that was asked for.
    pub state: JobState,
}

impl JobAction {
    /// The action in one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::RunNow => "run-now",
            Self::Cancel => "cancel",
            Self::Discard => "discard",
        }
    }

    /// The states to select jobs by: those asked for, or the usual ones of the action if none is.
    ///
    /// # Errors
    ///
    /// [`UnsuitableState`], for the first state asked for in which no job can undergo the action.
    pub fn states(self, asked: &[JobState]) -> Result<Vec<JobState>, UnsuitableState> {
        let (suitable, usual): (&[JobState], &[JobState]) = match self {
            // Running jobs early that are scheduled for later has to be asked for.
            Self::Retry => (
                &[JobState::Scheduled, JobState::Retryable, JobState::Discarded],
                &[JobState::Retryable, JobState::Discarded],
            ),
            Self::RunNow => (&[JobState::Scheduled, JobState::Retryable], &[JobState::Retryable]),
            Self::Cancel => (&JobState::UNFINISHED, &JobState::UNFINISHED),
            Self::Discard => (
                &[JobState::Scheduled, JobState::Available, JobState::Retryable],
                &[JobState::Scheduled, JobState::Available, JobState::Retryable],
            ),
        };
        match asked.iter().find(|state| !suitable.contains(state)) {
            Some(state) => Err(UnsuitableState { action: self, state: *state }),
            None if asked.is_empty() => Ok(usual.to_vec()),
            None => Ok(asked.to_vec()),
        }
    }
}

/// A change of jobs by number.
#[derive(Clone, Copy, Debug)]
pub struct ChangeJobs<'a> {
    /// The action.
    pub action: JobAction,
    /// The jobs, each named once.
    pub ids: &'a [JobId],
    /// The mode: the change is kept or tried out.
    pub mode: Mode,
}

/// A change that was made to a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobChange {
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
}

impl JobChange {
    /// The stable name, for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::DueNow => "due-now",
            Self::AlreadyDue => "already-due",
            Self::Redriven => "redriven",
            Self::Cancelled => "cancelled",
            Self::CancelRequested => "requested",
            Self::Discarded => "discarded",
            Self::Edited => "edited",
        }
    }
}

/// The reason why a job was not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JobRefusal {
    /// The job's state does not allow it.
    #[error(transparent)]
    State(#[from] interventions::InterventionRefusal),
    /// The order or transaction that the job is about does not allow it.
    #[error(transparent)]
    Money(#[from] dead_letters::DecisionRefusal),
    /// A job about money is not cancelled: it can be discarded and then written off.
    #[error("it is not cancelled, as what it is about would wait for ever")]
    MoneyNotCancelled,
    /// A job about money is not edited.
    #[error("its arguments name what it is about, and are not changed")]
    MoneyNotEdited,
    /// The job had ended before it could be cancelled.
    #[error("has ended before")]
    Ended,
}

/// A sort of [`JobRefusal`], for callers who treat some of them alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalClass {
    /// There is no such job.
    NotFound,
    /// The job has moved on by itself, or somebody else has changed it.
    MovedOn,
    /// A rule forbids it.
    Forbidden,
}

impl JobRefusal {
    /// No job has this number.
    pub const NOT_FOUND: Self = Self::State(interventions::InterventionRefusal::NotFound);

    /// The stable name, for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::State(refusal) => refusal.code(),
            Self::Money(refusal) => refusal.code(),
            Self::MoneyNotCancelled | Self::MoneyNotEdited => "about-money",
            Self::Ended => "finished",
        }
    }

    /// The sort of refusal.
    #[must_use]
    pub const fn class(self) -> RefusalClass {
        use dead_letters::DecisionRefusal as Money;
        use interventions::InterventionRefusal as State;
        match self {
            Self::State(State::NotFound) | Self::Money(Money::NotFound) => RefusalClass::NotFound,
            Self::State(
                State::Running
                | State::Completed
                | State::Cancelled
                | State::Discarded
                | State::Decided
                | State::Changed,
            )
            | Self::Money(Money::AlreadyDecided) => RefusalClass::MovedOn,
            Self::State(State::Held | State::Redriven | State::Exhausted | State::Sealed)
            | Self::Money(Money::NothingToRedrive)
            | Self::MoneyNotCancelled
            | Self::MoneyNotEdited
            | Self::Ended => RefusalClass::Forbidden,
        }
    }
}

/// The result of a change for one job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobResult {
    /// The job.
    pub id: JobId,
    /// The change, or why there is none.
    pub outcome: Result<JobChange, JobRefusal>,
    /// The mode: the change was kept or tried out.
    pub mode: Mode,
}

impl JobResult {
    /// The stable name of the change or the refusal.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self.outcome {
            Ok(change) => change.code(),
            Err(refusal) => refusal.code(),
        }
    }
}

impl Serialize for JobResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View {
            id: JobId,
            result: &'static str,
            dry_run: bool,
        }
        View { id: self.id, result: self.code(), dry_run: self.mode == Mode::DryRun }
            .serialize(serializer)
    }
}

type Outcomes = Vec<(JobId, Result<JobChange, JobRefusal>)>;

/// The jobs of one call that exist, as they were before.
type Standings = BTreeMap<JobId, JobStanding>;

/// Makes the change to each job that can undergo it, and returns a result for each. Jobs that do
/// not exist come first.
///
/// A job about money is never cancelled, and redriven together with its order.
///
/// # Errors
///
/// [`JobsError`]. Transactions that were committed before stay so: the same call again goes on.
pub async fn change(
    conn: &mut PgConnection,
    request: ChangeJobs<'_>,
    actor: &Actor,
) -> Result<Vec<JobResult>, JobsError> {
    let mode = request.mode;
    let mut results = Vec::with_capacity(request.ids.len());
    for ids in request.ids.chunks(MAX_PER_TRANSACTION) {
        let found = standings(conn, ids).await?;
        let missing = ids.iter().filter(|id| !found.contains_key(id));
        let mut outcomes: Outcomes = missing.map(|id| (*id, Err(JobRefusal::NOT_FOUND))).collect();
        outcomes.extend(match request.action {
            action @ (JobAction::Retry | JobAction::RunNow) => {
                retry(conn, (action, mode), &found, actor).await?
            }
            JobAction::Cancel => cancel(conn, &found, actor, mode).await?,
            JobAction::Discard => discard(conn, &found, actor, mode).await?,
        });
        results.extend(outcomes.into_iter().map(|(id, outcome)| JobResult { id, outcome, mode }));
    }
    Ok(results)
}

/// The entries of the audit log about the jobs that were changed.
fn entries(
    action: &'static str,
    found: &Standings,
    outcomes: &[(JobId, Result<JobChange, JobRefusal>)],
    actor: &Actor,
) -> Vec<NewEntry> {
    let changed = outcomes.iter().filter_map(|(id, outcome)| match outcome {
        Ok(JobChange::AlreadyDue) | Err(_) => None,
        Ok(change) => Some((found.get(id)?, change)),
    });
    changed
        .map(|(before, change)| {
            let entry = actor.entry(action, Subject::new("job", before.id));
            entry
                .before(&json!({ "state": before.state.name() }))
                .after(&json!({ "result": change.code() }))
                .data(&json!({ "kind": before.kind }))
        })
        .collect()
}

async fn retry(
    conn: &mut PgConnection,
    (action, mode): (JobAction, Mode),
    found: &Standings,
    actor: &Actor,
) -> Result<Outcomes, JobsError> {
    let redrives = action == JobAction::Retry;
    // A kind never changes, so the queue alone never redrives a job that is found about money here.
    let (about_money, others): (Vec<JobId>, Vec<JobId>) =
        found.keys().partition(|id| !redrives || dead_letters::is_about_money(&found[id].kind));
    let mut tx = conn.begin().await?;
    let mut retried = interventions::retry(&mut tx, &others, actor.decision()).await?;
    retried.extend(interventions::run_now(&mut tx, &about_money, actor.decision()).await?);
    let mut outcomes: Outcomes = retried
        .into_iter()
        .map(|(id, retried)| {
            let outcome = match retried {
                Err(refusal) => Err(refusal.into()),
                Ok(Retried::Redriven) => Ok(JobChange::Redriven),
                Ok(Retried::DueNow) => Ok(JobChange::DueNow),
                Ok(Retried::AlreadyDue) => Ok(JobChange::AlreadyDue),
            };
            (id, outcome)
        })
        .collect();
    audit::record(&mut tx, &entries("job.retry", found, &outcomes, actor)).await?;
    mode.end(tx).await?;
    let discarded = JobRefusal::State(interventions::InterventionRefusal::Discarded);
    for (id, outcome) in &mut outcomes {
        if redrives && *outcome == Err(discarded) && about_money.contains(id) {
            *outcome = redrive_money(conn, *id, found, actor, mode).await?;
        }
    }
    Ok(outcomes)
}

/// Redrives a job about money, by the rules of dead letters.
async fn redrive_money(
    conn: &mut PgConnection,
    id: JobId,
    found: &Standings,
    actor: &Actor,
    mode: Mode,
) -> Result<Result<JobChange, JobRefusal>, JobsError> {
    let mut tx = conn.begin().await?;
    match dead_letters::redrive(&mut tx, id, actor.decision()).await? {
        Ok(()) => {
            let outcome = Ok(JobChange::Redriven);
            audit::record(&mut tx, &entries("job.retry", found, &[(id, outcome)], actor)).await?;
            mode.end(tx).await?;
            Ok(outcome)
        }
        Err(refusal) => {
            tx.rollback().await?;
            Ok(Err(refusal.into()))
        }
    }
}

/// Cancels in one transaction per job: a completion that ends many jobs and a transaction that
/// cancels many of them could deadlock.
async fn cancel(
    conn: &mut PgConnection,
    found: &Standings,
    actor: &Actor,
    mode: Mode,
) -> Result<Outcomes, JobsError> {
    let (by, reason) = (actor.identity.as_str(), actor.reason.as_str());
    let mut outcomes = Vec::with_capacity(found.len());
    for (id, standing) in found {
        if dead_letters::is_about_money(&standing.kind) {
            outcomes.push((*id, Err(JobRefusal::MoneyNotCancelled)));
            continue;
        }
        let mut tx = conn.begin().await?;
        let outcome = match operate::cancel(&mut tx, *id, by, reason).await? {
            Some(CancelOutcome::Cancelled) => Ok(JobChange::Cancelled),
            Some(CancelOutcome::Requested) => Ok(JobChange::CancelRequested),
            Some(CancelOutcome::Finished) => Err(JobRefusal::Ended),
            None => Err(JobRefusal::NOT_FOUND),
        };
        audit::record(&mut tx, &entries("job.cancel", found, &[(*id, outcome)], actor)).await?;
        mode.end(tx).await?;
        outcomes.push((*id, outcome));
    }
    Ok(outcomes)
}

async fn discard(
    conn: &mut PgConnection,
    found: &Standings,
    actor: &Actor,
    mode: Mode,
) -> Result<Outcomes, JobsError> {
    let ids: Vec<JobId> = found.keys().copied().collect();
    let mut tx = conn.begin().await?;
    let discarded = interventions::discard(&mut tx, &ids, actor.decision()).await?;
    let outcome = |discarded: Result<(), interventions::InterventionRefusal>| match discarded {
        Ok(()) => Ok(JobChange::Discarded),
        Err(refusal) => Err(refusal.into()),
    };
    let outcomes: Outcomes =
        discarded.into_iter().map(|(id, discarded)| (id, outcome(discarded))).collect();
    audit::record(&mut tx, &entries("job.discard", found, &outcomes, actor)).await?;
    mode.end(tx).await?;
    Ok(outcomes)
}
