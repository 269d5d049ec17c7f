//! `app timeline`: flags, table and exit codes of the
//! [timelines](crate::operations::timeline).

use std::process::ExitCode;

use sqlx::Connection as _;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::database::Database;
use super::output::{Output, print_values, table};
use super::report::NOT_FOUND;
use crate::ids::OrderId;
use crate::operations::timeline::{self, TimelineEvent};

const APPLICATION: &str = "surety-timeline";

const EXAMPLES: &str = "\
Examples:
  app timeline txn_1001
  app timeline 019a3f60-11d7-7b02-8f4e-0c9d5b7a6e21 -o jsonl

Exit codes: 0 done, 2 usage, 3 no such transaction or order, 7 database unreachable, 8 schema
mismatch.";

/// Shows what happened to a transaction, deposit, withdrawal or transfer, in order.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    database: Database,
    /// The provider's id of a transaction, or the id of an order.
    id: String,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pool = args.database.connect_current(APPLICATION).await?;
    let mut conn = pool.acquire().await?;
    let mut tx = conn.begin_with("begin isolation level repeatable read read only").await?;
    // Providers may use UUIDs, too.
    let mut found = timeline::of_transaction(&mut tx, &args.id).await?;
    if let (None, Ok(id)) = (&found, args.id.parse::<Uuid>()) {
        found = timeline::of_order(&mut tx, OrderId(id)).await?;
    }
    tx.rollback().await?;
    let Some(events) = found else {
        eprintln!("error: there is no transaction or order {}", args.id);
        return Ok(ExitCode::from(NOT_FOUND));
    };
    match args.output {
        Output::Table => {
            let rows: Vec<_> = events.iter().map(row).collect();
            print!("{}", table(["AT", "SOURCE", "EVENT", "TRACE", "DETAILS"], &rows));
        }
        Output::Json | Output::Jsonl => print_values(&events, args.output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn row(event: &TimelineEvent) -> [String; 5] {
    [
        event.at.format(&Rfc3339).unwrap_or_else(|_| event.at.to_string()),
        event.source.to_owned(),
        event.event.clone(),
        event.trace_id.clone().unwrap_or_else(|| "-".to_owned()),
        event.details.to_string(),
    ]
}
