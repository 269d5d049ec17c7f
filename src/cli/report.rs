//! Failures as text on a terminal, and the exit codes.
//!
//! ```text
//! error: cannot reach PostgreSQL at localhost:5432/surety
//!   cause: Connection refused (os error 111)
//!   fix:   start it, or correct DATABASE_URL; 'app dev' brings a PostgreSQL of its own
//! ```

use std::process::ExitCode;

use sqlx::error::DatabaseError;
use surety_postgres::{ConnectError, ConnectFailure};

use super::send::client::NoAnswer;
use crate::arguments::BadSetting;
use crate::bank::settings::BankSettingsError;
use crate::bank::simulator::behaviour::BehaviourError;
use crate::db::{DbError, SchemaError};
use crate::notices::MailSettingsError;
use crate::operations::job_keys::KeyringError;
use crate::operations::schedules::{CadenceError, ScheduleError};
use crate::serve::NoSecretGiven;
use crate::settings::environment::EnvironmentError;
use crate::standard_webhooks::SecretError;
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
pub(super) const BAD_SETTING: u8 = 78;

/// Prints `error` with its causes and, where we know it, the way out; gives the exit code.
pub fn error(error: &anyhow::Error) -> ExitCode {
    let (code, fix) = classify(error);
    let mut said = words(&**error);
    let mut text = format!("error: {said}\n");
    let causes = error.chain().zip(error.chain().skip(1));
    // What stands behind a refusal is the refusal itself.
    for cause in causes.filter(|(of, _)| refusal(*of).is_none()).map(|(_, cause)| words(cause)) {
        // Some libraries repeat the source in their own sentence.
        if !said.contains(&cause) {
            text.push_str(&format!("  cause: {cause}\n"));
        }
        said = cause;
    }
    if let Some(fix) = fix {
        text.push_str(&format!("  fix:   {fix}\n"));
    }
    eprint!("{text}");
    ExitCode::from(code)
}

/// The sentence of an error. The driver ends those of the server with a line, which is one of
/// PostgreSQL's own source.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    match refusal(error) {
        Some(refusal) => format!("error returned from database: {}", refusal.message()),
        None => error.to_string(),
    }
}

/// The refusal of the server that an error of the driver's is about.
fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a dyn DatabaseError> {
    error.downcast_ref::<sqlx::Error>()?.as_database_error()
}

/// Errors whose own sentence names the fix.
fn is_bad_setting(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.is::<TelemetryError>()
        || cause.is::<EnvironmentError>()
        || cause.is::<BankSettingsError>()
        || cause.is::<MailSettingsError>()
        || cause.is::<BehaviourError>()
        || cause.is::<KeyringError>()
        || cause.is::<SecretError>()
        || cause.is::<NoSecretGiven>()
        || cause.is::<BadSetting>()
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
        Some(ConnectError::NotNamed) => (
            BAD_SETTING,
            Some(
                "set DATABASE_URL, or give --database-url; 'app dev' brings a PostgreSQL of its \
                 own",
            ),
        ),
        Some(ConnectError::Unreachable { source, .. }) => {
            (DATABASE_UNREACHABLE, Some(fix_of_connection(source)))
        }
        Some(ConnectError::NeedsSession { .. }) => (BAD_SETTING, None),
        Some(ConnectError::Relay(_)) | None => (FAILED, fix_of_database(error)),
    }
}

/// The way out of what keeps a connection from being made.
fn fix_of_connection(error: &sqlx::Error) -> &'static str {
    match ConnectFailure::of(error) {
        ConnectFailure::Credentials => "correct user and password in DATABASE_URL",
        ConnectFailure::NoDatabase => {
            "create it with createdb, or correct the name at the end of DATABASE_URL"
        }
        ConnectFailure::TlsNeeded => "add sslmode=require to the parameters of DATABASE_URL",
        ConnectFailure::NotAdmitted => "admit this machine in the server's pg_hba.conf",
        ConnectFailure::Tls => {
            "correct sslmode and sslrootcert in DATABASE_URL, or give the server the certificate \
             that they ask for"
        }
        ConnectFailure::HostUnknown => "correct the host in DATABASE_URL",
        ConnectFailure::NobodyListens => {
            "start it, or correct DATABASE_URL; 'app dev' brings a PostgreSQL of its own"
        }
        ConnectFailure::Full => {
            "close connections, or raise max_connections of the server; a pooler shares them"
        }
        ConnectFailure::Starting => "wait until it has started, and run the same command again",
        ConnectFailure::NotPostgres => {
            "correct host and port in DATABASE_URL: what answers there is no PostgreSQL"
        }
        ConnectFailure::NoAnswer => {
            "look at the server's load and at the network between, or correct DATABASE_URL; \
             connect_timeout in it gives it more time"
        }
        ConnectFailure::Other => "see the server's log, or correct DATABASE_URL",
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
        SchemaError::NotRecorded { .. } => Some((FAILED, Some("use another database"))),
        SchemaError::Locked { .. } => Some((
            FAILED,
            Some(
                "wait until the other session has ended, or give --wait more time; 'app doctor' \
                  names transactions that stay open",
            ),
        )),
        SchemaError::Apply { source, .. } | SchemaError::Database(source) => {
            Some((FAILED, Some(fix_of_refusal(source))))
        }
    }
}

/// The way out of what the database refused, if anything is that.
fn fix_of_database(error: &anyhow::Error) -> Option<&'static str> {
    let refusal = error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>())?;
    Some(fix_of_refusal(refusal))
}

fn fix_of_refusal(error: &sqlx::Error) -> &'static str {
    let state = error.as_database_error().and_then(|error| error.code());
    match state.as_deref().unwrap_or_default() {
        "42501" => {
            "migrate as the owner of the database, or as a role that was granted CREATE on it and \
             owns the schemas that are there"
        }
        "25006" => "point DATABASE_URL to the primary",
        "55P03" | "57014" | "40P01" => "try again when less runs on the database",
        state if state.starts_with("53") => {
            "give the server what it lacks: disk space, memory or connections"
        }
        state if state.starts_with("08") || state.starts_with("57") || state.is_empty() => {
            "look whether the database is still there, and run the same command again"
        }
        _ => "see the server's log; what was not committed changed nothing",
    }
}

fn connect_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a ConnectError> {
    match cause.downcast_ref() {
        Some(DbError::Connect(error)) => Some(error),
        _ => cause.downcast_ref(),
    }
}
