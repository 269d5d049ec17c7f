//! `app trigger`: flags and output of the [scenarios](crate::operations::trigger).

use std::process::ExitCode;

use anyhow::bail;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::output::{Output, table};
use crate::db::{self, DatabaseArgs};
use crate::operations::demo_data::is_on_this_machine;
use crate::operations::trigger::{self, CONNECTIONS, Scenario, Triggered};
use crate::operations::wake_workers;

const EXAMPLES: &str = "\
Examples:
  app trigger --list                          what each of them does
  app trigger deposit.failed                  beside 'app dev', on its DATABASE_URL
  app trigger transfer.completed -o json

Orders are given by the demo users of 'app seed', who are made unless they are there, and executed
here, against a bank that answers as the scenario needs it: the bank of your workers knows nothing
of them. Deliveries and mails are sent by the workers that run.

Exit codes: 0 done, 1 failed, 2 usage.";

/// Makes an event happen, for trying out whoever is told of it.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The event.
    #[arg(required_unless_present = "list", value_parser = parser(), hide_possible_values = true)]
    event: Option<String>,

    /// Tell what there is, and what each does.
    #[arg(long, conflicts_with = "event")]
    list: bool,

    #[command(flatten)]
    database: DatabaseArgs,

    /// Do it even where the database is not on this machine.
    #[arg(long)]
    yes: bool,

    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

fn parser() -> PossibleValuesParser {
    PossibleValuesParser::new(Scenario::ALL.iter().map(|scenario| scenario.as_str()))
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses, is not on this machine, or the outcome does not
/// come.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let wanted = args.event.as_deref();
    let scenario = Scenario::ALL.iter().find(|scenario| Some(scenario.as_str()) == wanted);
    let Some(scenario) = scenario else {
        list(args.output);
        return Ok(ExitCode::SUCCESS);
    };
    let pool = args.database.connect(CONNECTIONS, "surety-trigger").await?;
    db::require_current_schema(&pool).await?;
    if !args.yes && !is_on_this_machine(&pool.connect_options()) {
        bail!("the database is not on this machine: say --yes if it is to have made-up orders");
    }
    let triggered = trigger::trigger(&pool, *scenario).await?;
    wake_workers(&pool).await;
    show(&triggered, args.output);
    Ok(ExitCode::SUCCESS)
}

fn list(output: Output) {
    match output {
        Output::Table => {
            let each = Scenario::ALL.iter();
            let rows: Vec<_> = each
                .map(|scenario| [scenario.as_str().to_owned(), scenario.description().to_owned()])
                .collect();
            print!("{}", table(["EVENT", "HAPPENS"], &rows));
        }
        Output::Json | Output::Jsonl => {
            let each = Scenario::ALL.iter();
            let all: Vec<_> = each
                .map(|it| json!({ "event": it.as_str(), "description": it.description() }))
                .collect();
            println!("{}", json!({ "scenarios": all }));
        }
    }
}

fn show(triggered: &Triggered, output: Output) {
    match output {
        Output::Table => {
            let reason = triggered.failure_reason.as_deref();
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let Triggered { scenario, id, status, .. } = triggered;
            println!("{scenario}: {id} is {status}{reason}");
            for path in &triggered.paths {
                println!("  GET {path}");
            }
            println!("  app endpoints list, and 'deliveries' of one, show who was told");
        }
        Output::Json | Output::Jsonl => println!("{}", json!(triggered)),
    }
}
