//! Comparison of the schema with this binary's: migrations, indexes, storage settings.

use std::error::Error;

use sqlx::{PgConnection, PgPool};

use crate::db::{self, DbError};
use crate::queue::health::{ExpectedRelations, Finding, Fix, Level, compare_relations, look};
use crate::queue::schema::{ItemState, SchemaState};

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

/// Compares the applied migrations, functions and views with those of this binary.
pub(super) async fn migrations(
    pool: &PgPool,
    state: Option<SchemaState>,
) -> Result<Vec<Finding>, DbError> {
    let fix = match state {
        Some(SchemaState::Current) => return applied(pool).await,
        Some(SchemaState::Outdated { .. }) => Fix::ApplyMigrations,
        Some(SchemaState::Newer) => "upgrade this binary".into(),
        Some(SchemaState::NotRecorded { .. }) => "use another database".into(),
        None => {
            return Ok(vec![Finding::new(
                MIGRATIONS,
                Level::Unseen,
                "this role may not see which ones are applied".to_owned(),
                "grant select on all tables in schema queue, surety to it",
            )]);
        }
    };
    let found = state.map(|state| state.to_string()).unwrap_or_default();
    Ok(vec![Finding::new(MIGRATIONS, Level::Fail, found, fix)])
}

async fn applied(pool: &PgPool) -> Result<Vec<Finding>, DbError> {
    let all = db::schema_status(pool).await?;
    let migrations = || all.iter().filter_map(|item| item.version.map(|version| (item, version)));
    let changed: Vec<Finding> = migrations()
        .filter(|(item, _)| matches!(item.state, ItemState::Changed(_)))
        .map(|(item, version)| {
            Finding::new(
                MIGRATIONS,
                Level::Warn,
                format!("migration {}/{version} was another one when it was applied", item.schema),
                "compare this binary's migrations with those of the release that applied it",
            )
        })
        .collect();
    if !changed.is_empty() {
        return Ok(changed);
    }
    let last: Vec<String> = db::SCHEMAS
        .iter()
        .filter_map(|schema| migrations().rfind(|(item, _)| item.schema == schema.name))
        .map(|(item, version)| format!("{}/{version} ({})", item.schema, item.name))
        .collect();
    let found = format!("all are applied, up to {}", last.join(" and "));
    Ok(vec![Finding::ok(MIGRATIONS, found)])
}

pub(super) async fn relations(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    look(conn, RELATIONS, async |conn| compare_relations(conn, EXPECTED).await).await
}
