//! `app schedules`: flags, tables and exit codes of the
//! [operations on schedules](crate::operations::schedules).
//!
//! - Here: the commands.
//! - `definition`: the flags that define a schedule.
//! - `preview`: the ticks of an expression, without a database.
//! - `shown`: tables.

mod definition;
mod preview;
mod shown;

use std::process::ExitCode;

use serde_json::{Value, json};
use sqlx::PgPool;

use self::definition::DefinitionArgs;
use self::preview::Preview;
use super::actor::NameArg;
use super::database::Database;
use super::output::{Output, moment, print_values};
use super::report::{CONFLICT, NOT_FOUND};
use crate::operations::schedules::{
    self, DefinitionChange, IfTaken, ScheduleDefinition, SchedulesError,
};
use crate::operations::{Actor, Mode, Reason};

const APPLICATION: &str = "surety-schedules";

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
        /// The number of the latest ticks that are shown.
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
        /// The reason, which is kept for later.
        #[arg(long)]
        reason: Reason,
    },
    /// Lets a paused schedule tick again; what came meanwhile is passed over.
    Resume(Change),
    /// Removes a schedule; its jobs stay.
    Remove {
        #[command(flatten)]
        change: Change,
        /// Remove it without asking.
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
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(clap::Args, Debug)]
struct Add {
    #[command(flatten)]
    definition: DefinitionArgs,
    #[command(flatten)]
    change: Change,
    /// Give the schedule of this name, if there is one, this definition.
    #[arg(long)]
    replace: bool,
}

/// The schedule that is changed, and by whom.
#[derive(clap::Args, Debug)]
struct Change {
    /// The name of the schedule.
    name: String,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    name_of_operator: NameArg,
    #[command(flatten)]
    common: Common,
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
        Command::Pause { change, reason } => change.pause(reason).await,
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
        Output::Json | Output::Jsonl => print_values(&listed, common.output)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(common: &Common, name: &str, ticks: u32) -> anyhow::Result<ExitCode> {
    let pool = common.connect().await?;
    let mut conn = pool.acquire().await?;
    let Some(shown) = schedules::find(&mut conn, name, ticks).await? else {
        return Ok(not_found(name));
    };
    match common.output {
        Output::Table => print!("{}", shown::one(&shown)),
        Output::Json | Output::Jsonl => println!("{}", serde_json::to_string(&shown)?),
    }
    Ok(ExitCode::SUCCESS)
}

fn not_found(name: &str) -> ExitCode {
    eprintln!("error: there is no schedule {name}; 'app schedules list' shows them");
    ExitCode::from(NOT_FOUND)
}

impl Add {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let change = self.change;
        let schedule = ScheduleDefinition::from(self.definition).into_schedule(&change.name)?;
        let if_taken = if self.replace { IfTaken::Replace } else { IfTaken::Refuse };
        let pool = change.common.connect().await?;
        let mut conn = pool.acquire().await?;
        let (by, mode) = (change.name_of_operator.identity(), change.mode());
        let defined = match schedules::define(&mut conn, &schedule, if_taken, &by, mode).await {
            Ok(defined) => defined,
            Err(error) => return change.refused(error),
        };
        let (result, words) = match defined.change {
            DefinitionChange::Created => ("created", "is defined"),
            DefinitionChange::Changed => ("changed", "has another definition"),
            DefinitionChange::Unchanged => ("unchanged", "was defined like this already"),
        };
        let next = defined.next_tick_at;
        let next_local = next.map(|next| schedule.cadence().local(next));
        let words = format!("{words}; next tick {}", moment(next_local));
        change.print_result(
            result,
            &words,
            json!({ "next_tick_at": next.map(|at| moment(Some(at))) }),
        );
        Ok(ExitCode::SUCCESS)
    }
}

impl Change {
    fn mode(&self) -> Mode {
        if self.dry_run { Mode::DryRun } else { Mode::Commit }
    }

    /// Prints a result, in words or as JSON.
    fn print_result(&self, result: &str, words: &str, details: Value) {
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

    fn refused(&self, error: SchedulesError) -> anyhow::Result<ExitCode> {
        let name = &self.name;
        let words = match error {
            SchedulesError::NotFound => return Ok(not_found(name)),
            SchedulesError::NameTaken => format!(
                "exists; 'app schedules show {name}' shows it, --replace gives it this definition"
            ),
            SchedulesError::AlreadyPaused(pause) => {
                let at = moment(Some(pause.at));
                format!("was paused at {at} by {}: {}", pause.by, pause.reason)
            }
            SchedulesError::NotPaused => "is not paused".to_owned(),
            SchedulesError::Queue(error) => return Err(error.into()),
        };
        eprintln!("error: the schedule {name} {words}");
        Ok(ExitCode::from(CONFLICT))
    }

    async fn run_now(&self) -> anyhow::Result<ExitCode> {
        let pool = self.common.connect().await?;
        let mut conn = pool.acquire().await?;
        let by = self.name_of_operator.identity();
        let job = match schedules::run_now(&mut conn, &self.name, &by, self.mode()).await {
            Ok(job) => job,
            Err(error) => return self.refused(error),
        };
        let words = match job {
            None => "its job would be enqueued".to_owned(),
            Some(job) => format!("job {job} is enqueued"),
        };
        self.print_result("enqueued", &words, json!({ "job_id": job }));
        Ok(ExitCode::SUCCESS)
    }

    async fn pause(&self, reason: Reason) -> anyhow::Result<ExitCode> {
        let pool = self.common.connect().await?;
        let mut conn = pool.acquire().await?;
        let actor = Actor { identity: self.name_of_operator.identity(), reason };
        if let Err(error) = schedules::pause(&mut conn, &self.name, &actor, self.mode()).await {
            return self.refused(error);
        }
        let words = format!("is paused; 'app schedules resume {}' ends that", self.name);
        self.print_result("paused", &words, json!({}));
        Ok(ExitCode::SUCCESS)
    }

    async fn resume(&self) -> anyhow::Result<ExitCode> {
        let pool = self.common.connect().await?;
        let mut conn = pool.acquire().await?;
        let by = self.name_of_operator.identity();
        let next = match schedules::resume(&mut conn, &self.name, &by, self.mode()).await {
            Ok(next) => moment(next),
            Err(error) => return self.refused(error),
        };
        let details = json!({ "next_tick_at": next });
        self.print_result("resumed", &format!("runs again; next tick {next}"), details);
        Ok(ExitCode::SUCCESS)
    }

    async fn remove(&self) -> anyhow::Result<ExitCode> {
        let pool = self.common.connect().await?;
        let mut conn = pool.acquire().await?;
        let by = self.name_of_operator.identity();
        let schedule = match schedules::remove(&mut conn, &self.name, &by, self.mode()).await {
            Ok(schedule) => schedule,
            Err(error) => return self.refused(error),
        };
        let words = match schedule.is_of_code() {
            true => {
                "is removed, until a worker that defines it in its code starts: pause it instead"
            }
            false => "is removed",
        };
        self.print_result("removed", words, json!({ "defined_by": schedule.defined_by }));
        Ok(ExitCode::SUCCESS)
    }
}
