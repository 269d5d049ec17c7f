//! One run of many jobs.

use std::sync::Arc;

use sqlx::{Postgres, Transaction};
use tokio_util::sync::CancellationToken;

use super::context::{Committed, CommittedOutcome, Engine, JobContext};
use super::error::JobError;
use super::transitions::{Completion, complete_and_commit};
use crate::ids::{Fence, JobId};

/// One run of a batch of jobs.
pub struct BatchContext {
    pub(crate) completions: Vec<Completion>,
    pub(crate) failed: Vec<(JobId, JobError)>,
    pub(crate) stop: CancellationToken,
    pub(crate) engine: Arc<Engine>,
}

impl BatchContext {
    /// The run of one job as that of a batch.
    pub(super) fn of_one(cx: JobContext) -> Self {
        let completions = vec![cx.completion()];
        Self { completions, failed: Vec::new(), stop: cx.stop, engine: cx.engine }
    }

    /// The jobs' numbers, in the order of their arguments.
    pub fn ids(&self) -> impl Iterator<Item = JobId> {
        self.completions.iter().map(|completion| completion.id)
    }

    /// The jobs' numbers, each with the number of its claim, in the same order.
    pub fn claims(&self) -> impl Iterator<Item = (JobId, Fence)> {
        self.completions.iter().map(|completion| (completion.id, completion.fence))
    }

    /// Cancelled when the run must stop.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// One job of the batch is not to be completed with the others: the error says what becomes of
    /// it, as if it had run by itself. Nothing of it may be written in the transaction.
    pub fn fail(&mut self, id: JobId, error: impl Into<JobError>) {
        self.failed.push((id, error.into()));
    }

    /// Begins the database transaction that [`complete`](Self::complete) will commit.
    ///
    /// # Errors
    ///
    /// When the database does not answer, or other runs keep all connections, for 10 s.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.engine.begin().await
    }

    /// Completes all jobs of the batch that did not [fail](Self::fail) in this transaction and
    /// commits it.
    ///
    /// # Errors
    ///
    /// [`JobError::LeaseLost`] when one of the jobs belongs to another worker by now; everything
    /// written for all of them is rolled back, and the worker runs the others one by one.
    pub async fn complete(self, tx: Transaction<'static, Postgres>) -> Result<Committed, JobError> {
        let Self { mut completions, failed, engine, .. } = self;
        completions.retain(|completion| failed.iter().all(|(id, _)| *id != completion.id));
        let wakes = complete_and_commit(tx, &engine.pool, &completions).await?;
        let outcome = if failed.is_empty() {
            CommittedOutcome::Completed
        } else {
            CommittedOutcome::CompletedExcept(failed)
        };
        Ok(Committed { outcome, wakes })
    }
}
