//! `app reconcile`: flags, tables and exit codes of `operations::reconciliation`.

use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::{parse_duration, parse_moment};
use anyhow::Context as _;
use rust_decimal::Decimal;
use serde_json::json;
use sqlx::Connection as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::database::Database;
use super::output::{Output, table};
use super::report;
use crate::bank::BankArgs;
use crate::db;
use crate::operations::reconciliation::{
    self, Break, CompareBooks, Comparison, Since, Total, amount_text,
};

const EXPLANATION: &str = "\
Types of breaks:
  missing-here   the bank booked it, we did not post it: our order failed, or is unfinished for too
                 long
  missing-there  we posted it, the bank did not book it
  amount, currency, direction, reference
                 both have it, but not the same
  duplicate      the bank booked one key more than once
  unlogged       the bank booked an order of ours that we never sent, by our log; none of those
                 that ended so long ago that calls may have been dropped
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

/// The exit code when nothing could be compared.
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
    since: Option<Since>,

    /// The time for which an order may be unfinished before it counts as a break.
    #[arg(long, default_value = "10m", value_parser = parse_duration, value_name = "DURATION")]
    settle_within: Duration,

    /// The most breaks that are shown; all are counted.
    #[arg(long, default_value_t = 1000, value_name = "BREAKS")]
    limit: usize,

    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

fn moment_or_age(text: &str) -> Result<Since, &'static str> {
    if let Ok(age) = parse_duration(text) {
        return Ok(Since::Age(age));
    }
    let refused = |_| "neither a time such as 2026-11-01T00:00:00Z nor a duration such as 24h";
    parse_moment(text).map(Since::Moment).map_err(refused)
}

/// Compares, and prints what was found.
///
/// # Errors
///
/// None: an obstacle is reported on stderr, with exit code 2.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let comparison = match compare(&args).await {
        Ok(comparison) => comparison,
        Err(error) => {
            report::error(&error);
            return Ok(ExitCode::from(NOT_COMPARED));
        }
    };
    print(&comparison, args.output)?;
    Ok(if comparison.has_breaks() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn compare(args: &Args) -> anyhow::Result<Comparison> {
    let client = args.bank.client()?;
    let client = client.context("no bank is set: give --bank-url, or set APP_BANK_URL")?;
    let pool = args.database.connect_session("surety-reconcile", "the reconciliation").await?;
    db::require_current_schema(&pool).await?;
    // One session, for the temporary table.
    let mut conn = db::connect_for_slow_statements(&pool).await?;
    let request =
        CompareBooks { since: args.since, settle_within: args.settle_within, limit: args.limit };
    let comparison = reconciliation::compare(&mut conn, &client, &request).await?;
    conn.close().await?;
    Ok(comparison)
}

/// Prints the comparison. A reader that stops early, such as `head`, changes nothing.
fn print(comparison: &Comparison, output: Output) -> anyhow::Result<()> {
    let text = match output {
        Output::Table => to_text(comparison),
        Output::Json => format!("{:#}\n", serde_json::to_value(comparison)?),
        Output::Jsonl => {
            let breaks = comparison.breaks.iter().map(|it| format!("{}\n", json!(it)));
            breaks.chain([format!("{}\n", json!(comparison.summary()))]).collect()
        }
    };
    print!("{text}");
    Ok(())
}

fn to_text(comparison: &Comparison) -> String {
    let mut text = String::new();
    if !comparison.breaks.is_empty() {
        let header =
            ["TYPE", "ORDER OR KEY", "STATUS", "HERE", "BANK", "REFERENCE", "AGE", "LAST CALL"];
        let rows: Vec<_> = comparison.breaks.iter().map(row).collect();
        text += &table(header, &rows);
        text.push('\n');
    }
    let shown = comparison.breaks.len() as u64;
    let all: u64 = comparison.counts.values().sum();
    if all > shown {
        text += &format!("{} more are not shown; raise --limit\n\n", all - shown);
    }
    let total = |it: &Total| {
        let sums = [it.here, it.there, it.here - it.there];
        let [here, there, difference] = sums.map(|sum| amount_text(sum, &it.currency));
        [it.currency.clone(), it.direction.clone(), here, there, difference]
    };
    let totals: Vec<_> = comparison.totals.iter().map(total).collect();
    text += &table(["CURRENCY", "DIRECTION", "HERE", "BANK", "DIFFERENCE"], &totals);
    let counts = comparison.counts.iter().map(|(kind, count)| format!("{count} {kind}"));
    let counts: Vec<String> = counts.collect();
    let verdict = match (comparison.has_breaks(), counts.is_empty()) {
        (true, _) => format!("the two sides differ: {}", counts.join(", ")),
        (false, false) => format!("the two sides agree; {}", counts.join(", ")),
        (false, true) => "the two sides agree".to_owned(),
    };
    let (bookings, at) = (comparison.bookings, rfc3339(comparison.compared_at));
    text += &format!("\n{verdict}: {bookings} bookings of the bank, our books as of {at}\n");
    text
}

fn row(it: &Break) -> [String; 8] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let side = |direction: &Option<String>, money: Option<Decimal>, currency: &Option<String>| {
        let (direction, money, currency) = (direction.as_ref()?, money?, currency.as_ref()?);
        Some(format!("{direction} {} {currency}", amount_text(money, currency)))
    };
    [
        it.kind.clone(),
        it.order_id.map_or_else(|| it.effect_key.clone(), |id| id.to_string()),
        or_dash(&it.status),
        or_dash(&side(&it.direction_here, it.amount_here, &it.currency_here)),
        or_dash(&side(&it.direction_there, it.amount_there, &it.currency_there)),
        or_dash(&it.bank_reference),
        humantime::format_duration(it.age()).to_string(),
        or_dash(&it.last_call),
    ]
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}
