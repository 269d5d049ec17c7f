//! Comparison of the schemas of a database with those of a program.

use std::fmt;

use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use super::records::{self, Applied, Records};
use super::{Schema, SchemaError};

/// Result of the comparison of a database with the schemas of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchemaState {
    /// All migrations and files of the program are applied, and no other migration but those of a
    /// release that it works beside.
    Current,
    /// Some are not applied yet.
    Outdated {
        /// Number of missing migrations, and of files that are missing or have changed.
        missing: usize,
    },
    /// The database has migrations that the program does not know, and may not work with.
    Newer,
    /// The database has one of the PostgreSQL schemas, but no record of how it was made.
    NotRecorded {
        /// The name of the PostgreSQL schema.
        postgres_schema: &'static str,
    },
}

impl fmt::Display for SchemaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("the schema is current"),
            Self::Outdated { missing } => write!(
                f,
                "the schema is outdated ({missing} migrations, functions or views missing)"
            ),
            Self::Newer => f.write_str("the schema is newer than this program"),
            Self::NotRecorded { postgres_schema } => write!(
                f,
                "the schema {postgres_schema} was made before the first release, or by somebody \
                 else, and cannot be migrated"
            ),
        }
    }
}

/// A migration or a file that the program or the database knows.
#[derive(Clone, Debug)]
pub struct ItemStatus {
    /// The schema that it is of.
    pub schema: &'static str,
    /// The number of a migration; none for a file.
    pub version: Option<i64>,
    /// The title of a migration, or the path of a file.
    pub name: String,
    /// Its state in the database.
    pub state: ItemState,
}

/// State of a migration or file in a database, compared with the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ItemState {
    /// Not applied yet.
    Pending,
    /// Applied then, as the program has it.
    Applied(OffsetDateTime),
    /// Applied then, but its text has changed since: a file is applied again, a migration cannot.
    Changed(OffsetDateTime),
    /// Applied then by a newer release.
    Newer(OffsetDateTime),
}

/// Compares the database with the schemas; changes nothing.
///
/// Files of a newer release do not make the schema newer: a release keeps working those functions
/// that the one before calls. Nor do migrations that say that the program works with them
/// ([`Schema::works_from`]).
///
/// # Errors
///
/// [`SchemaError::Database`].
pub async fn state(pool: &PgPool, schemas: &[&Schema]) -> Result<SchemaState, SchemaError> {
    let mut conn = pool.acquire().await?;
    let mut missing = 0;
    for schema in schemas {
        let records = match records::read(&mut conn, schema).await {
            Ok(records) => records.unwrap_or_default(),
            Err(SchemaError::NotRecorded { postgres_schema }) => {
                return Ok(SchemaState::NotRecorded { postgres_schema });
            }
            Err(error) => return Err(error),
        };
        if !records.work_with(schema) {
            return Ok(SchemaState::Newer);
        }
        let is_missing = |item: &ItemStatus| match item.state {
            ItemState::Pending => true,
            // A function's; a migration that was edited is refused where it is to be applied.
            ItemState::Changed(_) => item.version.is_none(),
            ItemState::Applied(_) | ItemState::Newer(_) => false,
        };
        missing += items(schema, &records).filter(is_missing).count();
    }
    match missing {
        0 => Ok(SchemaState::Current),
        missing => Ok(SchemaState::Outdated { missing }),
    }
}

/// Every migration and file, in the order of the schemas; changes nothing.
///
/// # Errors
///
/// [`SchemaError::NotRecorded`], [`SchemaError::Database`].
pub async fn status(
    conn: &mut PgConnection,
    schemas: &[&Schema],
) -> Result<Vec<ItemStatus>, SchemaError> {
    let mut items = Vec::new();
    for schema in schemas {
        let records = records::read(conn, schema).await?.unwrap_or_default();
        items.extend(self::items(schema, &records));
    }
    Ok(items)
}

fn items(schema: &Schema, records: &Records) -> impl Iterator<Item = ItemStatus> {
    migrations(schema, records).into_iter().chain(files(schema, records))
}

fn migrations(schema: &Schema, records: &Records) -> Vec<ItemStatus> {
    let known = schema.migrations.iter().map(|migration| ItemStatus {
        schema: schema.name,
        version: Some(migration.version()),
        name: migration.title(),
        state: match records.migrations.get(&migration.version()) {
            None => ItemState::Pending,
            Some(recorded) => compared(recorded, migration.up),
        },
    });
    let unknown = records.unknown(schema).map(|(version, recorded)| ItemStatus {
        schema: schema.name,
        version: Some(version),
        name: recorded.name.clone(),
        state: ItemState::Newer(recorded.applied_at),
    });
    known.chain(unknown).collect()
}

fn files(schema: &Schema, records: &Records) -> Vec<ItemStatus> {
    let states = schema.files.iter().map(|file| ItemStatus {
        schema: schema.name,
        version: None,
        name: file.name.to_owned(),
        state: match records.files.get(file.name) {
            None => ItemState::Pending,
            Some(recorded) if recorded.is_newer_than(schema.release) => {
                ItemState::Newer(recorded.applied_at)
            }
            Some(recorded) => compared(recorded, file.sql),
        },
    });
    states.collect()
}

fn compared(recorded: &Applied, sql: &'static str) -> ItemState {
    match recorded.is(sql) {
        true => ItemState::Applied(recorded.applied_at),
        false => ItemState::Changed(recorded.applied_at),
    }
}
