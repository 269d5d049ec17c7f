//! The application's database: how commands are told where it is, and its schema.
//!
//! - `args`: where the database is, as commands are told.
//! - `schema`: which migrations a database has, and whether this binary can work with it.
//! - `migrations`: applying and undoing them, one process at a time, without holding up others.
//!
//! Pools and connections themselves are `surety_postgres`.

use std::time::Duration;

use surety_postgres::ConnectError;

pub use args::DatabaseArgs;
pub use migrations::{MIGRATOR, MigrationPatience, migrate, migrate_with, revert_to};
pub use schema::{
    MigrationState, MigrationStatus, SchemaState, migration_status, require_current_schema,
    schema_state,
};
pub use surety_postgres::{connect, connect_to_write, is_pooled, is_writable};

mod args;
mod migrations;
mod schema;

/// The ways in which the application's database fails it.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The database cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A migration failed.
    #[error("the schema cannot be migrated")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Another session held a lock that a migration needs for all of the time given.
    #[error(
        "the schema is locked by another session for {} s: end long transactions (pg_stat_activity \
         shows them), or raise --wait",
        waited.as_secs()
    )]
    MigrationLocked {
        /// How long it was tried.
        waited: Duration,
    },
    /// The schema is older or newer than this binary.
    #[error("{0}")]
    Schema(SchemaState),
    /// Any other statement failed.
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
}
