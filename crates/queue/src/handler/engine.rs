//! The engine, as runs use it: its way to the database, and what they tell it.

use std::sync::Arc;

use sqlx::{PgPool, Postgres, Transaction};
use tokio::sync::Notify;

use super::completer::Completer;
use crate::activity::Activity;
use crate::deadline::begin;

/// A handler waits for a connection so many times as long as the pool allows, 2 s.
const WAITS_FOR_CONNECTION: usize = 5;

/// The ways to the database that completions use: the pool of the handlers, and the completer for
/// jobs that write nothing.
pub(crate) struct Engine {
    pub(crate) pool: PgPool,
    pub(crate) completer: Completer,
    /// Makes the worker claim.
    pub(crate) wake: Arc<Notify>,
    pub(crate) activity: Arc<Activity>,
}

impl Engine {
    /// Begins a transaction, with patience: there are more runs than connections.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        for _ in 1..WAITS_FOR_CONNECTION {
            match begin(&self.pool).await {
                Err(sqlx::Error::PoolTimedOut) => {}
                begun => return begun,
            }
        }
        begin(&self.pool).await
    }
}
