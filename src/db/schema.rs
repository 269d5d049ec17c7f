//! The schemas of the application's database: that of the queue, and its own.

use sqlx::PgPool;
use surety_postgres::connect::require_session;

use super::DbError;
use crate::queue::schema::{
    self, ItemStatus, Patience, QUEUE, RevertPlan, Schema, SchemaError, SchemaState, Target,
};

/// Payments and what they need.
pub static APP: Schema = Schema {
    name: "app",
    release: env!("CARGO_PKG_VERSION"),
    works_from: 16,
    owns: &[
        "payments",
        "identity",
        "bank",
        "api",
        "rate_limits",
        "events",
        "deliveries",
        "notices",
        "audit",
        "operations",
    ],
    records: "surety",
    migrations: crate::queue::schema_migrations![
        "migrations":
        "0001_payments" guarded,
        "0002_identity" guarded,
        "0003_bank" guarded,
        "0004_idempotency_keys" guarded,
        "0005_rate_limits",
        "0006_events" guarded,
        "0007_deliveries" guarded,
        "0008_audit" guarded,
        "0009_notices" guarded,
        "0010_intake",
        "0011_bulk_operations" guarded,
        "0012_verifications",
        "0013_ends_of_jobs",
        "0014_sealed_secrets" guarded,
        "0016_viewers" guarded,
        "0017_webhook_sources",
        "0018_event_snapshots",
        "0019_webhook_bodies" guarded,
        "0020_archives" guarded,
        "0021_bank_log_retention" guarded,
    ],
    files: crate::queue::schema_files![
        "migrations":
        "functions/payments.refuse_change",
        "functions/payments.check_transfers",
        "functions/payments.check_entries",
        "functions/payments.check_carried_forward",
        "functions/payments.check_nothing_left_behind",
        "functions/payments.check_archive_is_whole",
        "functions/payments.check_archived_entries",
        "functions/payments.check_archived_transfers",
        "functions/payments.record_unknown",
        "functions/payments.close_period",
        "functions/payments.version_before",
        "functions/payments.order_id_prefix",
        "functions/payments.wait_for_writers",
        "functions/payments.orders_are_final_before",
        "functions/payments.last_final_transaction",
        "functions/bank.refuse_change",
        "functions/bank.order_of",
        "functions/bank.check_dropped_calls",
        "functions/events.is_needed",
        "functions/events.refuse_change",
        "functions/events.take_xid",
        "functions/events.keep_snapshot",
        "functions/events.next_snapshot",
        "functions/events.unread",
        "functions/events.take",
        "functions/events.peek",
        "functions/events.move_on",
        "functions/deliveries.plan",
        "functions/deliveries.sealed_key",
        "functions/deliveries.fail_with_job",
        "functions/deliveries.resume_with_job",
        "functions/notices.fail_with_job",
        "functions/audit.refuse_change",
        "functions/audit.log_transaction",
        "functions/audit.unsealed",
        "functions/api.record_transactions",
        "functions/api.record_intake",
        "functions/api.prune_intake",
        "functions/api.record_webhook_rejections",
        "functions/api.declare_webhook_sources",
    ],
};

/// All of them, in the order in which they are made.
pub static SCHEMAS: [&Schema; 2] = [&QUEUE, &APP];

/// Brings all schemas to this binary's. Several processes at once are harmless: one does it, the
/// others wait and then find nothing to do. Gives the names of what this call applied.
///
/// # Errors
///
/// [`DbError`].
pub async fn migrate(pool: &PgPool) -> Result<Vec<String>, DbError> {
    migrate_with(pool, Patience::default()).await
}

/// [`migrate`], waiting as long as told.
///
/// # Errors
///
/// [`DbError`].
pub async fn migrate_with(pool: &PgPool, patience: Patience) -> Result<Vec<String>, DbError> {
    require_session(pool, "migrations")?;
    Ok(schema::migrate_all(pool, &SCHEMAS, patience).await?)
}

/// Looks at what a revert would undo, and whether it must not; changes nothing.
///
/// # Errors
///
/// [`DbError`].
pub async fn plan_revert(pool: &PgPool, targets: &[Target]) -> Result<RevertPlan, DbError> {
    let mut conn = pool.acquire().await?;
    Ok(schema::plan_revert(&mut conn, targets).await?)
}

/// Undoes everything after `targets`, or nothing. Gives the names of what was undone.
///
/// # Errors
///
/// [`DbError`].
pub async fn revert(
    pool: &PgPool,
    targets: &[Target],
    patience: Patience,
) -> Result<Vec<String>, DbError> {
    require_session(pool, "migrations")?;
    let undone = schema::revert(pool, targets, patience).await?;
    Ok(undone.iter().map(|(schema, it)| format!("{}/{}", schema.name, it.version())).collect())
}

/// Compares the database with this binary; changes nothing.
///
/// # Errors
///
/// When the database does not answer.
pub async fn schema_state(pool: &PgPool) -> Result<SchemaState, DbError> {
    Ok(schema::state(pool, &SCHEMAS).await?)
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

/// The remedy for a database in this state, in words.
pub(super) fn fix_of(state: &SchemaState) -> &'static str {
    match state {
        SchemaState::Current => "nothing is to be done",
        SchemaState::Outdated { .. } => "run 'app migrate run', or start with --migrate",
        SchemaState::Newer => "upgrade the binary, or run 'app migrate revert' of the newer one",
        SchemaState::NotRecorded { .. } => {
            "use another database, or start 'app dev --fresh' if it is that of 'app dev'"
        }
    }
}

/// Every migration and file; changes nothing.
///
/// # Errors
///
/// When the database does not answer.
pub async fn schema_status(pool: &PgPool) -> Result<Vec<ItemStatus>, DbError> {
    let mut conn = pool.acquire().await?;
    Ok(schema::status(&mut conn, &SCHEMAS).await?)
}

impl From<SchemaError> for DbError {
    fn from(error: SchemaError) -> Self {
        match error {
            SchemaError::NotRecorded { postgres_schema } => {
                Self::Schema(SchemaState::NotRecorded { postgres_schema })
            }
            SchemaError::Locked { waited } => Self::MigrationLocked { waited },
            SchemaError::Database(source) => Self::Database(source),
            SchemaError::Apply { .. }
            | SchemaError::Newer { .. }
            | SchemaError::Changed { .. }
            | SchemaError::Refused { .. } => Self::Migrate(error),
        }
    }
}
