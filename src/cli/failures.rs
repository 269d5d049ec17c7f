//! `app failures`: what failed, by fingerprint.

use std::process::ExitCode;

use super::database::Database;
use super::output::{Output, moment, print_values, table};
use super::report::NOT_FOUND;
use crate::operations::failures::{self, FailureView, Fingerprint, MAX_LISTED};

const APPLICATION: &str = "surety-failures";

const EXAMPLES: &str = "\
Examples:
  app failures list
  app failures show 9f2c51d07ab3e846
  app jobs list --fingerprint 9f2c51d07ab3e846           the jobs
  app jobs retry --all-matching --fingerprint 9f2c51d07ab3e846 --yes --reason 'fixed in 4.2'

Counted are jobs that have failed and wait or run again, and discarded ones that nobody has decided
over, up to 10,000 of each. A fingerprint is that of the kind and the error, without numbers, ids,
addresses and quoted texts.

Exit codes: 0 done, 2 usage, 3 no such failure, 7 database unreachable, 8 schema mismatch.";

/// Lists and shows failures, grouped by kind and by what the errors say.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Lists those that nobody has dealt with, the latest first.
    List {
        #[command(flatten)]
        database: Database,
        /// The most that are listed.
        #[arg(long, default_value_t = 50,
              value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LISTED)))]
        limit: u32,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Shows one.
    Show {
        #[command(flatten)]
        database: Database,
        /// The fingerprint: 16 hexadecimal digits.
        fingerprint: Fingerprint,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { database, limit, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let listed = failures::list(&mut *pool.acquire().await?, limit).await?;
            print_list(&listed, limit, output)?;
        }
        Command::Show { database, fingerprint, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let found = failures::find(&mut *pool.acquire().await?, fingerprint).await?;
            let Some(found) = found else {
                eprintln!("error: no job failed so any more; 'app failures list' shows what did");
                return Ok(ExitCode::from(NOT_FOUND));
            };
            match output {
                Output::Table => print_details(&found),
                Output::Json | Output::Jsonl => println!("{}", serde_json::to_string(&found)?),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_list(listed: &[FailureView], limit: u32, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Table => {
            let rows: Vec<_> = listed.iter().map(row).collect();
            let header = ["FINGERPRINT", "JOBS", "DISCARDED", "LAST SEEN", "KIND", "ERROR"];
            print!("{}", table(header, &rows));
            if rows.is_empty() {
                eprintln!("nothing has failed that still waits for its next attempt or a decision");
            }
            if listed.len() >= limit as usize {
                eprintln!("there may be more: --limit for longer lists");
            }
        }
        Output::Json | Output::Jsonl => print_values(listed, output)?,
    }
    Ok(())
}

fn row(failure: &FailureView) -> [String; 6] {
    [
        failure.fingerprint.clone(),
        counted(failure),
        failure.discarded.to_string(),
        moment(Some(failure.last_at)),
        failure.kind.clone(),
        failure.error.chars().take(80).collect(),
    ]
}

fn counted(failure: &FailureView) -> String {
    format!("{}{}", failure.jobs, if failure.jobs_capped { "+" } else { "" })
}

fn print_details(failure: &FailureView) {
    println!("{}: {}", failure.kind, failure.error);
    println!(
        "{} jobs: {} wait or run again, {} are discarded and wait for a decision",
        counted(failure),
        failure.waiting,
        failure.discarded
    );
    let (first, last) = (moment(Some(failure.first_at)), moment(Some(failure.last_at)));
    println!("first seen {first}, last seen {last}, of job {}", failure.sample_job);
    println!("'app jobs list --fingerprint {}' lists them", failure.fingerprint);
}
