//! Commits that end claims, and what became of those whose answer was lost.

use sqlx::{PgPool, Postgres, Transaction};

use crate::QueueError;
use crate::attempt::AttemptOutcome;
use crate::deadline::within;
use crate::job::{Fence, JobError, JobId};
use crate::store::{self, Completion};

/// Completes these jobs in the transaction and commits it. Says whether others wait for one.
pub(super) async fn complete_and_commit(
    mut tx: Transaction<'static, Postgres>,
    pool: &PgPool,
    completions: &[Completion],
) -> Result<bool, JobError> {
    let done = within(store::complete(&mut *tx, completions)).await?;
    if done.len() < completions.len() {
        tx.rollback().await?;
        return Err(JobError::LeaseLost);
    }
    let claims: Vec<_> = completions.iter().map(|one| (one.id, one.fence)).collect();
    commit(tx, pool, &claims, AttemptOutcome::Completed).await?;
    Ok(done.iter().any(|job| job.wakes))
}

/// Commits a transaction in which these claims end so.
pub(super) async fn commit(
    tx: Transaction<'static, Postgres>,
    pool: &PgPool,
    claims: &[(JobId, Fence)],
    outcome: AttemptOutcome,
) -> Result<(), JobError> {
    let committed: Result<(), sqlx::Error> = within(tx.commit()).await;
    match committed {
        Ok(()) => Ok(()),
        // The commit may have happened although its answer was lost. The fence tells.
        Err(error) => {
            let jobs = claims.len();
            tracing::warn!(%error, jobs, "the answer to a commit was lost, asking by fence");
            let resolved = committed_after_all(pool, claims, outcome).await;
            resolved.map_err(|_unresolved| error.into())
        }
    }
}

/// Resolves a commit whose answer was lost. The claims were ended by one statement, so one of them
/// speaks for all.
pub(super) async fn committed_after_all(
    pool: &PgPool,
    claims: &[(JobId, Fence)],
    outcome: AttemptOutcome,
) -> Result<(), QueueError> {
    let Some((id, fence)) = claims.first() else { return Ok(()) };
    if within(store::attempt_outcome(pool, *id, *fence)).await? == Some(outcome) {
        Ok(())
    } else {
        Err(QueueError::CommitLost)
    }
}
