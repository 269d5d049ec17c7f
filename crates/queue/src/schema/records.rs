//! The record that a database keeps of what was applied to it: two tables of each schema.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection};
use time::OffsetDateTime;

use super::{Migration, Schema, SchemaError, SchemaFile, checksum};

/// The record that a database has of one schema.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) migrations: BTreeMap<i64, Applied>,
    /// By name.
    pub(super) files: BTreeMap<String, Applied>,
}

/// A migration or file that was applied, by which release, and when.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Applied {
    pub(super) name: String,
    checksum: Vec<u8>,
    applied_by: String,
    pub(super) applied_at: OffsetDateTime,
    /// The migration that a program must know, at least, to work with this one; none when that is
    /// not known, and for files.
    works_from: Option<i64>,
}

impl Records {
    /// The numbers of the migrations that the program does not know.
    pub(super) fn unknown(&self, schema: &Schema) -> impl Iterator<Item = (i64, &Applied)> {
        let is_unknown =
            |version: i64| schema.migrations.iter().all(|known| known.version() != version);
        let all = self.migrations.iter().map(|(version, applied)| (*version, applied));
        all.filter(move |(version, _)| is_unknown(*version))
    }

    /// True if the program works with all of the migrations that it does not know.
    pub(super) fn work_with(&self, schema: &Schema) -> bool {
        let newest = schema.migrations.iter().map(Migration::version).max().unwrap_or_default();
        self.unknown(schema).all(|(_, applied)| applied.works_from.is_some_and(|it| it <= newest))
    }
}

impl Applied {
    /// True if this is the text that was applied.
    pub(super) fn is(&self, sql: &'static str) -> bool {
        self.checksum == *checksum(sql)
    }

    /// True if a release after `release` applied it.
    pub(super) fn is_newer_than(&self, release: &str) -> bool {
        numbers(&self.applied_by) > numbers(release)
    }
}

/// `major.minor.patch` as numbers; what is no number is the lowest.
fn numbers(release: &str) -> Vec<u64> {
    let core = release.split(['-', '+']).next().unwrap_or_default();
    core.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

/// Reads the record of the schema; none when nothing was ever applied.
///
/// # Errors
///
/// [`SchemaError::NotRecorded`] when it was made in another way, [`SchemaError::Database`].
pub(super) async fn read(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Option<Records>, SchemaError> {
    let is_recorded: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(format!("{}.schema_migrations", schema.records))
        .fetch_one(&mut *conn)
        .await?;
    if !is_recorded {
        require_absence(conn, schema).await?;
        return Ok(None);
    }
    let migrations: Vec<(i64, Applied)> =
        sqlx::query_as::<_, MigrationRow>(AssertSqlSafe(format!(
            // Records of before have no such column.
            "select version, name, checksum, applied_by, applied_at,
               (to_jsonb(migration) ->> 'works_from')::bigint as works_from
             from {}.schema_migrations as migration",
            schema.records
        )))
        .fetch_all(&mut *conn)
        .await?
        .into_iter()
        .map(|row| (row.version, row.applied))
        .collect();
    let files: Vec<Applied> = sqlx::query_as(AssertSqlSafe(format!(
        "select name, checksum, applied_by, applied_at, null::bigint as works_from
         from {}.schema_files",
        schema.records
    )))
    .fetch_all(conn)
    .await?;
    Ok(Some(Records {
        migrations: migrations.into_iter().collect(),
        files: files.into_iter().map(|file| (file.name.clone(), file)).collect(),
    }))
}

#[derive(sqlx::FromRow)]
struct MigrationRow {
    version: i64,
    #[sqlx(flatten)]
    applied: Applied,
}

/// Fails when one of the PostgreSQL schemas that the first migration makes is there already.
async fn require_absence(conn: &mut PgConnection, schema: &Schema) -> Result<(), SchemaError> {
    let there: Vec<String> = sqlx::query_scalar(
        "select nspname::text from pg_namespace
         where nspname = any ($1)
           and exists (select from pg_class where relnamespace = pg_namespace.oid)",
    )
    .bind(schema.owns)
    .fetch_all(conn)
    .await?;
    match schema.owns.iter().copied().find(|owned| there.iter().any(|name| name == owned)) {
        None => Ok(()),
        Some(postgres_schema) => Err(SchemaError::NotRecorded { postgres_schema }),
    }
}

/// Makes the tables of the record.
pub(super) async fn create(conn: &mut PgConnection, schema: &Schema) -> Result<(), SchemaError> {
    let records = schema.records;
    let sql = format!(
        "create schema if not exists {records};
         create table {records}.schema_migrations (
           version    bigint primary key,
           name       text not null,
           checksum   bytea not null,
           applied_by text not null,
           applied_at timestamptz not null default clock_timestamp()
         );
         create table {records}.schema_files (
           name       text primary key,
           checksum   bytea not null,
           applied_by text not null,
           applied_at timestamptz not null default clock_timestamp()
         );"
    );
    let refused = |source| SchemaError::Apply { schema: schema.name, item: "its record", source };
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.map_err(refused)?;
    Ok(())
}

/// Gives the record the column that the first ones did not have.
pub(super) async fn complete(conn: &mut PgConnection, schema: &Schema) -> Result<(), SchemaError> {
    let records = schema.records;
    let sql = format!(
        "alter table {records}.schema_migrations add column if not exists works_from bigint"
    );
    let refused = |source| SchemaError::Apply { schema: schema.name, item: "its record", source };
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.map_err(refused)?;
    Ok(())
}

/// Drops the tables of the record, if they are still there, and their schema if that is all there
/// was in it.
pub(super) async fn drop(conn: &mut PgConnection, schema: &Schema) -> Result<(), SchemaError> {
    let records = schema.records;
    let sql = format!("drop table if exists {records}.schema_migrations, {records}.schema_files");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *conn).await?;
    let is_empty: bool = sqlx::query_scalar(
        "select exists (select from pg_namespace where nspname = $1)
           and not exists (select from pg_class where relnamespace::regnamespace::text = $1)
           and not exists (select from pg_proc where pronamespace::regnamespace::text = $1)",
    )
    .bind(records)
    .fetch_one(&mut *conn)
    .await?;
    if is_empty {
        sqlx::raw_sql(AssertSqlSafe(format!("drop schema {records}"))).execute(conn).await?;
    }
    Ok(())
}

/// True if the tables of the record are there.
pub(super) async fn exist(conn: &mut PgConnection, schema: &Schema) -> Result<bool, SchemaError> {
    let there = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(format!("{}.schema_migrations", schema.records))
        .fetch_one(conn)
        .await?;
    Ok(there)
}

/// Records that a migration was applied.
pub(super) async fn add_migration(
    conn: &mut PgConnection,
    schema: &Schema,
    migration: &Migration,
) -> Result<(), SchemaError> {
    let sql = format!(
        "insert into {}.schema_migrations (version, name, checksum, applied_by, works_from)
         values ($1, $2, $3, $4, $5)",
        schema.records
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(migration.version())
        .bind(migration.title())
        .bind(checksum(migration.up).into_owned())
        .bind(schema.release)
        .bind(schema.works_from)
        .execute(conn)
        .await?;
    Ok(())
}

/// Records that a migration was undone. The functions that it left behind may be of a newer release
/// than the program that comes next, which is to apply its own.
pub(super) async fn remove_migration(
    conn: &mut PgConnection,
    schema: &Schema,
    version: i64,
) -> Result<(), SchemaError> {
    let records = schema.records;
    let sql = format!("delete from {records}.schema_migrations where version = $1");
    sqlx::query(AssertSqlSafe(sql)).bind(version).execute(&mut *conn).await?;
    let sql = format!("delete from {records}.schema_files");
    sqlx::query(AssertSqlSafe(sql)).execute(conn).await?;
    Ok(())
}

/// Records that a file was applied.
pub(super) async fn set_file(
    conn: &mut PgConnection,
    schema: &Schema,
    file: &SchemaFile,
) -> Result<(), SchemaError> {
    let sql = format!(
        "insert into {}.schema_files (name, checksum, applied_by) values ($1, $2, $3)
         on conflict (name) do update
         set checksum = excluded.checksum, applied_by = excluded.applied_by,
             applied_at = excluded.applied_at",
        schema.records
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(file.name)
        .bind(checksum(file.sql).into_owned())
        .bind(schema.release)
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets a file that the program no longer has.
pub(super) async fn forget_file(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<(), SchemaError> {
    let sql = format!("delete from {}.schema_files where name = $1", schema.records);
    sqlx::query(AssertSqlSafe(sql)).bind(name).execute(conn).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        assert!(numbers("0.10.0") > numbers("0.9.9"));
        assert!(numbers("1.0.0") > numbers("0.99.0"));
        assert_eq!(numbers("0.1.0-rc.1"), numbers("0.1.0"));
    }
}
