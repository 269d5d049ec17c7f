//! `app workers`: flags, tables and exit codes of the
//! [operations on workers](crate::operations::workers).

use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::parse_duration;
use serde_json::json;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::actor::ActorArgs;
use super::database::Database;
use super::output::{Output, print_values, span, table};
use super::report::{CONFLICT, FAILED, NOT_FOUND, TIMED_OUT};
use crate::operations::Mode;
use crate::operations::workers::{
    self, DrainWorkers, DrainedWorker, RunningJob, WorkerDrain, WorkerScope, WorkerState,
    WorkerView,
};

const APPLICATION: &str = "surety-workers";

/// The running jobs of a worker that the table names; `-o json` has more.
const MAX_JOBS_TOLD: usize = 3;

const EXAMPLES: &str = "\
Examples:
  app workers list                 who works, and what each runs and for how long
  app workers list -o jsonl
  app workers drain 019a9f3c-7d2e-7b61-a6a5-0f2d5c1b9e44 --reason \"2.0.0 takes over\"
  app workers drain --all --yes --reason \"the machine is shut down\" --wait --timeout 2m

A worker that is drained claims nothing more, lets its jobs finish within its grace, hands the
others back to be run by another worker at once, and ends with exit code 0. It sees the request
within a second.

Exit codes: 0 done, 1 lost while waited for, 2 usage, 3 no such worker, 5 lost already,
6 not ended in time, 7 database unreachable, 8 schema mismatch.";

/// Lists workers, and ends them in good order.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Lists the workers that were seen within the last day, with what each runs now.
    List {
        #[command(flatten)]
        database: Database,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Has workers finish their jobs and end.
    Drain(Drain),
}

#[derive(clap::Args, Debug)]
struct Drain {
    #[command(flatten)]
    database: Database,
    /// Which ones, as 'app workers list' names them.
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "WORKER")]
    ids: Vec<Uuid>,
    /// All workers that are not lost.
    #[arg(long, requires = "consent")]
    all: bool,
    /// Only list them.
    #[arg(long, group = "consent")]
    dry_run: bool,
    /// Do it to all, however many there are.
    #[arg(long, group = "consent")]
    yes: bool,
    #[command(flatten)]
    actor: ActorArgs,
    /// Wait until they have ended.
    #[arg(long)]
    wait: bool,
    /// With --wait: the longest time to wait.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration,
          requires = "wait")]
    timeout: Duration,
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
    match args.command {
        Command::List { database, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            list(&pool, output).await
        }
        Command::Drain(args) => {
            let pool = args.database.connect_current(APPLICATION).await?;
            drain(&pool, args).await
        }
    }
}

async fn list(pool: &PgPool, output: Output) -> anyhow::Result<ExitCode> {
    let workers::WorkerList { workers, as_of } = workers::list(&mut *pool.acquire().await?).await?;
    match output {
        Output::Table => {
            let rows: Vec<_> = workers.iter().map(|worker| row(worker, as_of)).collect();
            let header = [
                "WORKER", "STATE", "VERSION", "HOST", "PID", "JOBS", "UP", "SEEN", "QUEUES", "RUNS",
            ];
            print!("{}", table(header, &rows));
        }
        Output::Json | Output::Jsonl => print_values(&workers, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn row(WorkerView { worker, jobs }: &WorkerView, now: OffsetDateTime) -> [String; 10] {
    let since = |at: OffsetDateTime| span((now - at).as_seconds_f64());
    [
        worker.id.to_string(),
        word(worker.state).to_owned(),
        worker.version.clone(),
        worker.host.clone(),
        worker.pid.to_string(),
        format!("{} of {}", worker.running, worker.slots),
        since(worker.started_at),
        format!("{} ago", since(worker.last_seen_at)),
        worker.queues.join(","),
        runs(jobs, now),
    ]
}

/// The jobs that take longest, as in `812 settle_transaction for 3 s, +4 more`.
fn runs(jobs: &[RunningJob], now: OffsetDateTime) -> String {
    let told = |job: &RunningJob| {
        let secs = (now - job.started_at).as_seconds_f64();
        format!("{} {} for {}", job.id, job.kind, span(secs))
    };
    let mut told: Vec<String> = jobs.iter().take(MAX_JOBS_TOLD).map(told).collect();
    match jobs.len() {
        0 => "-".to_owned(),
        1..=MAX_JOBS_TOLD => told.join(", "),
        more => {
            told.push(format!("+{} more", more - MAX_JOBS_TOLD));
            told.join(", ")
        }
    }
}

fn word(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Working => "working",
        WorkerState::Draining => "draining",
        WorkerState::Lost => "lost",
    }
}

async fn drain(pool: &PgPool, args: Drain) -> anyhow::Result<ExitCode> {
    let request = DrainWorkers {
        scope: if args.all { WorkerScope::All } else { WorkerScope::These(args.ids) },
        mode: if args.dry_run { Mode::DryRun } else { Mode::Commit },
        wait: args.wait.then_some(args.timeout),
    };
    let drained = workers::drain(pool, request, &args.actor.into_actor()).await?;
    print(&drained, args.output)?;
    let worst = drained.iter().map(|it| exit_code(it.result)).max();
    Ok(ExitCode::from(worst.unwrap_or(0)))
}

fn in_words(result: WorkerDrain) -> &'static str {
    match result {
        WorkerDrain::WouldBeAsked => "would be asked to end",
        WorkerDrain::Requested => "is asked to end: 'app workers list' shows it until it has",
        WorkerDrain::AlreadyDraining => "is draining already",
        WorkerDrain::Ended => "has ended",
        WorkerDrain::NotInTime => "has not ended in time: its jobs go on until its grace is over",
        WorkerDrain::Lost => "is lost: it was not seen for longer than its lease",
        WorkerDrain::LostMeanwhile => "was lost while it drained: others take its jobs back",
        WorkerDrain::NotFound => "is not there: 'app workers list' shows who is",
    }
}

fn exit_code(result: WorkerDrain) -> u8 {
    match result {
        WorkerDrain::WouldBeAsked
        | WorkerDrain::Requested
        | WorkerDrain::AlreadyDraining
        | WorkerDrain::Ended => 0,
        WorkerDrain::LostMeanwhile => FAILED,
        WorkerDrain::NotFound => NOT_FOUND,
        WorkerDrain::Lost => CONFLICT,
        WorkerDrain::NotInTime => TIMED_OUT,
    }
}

fn print(drained: &[DrainedWorker], output: Output) -> anyhow::Result<()> {
    match output {
        Output::Table if drained.is_empty() => println!("no worker is there"),
        Output::Table => {
            for DrainedWorker { worker, result } in drained {
                println!("worker {worker} {}", in_words(*result));
            }
        }
        Output::Json => println!("{}", serde_json::to_string(drained)?),
        Output::Jsonl => drained.iter().for_each(|result| println!("{}", json!(result))),
    }
    Ok(())
}
