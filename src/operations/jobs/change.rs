//! Changes of jobs by number, in small transactions.

use serde::{Serialize, Serializer};
use sqlx::{Connection as _, PgConnection};

use super::{JobId, JobsError};
use crate::audit::{NewEntry, Subject};
use crate::jobs::changes::acting::{self, By, Standings};
use crate::operations::{Actor, Mode};
use crate::queue::operate::discarded::Decision;
use crate::queue::operate::interventions::standings;

pub use crate::jobs::changes::{JobAction, JobChange, JobRefusal, RefusalClass, UnsuitableState};

/// The most jobs that one transaction changes: others wait for the rows that it locks.
pub const MAX_PER_TRANSACTION: usize = 100;

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
        let outcomes = change_some(conn, ChangeJobs { ids, ..request }, actor).await?;
        results.extend(outcomes.into_iter().map(|(id, outcome)| JobResult { id, outcome, mode }));
    }
    Ok(results)
}

async fn change_some(
    conn: &mut PgConnection,
    ChangeJobs { action, ids, mode }: ChangeJobs<'_>,
    actor: &Actor,
) -> Result<acting::Outcomes, JobsError> {
    let found: Standings = standings(conn, ids).await?;
    let missing = ids.iter().filter(|id| !found.contains_key(id));
    let mut outcomes: acting::Outcomes =
        missing.map(|id| (*id, Err(JobRefusal::NOT_FOUND))).collect();
    let mut tx = conn.begin().await?;
    let together = acting::together(&mut tx, action, &found, actor).await?;
    mode.end(tx).await?;
    outcomes.extend(together.outcomes);
    for id in together.left {
        let Some(job) = found.get(&id) else { continue };
        let mut tx = conn.begin().await?;
        let outcome = acting::alone(&mut tx, action, job, actor).await?;
        match outcome {
            Ok(_) => mode.end(tx).await?,
            Err(_) => tx.rollback().await?,
        }
        outcomes.push((id, outcome));
    }
    Ok(outcomes)
}

impl By for Actor {
    fn decision(&self) -> Decision<'_> {
        Self::decision(self)
    }

    fn entry(&self, action: &'static str, subject: Subject) -> NewEntry {
        Self::entry(self, action, subject)
    }
}
