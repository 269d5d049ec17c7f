//! `app operations`: flags, tables and exit codes of
//! [bulk operations](crate::operations::bulk).

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use humantime::parse_duration;
use sqlx::PgPool;

use super::actor::ActorArgs;
use super::database::Database;
use super::jobs::filters::FilterArgs;
use super::output::{Output, moment, print_values, table};
use super::report::{CONFLICT, FAILED, NOT_FOUND, TIMED_OUT, USAGE};
use crate::operations::bulk::{
    self, BulkError, BulkOperationId, BulkState, BulkView, JobAction, MAX_LISTED, NewBulk, Skipped,
};
use crate::operations::jobs::JobSelection;
use crate::operations::{Actor, Mode, wake_workers};
use crate::terminal;

const APPLICATION: &str = "surety-operations";

const EXAMPLES: &str = "\
Examples:
  app operations start redrive --kind send_mail --since 2h --dry-run --reason 'the server is back'
  app operations start retry --fingerprint 9f2c51d07ab3e846 --yes --reason 'fixed in 4.2'
  app operations list
  app operations show 7
  app operations wait 7 --timeout 10m
  app operations cancel 7 --reason 'it was the wrong filter'

Actions: retry, run-now, redrive, cancel, discard, write-off. What is meant is frozen at the start:
what arrives or fails later is left alone. A worker does it in chunks, and goes on after a crash.

Exit codes: 0 done, 1 failed (wait: it did not complete), 2 usage, 3 no such operation, 5 not
possible as things stand, 6 not in time, 7 database unreachable, 8 schema mismatch.";

/// Starts, lists, shows and cancels bulk operations, or waits for them.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Starts one: an action on all jobs that match a filter.
    Start {
        #[command(flatten)]
        database: Database,
        /// The action: retry, run-now, redrive, cancel, discard or write-off.
        #[arg(value_parser = parse_action)]
        action: JobAction,
        #[command(flatten)]
        filter: Box<FilterArgs>,
        /// The most jobs, the newest first.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        actor: ActorArgs,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Lists them, newest first.
    List {
        #[command(flatten)]
        database: Database,
        /// The most that are listed.
        #[arg(long, default_value_t = 50,
              value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_LISTED)))]
        limit: u16,
        /// Only those before this one: where another list ended.
        #[arg(long, value_name = "OPERATION")]
        before: Option<i64>,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Shows one with its progress.
    Show {
        #[command(flatten)]
        database: Database,
        /// The number of the operation.
        operation: i64,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Cancels one between two of its chunks; what it has done stays done.
    Cancel {
        #[command(flatten)]
        database: Database,
        /// The number of the operation.
        operation: i64,
        #[command(flatten)]
        actor: ActorArgs,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Waits until one is finished; fails if it did not complete.
    Wait {
        #[command(flatten)]
        database: Database,
        /// The number of the operation.
        operation: i64,
        /// The longest time to wait; for ever without.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        timeout: Option<Duration>,
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
        Command::Start { database, action, filter, limit, dry_run, yes, actor, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            filter.names().warn_of_unknown(&mut *pool.acquire().await?).await?;
            let mode = if dry_run { Mode::DryRun } else { Mode::Commit };
            let selection = JobSelection::from(*filter);
            let new = NewBulk { action, selection, limit, mode };
            start(&pool, new, actor.into_actor(), yes, output).await
        }
        Command::List { database, limit, before, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            list(&pool, before.map(BulkOperationId), limit, output).await
        }
        Command::Show { database, operation, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let found = bulk::find(&mut *pool.acquire().await?, BulkOperationId(operation)).await?;
            match found {
                Some(found) => {
                    print_one(&found, output)?;
                    Ok(ExitCode::SUCCESS)
                }
                None => Ok(not_found(operation)),
            }
        }
        Command::Cancel { database, operation, actor, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let mut conn = pool.acquire().await?;
            let id = BulkOperationId(operation);
            match bulk::cancel(&mut conn, id, &actor.into_actor()).await {
                Ok(cancelled) => {
                    print_one(&cancelled, output)?;
                    Ok(ExitCode::SUCCESS)
                }
                Err(error) => refused(error, operation),
            }
        }
        Command::Wait { database, operation, timeout, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            wait(&pool, operation, timeout, output).await
        }
    }
}

fn parse_action(text: &str) -> Result<JobAction, String> {
    let action = JobAction::ALL.into_iter().find(|action| action.name() == text);
    let names = JobAction::ALL.map(JobAction::name).join(", ");
    action.ok_or_else(|| format!("there are {names}"))
}

/// Starts a bulk operation, after consent to what a dry run tells, or only tells that.
///
/// # Errors
///
/// When the database refuses.
pub(super) async fn start(
    pool: &PgPool,
    new: NewBulk,
    actor: Actor,
    yes: bool,
    output: Output,
) -> anyhow::Result<ExitCode> {
    if !yes && new.mode == Mode::Commit {
        let planned = NewBulk { mode: Mode::DryRun, ..new.clone() };
        match bulk::start(pool, planned, &actor).await {
            Ok(planned) if planned.eligible > 0 && !consents(&planned)? => {
                eprintln!(
                    "error: nothing was changed: a bulk operation needs consent\n  fix:   add \
                     --yes to do it, or --dry-run to see what it would do"
                );
                return Ok(ExitCode::from(USAGE));
            }
            Ok(_) => {}
            Err(error) => return refused(error, 0),
        }
    }
    let mode = new.mode;
    let begun = match bulk::start(pool, new, &actor).await {
        Ok(begun) => begun,
        Err(error) => return refused(error, 0),
    };
    if mode == Mode::Commit {
        wake_workers(pool).await;
    }
    print_one(&begun, output)?;
    if let (Output::Table, Some(id)) = (output, begun.id) {
        println!("a worker does it; 'app operations wait {id}' waits for it");
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks on a terminal; anywhere else only `--yes` is consent.
fn consents(planned: &BulkView) -> anyhow::Result<bool> {
    let (action, eligible) = (&planned.action, counted(planned));
    Ok(terminal::says_yes_to(&format!("This will {action} {eligible} jobs."))?)
}

/// The refusal in words, with the exit code that it has.
fn refused(error: BulkError, operation: i64) -> anyhow::Result<ExitCode> {
    let (code, fix) = match &error {
        BulkError::NotFound => return Ok(not_found(operation)),
        BulkError::NothingEligible(planned) => {
            println!("no job matches that could undergo it; nothing was changed");
            print_skipped("passed over", &planned.skipped);
            return Ok(ExitCode::SUCCESS);
        }
        BulkError::NoFilter => (USAGE, "give a filter; --state alone is one"),
        BulkError::FilterTooLong => (USAGE, "name fewer things"),
        BulkError::UnsuitableState(_) => (USAGE, "leave that state out"),
        BulkError::Finished => (CONFLICT, "'app operations show' tells how it ended"),
        BulkError::TooMany => (CONFLICT, "wait for them: 'app operations list' shows them"),
        BulkError::Failed(_) => return Err(error.into()),
    };
    eprintln!("error: {error}\n  fix:   {fix}");
    Ok(ExitCode::from(code))
}

fn not_found(operation: i64) -> ExitCode {
    eprintln!("error: there is no operation {operation}; 'app operations list' shows them");
    ExitCode::from(NOT_FOUND)
}

async fn list(
    pool: &PgPool,
    before: Option<BulkOperationId>,
    limit: u16,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let listed = bulk::list(&mut *pool.acquire().await?, before, limit).await?;
    match output {
        Output::Table => {
            let rows: Vec<_> = listed.iter().map(row).collect();
            let header = ["OPERATION", "STATE", "ACTION", "ELIGIBLE", "DONE", "BY", "FILTER"];
            print!("{}", table(header, &rows));
            if rows.is_empty() {
                eprintln!("there is none; 'app operations start' makes one");
            }
            if let Some(last) = listed.last().filter(|_| listed.len() == usize::from(limit)) {
                let id = last.id.unwrap_or(BulkOperationId(0));
                eprintln!("there may be more: --limit for longer lists, or --before {id}");
            }
        }
        Output::Json | Output::Jsonl => print_values(&listed, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn row(operation: &BulkView) -> [String; 7] {
    [
        operation.id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
        operation.state.name().to_owned(),
        operation.action.clone(),
        counted(operation),
        operation.done.to_string(),
        operation.made_by.clone(),
        operation.filter.chars().take(80).collect(),
    ]
}

fn counted(operation: &BulkView) -> String {
    let more = if operation.eligible_is_more { "more than " } else { "" };
    format!("{more}{}", operation.eligible)
}

async fn wait(
    pool: &PgPool,
    operation: i64,
    timeout: Option<Duration>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let is_terminal = std::io::stderr().is_terminal();
    let tell = |at: &BulkView| {
        if is_terminal {
            eprint!("\r{} of {} jobs", at.done, counted(at));
        }
    };
    let waited = bulk::wait(pool, BulkOperationId(operation), timeout, tell).await?;
    if is_terminal {
        eprintln!("");
    }
    let Some(waited) = waited else { return Ok(not_found(operation)) };
    print_one(&waited, output)?;
    Ok(match waited.state {
        BulkState::Completed => ExitCode::SUCCESS,
        BulkState::Cancelled | BulkState::Stopped => ExitCode::from(FAILED),
        BulkState::Planned | BulkState::Waiting | BulkState::Running => ExitCode::from(TIMED_OUT),
    })
}

fn print_one(operation: &BulkView, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Table => print_details(operation),
        Output::Json | Output::Jsonl => println!("{}", serde_json::to_string(operation)?),
    }
    Ok(())
}

fn print_details(operation: &BulkView) {
    let (action, filter) = (&operation.action, &operation.filter);
    match operation.id {
        None => println!("would {action} {} jobs of {filter}", counted(operation)),
        Some(id) => {
            println!(
                "operation {id}: {}, {action} of {filter}\n  {} of {} jobs done, {} failed",
                operation.state.name(),
                operation.done,
                counted(operation),
                operation.failed,
            );
            println!("  by {}: {}", operation.made_by, operation.reason);
            println!(
                "  asked for {}, ended {}",
                moment(Some(operation.created_at)),
                moment(operation.finished_at)
            );
            if let (Some(by), Some(why)) = (&operation.cancelled_by, &operation.cancel_reason) {
                println!("  cancelled by {by}: {why}");
            }
            if let Some(error) = &operation.last_error {
                println!("  last error: {error}");
            }
        }
    }
    print_skipped("  passed over", &operation.skipped);
    for job in &operation.sample {
        println!("  job {}: {}, {}", job.id, job.kind, job.state.name());
    }
    if operation.id.is_none() {
        println!("nothing was changed, because of --dry-run");
    }
}

/// Prints how many jobs are passed over, and why, if any are.
pub(super) fn print_skipped(words: &str, skipped: &[Skipped]) {
    if skipped.is_empty() {
        return;
    }
    let each = skipped.iter().map(|skipped| format!("{} {}", skipped.jobs, skipped.reason));
    println!("{words} {}", each.collect::<Vec<_>>().join(", "));
}
