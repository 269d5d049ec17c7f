//! One run of many jobs.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry::Context;
use tokio_util::sync::CancellationToken;

use super::context::{Committed, CommittedOutcome, JobContext};
use super::engine::Engine;
use super::error::JobError;
use super::run_transaction::RunTransaction;
use super::seats::Turn;
use super::transitions::{Completion, complete_and_commit};
use super::waker::Waker;
use crate::ids::{Fence, JobId};
use crate::telemetry::TraceContext;

/// One run of a batch of jobs.
pub struct BatchContext {
    pub(crate) completions: Vec<Completion>,
    /// The contexts of the runs' spans, in the same order.
    pub(crate) contexts: Vec<Context>,
    pub(crate) failed: Vec<(JobId, JobError)>,
    pub(crate) stop: CancellationToken,
    pub(crate) turn: Turn,
    pub(crate) engine: Arc<Engine>,
}

impl BatchContext {
    /// The run of one job as that of a batch.
    pub(super) fn of_one(cx: JobContext) -> Self {
        Self::of_runs(vec![cx]).expect("there is one run")
    }

    /// Runs of several jobs whose effects are to be committed together, each by its own handler
    /// that waits for this; none when there is no run.
    pub fn of_runs(mut runs: Vec<JobContext>) -> Option<Self> {
        // In id order, as every statement that locks several jobs.
        runs.sort_unstable_by_key(|run| run.id);
        let completions = runs.iter().map(JobContext::completion).collect();
        let contexts = runs.iter().map(|run| run.trace.clone()).collect();
        let JobContext { stop, turn, engine, .. } = runs.pop()?;
        Some(Self { completions, contexts, failed: Vec::new(), stop, turn, engine })
    }

    /// The jobs' numbers, in the order of their arguments.
    pub fn ids(&self) -> impl Iterator<Item = JobId> {
        self.completions.iter().map(|completion| completion.id)
    }

    /// The jobs' numbers, each with the number of its claim, in the same order.
    pub fn claims(&self) -> impl Iterator<Item = (JobId, Fence)> {
        self.completions.iter().map(|completion| (completion.id, completion.fence))
    }

    /// The trace contexts of the jobs' runs, in the same order: what a job causes goes on in its
    /// own.
    pub fn trace_contexts(&self) -> impl Iterator<Item = Option<TraceContext>> {
        self.contexts.iter().map(TraceContext::of)
    }

    /// Wakes the worker of this run, see [`Waker`].
    pub fn waker(&self) -> Waker {
        Waker::of(&self.engine)
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
    /// When the database does not answer, or other runs keep all connections, for 10 s. Where the
    /// kind has a [`MAX_AT_ONCE_OVERALL`](super::BatchJob::MAX_AT_ONCE_OVERALL), this waits for
    /// others for as long as the handler may run.
    pub async fn begin(&self) -> Result<RunTransaction, sqlx::Error> {
        self.turn.begin(&self.engine).await
    }

    /// Completes all jobs of the batch that did not [fail](Self::fail) in this transaction and
    /// commits it.
    ///
    /// # Errors
    ///
    /// [`JobError::LeaseLost`] when one of the jobs belongs to another worker by now; everything
    /// written for all of them is rolled back, and the worker runs the others one by one.
    pub async fn complete(self, tx: RunTransaction) -> Result<Committed, JobError> {
        let Self { mut completions, failed, engine, .. } = self;
        completions.retain(|completion| failed.iter().all(|(id, _)| *id != completion.id));
        let wakes = complete_and_commit(tx, (&engine.pool, &engine.activity), &completions).await?;
        let outcome = if failed.is_empty() {
            CommittedOutcome::Completed
        } else {
            CommittedOutcome::CompletedExcept(failed)
        };
        Ok(Committed { outcome, wakes })
    }

    /// As [`complete`](Self::complete), with a proof for each of the [runs](Self::of_runs) that did
    /// not fail.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete).
    pub async fn complete_each(
        self,
        tx: RunTransaction,
    ) -> Result<HashMap<JobId, Committed>, JobError> {
        let failed: Vec<JobId> = self.failed.iter().map(|(id, _)| *id).collect();
        let ids: Vec<JobId> = self.ids().filter(|id| !failed.contains(id)).collect();
        let Committed { wakes, .. } = self.complete(tx).await?;
        let completed = || Committed { outcome: CommittedOutcome::Completed, wakes };
        Ok(ids.into_iter().map(|id| (id, completed())).collect())
    }
}
