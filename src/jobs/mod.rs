//! The second way in: what happens after the answer was sent. One file per kind of job.
//!
//! A job reads like a list of steps: begin, call the rules, complete. It owns the database
//! transaction, and has no SQL and no rules of its own.

mod settle_transaction;

use sqlx::PgPool;

pub use settle_transaction::SettleTransaction;

use crate::queue::registry::Registry;

/// What every run of a job gets.
#[derive(Clone, Debug)]
pub struct JobState {
    /// For reads. What a job writes goes into the transaction that completes it.
    pub pool: PgPool,
}

/// All kinds of job that this binary knows.
pub fn registry(state: JobState) -> Registry<JobState> {
    Registry::new(state).register_batch::<SettleTransaction>()
}
