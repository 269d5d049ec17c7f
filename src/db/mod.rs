//! The application's database: how commands are told where it is, and its schema.
//!
//! - `args`: where the database is, as commands are told.
//! - `schema`: the schemas of this binary, and what a database has of them.
//!
//! Pools and connections themselves are `surety_postgres`.

use std::time::Duration;

use surety_postgres::ConnectError;

pub use crate::queue::schema::{ItemState, ItemStatus, Patience, SchemaError, SchemaState, Target};
pub use args::DatabaseArgs;
pub use schema::{
    APP, SCHEMAS, migrate, migrate_with, plan_revert, require_current_schema, revert, schema_state,
    schema_status,
};
pub use surety_postgres::{
    connect, connect_for_slow_statements, connect_to_write, is_pooled, is_writable,
};

mod args;
mod schema;

/// The ways in which the application's database fails it.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The database cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A migration failed, or must not be made.
    #[error("the schema cannot be migrated")]
    Migrate(#[source] SchemaError),
    /// Another session held a lock that a migration needs for all of the time given.
    #[error(
        "the schema is locked by another session for {} s: end long transactions (pg_stat_activity \
         shows them), or raise --wait",
        waited.as_secs()
    )]
    MigrationLocked {
        /// The time for which it was tried.
        waited: Duration,
    },
    /// The schema is not that of this binary.
    #[error("{0}: {fix}", fix = schema::fix_of(.0))]
    Schema(SchemaState),
    /// Any other statement failed.
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
}
