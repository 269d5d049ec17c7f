//! Kinds whose jobs are done many at once.

use std::num::NonZeroU16;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::backoff::Backoff;
use super::batch_context::BatchContext;
use super::context::{Committed, JobContext};
use super::error::JobError;
use super::job::{FollowUp, Job};

/// A kind whose jobs can be done many at once, in one database transaction. It is a [`Job`], too,
/// whose `run` is a batch of one.
///
/// If `run_batch` fails, its jobs are run one by one, so that a poison job costs only its own
/// attempt. Where it can tell which of them cannot be done, it [fails](BatchContext::fail) those
/// and completes the others.
///
/// ```
/// # use std::time::Duration;
/// # use serde::{Deserialize, Serialize};
/// use surety_queue::{BatchContext, BatchJob, Committed, JobError};
///
/// #[derive(Serialize, Deserialize)]
/// struct Count {
///     page: Option<String>,
/// }
///
/// impl BatchJob for Count {
///     const KIND: &'static str = "count";
///     const MAX_WAIT: Duration = Duration::from_millis(100);
///     type State = ();
///
///     async fn run_batch(
///         jobs: Vec<Self>,
///         _state: &(),
///         mut cx: BatchContext,
///     ) -> Result<Committed, JobError> {
///         let ids: Vec<_> = cx.ids().collect();
///         let mut pages = Vec::new();
///         for (job, id) in jobs.into_iter().zip(ids) {
///             match job.page {
///                 Some(page) => pages.push(page),
///                 None => cx.fail(id, JobError::discard(anyhow::anyhow!("no page"))),
///             }
///         }
///         let mut tx = cx.begin().await?;
///         sqlx::query(
///             "update pages set views = views + counted.views
///              from (select page, count(*) as views from unnest($1::text[]) as page group by page)
///                as counted
///              where pages.name = counted.page",
///         )
///         .bind(pages)
///         .execute(&mut *tx)
///         .await?;
///         cx.complete(tx).await
///     }
/// }
/// ```
pub trait BatchJob: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// As [`Job::KIND`].
    const KIND: &'static str;
    /// As [`Job::QUEUE`].
    const QUEUE: &'static str = "default";
    /// As [`Job::PRIORITY`].
    const PRIORITY: i16 = 2;
    /// As [`Job::MAX_ATTEMPTS`].
    const MAX_ATTEMPTS: i16 = 10;
    /// As [`Job::TIMEOUT`], for a whole batch as for a job that runs alone.
    const TIMEOUT: Duration = Duration::from_secs(60);
    /// As [`Job::KEEPS_HISTORY`].
    const KEEPS_HISTORY: bool = true;
    /// As [`Job::BACKOFF`].
    const BACKOFF: Backoff = Backoff::DEFAULT;
    /// As [`Job::ON_DISCARD`].
    const ON_DISCARD: Option<FollowUp> = None;
    /// As [`Job::SEALED`].
    const SEALED: bool = false;
    /// As [`Job::REDACTED`].
    const REDACTED: &'static [&'static str] = &[];
    /// The most jobs that one call of `run_batch` gets.
    const MAX_BATCH: usize = 200;
    /// The longest that a claimed job waits for others to fill its batch; at most 5 s. By default
    /// a batch that may run does not wait.
    const MAX_WAIT: Duration = Duration::ZERO;
    /// The most batches of the kind that one worker runs at once. What it claims meanwhile fills
    /// the batches that wait for their turn, and is run by this worker and no other: few for work
    /// that waits for the same rows or connections, many for work that waits for somebody else.
    const MAX_AT_ONCE: usize = 8;
    /// The most batches of the kind that have a transaction open at once, over all workers; by
    /// default as many as come. For work that writes the same rows, where more at once are slower.
    /// The first transaction is begun before the batch is made up, so a handler should
    /// [`begin`](BatchContext::begin) first, and have one open at a time. Jobs that run one by one
    /// after their batch has failed are not counted. Workers of two releases each keep to what
    /// their own binary says.
    const MAX_AT_ONCE_OVERALL: Option<NonZeroU16> = None;

    /// As [`Job::State`].
    type State: Clone + Send + Sync + 'static;

    /// Does the work of several jobs and completes them, or those that did not fail, see
    /// [`BatchContext::fail`].
    ///
    /// # Errors
    ///
    /// Any error undoes the whole batch; its jobs then run one by one, within the same attempt.
    fn run_batch(
        jobs: Vec<Self>,
        state: &Self::State,
        cx: BatchContext,
    ) -> impl Future<Output = Result<Committed, JobError>> + Send;

    /// Does the work of one job: that of a batch of one, unless a kind does it in another way.
    ///
    /// # Errors
    ///
    /// As [`Job::run`].
    fn run_alone(
        self,
        state: &Self::State,
        cx: JobContext,
    ) -> impl Future<Output = Result<Committed, JobError>> + Send {
        async move {
            let committed = Self::run_batch(vec![self], state, BatchContext::of_one(cx)).await?;
            committed.of_one()
        }
    }
}

impl<J: BatchJob> Job for J {
    const KIND: &'static str = <J as BatchJob>::KIND;
    const QUEUE: &'static str = <J as BatchJob>::QUEUE;
    const PRIORITY: i16 = <J as BatchJob>::PRIORITY;
    const MAX_ATTEMPTS: i16 = <J as BatchJob>::MAX_ATTEMPTS;
    const TIMEOUT: Duration = <J as BatchJob>::TIMEOUT;
    const KEEPS_HISTORY: bool = <J as BatchJob>::KEEPS_HISTORY;
    const BACKOFF: Backoff = <J as BatchJob>::BACKOFF;
    const ON_DISCARD: Option<FollowUp> = <J as BatchJob>::ON_DISCARD;
    const SEALED: bool = <J as BatchJob>::SEALED;
    const REDACTED: &'static [&'static str] = <J as BatchJob>::REDACTED;

    type State = <J as BatchJob>::State;

    fn run(
        self,
        state: &Self::State,
        cx: JobContext,
    ) -> impl Future<Output = Result<Committed, JobError>> + Send {
        self.run_alone(state, cx)
    }
}
