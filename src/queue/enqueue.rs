//! Way in: jobs are enqueued in the caller's database transaction, so that they exist exactly when
//! the rows that they are about exist.

use std::time::Duration;

use sqlx::PgConnection;

use super::QueueError;
use super::job::{FollowUp, Job, JobId};
use super::spans::EnqueueSpan;
use super::store;
use super::trace_context::TraceContext;

/// A job that is about to be enqueued.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub(super) queue: &'static str,
    pub(super) kind: &'static str,
    pub(super) priority: i16,
    pub(super) max_attempts: i16,
    pub(super) delay: Duration,
    pub(super) args: serde_json::Value,
    pub(super) on_discard: Option<FollowUp>,
    pub(super) trace_context: Option<TraceContext>,
}

impl NewJob {
    /// A job with these arguments, due at once, with the queue, priority, bounds and
    /// follow-up of its kind, and continuing the trace of the current span.
    ///
    /// # Errors
    ///
    /// [`QueueError::Args`] when the arguments cannot be written as JSON.
    pub fn new<J: Job>(args: &J) -> Result<Self, QueueError> {
        Ok(Self {
            queue: J::QUEUE,
            kind: J::KIND,
            priority: J::PRIORITY,
            max_attempts: J::MAX_ATTEMPTS,
            delay: Duration::ZERO,
            args: serde_json::to_value(args)
                .map_err(|source| QueueError::Args { kind: J::KIND, source })?,
            on_discard: J::ON_DISCARD,
            trace_context: TraceContext::current(),
        })
    }

    /// Due after this long, by the database's clock.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Another priority than that of the kind: 1 (claimed first) to 4 (last).
    #[must_use]
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// Continues this trace instead of the current span's.
    #[must_use]
    pub fn trace_context(mut self, context: Option<TraceContext>) -> Self {
        self.trace_context = context;
        self
    }
}

/// Enqueues one job in the caller's transaction.
///
/// A worker learns of it at its next poll, or at once if
/// [`Notifier::notify`](super::notifier::Notifier::notify) is called after the commit.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn enqueue(conn: &mut PgConnection, job: NewJob) -> Result<JobId, QueueError> {
    let ids = enqueue_many(conn, std::slice::from_ref(&job)).await?;
    ids.first().copied().ok_or(QueueError::Database(sqlx::Error::RowNotFound))
}

/// Enqueues many jobs in the caller's transaction by one statement. The ids are in the order of the
/// jobs.
///
/// # Errors
///
/// [`QueueError::Database`]; then none is enqueued.
pub async fn enqueue_many(
    conn: &mut PgConnection,
    jobs: &[NewJob],
) -> Result<Vec<JobId>, QueueError> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let spans: Vec<EnqueueSpan> = jobs
        .iter()
        .map(|job| EnqueueSpan::start(job.queue, job.kind, job.trace_context.as_ref()))
        .collect();
    let trace_contexts = spans.iter().map(|span| span.trace_context().cloned()).collect();
    let ids = store::enqueue_many(conn, jobs, trace_contexts).await?;
    for (span, id) in spans.into_iter().zip(&ids) {
        span.enqueued(*id);
    }
    Ok(ids)
}
