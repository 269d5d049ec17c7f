//! `app jobs`: flags, tables and exit codes of the [operations on jobs](crate::operations::jobs).

mod change;
mod chosen;
mod edit;
mod enqueue;
pub(super) mod filters;
mod list;
mod pace;
mod results;
mod show;
mod wait;

use std::process::ExitCode;

use super::report::USAGE;
use crate::operations::jobs::JobAction;
use crate::operations::jobs::edit::{JsonText, JsonTextError};

const APPLICATION: &str = "surety-jobs";

const EXAMPLES: &str = "\
Examples:
  app jobs list --state discarded --since 2h --error 'connection refused'
  app jobs show 812                                      why has it not run?
  app jobs retry 812 813 --reason 'the mail server is back'
  app jobs retry --all-matching --state discarded --kind send_mail --rate 50/s --dry-run --reason -
  app jobs retry --all-matching --fingerprint 9f2c… --background --yes --reason 'fixed in 4.2'
  app jobs list --transaction txn_1001                   the jobs about it
  app jobs list --state retryable -o id | app jobs cancel --id-file - --yes --reason 'withdrawn'
  app jobs edit 812 --set address=ada@example.com --reason 'a typing error'
  app jobs enqueue send_mail '{\"to\": \"ada@example.com\"}' --delay 10m
  app jobs wait 812 --timeout 30s

Each change is kept with who made it and why; 'app jobs show' tells.

Exit codes: 0 done, 1 failed (wait: a job did not complete), 2 usage, 3 no such job, 5 not possible
as things stand, 6 not in time, 7 database unreachable, 8 schema mismatch.";

/// Lists jobs, says why one has not run, and retries, cancels, discards, edits or enqueues them.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(list::Args),
    Show(show::Args),
    Enqueue(enqueue::Args),
    /// Runs jobs now: those that wait for their time or their retry, and discarded ones.
    Retry(change::Args),
    /// Cancels jobs; one that runs is stopped by its worker.
    Cancel(change::Args),
    /// Discards jobs that wait; they can be edited, and redriven by a retry.
    Discard(change::Args),
    Edit(edit::Args),
    Wait(wait::Args),
}

/// Output formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Output {
    /// Columns, for people.
    Table,
    /// One JSON value, for programs.
    Json,
    /// One JSON value per line, for programs that read while this one writes.
    Jsonl,
    /// The numbers of the jobs, one per line, to be piped on.
    Id,
}

impl From<Output> for super::output::Output {
    fn from(output: Output) -> Self {
        match output {
            Output::Table => Self::Table,
            Output::Json => Self::Json,
            Output::Jsonl | Output::Id => Self::Jsonl,
        }
    }
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => list::run(args).await,
        Command::Show(args) => show::run(args).await,
        Command::Enqueue(args) => enqueue::run(args).await,
        Command::Retry(args) => change::run(JobAction::Retry, args).await,
        Command::Cancel(args) => change::run(JobAction::Cancel, args).await,
        Command::Discard(args) => change::run(JobAction::Discard, args).await,
        Command::Edit(args) => edit::run(args).await,
        Command::Wait(args) => wait::run(args).await,
    }
}

/// Says what makes no sense of what was asked for, and what would.
fn usage(error: &str, fix: &str) -> ExitCode {
    eprintln!("error: {error}\n  fix:   {fix}");
    ExitCode::from(USAGE)
}

/// JSON as it was typed, to the last digit.
pub(super) fn json(text: &str) -> Result<JsonText, String> {
    text.parse().map_err(|error: JsonTextError| format!("this cannot be taken as JSON: {error}"))
}

/// A value as it was typed: JSON if it is some, else text.
fn typed(value: &str) -> Result<JsonText, String> {
    match value.parse::<JsonText>() {
        Err(JsonTextError::Syntax(_)) => Ok(serde_json::Value::from(value).into()),
        Err(error) => Err(error.to_string()),
        Ok(json) => Ok(json),
    }
}
