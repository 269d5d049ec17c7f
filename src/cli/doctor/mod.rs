//! `app doctor`: flags, text and exit codes of the
//! [examination of the database's health](crate::operations::health).
//!
//! - Here: the flags and the exit code.
//! - `fixes`: remedies, worded as commands of this binary.
//! - `report`: the findings as text and as JSON.

mod fixes;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::parse_duration;

use super::database::Database;
use super::output::Output;
use super::report::OTHER_SCHEMA;
use crate::operations::health::{Examine, HealthError, Level, examine};

const APPLICATION: &str = "surety-doctor";

/// An examination needs as many.
const CONNECTIONS: u32 = 3;

const EXAMPLES: &str = "\
Examples:
  app doctor                     one line per finding, each with what mends it
  app doctor --strict            warnings are failures, too: for a deployment's gate
  app doctor -o json             for programs
  app doctor --max-wait 5m       a queue whose jobs may wait

Only reads, and each look takes seconds at most: it may run while everything else does. An ordinary
role may ask; what it may not see is said.

Exit codes: 0 all is well, 1 something is amiss, 2 usage, 7 database unreachable,
8 schema mismatch.";

/// Examines the database and the queue, and names faults and their remedies.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    database: Database,

    /// Warnings are failures.
    #[arg(long)]
    strict: bool,

    /// The time for which a due job may wait for a worker; ten times as long is a failure.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = positive_duration)]
    max_wait: Duration,

    /// The time for which a transaction may stay open; ten times as long is a failure.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = positive_duration)]
    max_transaction_age: Duration,

    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("it must be longer than nothing".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

/// Looks at everything and prints what was found.
///
/// # Errors
///
/// When the database cannot be reached or the connection breaks.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pool = args.database.connect_any(APPLICATION, CONNECTIONS).await?;
    let request = Examine {
        direct: args.database.direct_options(APPLICATION)?,
        max_wait: args.max_wait,
        max_transaction_age: args.max_transaction_age,
    };
    let report = match examine(&pool, request).await {
        Ok(report) => report,
        Err(HealthError::Schema(error)) => return Err(error.into()),
        Err(HealthError::Connection(error)) => return Err(error.into()),
    };
    report::print(&report, args.output);
    let tolerated = if args.strict { Level::Unseen } else { Level::Warn };
    Ok(match (report.has_other_schema(), report.worst() <= tolerated) {
        (true, _) => ExitCode::from(OTHER_SCHEMA),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}
