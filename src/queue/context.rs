//! What a run gets from the worker, and the ways to end its job in the transaction of its effects.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tokio_util::sync::CancellationToken;

use super::QueueError;
use super::attempt::{AttemptOutcome, EndedAttempt};
use super::backoff::Backoff;
use super::completer::{Completer, SharedCompletion};
use super::job::{Fence, JobError, JobId};
use super::store::{self, FinishedState};

/// Proof that a job's outcome was committed: only a commit that the job's fence allowed makes one.
#[derive(Debug)]
pub struct Committed {
    /// Visible to the engine, made here only.
    pub(super) outcome: CommittedOutcome,
}

/// The outcomes that a handler can commit together with what it wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum CommittedOutcome {
    Completed,
    /// With the error that is kept.
    Discarded(String),
    /// With the reason that is kept.
    Cancelled(String),
}

/// One run of one job.
#[derive(Clone)]
pub struct JobContext {
    pub(super) id: JobId,
    pub(super) fence: Fence,
    pub(super) attempt: i16,
    pub(super) max_attempts: i16,
    pub(super) is_last_attempt: bool,
    /// Which attempt this is to the backoff.
    pub(super) backoff_attempt: i16,
    pub(super) traceparent: Option<String>,
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

    /// Whether the job is discarded if this attempt fails. A run that ends with its worker does not
    /// count: the next one is the last again.
    pub fn is_last_attempt(&self) -> bool {
        self.is_last_attempt
    }

    /// How long to wait if this attempt fails, by another backoff than the kind's own, for
    /// [`JobError::retry_after`]. As there, attempts that ended with their worker do not count, and
    /// a redriven job begins anew.
    pub fn delay(&self, backoff: &Backoff) -> Duration {
        backoff.delay(self.backoff_attempt)
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

    /// Begins the database transaction that [`complete`](Self::complete),
    /// [`discard`](Self::discard) or [`cancel`](Self::cancel) will commit. Keep it short, and make
    /// no call to others while it is open.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.engine.pool.begin().await
    }

    /// Makes sure that the job is still this run's, until the transaction ends: for what is written
    /// before a call to others, in a transaction that completes nothing.
    ///
    /// # Errors
    ///
    /// [`JobError::LeaseLost`] when the job belongs to another worker by now: roll back.
    pub async fn require_lease(&self, conn: &mut PgConnection) -> Result<(), JobError> {
        match store::lock_lease(conn, self.id, self.fence).await? {
            true => Ok(()),
            false => Err(JobError::LeaseLost),
        }
    }

    /// Completes the job in this transaction and commits it: the effects written in it and the
    /// completion happen together or not at all (G3).
    ///
    /// # Errors
    ///
    /// [`JobError::LeaseLost`] when the job belongs to another worker by now; everything written is
    /// rolled back. [`JobError::Retry`] when the database refused.
    pub async fn complete(self, tx: Transaction<'static, Postgres>) -> Result<Committed, JobError> {
        complete_and_commit(tx, &self.engine.pool, &[(self.id, self.fence)]).await
    }

    /// Discards the job in this transaction and commits it: it can never succeed, and what is
    /// written in the transaction is what that entails. The job is kept with the error; its
    /// [`FollowUp`](super::job::FollowUp) is not enqueued.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete).
    pub async fn discard(
        self,
        tx: Transaction<'static, Postgres>,
        error: impl Into<anyhow::Error>,
    ) -> Result<Committed, JobError> {
        let error = format!("{:#}", error.into());
        self.finish(tx, FinishedState::Discarded, AttemptOutcome::Discarded, error).await
    }

    /// Cancels the job in this transaction and commits it: it is no longer wanted.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete).
    pub async fn cancel(
        self,
        tx: Transaction<'static, Postgres>,
        reason: impl Into<String>,
    ) -> Result<Committed, JobError> {
        let reason = reason.into();
        self.finish(tx, FinishedState::Cancelled, AttemptOutcome::Cancelled, reason).await
    }

    async fn finish(
        self,
        mut tx: Transaction<'static, Postgres>,
        state: FinishedState,
        outcome: AttemptOutcome,
        error: String,
    ) -> Result<Committed, JobError> {
        let ended = EndedAttempt::new(self.id, self.fence, outcome, error, self.traceparent);
        if !store::finish_in(&mut tx, &ended, state).await? {
            tx.rollback().await?;
            return Err(JobError::LeaseLost);
        }
        commit(tx, &self.engine.pool, &[(self.id, self.fence)], outcome).await?;
        let outcome = match state {
            FinishedState::Completed => CommittedOutcome::Completed,
            FinishedState::Discarded => CommittedOutcome::Discarded(ended.error),
            FinishedState::Cancelled => CommittedOutcome::Cancelled(ended.error),
        };
        Ok(Committed { outcome })
    }

    /// Completes a job that has written nothing to the database. Jobs that are done at the same
    /// moment share one commit, which makes this many times faster than a transaction per job.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete).
    pub async fn complete_without_effects(self) -> Result<Committed, JobError> {
        match self.engine.completer.complete(self.id, self.fence).await {
            SharedCompletion::Done => {}
            SharedCompletion::LeaseLost => return Err(JobError::LeaseLost),
            SharedCompletion::Unknown => {
                let claims = [(self.id, self.fence)];
                committed_after_all(&self.engine.pool, &claims, AttemptOutcome::Completed).await?;
            }
        }
        Ok(Committed { outcome: CommittedOutcome::Completed })
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
    pub async fn complete(self, tx: Transaction<'static, Postgres>) -> Result<Committed, JobError> {
        complete_and_commit(tx, &self.engine.pool, &self.claims).await
    }
}

async fn complete_and_commit(
    mut tx: Transaction<'static, Postgres>,
    pool: &PgPool,
    claims: &[(JobId, Fence)],
) -> Result<Committed, JobError> {
    let done = store::complete(&mut *tx, claims).await?;
    if done.len() < claims.len() {
        tx.rollback().await?;
        return Err(JobError::LeaseLost);
    }
    commit(tx, pool, claims, AttemptOutcome::Completed).await?;
    Ok(Committed { outcome: CommittedOutcome::Completed })
}

/// Commits a transaction in which these claims end so.
async fn commit(
    tx: Transaction<'static, Postgres>,
    pool: &PgPool,
    claims: &[(JobId, Fence)],
    outcome: AttemptOutcome,
) -> Result<(), JobError> {
    match tx.commit().await {
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
async fn committed_after_all(
    pool: &PgPool,
    claims: &[(JobId, Fence)],
    outcome: AttemptOutcome,
) -> Result<(), QueueError> {
    let Some((id, fence)) = claims.first() else { return Ok(()) };
    if store::attempt_outcome(pool, *id, *fence).await? == Some(outcome) {
        Ok(())
    } else {
        Err(QueueError::CommitLost)
    }
}
