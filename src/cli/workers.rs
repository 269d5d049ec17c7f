//! `app workers`: who works on the queue, and ending workers in good order from anywhere.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use humantime::parse_duration;
use serde_json::{Value, json};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::database::Database;
use super::dead_letters::Why;
use super::output::{Output, table};
use super::report::{CONFLICT, FAILED, NOT_FOUND, TIMED_OUT};
use crate::queue::health::span;
use crate::queue::operate::workers::{self, WorkerInfo, WorkerState};

const APPLICATION: &str = "surety-workers";

const EXAMPLES: &str = "\
Examples:
  app workers list
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
    /// Lists the workers that were seen within the last day.
    List {
        #[command(flatten)]
        database: Database,
        /// How to print it.
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
    /// All that work.
    #[arg(long, requires = "consent")]
    all: bool,
    /// Only say which.
    #[arg(long, group = "consent")]
    dry_run: bool,
    /// Do it to all, however many there are.
    #[arg(long, group = "consent")]
    yes: bool,
    #[command(flatten)]
    why: Why,
    /// Wait until they have ended.
    #[arg(long)]
    wait: bool,
    /// With --wait: for so long at most.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration,
          requires = "wait")]
    timeout: Duration,
    /// How to print it.
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
            drain(&pool, &args).await
        }
    }
}

async fn list(pool: &PgPool, output: Output) -> anyhow::Result<ExitCode> {
    let workers = workers::list(pool).await?;
    match output {
        Output::Table => {
            let now: OffsetDateTime =
                sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await?;
            let rows: Vec<_> = workers.iter().map(|worker| row(worker, now)).collect();
            let header =
                ["WORKER", "STATE", "VERSION", "HOST", "PID", "JOBS", "UP", "SEEN", "QUEUES"];
            print!("{}", table(header, &rows));
        }
        Output::Json => println!("{}", serde_json::to_value(&workers)?),
        Output::Jsonl => {
            for worker in &workers {
                println!("{}", serde_json::to_value(worker)?);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(worker: &WorkerInfo, now: OffsetDateTime) -> [String; 9] {
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
    ]
}

fn word(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Working => "working",
        WorkerState::Draining => "draining",
        WorkerState::Lost => "lost",
    }
}

/// What came of the request for one worker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drained {
    WouldAsk,
    Asked,
    AlreadyDraining,
    Ended,
    NotInTime,
    LostAlready,
    LostMeanwhile,
    NotThere,
}

impl Drained {
    fn code(self) -> &'static str {
        match self {
            Self::WouldAsk => "would-drain",
            Self::Asked => "requested",
            Self::AlreadyDraining => "already-draining",
            Self::Ended => "ended",
            Self::NotInTime => "not-in-time",
            Self::LostAlready => "lost",
            Self::LostMeanwhile => "lost-meanwhile",
            Self::NotThere => "not-found",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::WouldAsk => "would be asked to end",
            Self::Asked => "is asked to end: 'app workers list' shows it until it has",
            Self::AlreadyDraining => "is draining already",
            Self::Ended => "has ended",
            Self::NotInTime => "has not ended in time: its jobs go on until its grace is over",
            Self::LostAlready => "is lost: it was not seen for longer than its lease",
            Self::LostMeanwhile => "was lost while it drained: others take its jobs back",
            Self::NotThere => "is not there: 'app workers list' shows who is",
        }
    }

    fn exit_code(self) -> u8 {
        match self {
            Self::WouldAsk | Self::Asked | Self::AlreadyDraining | Self::Ended => 0,
            Self::LostMeanwhile => FAILED,
            Self::NotThere => NOT_FOUND,
            Self::LostAlready => CONFLICT,
            Self::NotInTime => TIMED_OUT,
        }
    }
}

async fn drain(pool: &PgPool, args: &Drain) -> anyhow::Result<ExitCode> {
    let there = workers::list(pool).await?;
    let ids: Vec<Uuid> = match args.all {
        true => {
            let alive = there.iter().filter(|worker| worker.state != WorkerState::Lost);
            alive.map(|worker| worker.id).collect()
        }
        false => args.ids.clone(),
    };
    let mut results: Vec<(Uuid, Drained)> =
        ids.iter().map(|id| (*id, standing(*id, &there))).collect();
    if !args.dry_run {
        let who = args.why.who();
        let asked = workers::request_drain(pool, &ids, &who, &args.why.reason).await?;
        for (id, result) in &mut results {
            // Who has begun to drain since the list was read is asked in vain, and drains.
            if *result == Drained::WouldAsk {
                let was_asked = asked.contains(id);
                *result = if was_asked { Drained::Asked } else { Drained::AlreadyDraining };
            }
        }
        if args.wait {
            wait(pool, &mut results, args.timeout).await?;
        }
    }
    print(&results, args.output);
    let worst = results.iter().map(|(_, result)| result.exit_code()).max();
    Ok(ExitCode::from(worst.unwrap_or(0)))
}

/// What a request would come to.
fn standing(id: Uuid, there: &[WorkerInfo]) -> Drained {
    let worker = there.iter().find(|worker| worker.id == id);
    match worker.map(|worker| worker.state) {
        None => Drained::NotThere,
        Some(WorkerState::Working) => Drained::WouldAsk,
        Some(WorkerState::Draining) => Drained::AlreadyDraining,
        Some(WorkerState::Lost) => Drained::LostAlready,
    }
}

/// Waits until all that drain have taken their rows away.
async fn wait(
    pool: &PgPool,
    results: &mut [(Uuid, Drained)],
    timeout: Duration,
) -> anyhow::Result<()> {
    const POLL: Duration = Duration::from_millis(200);
    let deadline = Instant::now() + timeout;
    loop {
        let there = workers::list(pool).await?;
        for (id, result) in &mut *results {
            if matches!(result, Drained::Asked | Drained::AlreadyDraining) {
                match standing(*id, &there) {
                    Drained::NotThere => *result = Drained::Ended,
                    Drained::LostAlready => *result = Drained::LostMeanwhile,
                    _ if Instant::now() >= deadline => *result = Drained::NotInTime,
                    _ => {}
                }
            }
        }
        let any_drains = results
            .iter()
            .any(|(_, result)| matches!(result, Drained::Asked | Drained::AlreadyDraining));
        if !any_drains {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

fn print(results: &[(Uuid, Drained)], output: Output) {
    let json = |(id, result): &(Uuid, Drained)| json!({"worker": id, "result": result.code()});
    match output {
        Output::Table if results.is_empty() => println!("no worker is there"),
        Output::Table => {
            for (id, result) in results {
                println!("worker {id} {}", result.words());
            }
        }
        Output::Json => println!("{}", Value::Array(results.iter().map(json).collect())),
        Output::Jsonl => results.iter().for_each(|result| println!("{}", json(result))),
    }
}
