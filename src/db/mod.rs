//! The way to PostgreSQL.
//!
//! - Here: pools, and what every connection of ours is set to.
//! - `schema`: which migrations a database has, and whether this binary can work with it.
//! - `migrations`: applying and undoing them, one process at a time, without holding up others.

use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

pub use migrations::{MIGRATOR, MigrationPatience, migrate, migrate_with, revert_to};
pub use schema::{
    MigrationState, MigrationStatus, SchemaState, migration_status, require_current_schema,
    schema_state,
};

mod migrations;
mod schema;

/// How long a request waits for a connection before it is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// What can go wrong on the way to PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// `DATABASE_URL` is not a PostgreSQL URL.
    #[error("the database URL cannot be read (expected postgres://user@host:port/database)")]
    Url(#[source] sqlx::Error),
    /// The server did not answer, or refused the connection.
    #[error("cannot reach PostgreSQL at {server}")]
    Unreachable {
        /// Host, port and database, without any password.
        server: String,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
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

/// Opens a pool of at most `max_connections`, after one connection was made to see that the server
/// is there.
///
/// # Errors
///
/// [`DbError::Url`] and [`DbError::Unreachable`].
pub async fn connect(
    url: &str,
    max_connections: u32,
    application_name: &str,
) -> Result<PgPool, DbError> {
    let options = connect_options(url, application_name)?;
    let server = server_name(&options);
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await
        .map_err(|source| DbError::Unreachable { server, source })
}

fn connect_options(url: &str, application_name: &str) -> Result<PgConnectOptions, DbError> {
    // The driver would take any scheme and speak PostgreSQL to whoever is there.
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        let error = sqlx::Error::Configuration(
            "it begins with neither postgres:// nor postgresql://".into(),
        );
        return Err(DbError::Url(error));
    }
    let options = PgConnectOptions::from_str(url).map_err(DbError::Url)?;
    Ok(options.application_name(application_name).options([
        // A statement that hangs must not hold its caller for ever. A transaction whose process was
        // frozen must not hold its locks until long after another worker was given its job: no
        // honest one idles for seconds.
        ("statement_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("timezone", "UTC"),
        // Notices, such as that a table exists already, concern nobody who reads our log.
        ("client_min_messages", "warning"),
        // A prepared statement keeps its plan for the life of the connection. One that was made
        // while a table had ten rows reads it from end to end when it has a million: settling
        // became 10 times slower within 60,000 transactions. So scans of whole tables are for
        // statements that have no other way.
        ("enable_seqscan", "off"),
        // Meant for analytics; here it would only add its 100 ms to the first such scan.
        ("jit", "off"),
    ]))
}

/// Host, port and database of these options: what may be shown to people.
fn server_name(options: &PgConnectOptions) -> String {
    let host = options
        .get_socket()
        .map_or_else(|| options.get_host().to_owned(), |socket| socket.display().to_string());
    format!("{host}:{}/{}", options.get_port(), options.get_database().unwrap_or_default())
}
