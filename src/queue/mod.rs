//! The job queue.
pub mod context;
pub mod enqueue;
pub mod job;
pub mod notifier;
pub mod registry;
pub mod spans;
pub mod trace_context;
pub mod worker;

/// What can go wrong in the queue.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The database.
    #[error("the queue's database refused")]
    Database(#[from] sqlx::Error),
}
