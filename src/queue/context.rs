//! What a run gets from the worker, and the one way to complete a job.

use std::sync::Arc;

use sqlx::{PgPool, Postgres, Transaction};
use tokio_util::sync::CancellationToken;

use super::QueueError;
use super::completer::{Completer, SharedCompletion};
use super::job::{Fence, JobError, JobId};
use super::store::{self, AttemptOutcome};

/// Proof that a job was completed: only a commit that the job's fence allowed makes one.
#[derive(Debug)]
pub struct Completed {
    _made_here_only: (),
}

/// One run of one job.
#[derive(Clone)]
pub struct JobContext {
    pub(super) id: JobId,
    pub(super) fence: Fence,
    pub(super) attempt: i16,
    pub(super) max_attempts: i16,
    pub(super) stop: CancellationToken,
    pub(super) engine: Arc<Completion>,
}

/// What completions go through: the pool that handlers use, and the completer for jobs that write
/// nothing.
pub(super) struct Completion {
    pub(super) pool: PgPool,
    pub(super) completer: Completer,
}

impl JobContext {
    /// The job's number.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Which run of the job this is, from 1.
    pub fn attempt(&self) -> i16 {
        self.attempt
    }

    /// After so many failed attempts the job is discarded.
    pub fn max_attempts(&self) -> i16 {
        self.max_attempts
    }

    /// The number of this claim: for logs, and for others who can refuse a stale caller.
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// The key of the job's effect on others (G6): the same in every attempt, so that a bank or an
    /// endpoint that honours it makes the effect once, however often it is asked.
    pub fn effect_key(&self) -> String {
        format!("surety-job-{}", self.id)
    }

    /// Cancelled when the run must stop. A run is stopped at its next await in any case; this is
    /// for work that has to be told, such as a child process.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Begins the database transaction that [`complete`](Self::complete) will commit. Keep it
    /// short, and make no call to others while it is open.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.engine.pool.begin().await
    }

    /// Completes the job in this transaction and commits it: the effects written in it and the
    /// completion happen together or not at all (G3).
    ///
    /// # Errors
    ///
    /// [`JobError::LeaseLost`] when the job belongs to another worker by now; everything written is
    /// rolled back. [`JobError::Retry`] when the database refused.
    pub async fn complete(self, tx: Transaction<'static, Postgres>) -> Result<Completed, JobError> {
        complete_and_commit(tx, &self.engine.pool, &[(self.id, self.fence)]).await
    }

    /// Completes a job that has written nothing to the database. Jobs that are done at the same
    /// moment share one commit, which makes this many times faster than a transaction per job.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete).
    pub async fn complete_without_effects(self) -> Result<Completed, JobError> {
        match self.engine.completer.complete(self.id, self.fence).await {
            SharedCompletion::Done => Ok(Completed { _made_here_only: () }),
            SharedCompletion::LeaseLost => Err(JobError::LeaseLost),
            SharedCompletion::Unknown => {
                completed_after_all(&self.engine.pool, &[(self.id, self.fence)])
                    .await
                    .map_err(JobError::from)
            }
        }
    }
}

/// One run of a batch of jobs.
#[derive(Clone)]
pub struct BatchContext {
    pub(super) claims: Vec<(JobId, Fence)>,
    pub(super) stop: CancellationToken,
    pub(super) engine: Arc<Completion>,
}

impl BatchContext {
    /// The jobs' numbers, in the order of their arguments.
    pub fn ids(&self) -> impl Iterator<Item = JobId> {
        self.claims.iter().map(|(id, _fence)| *id)
    }

    /// Cancelled when the run must stop.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Begins the database transaction that [`complete`](Self::complete) will commit.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.engine.pool.begin().await
    }

    /// Completes all jobs of the batch in this transaction and commits it.
    ///
    /// # Errors
    ///
    /// [`JobError::LeaseLost`] when one of the jobs belongs to another worker by now; everything
    /// written for all of them is rolled back, and the worker runs the others one by one.
    pub async fn complete(self, tx: Transaction<'static, Postgres>) -> Result<Completed, JobError> {
        complete_and_commit(tx, &self.engine.pool, &self.claims).await
    }
}

async fn complete_and_commit(
    mut tx: Transaction<'static, Postgres>,
    pool: &PgPool,
    claims: &[(JobId, Fence)],
) -> Result<Completed, JobError> {
    let done = store::complete(&mut *tx, claims).await?;
    if done.len() < claims.len() {
        tx.rollback().await?;
        return Err(JobError::LeaseLost);
    }
    match tx.commit().await {
        Ok(()) => Ok(Completed { _made_here_only: () }),
        // The commit may have happened although its answer was lost. The fence tells.
        Err(error) => {
            let jobs = claims.len();
            tracing::warn!(%error, jobs, "the answer to a commit was lost, asking by fence");
            completed_after_all(pool, claims).await.map_err(|_unresolved| error.into())
        }
    }
}

/// Resolves a commit whose answer was lost. The completions were one statement, so one of them
/// speaks for all.
async fn completed_after_all(
    pool: &PgPool,
    claims: &[(JobId, Fence)],
) -> Result<Completed, QueueError> {
    let Some((id, fence)) = claims.first() else {
        return Ok(Completed { _made_here_only: () });
    };
    match store::attempt_outcome(pool, *id, *fence).await? {
        Some(AttemptOutcome::Completed) => Ok(Completed { _made_here_only: () }),
        _ => Err(QueueError::CommitLost),
    }
}
