//! The way to PostgreSQL: pools, migrations, and what state the schema is in.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use time::OffsetDateTime;
use tokio::time::sleep;

/// The migrations of `migrations/`, in the binary.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// How long a request waits for a connection before it is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two tries to get a lock for migrating: time for those who queued behind the last one.
const MIGRATION_RETRY_PAUSE: Duration = Duration::from_millis(200);

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
    pool_options(max_connections)
        .connect_with(options)
        .await
        .map_err(|source| DbError::Unreachable { server, source })
}

/// Opens a pool that connects when first used: for processes that must start while the server is
/// away.
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
        // A plan that is made while a table is new reads it from end to end, and would be kept
        // while the table grows by thousands of rows a second. Planning anew costs a tenth of a
        // millisecond and sees the size of the moment.
        ("plan_cache_mode", "force_custom_plan"),
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
                "the schema is outdated ({missing} migrations missing): run 'app migrate run', or \
                 start with --migrate"
            ),
            Self::Newer => f.write_str(
                "the schema is newer than this binary: upgrade it, or run 'app migrate revert' \
                 of the newer one",
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
    let applied = applied_versions(&mut conn).await?;
    let known: Vec<i64> = MIGRATOR
        .iter()
        .filter(|migration| migration.migration_type.is_up_migration())
        .map(|migration| migration.version)
        .collect();
    if applied.iter().any(|version| !known.contains(version)) {
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

/// How long a migration may wait, and for what.
#[derive(Clone, Copy, Debug)]
pub struct MigrationPatience {
    /// For one lock on a table. While a migration waits, everybody who comes after waits behind it,
    /// so this is short and the migration tries again a little later.
    pub lock_timeout: Duration,
    /// In all: for another process that migrates, and for locks over all tries.
    pub total: Duration,
}

impl Default for MigrationPatience {
    fn default() -> Self {
        Self { lock_timeout: Duration::from_secs(3), total: Duration::from_secs(60) }
    }
}

/// Applies all missing migrations. Several processes at once are harmless: one applies, the others
/// wait and then find nothing to do. Gives the versions that this call applied.
///
/// # Errors
///
/// [`DbError::Migrate`], [`DbError::MigrationLocked`].
pub async fn migrate(pool: &PgPool) -> Result<Vec<i64>, DbError> {
    migrate_with(pool, MigrationPatience::default()).await
}

/// [`migrate`], waiting as long as told.
///
/// # Errors
///
/// [`DbError::Migrate`], [`DbError::MigrationLocked`].
pub async fn migrate_with(pool: &PgPool, patience: MigrationPatience) -> Result<Vec<i64>, DbError> {
    let mut session = MigrationSession::begin(pool, patience).await?;
    let before = applied_versions(&mut session.conn).await?;
    while let Err(error) = session.migrator.run(&mut session.conn).await {
        session.wait_for_lock(error).await?;
    }
    let after = session.end().await?;
    Ok(after.into_iter().filter(|version| !before.contains(version)).collect())
}

/// Undoes, newest first, every migration after `version`; gives those that were undone.
///
/// # Errors
///
/// [`DbError::Migrate`], [`DbError::MigrationLocked`].
pub async fn revert_to(
    pool: &PgPool,
    version: i64,
    patience: MigrationPatience,
) -> Result<Vec<i64>, DbError> {
    let mut session = MigrationSession::begin(pool, patience).await?;
    let before = applied_versions(&mut session.conn).await?;
    while let Err(error) = session.migrator.undo(&mut session.conn, version).await {
        session.wait_for_lock(error).await?;
    }
    let after = session.end().await?;
    Ok(before.into_iter().rev().filter(|version| !after.contains(version)).collect())
}

/// A connection that alone may migrate its database. It ends with the connection, whatever happens.
struct MigrationSession {
    conn: PgConnection,
    migrator: Migrator,
    patience: MigrationPatience,
    deadline: Instant,
}

impl MigrationSession {
    async fn begin(pool: &PgPool, patience: MigrationPatience) -> Result<Self, DbError> {
        let mut conn = pool.acquire().await?.detach();
        // A migration may take as long as it needs, unlike the statements of a request.
        sqlx::query(
            "select set_config('statement_timeout', '0', false),
                    set_config('idle_in_transaction_session_timeout', '0', false),
                    set_config('lock_timeout', $1, false)",
        )
        .bind(format!("{}ms", patience.lock_timeout.as_millis()))
        .execute(&mut conn)
        .await?;
        // sqlx would wait for its lock inside a statement, whose snapshot then keeps a `create
        // index concurrently` of the other process waiting for ever: so we ask, and sleep, and ask
        // again.
        let mut migrator = Migrator::with_migrations(MIGRATOR.iter().cloned().collect());
        migrator.set_locking(false);
        let deadline = Instant::now() + patience.total;
        while !try_migration_lock(&mut conn).await? {
            if Instant::now() >= deadline {
                return Err(DbError::MigrationLocked { waited: patience.total });
            }
            sleep(MIGRATION_RETRY_PAUSE).await;
        }
        Ok(Self { conn, migrator, patience, deadline })
    }

    /// Lets others migrate, and gives the versions that are applied now.
    async fn end(mut self) -> Result<Vec<i64>, DbError> {
        let applied = applied_versions(&mut self.conn).await?;
        self.conn.close().await?;
        Ok(applied)
    }

    /// Waits a little when a migration did not get its lock and there is time left; fails
    /// otherwise.
    async fn wait_for_lock(&mut self, error: MigrateError) -> Result<(), DbError> {
        if !is_lock_timeout(&error) {
            return Err(error.into());
        }
        if Instant::now() >= self.deadline {
            return Err(DbError::MigrationLocked { waited: self.patience.total });
        }
        sleep(MIGRATION_RETRY_PAUSE).await;
        Ok(())
    }
}

/// Takes the lock that one migrating process of a database holds, if nobody else has it.
async fn try_migration_lock(conn: &mut PgConnection) -> Result<bool, DbError> {
    let lock = "select pg_try_advisory_lock(hashtext('surety.migrations'))";
    Ok(sqlx::query_scalar(lock).fetch_one(conn).await?)
}

fn is_lock_timeout(error: &MigrateError) -> bool {
    let source = match error {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => source,
        _ => return false,
    };
    let code = source.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "55P03")
}

async fn applied_versions(conn: &mut PgConnection) -> Result<Vec<i64>, DbError> {
    let has_table = "select to_regclass('_sqlx_migrations') is not null";
    if !sqlx::query_scalar::<_, bool>(has_table).fetch_one(&mut *conn).await? {
        return Ok(Vec::new());
    }
    let applied = conn.list_applied_migrations("_sqlx_migrations").await?;
    Ok(applied.into_iter().map(|migration| migration.version).collect())
}

/// A migration that this binary or the database knows.
#[derive(Clone, Debug)]
pub struct MigrationStatus {
    /// The number in front of its file's name.
    pub version: i64,
    /// The words after it.
    pub name: String,
    /// How binary and database compare.
    pub state: MigrationState,
}

/// How a migration of this binary compares with the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MigrationState {
    /// Not applied yet.
    Pending,
    /// Applied then, as this binary has it.
    Applied(OffsetDateTime),
    /// Applied then, but the file was edited since.
    Changed(OffsetDateTime),
    /// Applied then by a newer binary; this one does not know it.
    Unknown(OffsetDateTime),
}

/// Every migration, in order; changes nothing.
///
/// # Errors
///
/// When the database does not answer.
pub async fn migration_status(pool: &PgPool) -> Result<Vec<MigrationStatus>, DbError> {
    let mut conn = pool.acquire().await?;
    let mut applied: BTreeMap<i64, AppliedRow> = BTreeMap::new();
    if !applied_versions(&mut conn).await?.is_empty() {
        let rows: Vec<AppliedRow> = sqlx::query_as(
            "select version, description, checksum, installed_on from _sqlx_migrations",
        )
        .fetch_all(&mut *conn)
        .await?;
        applied = rows.into_iter().map(|row| (row.version, row)).collect();
    }
    let mut all = Vec::new();
    for migration in MIGRATOR.iter().filter(|m| m.migration_type.is_up_migration()) {
        let state = match applied.remove(&migration.version) {
            None => MigrationState::Pending,
            Some(row) if row.checksum == *migration.checksum => {
                MigrationState::Applied(row.installed_on)
            }
            Some(row) => MigrationState::Changed(row.installed_on),
        };
        let name = migration.description.to_string();
        all.push(MigrationStatus { version: migration.version, name, state });
    }
    all.extend(applied.into_values().map(|row| MigrationStatus {
        version: row.version,
        name: row.description,
        state: MigrationState::Unknown(row.installed_on),
    }));
    Ok(all)
}

#[derive(sqlx::FromRow)]
struct AppliedRow {
    version: i64,
    description: String,
    checksum: Vec<u8>,
    installed_on: OffsetDateTime,
}
