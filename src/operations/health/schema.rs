//! Comparison of the schema with this binary's: migrations, indexes, storage settings.

use std::error::Error;

use sqlx::{PgConnection, PgPool};

use crate::db::{self, DbError, MigrationState, SchemaState};
use crate::queue::health::{ExpectedRelations, Finding, Fix, Level, compare_relations, look};

const MIGRATIONS: &str = "migrations";
const RELATIONS: &str = "indexes-and-settings";

/// SQLSTATE insufficient_privilege.
const FORBIDDEN: &str = "42501";

/// Indexes and storage settings that the migrations make outside the queue's schema.
const EXPECTED: ExpectedRelations = ExpectedRelations(include_str!("relations.txt"));

/// The state of the schema; none if this role may not see it.
///
/// # Errors
///
/// When the database does not answer.
pub(super) async fn state(pool: &PgPool) -> Result<Option<SchemaState>, DbError> {
    match db::schema_state(pool).await {
        Ok(state) => Ok(Some(state)),
        Err(error) if is_forbidden(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_forbidden(error: &DbError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(sqlx::Error::Database(refusal)) = error.downcast_ref()
            && refusal.code().as_deref() == Some(FORBIDDEN)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Compares the applied migrations with those of this binary.
pub(super) async fn migrations(
    pool: &PgPool,
    state: Option<SchemaState>,
) -> Result<Vec<Finding>, DbError> {
    let (level, found, fix) = match state {
        Some(SchemaState::Current) => return applied(pool).await,
        Some(SchemaState::Outdated { missing }) => {
            (Level::Fail, format!("{missing} migrations are missing"), Fix::ApplyMigrations)
        }
        Some(SchemaState::Newer) => (
            Level::Fail,
            "the schema is newer than this binary".into(),
            "upgrade this binary".into(),
        ),
        None => (
            Level::Unseen,
            "this role may not see which ones are applied".into(),
            "grant select on _sqlx_migrations to it".into(),
        ),
    };
    Ok(vec![Finding::new(MIGRATIONS, level, found, fix)])
}

async fn applied(pool: &PgPool) -> Result<Vec<Finding>, DbError> {
    let all = db::migration_status(pool).await?;
    let changed: Vec<Finding> = all
        .iter()
        .filter(|migration| matches!(migration.state, MigrationState::Changed(_)))
        .map(|migration| {
            Finding::new(
                MIGRATIONS,
                Level::Warn,
                format!("migration {} was another one when it was applied", migration.version),
                "compare this binary's migrations with those of the release that applied it",
            )
        })
        .collect();
    match (changed.is_empty(), all.last()) {
        (true, Some(last)) => {
            let found = format!("all are applied, up to {} ({})", last.version, last.name);
            Ok(vec![Finding::ok(MIGRATIONS, found)])
        }
        _ => Ok(changed),
    }
}

pub(super) async fn relations(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    look(conn, RELATIONS, async |conn| compare_relations(conn, EXPECTED).await).await
}
