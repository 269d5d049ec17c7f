//! Stub.

pub mod settle_transaction;

use sqlx::PgPool;

use crate::queue::registry::Registry;

/// What every handler may use.
#[derive(Clone, Debug)]
pub struct JobState {
    /// The handlers' connections.
    pub pool: PgPool,
}

/// All job kinds of this application.
pub fn registry(state: JobState) -> Registry<JobState> {
    Registry::new(state)
}
