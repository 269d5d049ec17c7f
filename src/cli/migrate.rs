//! `app migrate`: brings the schemas of a database to those of this binary, back, or says where
//! they are.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use serde_json::{Value, json};
use sqlx::PgPool;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::database::Database;
use super::output::Output;
use crate::db::{self, ItemState, ItemStatus, Patience, SchemaError, Target};
use crate::terminal;

const EXAMPLES: &str = "\
Examples:
  app migrate run                         apply what is missing or has changed
  app migrate status                      what is applied, and since when
  app migrate revert --dry-run            what would be undone, and what forbids it
  app migrate revert --to app/1 --yes     undo everything of the app after its migration 1
  app migrate revert --to 0               undo everything

There are two schemas: 'queue' (jobs) and 'app' (payments and what they need). A revert deletes the
data of what it undoes. It refuses while that is money, or jobs that nobody has decided over, and
then undoes nothing at all.

Exit codes: 0 done, 1 failed, 2 usage, 5 refused, 8 schema mismatch.";

const APPLICATION: &str = "surety-migrate";

/// Applies, reverts or lists the migrations of the schemas.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Applies every missing migration, and functions and views that have changed. Safe to run from
    /// several places at once, and beside the migrations of other programs.
    Run {
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        patience: PatienceArgs,
    },
    /// Undoes migrations, newest first, with the data of what they made.
    Revert {
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        patience: PatienceArgs,
        /// Undo everything of a schema after this migration: app/1, queue/0; 0 undoes everything of
        /// both.
        #[arg(long, value_name = "SCHEMA/VERSION", value_parser = parse_goal)]
        to: Option<Goal>,
        /// The number of migrations to undo [default: 1]
        #[arg(long, value_name = "N", conflicts_with = "to")]
        steps: Option<usize>,
        /// Only list them, and what forbids it.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Lists every migration and whether it is applied, and functions and views that are not as
    /// this binary has them; changes nothing.
    Status {
        #[command(flatten)]
        database: Database,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

#[derive(clap::Args, Clone, Copy, Debug)]
struct PatienceArgs {
    /// The time to wait for one lock; everybody else waits behind it meanwhile.
    #[arg(long, value_name = "DURATION", default_value = "3s",
          value_parser = crate::arguments::parse_duration)]
    lock_timeout: Duration,
    /// The time to keep trying, for locks and for others who migrate, before giving up.
    #[arg(long, value_name = "DURATION", default_value = "60s",
          value_parser = crate::arguments::parse_duration)]
    wait: Duration,
}

impl From<PatienceArgs> for Patience {
    fn from(args: PatienceArgs) -> Self {
        Self { lock_timeout: args.lock_timeout, total: args.wait }
    }
}

/// The state to go back to.
#[derive(Clone, Copy, Debug)]
enum Goal {
    Nothing,
    After(Target),
}

impl Goal {
    fn targets(self) -> Vec<Target> {
        match self {
            Self::Nothing => {
                db::SCHEMAS.iter().map(|schema| Target { schema, version: 0 }).collect()
            }
            Self::After(target) => vec![target],
        }
    }
}

fn parse_goal(text: &str) -> Result<Goal, String> {
    if text == "0" {
        return Ok(Goal::Nothing);
    }
    let named = text.split_once('/').and_then(|(name, version)| {
        let schema = db::SCHEMAS.iter().find(|schema| schema.name == name)?;
        let version = version.parse().ok().filter(|version| *version >= 0)?;
        Some(Goal::After(Target { schema, version }))
    });
    named.ok_or_else(|| "expected app/N, queue/N, or 0 for everything".to_owned())
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached, refuses, or stays locked.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Run { database, patience } => {
            apply(&database.connect_session(APPLICATION, "migrations").await?, patience).await?
        }
        Command::Revert { database, patience, to, steps, dry_run, yes } => {
            let pool = database.connect_session(APPLICATION, "migrations").await?;
            let targets = match to {
                Some(goal) => goal.targets(),
                None => targets_of_steps(&pool, steps.unwrap_or(1)).await?,
            };
            revert(&pool, &targets, patience, Consent { dry_run, yes }).await?;
        }
        Command::Status { database, output } => {
            status(&database.connect(APPLICATION).await?, output).await?
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn apply(pool: &PgPool, patience: PatienceArgs) -> anyhow::Result<()> {
    let applied = db::migrate_with(pool, patience.into()).await?;
    if applied.is_empty() {
        println!("nothing to do: the schema is current");
    }
    for name in applied {
        println!("applied  {name}");
    }
    Ok(())
}

/// Flags about the loss of data.
struct Consent {
    dry_run: bool,
    yes: bool,
}

async fn revert(
    pool: &PgPool,
    targets: &[Target],
    patience: PatienceArgs,
    consent: Consent,
) -> anyhow::Result<()> {
    let plan = db::plan_revert(pool, targets).await?;
    if plan.undone.is_empty() {
        println!("nothing to do: no such migration is applied");
        return Ok(());
    }
    for (schema, migration) in &plan.undone {
        println!("to undo  {}/{}  {}", schema.name, migration.version(), migration.title());
    }
    let number = plan.undone.len();
    if !plan.refusals.is_empty() {
        return Err(SchemaError::Refused { reasons: plan.refusals }.into());
    }
    if consent.dry_run {
        return Ok(());
    }
    if !consent.yes && !confirmed(number)? {
        bail!("nothing was undone");
    }
    for name in db::revert(pool, targets, patience.into()).await? {
        println!("undone   {name}");
    }
    Ok(())
}

/// The targets whose revert undoes the last `steps` migrations: those of the app come last.
async fn targets_of_steps(pool: &PgPool, steps: usize) -> anyhow::Result<Vec<Target>> {
    let all = db::plan_revert(pool, &Goal::Nothing.targets()).await?.undone;
    let (undone, kept) = all.split_at(steps.min(all.len()));
    let targets =
        db::SCHEMAS.iter().filter(|schema| undone.iter().any(|(of, _)| of.name == schema.name));
    let last_kept = |name: &str| {
        let newest = kept.iter().find(|(of, _)| of.name == name);
        newest.map_or(0, |(_, migration)| migration.version())
    };
    Ok(targets.map(|schema| Target { schema, version: last_kept(schema.name) }).collect())
}

/// Asks on a terminal; anywhere else only `--yes` is consent.
fn confirmed(number: usize) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "undoing {number} migrations deletes their data: add --yes to do it, or --dry-run to \
             see which"
        );
    }
    Ok(terminal::says_yes_to(&format!("This deletes the data of {number} migrations."))?)
}

async fn status(pool: &PgPool, output: Output) -> anyhow::Result<()> {
    let mut items = db::schema_status(pool).await?;
    // There are many functions, and nearly always all of them are as they should be.
    items.retain(|item| item.version.is_some() || !matches!(item.state, ItemState::Applied(_)));
    match output {
        Output::Table => {
            println!(
                "{:<6}  {:>7}  {:<8}  {:<20}  NAME",
                "SCHEMA", "VERSION", "STATE", "APPLIED AT"
            );
            items.iter().for_each(print_line);
        }
        Output::Json => println!("{}", json!(items.iter().map(shown).collect::<Vec<_>>())),
        Output::Jsonl => items.iter().for_each(|item| println!("{}", shown(item))),
    }
    Ok(())
}

fn shown(item: &ItemStatus) -> Value {
    let (state, applied_at) = words(item.state);
    json!({
        "schema": item.schema,
        "version": item.version,
        "name": item.name,
        "state": state,
        "applied_at": applied_at,
    })
}

fn print_line(item: &ItemStatus) {
    let (state, applied_at) = words(item.state);
    let version = item.version.map_or_else(|| "-".to_owned(), |version| version.to_string());
    let applied_at = applied_at.unwrap_or_else(|| "-".to_owned());
    let (schema, name) = (item.schema, &item.name);
    println!("{schema:<6}  {version:>7}  {state:<8}  {applied_at:<20}  {name}");
}

/// The state in one word, and since when.
fn words(state: ItemState) -> (&'static str, Option<String>) {
    let (word, applied_at) = match state {
        ItemState::Pending => ("pending", None),
        ItemState::Applied(at) => ("applied", Some(at)),
        ItemState::Changed(at) => ("changed", Some(at)),
        ItemState::Newer(at) => ("newer", Some(at)),
    };
    (word, applied_at.map(to_the_second))
}

fn to_the_second(at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}
