//! The way to PostgreSQL: pools, migrations, and what state the schema is in.

use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// The migrations of `migrations/`, in the binary.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

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
    /// The schema is older or newer than this binary.
    #[error("{0}")]
    Schema(SchemaState),
    /// Any other statement failed.
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
}

/// Opens a pool of at most `max_connections`, after one connection was made to see that the server is there.
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
    pool_options(max_connections)
        .connect_with(options)
        .await
        .map_err(|source| DbError::Unreachable { server, source })
}

/// Opens a pool that connects when first used: for processes that must start while the server is away.
///
/// # Errors
///
/// [`DbError::Url`].
pub fn connect_lazy(
    url: &str,
    max_connections: u32,
    application_name: &str,
) -> Result<PgPool, DbError> {
    let options = connect_options(url, application_name)?;
    Ok(pool_options(max_connections).connect_lazy_with(options))
}

fn pool_options(max_connections: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(max_connections).acquire_timeout(ACQUIRE_TIMEOUT)
}

fn connect_options(url: &str, application_name: &str) -> Result<PgConnectOptions, DbError> {
    let options = PgConnectOptions::from_str(url).map_err(DbError::Url)?;
    Ok(options.application_name(application_name).options([
        // A statement that hangs must not hold its caller for ever, nor a forgotten transaction the xmin horizon.
        ("statement_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "60s"),
        ("timezone", "UTC"),
        // A prepared statement keeps its plan for the life of the connection. One that was made while a table had
        // ten rows reads it from end to end when it has a million: settling became 10 times slower within 60,000
        // transactions. So scans of whole tables are for statements that have no other way.
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

/// How the schema of a database compares with the migrations of this binary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchemaState {
    /// Every migration of this binary is applied, and no other.
    Current,
    /// So many migrations of this binary are not applied yet.
    Outdated {
        /// Number of missing migrations.
        missing: usize,
    },
    /// The database has migrations that this binary does not know.
    Newer,
}

impl std::fmt::Display for SchemaState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Current => f.write_str("the schema is current"),
            Self::Outdated { missing } => write!(
                f,
                "the schema is outdated ({missing} migrations missing): run 'app migrate run', or start with --migrate"
            ),
            Self::Newer => f.write_str(
                "the schema is newer than this binary: upgrade the binary, or run 'app migrate revert' of the newer one",
            ),
        }
    }
}

/// Compares the applied migrations with those of this binary; changes nothing.
///
/// # Errors
///
/// When the database does not answer.
pub async fn schema_state(pool: &PgPool) -> Result<SchemaState, DbError> {
    let mut conn = pool.acquire().await?;
    let table: Option<String> = sqlx::query_scalar("select to_regclass('_sqlx_migrations')::text")
        .fetch_one(&mut *conn)
        .await?;
    let applied = match table {
        Some(_) => conn.list_applied_migrations("_sqlx_migrations").await?,
        None => Vec::new(),
    };
    let known: Vec<i64> = MIGRATOR
        .iter()
        .filter(|migration| migration.migration_type.is_up_migration())
        .map(|migration| migration.version)
        .collect();
    if applied.iter().any(|migration| !known.contains(&migration.version)) {
        return Ok(SchemaState::Newer);
    }
    match known.len() - applied.len() {
        0 => Ok(SchemaState::Current),
        missing => Ok(SchemaState::Outdated { missing }),
    }
}

/// Fails unless the schema is current, with the command that mends it.
///
/// # Errors
///
/// [`DbError::Schema`], or when the database does not answer.
pub async fn require_current_schema(pool: &PgPool) -> Result<(), DbError> {
    match schema_state(pool).await? {
        SchemaState::Current => Ok(()),
        other => Err(DbError::Schema(other)),
    }
}

/// Applies all missing migrations. Several processes at once are harmless: one applies, the others wait.
///
/// # Errors
///
/// [`DbError::Migrate`].
pub async fn migrate(pool: &PgPool) -> Result<(), DbError> {
    Ok(MIGRATOR.run(pool).await?)
}
