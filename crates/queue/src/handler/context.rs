//! One run of a job, and the ways to end the job in the transaction of its effects.
//!
//! # Example: long work
//!
//! ```
//! # use serde::{Deserialize, Serialize};
//! use surety_queue::{Committed, Job, JobContext, JobError};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Import {
//!     lines: u32,
//! }
//!
//! impl Job for Import {
//!     const KIND: &'static str = "import";
//!     type State = ();
//!
//!     async fn run(self, _state: &(), mut cx: JobContext) -> Result<Committed, JobError> {
//!         // Where the attempt before this one got to, if it failed or was lost.
//!         let mut done: u32 = cx.last_checkpoint()?.unwrap_or(0);
//!         while done < self.lines {
//!             // … the next hundred lines …
//!             done = (done + 100).min(self.lines);
//!             cx.checkpoint(&done).await?;
//!             cx.progress((done * 100 / self.lines) as u8, &format!("{done} lines")).await?;
//!             if cx.stopped().is_cancelled() {
//!                 return Err(JobError::Cancel(format!("stopped after {done} lines")));
//!             }
//!         }
//!         let tx = cx.begin().await?;
//!         cx.with_output(&serde_json::json!({ "lines": done }))?.complete(tx).await
//!     }
//! }
//! ```

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::attempt::{AttemptOutcome, EndedAttempt, storable};
use super::backoff::Backoff;
use super::completer::SharedCompletion;
use super::engine::Engine;
use super::error::JobError;
use super::run_transaction::RunTransaction;
use super::seats::Turn;
use super::transitions::{
    self, Completion, FinishedState, Progress, commit, committed_after_all, complete_and_commit,
};
use super::waker::Waker;
use crate::deadline::within;
use crate::ids::{Fence, JobId};

/// A recorded output is at most so many bytes of JSON: it is for a look at it, not for storage.
const MAX_OUTPUT_BYTES: usize = 256 * 1024;

/// A checkpoint is at most so many bytes of JSON: it is in the hot table.
const MAX_CHECKPOINT_BYTES: usize = 64 * 1024;

/// A progress text is cut at so many bytes.
const MAX_PROGRESS_BYTES: usize = 500;

/// Proof that a job's outcome was committed: only a commit that the job's fence allowed makes one.
#[derive(Debug)]
pub struct Committed {
    /// Visible to the engine, made here only.
    pub(crate) outcome: CommittedOutcome,
    /// Others wait for the end of a job of this run.
    pub(crate) wakes: bool,
}

impl Committed {
    /// The end of a batch of one as that of its job, which has failed if it was not completed.
    pub(super) fn of_one(self) -> Result<Self, JobError> {
        match self.outcome {
            CommittedOutcome::CompletedExcept(mut failed) => match failed.pop() {
                Some((_, error)) => Err(error),
                None => Ok(Self { outcome: CommittedOutcome::Completed, wakes: self.wakes }),
            },
            CommittedOutcome::Completed
            | CommittedOutcome::Discarded(_)
            | CommittedOutcome::Cancelled(_) => Ok(self),
        }
    }
}

/// The outcomes that a handler can commit together with what it wrote.
#[derive(Debug)]
pub(crate) enum CommittedOutcome {
    Completed,
    /// A batch: all but these, whose handler has said what is to become of them.
    CompletedExcept(Vec<(JobId, JobError)>),
    /// With the error that is kept.
    Discarded(String),
    /// With the reason that is kept.
    Cancelled(String),
}

/// One run of one job.
#[derive(Clone)]
pub struct JobContext {
    pub(crate) id: JobId,
    pub(crate) fence: Fence,
    pub(crate) attempt: i16,
    pub(crate) max_attempts: i16,
    pub(crate) is_last_attempt: bool,
    /// The number of this attempt to the backoff.
    pub(crate) backoff_attempt: i16,
    pub(crate) key: Option<String>,
    pub(crate) checkpoint: Option<Box<RawValue>>,
    pub(crate) output: Option<Value>,
    pub(crate) traceparent: Option<String>,
    /// The context of the run's span.
    pub(crate) trace: Context,
    pub(crate) stop: CancellationToken,
    pub(crate) turn: Turn,
    pub(crate) engine: Arc<Engine>,
}

impl JobContext {
    /// The job's number.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The number of this run of the job, from 1.
    pub fn attempt(&self) -> i16 {
        self.attempt
    }

    /// After so many failed attempts the job is discarded.
    pub fn max_attempts(&self) -> i16 {
        self.max_attempts
    }

    /// True when the job is discarded if this attempt fails. A run that ends with its worker does
    /// not count: the next one is the last again.
    pub fn is_last_attempt(&self) -> bool {
        self.is_last_attempt
    }

    /// The wait after this attempt by another backoff than the kind's own, for
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

    /// The key that the job was enqueued with.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The last [checkpoint](Self::checkpoint) of an earlier attempt or of this one; none when
    /// there was none.
    ///
    /// # Errors
    ///
    /// When it is not what is asked for.
    pub fn last_checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        self.checkpoint.as_ref().map(|stored| serde_json::from_str(stored.get())).transpose()
    }

    /// Keeps how far the work has come, for the attempt after this one if this one fails. In a
    /// transaction of its own, under the fence.
    ///
    /// # Errors
    ///
    /// [`JobError::LeaseLost`] when the job belongs to another worker by now, [`JobError::Discard`]
    /// when it is no JSON or more than 64 KiB of it, [`JobError::Retry`] when the database refused.
    pub async fn checkpoint(&mut self, checkpoint: &impl Serialize) -> Result<(), JobError> {
        let checkpoint = limited_json(checkpoint, MAX_CHECKPOINT_BYTES, "checkpoint")?;
        let kept = serde_json::value::to_raw_value(&checkpoint).map_err(JobError::discard)?;
        let progress = Progress { checkpoint: Some(checkpoint), ..Progress::default() };
        self.record_progress(&progress).await?;
        self.checkpoint = Some(kept);
        Ok(())
    }

    /// Tells whoever looks how far the run is: `percent`, at most 100, and a text, which is cut at
    /// 500 bytes. In a transaction of its own, under the fence: some times a second is fine.
    ///
    /// # Errors
    ///
    /// [`JobError::LeaseLost`] when the job belongs to another worker by now, [`JobError::Retry`]
    /// when the database refused.
    pub async fn progress(&self, percent: u8, text: &str) -> Result<(), JobError> {
        let text = (!text.is_empty()).then(|| storable(text.to_owned(), MAX_PROGRESS_BYTES));
        let progress =
            Progress { progress: Some((i16::from(percent.min(100)), text)), checkpoint: None };
        self.record_progress(&progress).await
    }

    async fn record_progress(&self, progress: &Progress) -> Result<(), JobError> {
        match transitions::record_progress(&self.engine.pool, self.id, self.fence, progress).await?
        {
            true => Ok(()),
            false => Err(JobError::LeaseLost),
        }
    }

    /// Sets the output that is stored with the job once it is completed: at most 256 KiB of JSON.
    /// Jobs of kinds that keep no history lose it.
    ///
    /// # Errors
    ///
    /// [`JobError::Discard`] when it is no JSON or too much of it.
    pub fn with_output(mut self, output: &impl Serialize) -> Result<Self, JobError> {
        self.output = Some(limited_json(output, MAX_OUTPUT_BYTES, "output")?);
        Ok(self)
    }

    /// Wakes the worker of this run, see [`Waker`].
    pub fn waker(&self) -> Waker {
        Waker::of(&self.engine)
    }

    pub(super) fn completion(&self) -> Completion {
        Completion {
            id: self.id,
            fence: self.fence,
            traceparent: self.traceparent.clone(),
            output: self.output.clone(),
        }
    }

    /// Cancelled when the run must stop: its lease is lost, or the job is cancelled. A run is
    /// stopped at its next await in any case, at once or 2 s after it was told that the job is
    /// cancelled; this is for work that has to be told, such as a child process.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Begins the transaction that [`complete`](Self::complete), [`discard`](Self::discard) or
    /// [`cancel`](Self::cancel) will commit. Keep it short, and call nobody while it is open.
    ///
    /// # Errors
    ///
    /// When the database does not answer, or other runs keep all connections, for 10 s.
    pub async fn begin(&self) -> Result<RunTransaction, sqlx::Error> {
        self.turn.begin(&self.engine).await
    }

    /// Makes sure that the job is still this run's, until the transaction ends: for what is written
    /// before a call to others, in a transaction that completes nothing.
    ///
    /// # Errors
    ///
    /// [`JobError::LeaseLost`] when the job belongs to another worker by now: roll back.
    pub async fn require_lease(&self, conn: &mut PgConnection) -> Result<(), JobError> {
        match transitions::lock_lease(conn, self.id, self.fence).await? {
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
    pub async fn complete(self, tx: RunTransaction) -> Result<Committed, JobError> {
        let completions = [self.completion()];
        let engine = &self.engine;
        let wakes = complete_and_commit(tx, (&engine.pool, &engine.activity), &completions).await?;
        Ok(Committed { outcome: CommittedOutcome::Completed, wakes })
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
        tx: RunTransaction,
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
        tx: RunTransaction,
        reason: impl Into<String>,
    ) -> Result<Committed, JobError> {
        let reason = reason.into();
        self.finish(tx, FinishedState::Cancelled, AttemptOutcome::Cancelled, reason).await
    }

    async fn finish(
        self,
        mut tx: RunTransaction,
        state: FinishedState,
        outcome: AttemptOutcome,
        error: String,
    ) -> Result<Committed, JobError> {
        tx.require_whole()?;
        let ended = EndedAttempt::new(self.id, self.fence, outcome, error, self.traceparent);
        if !transitions::finish_in(&mut tx, &ended, state).await? {
            within(tx.rollback()).await?;
            return Err(JobError::LeaseLost);
        }
        commit(tx, &self.engine.pool, &[(self.id, self.fence)], outcome).await?;
        let outcome = match state {
            FinishedState::Completed => CommittedOutcome::Completed,
            FinishedState::Discarded => CommittedOutcome::Discarded(ended.error),
            FinishedState::Cancelled => CommittedOutcome::Cancelled(ended.error),
        };
        // Jobs that end like this are few: whether others wait for them is looked up.
        Ok(Committed { outcome, wakes: true })
    }

    /// Completes a job that has written nothing to the database. Jobs that are done at the same
    /// moment share one commit, which makes this many times faster than a transaction per job.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete).
    pub async fn complete_without_effects(self) -> Result<Committed, JobError> {
        let wakes = match self.engine.completer.complete(self.completion()).await {
            SharedCompletion::Done { wakes } => wakes,
            SharedCompletion::LeaseLost => return Err(JobError::LeaseLost),
            SharedCompletion::Unknown => {
                let claims = [(self.id, self.fence)];
                committed_after_all(&self.engine.pool, &claims, AttemptOutcome::Completed).await?;
                true
            }
        };
        Ok(Committed { outcome: CommittedOutcome::Completed, wakes })
    }
}

/// A value as JSON of at most so many bytes.
fn limited_json(value: &impl Serialize, max_bytes: usize, what: &str) -> Result<Value, JobError> {
    let value = serde_json::to_value(value).map_err(JobError::discard)?;
    let bytes = value.to_string().len();
    if bytes > max_bytes {
        let error =
            anyhow::anyhow!("the {what} has {bytes} bytes of JSON, at most {max_bytes} are kept");
        return Err(JobError::Discard(error));
    }
    // PostgreSQL refuses NUL in JSON, too.
    if value.to_string().contains("\\u0000") {
        return Err(JobError::Discard(anyhow::anyhow!("the {what} contains a NUL character")));
    }
    Ok(value)
}
