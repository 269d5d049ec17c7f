//! Which migrations a database has, compared with those of this binary.

use std::collections::BTreeMap;

use sqlx::migrate::Migrate;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use super::{DbError, MIGRATOR};

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
                "the schema is newer than this binary: upgrade the binary, or run 'app migrate \
                 revert' of the newer one",
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

/// The versions that a database has, in order.
pub(super) async fn applied_versions(conn: &mut PgConnection) -> Result<Vec<i64>, DbError> {
    let has_table = "select to_regclass('_sqlx_migrations') is not null";
    if !sqlx::query_scalar::<_, bool>(has_table).fetch_one(&mut *conn).await? {
        return Ok(Vec::new());
    }
    let applied = conn.list_applied_migrations("_sqlx_migrations").await?;
    Ok(applied.into_iter().map(|migration| migration.version).collect())
}
