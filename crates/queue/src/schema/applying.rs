//! Brings schemas to a database.

use sqlx::{Connection as _, PgConnection, PgPool};

use super::records::{self, Records};
use super::session::Session;
use super::{Migration, Patience, QUEUE, Schema, SchemaError, SchemaFile};

/// Brings the queue's schema to the database: what is missing, and what has changed. Gives the
/// names of what this call applied.
///
/// Several processes at once are harmless: one applies, the others wait and then find nothing to
/// do. Migrations of the program's own, by `sqlx::migrate!` for example, run before or after this.
///
/// # Errors
///
/// [`SchemaError`].
pub async fn migrate(pool: &PgPool) -> Result<Vec<String>, SchemaError> {
    migrate_all(pool, &[&QUEUE], Patience::default()).await
}

/// Brings several schemas to the database, in this order, in one transaction: all or none. A
/// migration that PostgreSQL refuses to run in a transaction commits what comes before it.
///
/// Gives the names of what this call applied: `queue/1`, `queue/functions/claim.sql`.
///
/// # Errors
///
/// [`SchemaError`].
pub async fn migrate_all(
    pool: &PgPool,
    schemas: &[&'static Schema],
    patience: Patience,
) -> Result<Vec<String>, SchemaError> {
    let mut session = Session::begin(pool, patience).await?;
    let mut applied = Vec::new();
    while let Err(error) = try_all(&mut session.conn, schemas, &mut applied).await {
        session.wait_for_lock(error).await?;
    }
    session.end().await?;
    Ok(applied)
}

async fn try_all(
    conn: &mut PgConnection,
    schemas: &[&'static Schema],
    applied: &mut Vec<String>,
) -> Result<(), SchemaError> {
    // What cannot be migrated is found before anything is touched.
    let mut before = Vec::new();
    for schema in schemas {
        let records = records::read(conn, schema).await?;
        if records.as_ref().is_some_and(|records| is_ahead(schema, records)) {
            continue;
        }
        require_known(schema, records.as_ref())?;
        before.push((*schema, records));
    }
    let mut tx = conn.begin().await?;
    let mut uncommitted = Vec::new();
    for (schema, records) in before {
        let missing = missing_migrations(schema, records.as_ref());
        if records.is_none() {
            records::create(&mut tx, schema).await?;
        }
        if !missing.is_empty() {
            records::complete(&mut tx, schema).await?;
        }
        for &migration in &missing {
            if migration.is_in_transaction() {
                apply_migration(&mut tx, schema, migration).await?;
            } else {
                tx.commit().await?;
                applied.append(&mut uncommitted);
                apply_migration(conn, schema, migration).await?;
                tx = conn.begin().await?;
            }
            uncommitted.push(format!("{}/{}", schema.name, migration.version()));
        }
        // A migration may have dropped what stood in its way.
        let all = !missing.is_empty();
        for file in stale_files(schema, records.as_ref(), all) {
            execute(&mut tx, schema, file.name, file.sql).await?;
            records::set_file(&mut tx, schema, file).await?;
            uncommitted.push(format!("{}/{}", schema.name, file.name));
        }
        for name in gone_files(schema, records.as_ref()) {
            records::forget_file(&mut tx, schema, name).await?;
        }
    }
    tx.commit().await?;
    applied.append(&mut uncommitted);
    Ok(())
}

/// True if a newer release has migrated the database, which this program works with as it is.
fn is_ahead(schema: &Schema, records: &Records) -> bool {
    records.unknown(schema).next().is_some()
        && records.work_with(schema)
        && missing_migrations(schema, Some(records)).is_empty()
}

/// Fails when the database has a migration that the schema does not have in this form.
pub(super) fn require_known(schema: &Schema, records: Option<&Records>) -> Result<(), SchemaError> {
    for (&version, recorded) in records.iter().flat_map(|records| &records.migrations) {
        let known = schema.migrations.iter().find(|migration| migration.version() == version);
        match known {
            None => return Err(SchemaError::Newer { schema: schema.name, version }),
            Some(migration) if !recorded.is(migration.up) => {
                return Err(SchemaError::Changed { schema: schema.name, version });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn missing_migrations(schema: &Schema, records: Option<&Records>) -> Vec<&'static Migration> {
    let is_missing = |migration: &&Migration| {
        records.is_none_or(|records| !records.migrations.contains_key(&migration.version()))
    };
    schema.migrations.iter().filter(is_missing).collect()
}

/// The files whose text is not the one that was applied, or `all` of them; those that a newer
/// release applied aside.
fn stale_files<'a>(
    schema: &'a Schema,
    records: Option<&'a Records>,
    all: bool,
) -> impl Iterator<Item = &'static SchemaFile> {
    schema.files.iter().filter(move |file| {
        match records.and_then(|records| records.files.get(file.name)) {
            None => true,
            Some(recorded) if recorded.is_newer_than(schema.release) => false,
            Some(recorded) => all || !recorded.is(file.sql),
        }
    })
}

/// The names of recorded files that the program no longer has.
fn gone_files<'a>(
    schema: &'a Schema,
    records: Option<&'a Records>,
) -> impl Iterator<Item = &'a str> {
    let recorded = records.into_iter().flat_map(|records| records.files.values());
    recorded
        .filter(|file| !file.is_newer_than(schema.release))
        .map(|file| file.name.as_str())
        .filter(|name| schema.files.iter().all(|file| file.name != *name))
}

async fn apply_migration(
    conn: &mut PgConnection,
    schema: &Schema,
    migration: &Migration,
) -> Result<(), SchemaError> {
    execute(conn, schema, migration.name, migration.up).await?;
    records::add_migration(conn, schema, migration).await
}

/// Runs the statements of a migration or a file.
pub(super) async fn execute(
    conn: &mut PgConnection,
    schema: &Schema,
    item: &'static str,
    sql: &'static str,
) -> Result<(), SchemaError> {
    let refused = |source| SchemaError::Apply { schema: schema.name, item, source };
    sqlx::raw_sql(sql).execute(conn).await.map_err(refused)?;
    Ok(())
}
