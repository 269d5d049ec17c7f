//! The schema that a program brings to its database: what holds data is made by migrations, once
//! each and in order; functions, triggers and views are files that are applied whenever their text
//! has changed. Both are kept in the program's binary, and recorded in the database in two tables
//! beside the schema, so that several programs, and others' migrations, get along in one database.
//!
//! - Here: what a [`Schema`] is made of, and what can go wrong.
//! - `own`: the queue's own, [`QUEUE`].
//! - `records`: what a database has recorded of a schema.
//! - `session`: one process at a time changes a schema, without holding up others.
//! - `applying`: [`migrate_all`].
//! - `reverting`: [`plan_revert`] and [`revert`].
//! - `status`: how a database compares with a program: [`state`] and [`status()`].
//!
//! `schema/README.md` says what may be changed in which of the files, and how.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use sqlx::SqlStr;
use sqlx::migrate::MigrationType;

pub use applying::{migrate, migrate_all};
pub use own::QUEUE;
pub use reverting::{RevertPlan, Target, plan_revert, revert};
pub use session::Patience;
pub use status::{ItemState, ItemStatus, SchemaState, state, status};

mod applying;
mod own;
mod records;
mod reverting;
mod session;
mod status;

/// A part of a database that one program owns: PostgreSQL schemas that nobody else writes to.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The name that people know it by.
    pub name: &'static str,
    /// Version of the program, `major.minor.patch`: a file of an older release never replaces one
    /// of a newer release.
    pub release: &'static str,
    /// The number of the last migration of the release before: programs that know it work with this
    /// schema, too, so that two releases run side by side during an upgrade.
    pub works_from: i64,
    /// The PostgreSQL schemas that its migrations make.
    pub owns: &'static [&'static str],
    /// The PostgreSQL schema with the tables `schema_migrations` and `schema_files`, which say what
    /// was applied. May be one of those that it owns.
    pub records: &'static str,
    /// In the order of their versions.
    pub migrations: &'static [Migration],
    /// In the order in which they are applied: functions before the views that use them.
    pub files: &'static [SchemaFile],
}

/// A change of what holds data. Applied once; never edited after its release.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// `NNNN_what_it_is_about`; the number is its version.
    pub name: &'static str,
    /// Statements that make the change. If the first line is `-- no-transaction`, it is one
    /// statement that PostgreSQL refuses to run in a transaction.
    pub up: &'static str,
    /// Statements that undo it, with the data.
    pub down: &'static str,
    /// A query whose rows are the reasons for which it must not be undone now.
    pub guard: Option<&'static str>,
}

/// A function with its triggers, or a view: statements that can be applied any number of times.
#[derive(Clone, Copy, Debug)]
pub struct SchemaFile {
    /// Its path in the schema's folder.
    pub name: &'static str,
    /// `create or replace …`, or `drop … if exists` and `create …`.
    pub sql: &'static str,
}

impl Schema {
    /// A word that changes whenever one of the texts does: for the names of test databases.
    pub fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        for migration in self.migrations {
            (migration.name, migration.up).hash(&mut hasher);
        }
        for file in self.files {
            (file.name, file.sql).hash(&mut hasher);
        }
        format!("{:016x}", hasher.finish())
    }
}

impl Migration {
    /// The number in front of its name.
    pub fn version(&self) -> i64 {
        let digits = self.name.split('_').next().unwrap_or_default();
        digits.parse().expect("its name begins with a number")
    }

    /// The words after the number.
    pub fn title(&self) -> String {
        self.name.split_once('_').map_or("", |(_, title)| title).replace('_', " ")
    }

    fn is_in_transaction(&self) -> bool {
        !self.up.starts_with("-- no-transaction")
    }
}

/// The hash by which a text is recorded, to see later whether it was changed.
fn checksum(sql: &'static str) -> Cow<'static, [u8]> {
    let sql = SqlStr::from_static(sql);
    // sqlx hashes the texts of migrations; version and name are not part of it.
    sqlx::migrate::Migration::new(0, "".into(), MigrationType::Simple, sql, false).checksum
}

/// The migrations of a folder, by their names in order: `NNNN_name.up.sql` and `NNNN_name.down.sql`
/// of each, and `NNNN_name.guard.sql` of those that are marked `guarded`. The folder is in that of
/// the crate's manifest.
#[macro_export]
macro_rules! schema_migrations {
    ($folder:literal: $($name:literal $($guarded:ident)?),* $(,)?) => {
        &[$($crate::schema::Migration {
            name: $name,
            up: $crate::schema_text!($folder, $name, ".up.sql"),
            down: $crate::schema_text!($folder, $name, ".down.sql"),
            guard: $crate::schema_guard!($folder, $name $(, $guarded)?),
        }),*]
    };
}

/// The files with functions and views of a folder, in the order in which they are applied. The
/// folder is in that of the crate's manifest.
#[macro_export]
macro_rules! schema_files {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$($crate::schema::SchemaFile {
            name: concat!($name, ".sql"),
            sql: $crate::schema_text!($folder, $name, ".sql"),
        }),*]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! schema_guard {
    ($folder:literal, $name:literal) => {
        None
    };
    ($folder:literal, $name:literal, guarded) => {
        Some($crate::schema_text!($folder, $name, ".guard.sql"))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! schema_text {
    ($folder:literal, $name:literal, $ending:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder, "/", $name, $ending))
    };
}

/// The ways in which a schema cannot be brought to where it should be. Except for
/// [`SchemaError::Database`], nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A migration or a file failed.
    #[error("{schema}: {item} cannot be applied")]
    Apply {
        /// The schema that it is of.
        schema: &'static str,
        /// The migration or the file.
        item: &'static str,
        /// The reason.
        #[source]
        source: sqlx::Error,
    },
    /// A PostgreSQL schema is there, but no record of how it was made.
    #[error(
        "the schema {postgres_schema} was made before the first release, or by somebody else, and \
         cannot be migrated: use another database"
    )]
    NotRecorded {
        /// The name of the PostgreSQL schema.
        postgres_schema: &'static str,
    },
    /// The database has a migration of a newer release.
    #[error("{schema}: the database has migration {version}, which this program does not know")]
    Newer {
        /// The schema that it is of.
        schema: &'static str,
        /// Number of the migration.
        version: i64,
    },
    /// The text of a migration is not the one that was applied.
    #[error("{schema}: migration {version} was another one when it was applied")]
    Changed {
        /// The schema that it is of.
        schema: &'static str,
        /// Number of the migration.
        version: i64,
    },
    /// Something must not be undone.
    #[error("nothing was undone: {}", reasons.join("; "))]
    Refused {
        /// The sentences of the guards.
        reasons: Vec<String>,
    },
    /// Another session held a lock for all of the time given.
    #[error("the schema is locked by another session for {} s", waited.as_secs())]
    Locked {
        /// The time for which it was tried.
        waited: Duration,
    },
    /// The database did not answer, or refused something else.
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
}

impl SchemaError {
    /// A lock on a table was not to be had in the time that one statement has for it.
    fn is_lock_timeout(&self) -> bool {
        let (Self::Database(source) | Self::Apply { source, .. }) = self else { return false };
        source.as_database_error().and_then(|error| error.code()).as_deref() == Some("55P03")
    }
}
