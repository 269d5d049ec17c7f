//! The engine, as runs use it: its way to the database, and what they tell it.

use std::sync::Arc;

use sqlx::PgPool;
use tokio::sync::Notify;

use super::completer::Completer;
use super::run_transaction::{RunConnections, RunTransaction};
use crate::activity::Activity;

/// A handler waits for a connection so many times 2 s.
const WAITS_FOR_CONNECTION: usize = 5;

/// The ways to the database that completions use: the pool of the handlers, and the completer for
/// jobs that write nothing.
pub(crate) struct Engine {
    pub(crate) pool: PgPool,
    run_connections: RunConnections,
    pub(crate) completer: Completer,
    /// Makes the worker claim.
    pub(crate) wake: Arc<Notify>,
    pub(crate) activity: Arc<Activity>,
}

impl Engine {
    pub(crate) fn new(
        pool: PgPool,
        completer: Completer,
        wake: Arc<Notify>,
        activity: Arc<Activity>,
    ) -> Self {
        let run_connections = RunConnections::of(pool.clone());
        Self { pool, run_connections, completer, wake, activity }
    }

    /// Begins a transaction, with patience: there are more runs than connections.
    pub(super) async fn begin(&self) -> Result<RunTransaction, sqlx::Error> {
        for _ in 1..WAITS_FOR_CONNECTION {
            match self.run_connections.begin().await {
                Err(sqlx::Error::PoolTimedOut) => {}
                begun => return begun,
            }
        }
        self.run_connections.begin().await
    }
}
