//! Takes migrations back, with the data of what they made.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use super::applying::{execute, require_known};
use super::records;
use super::session::Session;
use super::{Migration, Patience, Schema, SchemaError};

/// The migration to which one schema is taken back.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The schema.
    pub schema: &'static Schema,
    /// The migration that is the last one then; 0 for none.
    pub version: i64,
}

/// The effects that a revert would have.
#[derive(Clone, Debug)]
pub struct RevertPlan {
    /// The migrations that would be undone, in this order: the schemas last to first, the
    /// migrations of each newest first.
    pub undone: Vec<(&'static Schema, &'static Migration)>,
    /// The reasons for which they must not be undone now, one sentence each. If there is any,
    /// nothing is undone.
    pub refusals: Vec<String>,
}

/// Looks at what a revert would undo, and whether it must not; changes nothing.
///
/// # Errors
///
/// [`SchemaError`].
pub async fn plan_revert(
    conn: &mut PgConnection,
    targets: &[Target],
) -> Result<RevertPlan, SchemaError> {
    let undone = migrations_after(conn, targets).await?;
    let mut refusals = Vec::new();
    for guard in undone.iter().filter_map(|(_, migration)| migration.guard) {
        let reasons: Vec<String> = sqlx::query_scalar(guard).fetch_all(&mut *conn).await?;
        refusals.extend(reasons);
    }
    Ok(RevertPlan { undone, refusals })
}

/// Undoes the migrations after `targets`, in one transaction: all or none. Gives those that were
/// undone. Nobody works in these schemas meanwhile: their tables are locked first, so that what the
/// guards look at stays as it is.
///
/// # Errors
///
/// [`SchemaError`]; [`SchemaError::Refused`] with the reasons of [`plan_revert`].
pub async fn revert(
    pool: &PgPool,
    targets: &[Target],
    patience: Patience,
) -> Result<Vec<(&'static Schema, &'static Migration)>, SchemaError> {
    let mut session = Session::begin(pool, patience).await?;
    loop {
        match try_revert(&mut session.conn, targets).await {
            Ok(undone) => {
                session.end().await?;
                return Ok(undone);
            }
            Err(error) => session.wait_for_lock(error).await?,
        }
    }
}

async fn try_revert(
    conn: &mut PgConnection,
    targets: &[Target],
) -> Result<Vec<(&'static Schema, &'static Migration)>, SchemaError> {
    let mut tx = conn.begin().await?;
    let doomed = migrations_after(&mut tx, targets).await?;
    if doomed.is_empty() {
        return Ok(doomed);
    }
    lock_tables(&mut tx, &doomed).await?;
    let plan = plan_revert(&mut tx, targets).await?;
    if !plan.refusals.is_empty() {
        return Err(SchemaError::Refused { reasons: plan.refusals });
    }
    for (schema, migration) in &plan.undone {
        execute(&mut tx, schema, migration.name, migration.down).await?;
        // The first one may have dropped the record with all else.
        if records::exist(&mut tx, schema).await? {
            records::remove_migration(&mut tx, schema, migration.version()).await?;
        }
        let is_last = schema.migrations.first().is_some_and(|first| first.name == migration.name);
        if is_last {
            records::drop(&mut tx, schema).await?;
        }
    }
    tx.commit().await?;
    Ok(plan.undone)
}

/// The applied migrations after the targets, in the order in which they are undone.
async fn migrations_after(
    conn: &mut PgConnection,
    targets: &[Target],
) -> Result<Vec<(&'static Schema, &'static Migration)>, SchemaError> {
    let mut after = Vec::new();
    for target in targets.iter().rev() {
        let records = records::read(conn, target.schema).await?;
        require_known(target.schema, records.as_ref())?;
        let Some(records) = records else { continue };
        let applied = |migration: &&Migration| {
            let version = migration.version();
            version > target.version && records.migrations.contains_key(&version)
        };
        let newest_first = target.schema.migrations.iter().rev().filter(applied);
        after.extend(newest_first.map(|migration| (target.schema, migration)));
    }
    Ok(after)
}

/// Locks all tables of the schemas in which something is undone.
async fn lock_tables(
    conn: &mut PgConnection,
    doomed: &[(&'static Schema, &'static Migration)],
) -> Result<(), SchemaError> {
    let schemas: Vec<&str> = doomed.iter().flat_map(|(schema, _)| schema.owns).copied().collect();
    let tables: Option<String> = sqlx::query_scalar(
        "select string_agg(format('%I.%I', nspname, relname), ', ' order by nspname, relname)
         from pg_class
         join pg_namespace on pg_namespace.oid = relnamespace
         where nspname = any ($1) and relkind in ('r', 'p') and not relispartition",
    )
    .bind(&schemas)
    .fetch_one(&mut *conn)
    .await?;
    if let Some(tables) = tables {
        let lock = format!("lock table {tables} in access exclusive mode");
        sqlx::raw_sql(AssertSqlSafe(lock)).execute(conn).await?;
    }
    Ok(())
}
