//! Failures as text on a terminal, and the exit codes.
//!
//! ```text
//! error: cannot reach PostgreSQL at localhost:5432/surety
//!   cause: Connection refused (os error 111)
//!   fix:   start it, or correct DATABASE_URL; 'app dev' brings a PostgreSQL of its own
//! ```

use std::io::Write as _;
use std::process::ExitCode;

use surety_postgres::ConnectError;

use super::environment::EnvironmentError;
use super::output::plain;
use super::send::client::NoAnswer;
use crate::bank::settings::BankSettingsError;
use crate::bank::simulator::behaviour::BehaviourError;
use crate::db::{DbError, SchemaError};
use crate::operations::job_keys::KeyringError;
use crate::operations::schedules::{CadenceError, ScheduleError};
use crate::telemetry::TelemetryError;

/// The command failed, or found what it looks for.
pub(super) const FAILED: u8 = 1;
/// The arguments make no sense; the code that clap uses.
pub(super) const USAGE: u8 = 2;
/// There is no such thing as the command names.
pub(super) const NOT_FOUND: u8 = 3;
/// The command was carried out before, or cannot be as things stand.
pub(super) const CONFLICT: u8 = 5;
/// The wait took longer than it may.
pub(super) const TIMED_OUT: u8 = 6;
/// PostgreSQL cannot be reached.
const DATABASE_UNREACHABLE: u8 = 7;
/// The schema is not that of this binary.
pub(super) const OTHER_SCHEMA: u8 = 8;
/// A setting cannot be right; the number is sysexits.h's EX_CONFIG.
const BAD_SETTING: u8 = 78;

/// Prints `error` with its causes and, where we know it, the way out; gives the exit code.
pub fn error(error: &anyhow::Error) -> ExitCode {
    let (code, fix) = classify(error);
    let mut said = error.to_string();
    let mut text = format!("error: {said}\n");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some libraries repeat the source in their own sentence.
        if !said.contains(&cause) {
            text.push_str(&format!("  cause: {cause}\n"));
        }
        said = cause;
    }
    if let Some(fix) = fix {
        text.push_str(&format!("  fix:   {fix}\n"));
    }
    // Nobody is left to tell when this fails.
    let _ = std::io::stderr().write_all(plain(&text).as_bytes());
    ExitCode::from(code)
}

/// Errors whose own sentence names the fix.
fn is_bad_setting(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.is::<TelemetryError>()
        || cause.is::<EnvironmentError>()
        || cause.is::<BankSettingsError>()
        || cause.is::<BehaviourError>()
        || cause.is::<KeyringError>()
}

/// Errors of arguments that only the rules can find, in sentences that name the fix.
fn is_usage(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.is::<ScheduleError>() || cause.is::<CadenceError>()
}

/// The exit code of an error, and the fix if its own sentence does not name it.
fn classify(error: &anyhow::Error) -> (u8, Option<&'static str>) {
    if error.chain().any(|cause| cause.is::<NoAnswer>()) {
        return (FAILED, Some("start the API with 'app dev' or 'app serve', or correct --url"));
    }
    if error.chain().any(is_usage) {
        return (USAGE, None);
    }
    if error.chain().any(is_bad_setting) {
        return (BAD_SETTING, None);
    }
    if error.chain().any(|cause| matches!(cause.downcast_ref(), Some(DbError::Schema(_)))) {
        return (OTHER_SCHEMA, None);
    }
    if let Some(classified) = error.chain().find_map(schema_error) {
        return classified;
    }
    match error.chain().find_map(connect_error) {
        Some(ConnectError::Url(_)) => (BAD_SETTING, Some("correct DATABASE_URL")),
        Some(ConnectError::Unreachable { .. }) => (
            DATABASE_UNREACHABLE,
            Some("start it, or correct DATABASE_URL; 'app dev' brings a PostgreSQL of its own"),
        ),
        Some(ConnectError::NeedsSession { .. }) => (BAD_SETTING, None),
        Some(ConnectError::Relay(_)) | None => (FAILED, None),
    }
}

fn schema_error(cause: &(dyn std::error::Error + 'static)) -> Option<(u8, Option<&'static str>)> {
    match cause.downcast_ref()? {
        SchemaError::Refused { .. } => Some((CONFLICT, None)),
        SchemaError::Newer { .. } => Some((OTHER_SCHEMA, Some("upgrade this binary"))),
        SchemaError::Changed { .. } => Some((
            OTHER_SCHEMA,
            Some("use a binary of the release that applied it, or of a later one"),
        )),
        SchemaError::Apply { source, .. } if is_forbidden(source) => {
            Some((FAILED, Some("migrate as the owner of the database")))
        }
        SchemaError::Apply { .. }
        | SchemaError::NotRecorded { .. }
        | SchemaError::Locked { .. }
        | SchemaError::Database(_) => None,
    }
}

/// SQLSTATE insufficient_privilege.
fn is_forbidden(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("42501")
}

fn connect_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a ConnectError> {
    match cause.downcast_ref() {
        Some(DbError::Connect(error)) => Some(error),
        _ => cause.downcast_ref(),
    }
}
