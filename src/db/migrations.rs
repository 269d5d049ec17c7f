//! Applying and undoing migrations.
//!
//! Two processes must not migrate at once, and one that migrates must not hold up the others: a
//! statement that waits for `access exclusive` makes everybody after it wait, too. So there is a
//! lock between processes, waits for locks on tables are short, and the migration tries again.

use std::time::{Duration, Instant};

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, PgConnection, PgPool};
use surety_postgres::connect::require_session;
use tokio::time::sleep;

use super::DbError;
use super::schema::applied_versions;

/// The migrations of `migrations/`, in the binary.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Between two tries to get a lock: time for those who queued behind the last one.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

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
/// [`DbError::Migrate`], [`DbError::MigrationLocked`], [`DbError::NeedsSession`].
pub async fn migrate(pool: &PgPool) -> Result<Vec<i64>, DbError> {
    migrate_with(pool, MigrationPatience::default()).await
}

/// [`migrate`], waiting as long as told.
///
/// # Errors
///
/// [`DbError::Migrate`], [`DbError::MigrationLocked`], [`DbError::NeedsSession`].
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
/// [`DbError::Migrate`], [`DbError::MigrationLocked`], [`DbError::NeedsSession`].
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
        require_session(pool, "migrations")?;
        let mut conn = pool.acquire().await?.detach();
        // A migration may take as long as it needs and read whole tables, unlike the statements of
        // a request.
        sqlx::query(
            "select set_config('statement_timeout', '0', false),
                    set_config('idle_in_transaction_session_timeout', '0', false),
                    set_config('enable_seqscan', 'on', false),
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
            sleep(RETRY_PAUSE).await;
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
        sleep(RETRY_PAUSE).await;
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
