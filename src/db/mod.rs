//! The way to PostgreSQL.
//!
//! - Here: pools, and what every connection of ours is set to.
//! - `guard`: what keeps a pool from handing out connections that are of no use.
//! - `pooler`: the same through a connection pooler that changes the server between transactions.
//! - `args`: where the database is, as commands are told.
//! - `schema`: which migrations a database has, and whether this binary can work with it.
//! - `migrations`: applying and undoing them, one process at a time, without holding up others.

use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use self::guard::{Purpose, guarded};

pub use args::DatabaseArgs;
pub use guard::is_writable;
pub use migrations::{MIGRATOR, MigrationPatience, migrate, migrate_with, revert_to};
pub use pooler::is_pooled;
pub use schema::{
    MigrationState, MigrationStatus, SchemaState, migration_status, require_current_schema,
    schema_state,
};

mod args;
mod guard;
mod migrations;
mod pooler;
mod schema;

/// How long a request waits for a connection before it is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a request or a job holds locked when it is cut off, it holds no longer than this: whoever
/// sends it again waits that long. None of them waits for anything else inside a transaction.
const WRITERS_IDLE_TIMEOUT: &str = "2s";

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
    /// What is to be done needs a session, and a connection pooler is in the way.
    #[error(
        "{server} is a connection pooler, which gives each transaction another session: set \
         APP_DATABASE_DIRECT_URL to the PostgreSQL behind it for {what}"
    )]
    NeedsSession {
        /// Host, port and database, without any password.
        server: String,
        /// What needs it.
        what: &'static str,
    },
    /// The way to a connection pooler cannot be opened.
    #[error("cannot relay to the connection pooler")]
    Relay(#[source] std::io::Error),
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
/// is there. If that is a connection pooler which gives transactions sessions by turns, the pool
/// goes through a relay that makes this safe.
///
/// # Errors
///
/// [`DbError::Url`] and [`DbError::Unreachable`].
pub async fn connect(
    url: &str,
    max_connections: u32,
    application_name: &str,
) -> Result<PgPool, DbError> {
    connect_for(Purpose::Any, url, max_connections, application_name).await
}

/// [`connect`] for who writes: connections to a server that has become read-only are given up, and
/// the address is asked for the one that took its place.
///
/// # Errors
///
/// [`DbError::Url`] and [`DbError::Unreachable`].
pub async fn connect_to_write(
    url: &str,
    max_connections: u32,
    application_name: &str,
) -> Result<PgPool, DbError> {
    connect_for(Purpose::Writing, url, max_connections, application_name).await
}

async fn connect_for(
    purpose: Purpose,
    url: &str,
    max_connections: u32,
    application_name: &str,
) -> Result<PgPool, DbError> {
    let mut options = connect_options(url, application_name)?;
    if purpose == Purpose::Writing {
        options = options.options([("idle_in_transaction_session_timeout", WRITERS_IDLE_TIMEOUT)]);
    }
    let server = server_name(&options);
    let pool_options = || {
        let options = PgPoolOptions::new().max_connections(max_connections);
        guarded(options.acquire_timeout(ACQUIRE_TIMEOUT), purpose)
    };
    let unreachable = |source| DbError::Unreachable { server: server.clone(), source };
    let refused = match pool_options().connect_with(options.clone()).await {
        Ok(pool) if pooler::settings_arrive(&pool).await.map_err(unreachable)? => return Ok(pool),
        Ok(pool) => {
            pool.close().await;
            None
        }
        Err(error) if pooler::refuses_settings(&error) => Some(error),
        Err(error) => return Err(unreachable(error)),
    };
    let relayed = pooler::relayed(url, &options).map_err(DbError::Relay)?;
    let pool = pool_options()
        .connect_with(relayed)
        .await
        // What it refused at first says more than what else it refuses without it.
        .map_err(|error| unreachable(refused.unwrap_or(error)))?;
    tracing::info!(server, "behind a connection pooler: no statement depends on its session");
    Ok(pool)
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
        // No setting of PostgreSQL's: whether it arrives tells what is in between.
        (pooler::ROUTE_SETTING, pooler::DIRECT),
    ]))
}

/// Host, port and database of these options: what may be shown to people.
fn server_name(options: &PgConnectOptions) -> String {
    let host = options
        .get_socket()
        // The socket of our own relay says nothing to anybody.
        .filter(|_| !is_pooled(options))
        .map_or_else(|| options.get_host().to_owned(), |socket| socket.display().to_string());
    format!("{host}:{}/{}", options.get_port(), options.get_database().unwrap_or_default())
}
