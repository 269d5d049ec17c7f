//! `app doctor`: is this database fit for what it is to keep, and does the queue in it move? Each
//! line says what was found and, where something is amiss, the command or setting that mends it.
//!
//! The queue knows what ails it ([`health`]); here is the rest:
//!
//! - `durability`: settings of the server that lose what was answered with a 2xx.
//! - `horizon`: who keeps vacuum from cleaning up.
//! - `vacuum`: dead rows outside the queue, and the age of the oldest transaction number.
//! - `connection`: the way to the server: headroom, what stands in between, clocks.
//! - `schema`: migrations, indexes and storage settings.
//! - `report`: what was found, for people and for programs.
//!
//! Any role that may connect can ask. What it may not see is said to be unseen, which is neither
//! good nor bad.

mod connection;
mod durability;
mod horizon;
mod report;
mod schema;
mod vacuum;

use std::process::ExitCode;
use std::time::Duration;

use humantime::parse_duration;
use sqlx::PgPool;

use self::report::Report;
use super::database::Database;
use super::output::Output;
use super::report::OTHER_SCHEMA;
use crate::db::SchemaState;
use crate::queue::health::{self, Level, Limits};

const APPLICATION: &str = "surety-doctor";

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

/// Looks at the database and the queue, and says what is amiss and what mends it.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    database: Database,

    /// Warnings are failures.
    #[arg(long)]
    strict: bool,

    /// How long a due job may wait for a worker; ten times as long is a failure.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = positive_duration)]
    max_wait: Duration,

    /// How long a transaction may stay open; ten times as long is a failure.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = positive_duration)]
    max_transaction_age: Duration,

    /// How to print it.
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
    // One to ask, two more to see whether they share a session of the server.
    let pool = args.database.connect_any(APPLICATION, 3).await?;
    let state = schema::state(&pool).await?;
    let report = examine(&pool, state, &args).await?;
    report.print(args.output);
    let tolerated = if args.strict { Level::Unseen } else { Level::Warn };
    Ok(match (is_other(state), report.worst() <= tolerated) {
        (true, _) => ExitCode::from(OTHER_SCHEMA),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}

/// A schema that this role may not see is taken for the right one.
fn is_other(state: Option<SchemaState>) -> bool {
    !matches!(state, None | Some(SchemaState::Current))
}

async fn examine(pool: &PgPool, state: Option<SchemaState>, args: &Args) -> anyhow::Result<Report> {
    let direct = args.database.direct_options(APPLICATION)?;
    let connection_findings = connection::examine(pool, direct).await?;
    let mut conn = pool.acquire().await?;
    let mut report = Report::begin(&mut conn).await?;
    report.add(schema::migrations(pool, state).await?);
    report.add(durability::examine(&mut conn).await?);
    report.add(connection_findings);
    report.add(horizon::examine(&mut conn, args.max_transaction_age).await?);
    report.add(vacuum::examine(&mut conn).await?);
    // In another schema these would look for what is not there.
    if !is_other(state) {
        report.add(schema::relations(&mut conn).await?);
        report.add(health::check(&mut conn, &Limits { wait: args.max_wait }).await?);
    }
    Ok(report)
}
