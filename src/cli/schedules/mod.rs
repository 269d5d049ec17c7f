//! `app schedules`: jobs that are enqueued by the clock, and what an operator does with them.

mod definition;
mod preview;
mod shown;

use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};
use sqlx::{PgPool, Postgres, Transaction};

use self::definition::Definition;
use self::preview::Preview;
use super::database::Database;
use super::output::{Output, moment};
use super::report::{CONFLICT, NOT_FOUND};
use crate::queue::schedules::{self, PauseOutcome, Put, ResumeOutcome};

const APPLICATION: &str = "surety-schedules";

/// The longest reason for a pause.
const MAX_REASON_CHARS: usize = 500;

const EXAMPLES: &str = "\
Examples:
  app schedules preview \"0 9 * * 1-5\" --tz Europe/Paris
  app schedules add rates --every 15m --kind refresh_rates --args '{\"base\": \"EUR\"}'
  app schedules add nightly --cron \"0 3 * * *\" --tz Europe/Paris --kind report --policy coalesce
  app schedules list
  app schedules pause nightly --reason \"the source is wrong until Monday\"
  app schedules run nightly

A time of day that is skipped when the clocks change happens at the first moment after the gap, one
that comes twice happens once; what is allowed every hour follows the time that passes.

Exit codes: 0 done, 1 failed, 2 usage, 3 no such schedule, 5 done before or name taken,
7 database unreachable, 8 schema mismatch.";

/// Lists, previews, adds, runs, pauses, resumes and removes schedules.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Lists all schedules, by name.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Shows one with its next five ticks, and what became of the latest.
    Show {
        /// The name of the schedule.
        name: String,
        /// How many of the latest ticks.
        #[arg(long, default_value_t = 10,
              value_parser = clap::value_parser!(u32).range(0..=1000))]
        ticks: u32,
        #[command(flatten)]
        common: Common,
    },
    /// Defines a schedule; workers see it within a second.
    Add(Box<Add>),
    /// Enqueues the job of a schedule now, beside its ticks.
    Run(Change),
    /// Stops a schedule until it is resumed.
    Pause {
        #[command(flatten)]
        change: Change,
        /// Why, for whoever asks later.
        #[arg(long, value_parser = reason)]
        reason: String,
    },
    /// Lets a paused schedule tick again; what came meanwhile is passed over.
    Resume(Change),
    /// Removes a schedule; its jobs stay.
    Remove {
        #[command(flatten)]
        change: Change,
        /// It is meant.
        #[arg(long, required_unless_present = "dry_run", conflicts_with = "dry_run")]
        yes: bool,
    },
    /// Shows when a cron expression ticks; needs no database.
    Preview(Preview),
}

#[derive(clap::Args, Debug)]
struct Common {
    #[command(flatten)]
    database: Database,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(clap::Args, Debug)]
struct Add {
    #[command(flatten)]
    definition: Definition,
    #[command(flatten)]
    change: Change,
    /// Give the schedule of this name, if there is one, this definition.
    #[arg(long)]
    replace: bool,
}

/// What is done to which schedule, and by whom.
#[derive(clap::Args, Debug)]
struct Change {
    /// The name of the schedule.
    name: String,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Who does it. [default: the user of the system]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    by: Option<String>,
    #[command(flatten)]
    common: Common,
}

fn reason(text: &str) -> Result<String, String> {
    match text.trim().is_empty() || text.chars().count() > MAX_REASON_CHARS {
        true => Err(format!("a reason has 1 to {MAX_REASON_CHARS} characters")),
        false => Ok(text.to_owned()),
    }
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { common } => list(&common).await,
        Command::Show { name, ticks, common } => show(&common, &name, ticks).await,
        Command::Add(add) => add.run().await,
        Command::Run(change) => change.run_now().await,
        Command::Pause { change, reason } => change.pause(&reason).await,
        Command::Resume(change) => change.resume().await,
        Command::Remove { change, yes: _ } => change.remove().await,
        Command::Preview(preview) => preview.run(),
    }
}

impl Common {
    async fn connect(&self) -> anyhow::Result<PgPool> {
        Ok(self.database.connect_current(APPLICATION).await?)
    }
}

async fn list(common: &Common) -> anyhow::Result<ExitCode> {
    let pool = common.connect().await?;
    let listed = schedules::list(&mut *pool.acquire().await?).await?;
    match common.output {
        Output::Table => print!("{}", shown::all(&listed)),
        Output::Json => println!("{}", serde_json::to_value(listed)?),
        Output::Jsonl => {
            for schedule in listed {
                println!("{}", serde_json::to_value(schedule)?);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(common: &Common, name: &str, ticks: u32) -> anyhow::Result<ExitCode> {
    let pool = common.connect().await?;
    let mut conn = pool.acquire().await?;
    let Some(schedule) = schedules::find(&mut conn, name).await? else {
        return Ok(not_found(name));
    };
    let ticks = schedules::list_ticks(&mut conn, name, ticks).await?;
    match common.output {
        Output::Table => print!("{}", shown::one(&schedule, &ticks)),
        Output::Json | Output::Jsonl => println!("{}", shown::one_as_json(&schedule, &ticks)?),
    }
    Ok(ExitCode::SUCCESS)
}

fn not_found(name: &str) -> ExitCode {
    eprintln!("error: there is no schedule {name}; 'app schedules list' shows them");
    ExitCode::from(NOT_FOUND)
}

impl Add {
    async fn run(&self) -> anyhow::Result<ExitCode> {
        let change = &self.change;
        let schedule = self.definition.schedule(&change.name)?;
        let mut tx = change.begin().await?;
        let put = schedules::put(&mut tx, &schedule, &change.who()).await?;
        if put != Put::Created && !self.replace {
            // Undone with the transaction.
            return Ok(change.conflict(&format!(
                "exists; 'app schedules show {}' shows it, --replace gives it this definition",
                change.name
            )));
        }
        let status = schedules::find(&mut tx, &change.name).await?;
        let next = status.and_then(|status| status.next_tick_at);
        change.end(tx).await?;
        let (result, words) = match put {
            Put::Created => ("created", "is defined"),
            Put::Changed => ("changed", "has another definition"),
            Put::Unchanged => ("unchanged", "was defined like this already"),
        };
        let next_local = next.map(|next| schedule.cadence().local(next));
        let words = format!("{words}; next tick {}", moment(next_local));
        change.tell(result, &words, json!({ "next_tick_at": next.map(|at| moment(Some(at))) }));
        Ok(ExitCode::SUCCESS)
    }
}

impl Change {
    fn who(&self) -> String {
        let name = self.by.clone().or_else(|| std::env::var("USER").ok());
        format!("cli:{}", name.filter(|name| !name.is_empty()).as_deref().unwrap_or("unknown"))
    }

    async fn begin(&self) -> anyhow::Result<Transaction<'static, Postgres>> {
        Ok(self.common.connect().await?.begin().await?)
    }

    /// In a dry run all was done, so that it is known to be possible, and is undone.
    async fn end(&self, tx: Transaction<'static, Postgres>) -> Result<(), sqlx::Error> {
        if self.dry_run { tx.rollback().await } else { tx.commit().await }
    }

    /// What was done, in words and for programs.
    fn tell(&self, result: &str, words: &str, details: Value) {
        match self.common.output {
            Output::Table => {
                let dry = if self.dry_run { " (not done: --dry-run)" } else { "" };
                println!("schedule {}: {words}{dry}", self.name);
            }
            Output::Json | Output::Jsonl => {
                let mut line =
                    json!({ "schedule": self.name, "result": result, "dry_run": self.dry_run });
                if let (Some(line), Value::Object(details)) = (line.as_object_mut(), details) {
                    line.extend(details);
                }
                println!("{line}");
            }
        }
    }

    fn conflict(&self, words: &str) -> ExitCode {
        eprintln!("error: the schedule {} {words}", self.name);
        ExitCode::from(CONFLICT)
    }

    async fn run_now(&self) -> anyhow::Result<ExitCode> {
        let mut tx = self.begin().await?;
        let Some(job) = schedules::run_now(&mut tx, &self.name, &self.who()).await? else {
            return Ok(not_found(&self.name));
        };
        self.end(tx).await?;
        let words = match self.dry_run {
            true => "its job would be enqueued".to_owned(),
            false => format!("job {job} is enqueued"),
        };
        // The number of a job that was undone would lead nowhere.
        let job_id = if self.dry_run { Value::Null } else { json!(job) };
        self.tell("enqueued", &words, json!({ "job_id": job_id }));
        Ok(ExitCode::SUCCESS)
    }

    async fn pause(&self, reason: &str) -> anyhow::Result<ExitCode> {
        let mut tx = self.begin().await?;
        match schedules::pause(&mut tx, &self.name, &self.who(), reason).await? {
            None => Ok(not_found(&self.name)),
            Some(PauseOutcome::AlreadyPaused(pause)) => Ok(self.conflict(&format!(
                "was paused at {} by {}: {}",
                moment(Some(pause.at)),
                pause.by,
                pause.reason
            ))),
            Some(PauseOutcome::Paused) => {
                self.end(tx).await?;
                let words = format!("is paused; 'app schedules resume {}' ends that", self.name);
                self.tell("paused", &words, json!({}));
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    async fn resume(&self) -> anyhow::Result<ExitCode> {
        let mut tx = self.begin().await?;
        match schedules::resume(&mut tx, &self.name).await? {
            None => Ok(not_found(&self.name)),
            Some(ResumeOutcome::NotPaused) => Ok(self.conflict("is not paused")),
            Some(ResumeOutcome::Resumed(next)) => {
                self.end(tx).await?;
                let next = moment(next);
                let details = json!({ "next_tick_at": next });
                self.tell("resumed", &format!("runs again; next tick {next}"), details);
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    async fn remove(&self) -> anyhow::Result<ExitCode> {
        let mut tx = self.begin().await?;
        let Some(schedule) = schedules::find(&mut tx, &self.name).await? else {
            return Ok(not_found(&self.name));
        };
        if !schedules::remove(&mut tx, &self.name).await? {
            return Ok(not_found(&self.name));
        }
        self.end(tx).await?;
        let words = match schedule.is_of_code() {
            true => {
                "is removed, until a worker that defines it in its code starts: pause it instead"
            }
            false => "is removed",
        };
        self.tell("removed", words, json!({ "defined_by": schedule.defined_by }));
        Ok(ExitCode::SUCCESS)
    }
}
