//! `app reconcile`: compares our ledger, our log of calls to the bank, and the bank's statement.
//!
//! - [`comparison`]: reads both sides, and finds where they differ.
//! - `report`: how that is shown.

pub mod comparison;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use humantime::parse_duration;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::comparison::{Comparison, Question};
use super::database::Database;
use super::output::Output;
use super::report as errors;
use crate::bank::BankArgs;
use crate::db;

const EXPLANATION: &str = "\
Types of breaks:
  missing-here   the bank booked it, we did not post it: our order failed, or is unfinished for too
                 long
  missing-there  we posted it, the bank did not book it
  amount, currency, direction, reference
                 both have it, but not the same
  duplicate      the bank booked one key more than once
  unlogged       the bank booked an order of ours that we never sent, by our log
  unknown-key    the bank booked something that is no order of ours
  overdue        unfinished here for too long, and the bank has nothing of it
  in-flight      unfinished here, but not for long: no break

Examples:
  app reconcile
  app reconcile --since 24h -o json
  app reconcile --settle-within 1h -o jsonl | jq 'select(.type == \"missing-here\")'

Only reads, and may run while everything else does; what changes meanwhile is no break. The bank's
statement goes into a temporary table of the database, so any number of bookings fits; of the
breaks, the first --limit are kept and shown. A transaction pooler in front of the database will
not do.

Exit codes: 0 no breaks, 1 breaks, 2 usage, or could not look.";

/// Neither of the two answers.
const NOT_COMPARED: u8 = 2;

/// Compares our ledger and log with what the bank says that it booked.
#[derive(clap::Args, Debug)]
#[command(after_help = EXPLANATION)]
pub struct Args {
    #[command(flatten)]
    database: Database,

    /// The bank.
    #[command(flatten)]
    bank: BankArgs,

    /// Only what was booked or finished since then: a time in RFC 3339, or how long ago. [default:
    /// everything]
    #[arg(long, value_parser = moment_or_age, value_name = "TIME|DURATION")]
    since: Option<OffsetDateTime>,

    /// How long an order may be unfinished before it counts as a break.
    #[arg(long, default_value = "10m", value_parser = parse_duration, value_name = "DURATION")]
    settle_within: Duration,

    /// How many breaks are shown at most; all are counted.
    #[arg(long, default_value_t = 1000, value_name = "BREAKS")]
    limit: usize,

    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

fn moment_or_age(text: &str) -> Result<OffsetDateTime, &'static str> {
    if let Ok(age) = parse_duration(text) {
        return Ok(OffsetDateTime::now_utc() - age);
    }
    let refused = |_| "neither a time such as 2026-11-01T00:00:00Z nor a duration such as 24h";
    OffsetDateTime::parse(text, &Rfc3339).map_err(refused)
}

/// Compares, and prints what was found.
///
/// # Errors
///
/// None: what keeps it from looking is said on stderr, and is exit code 2.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let comparison = match compare(&args).await {
        Ok(comparison) => comparison,
        Err(error) => {
            errors::error(&error);
            return Ok(ExitCode::from(NOT_COMPARED));
        }
    };
    report::print(&comparison, args.output);
    Ok(if comparison.has_breaks() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn compare(args: &Args) -> anyhow::Result<Comparison> {
    let client = args.bank.client()?;
    let client = client.context("no bank is set: give --bank-url, or set APP_BANK_URL")?;
    let pool = args.database.connect_session("surety-reconcile", "the reconciliation").await?;
    db::require_current_schema(&pool).await?;
    // One session, for the temporary table; slow statements are what it is for.
    let options = pool.connect_options().as_ref().clone().disable_statement_logging();
    let mut conn = PgConnection::connect_with(&options).await?;
    let question =
        Question { since: args.since, settle_within: args.settle_within, limit: args.limit };
    let comparison = comparison::compare(&mut conn, &client, &question).await?;
    conn.close().await?;
    Ok(comparison)
}
