//! Enqueueing, in the caller's database transaction.
use super::{
    QueueError,
    job::{Job, JobId},
    trace_context::TraceContext,
};
use sqlx::PgConnection;
use std::time::Duration;
/// A job to be.
#[derive(Clone, Debug)]
pub struct NewJob {}
impl NewJob {
    /// A job with these arguments, due at once.
    pub fn new<J: Job>(_job: &J) -> Self {
        todo!()
    }
    /// Due after this long.
    pub fn delay(self, _delay: Duration) -> Self {
        self
    }
    /// Overrides the kind's priority.
    pub fn priority(self, _priority: i16) -> Self {
        self
    }
    /// The trace to continue.
    pub fn trace_context(self, _context: Option<TraceContext>) -> Self {
        self
    }
}
/// Enqueues one job.
pub async fn enqueue(_conn: &mut PgConnection, _job: NewJob) -> Result<JobId, QueueError> {
    todo!()
}
/// Enqueues many by one statement; ids in the order of the jobs.
pub async fn enqueue_many(
    _conn: &mut PgConnection,
    _jobs: &[NewJob],
) -> Result<Vec<JobId>, QueueError> {
    todo!()
}
