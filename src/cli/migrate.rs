//! `app migrate`: brings the schema of a database to that of this binary, back, or says where it
//! is.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use serde_json::json;
use sqlx::PgPool;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::database::Database;
use super::output::Output;
use crate::db::{self, MigrationPatience, MigrationState, MigrationStatus};

const EXAMPLES: &str = "\
Examples:
  app migrate run                   apply what is missing
  app migrate status                what is applied, and since when
  app migrate revert --dry-run      which migration would be undone
  app migrate revert --to 1 --yes   undo everything after migration 1

Exit codes: 0 done, 1 failed, 2 usage.";

const APPLICATION: &str = "surety-migrate";

/// Applies, reverts or lists the migrations of the schema.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Applies every missing migration. Safe to run from several places at once.
    Run {
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        patience: Patience,
    },
    /// Undoes migrations, newest first, with the data of what they made.
    Revert {
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        patience: Patience,
        /// Undo everything after this migration; 0 undoes all.
        #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(0..))]
        to: Option<i64>,
        /// The number of migrations to undo [default: 1]
        #[arg(long, value_name = "N", conflicts_with = "to")]
        steps: Option<usize>,
        /// Only say which.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Lists every migration and whether it is applied; changes nothing.
    Status {
        #[command(flatten)]
        database: Database,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

#[derive(clap::Args, Clone, Copy, Debug)]
struct Patience {
    /// The time to wait for one lock; everybody else waits behind it meanwhile.
    #[arg(long, value_name = "DURATION", default_value = "3s",
          value_parser = humantime::parse_duration)]
    lock_timeout: Duration,
    /// The time to keep trying, for locks and for others who migrate, before giving up.
    #[arg(long, value_name = "DURATION", default_value = "60s",
          value_parser = humantime::parse_duration)]
    wait: Duration,
}

impl From<Patience> for MigrationPatience {
    fn from(patience: Patience) -> Self {
        Self { lock_timeout: patience.lock_timeout, total: patience.wait }
    }
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
            let target = match to {
                Some(version) => version,
                None => version_before(&pool, steps.unwrap_or(1)).await?,
            };
            let consent = Consent { dry_run, yes };
            revert(&pool, target, patience, consent).await?;
        }
        Command::Status { database, output } => {
            status(&database.connect(APPLICATION).await?, output).await?
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn apply(pool: &PgPool, patience: Patience) -> anyhow::Result<()> {
    let applied = db::migrate_with(pool, patience.into()).await?;
    if applied.is_empty() {
        println!("nothing to do: the schema is current");
    }
    for migration in db::migration_status(pool).await? {
        if applied.contains(&migration.version) {
            println!("applied  {}  {}", migration.version, migration.name);
        }
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
    target: i64,
    patience: Patience,
    consent: Consent,
) -> anyhow::Result<()> {
    let doomed = applied_after(pool, target).await?;
    if doomed.is_empty() {
        println!("nothing to do: no migration after {target} is applied");
        return Ok(());
    }
    for migration in &doomed {
        println!("to undo  {}  {}", migration.version, migration.name);
    }
    if consent.dry_run {
        return Ok(());
    }
    if !consent.yes && !confirmed(doomed.len())? {
        bail!("nothing was undone");
    }
    for version in db::revert_to(pool, target, patience.into()).await? {
        println!("undone   {version}");
    }
    Ok(())
}

/// The newest migration after `steps` are undone; 0 when none is left.
async fn version_before(pool: &PgPool, steps: usize) -> anyhow::Result<i64> {
    let applied = applied_after(pool, 0).await?;
    Ok(applied.get(steps).map_or(0, |migration| migration.version))
}

/// Applied migrations after this one, newest first: the order in which they are undone.
async fn applied_after(pool: &PgPool, version: i64) -> anyhow::Result<Vec<MigrationStatus>> {
    let mut migrations = db::migration_status(pool).await?;
    migrations.retain(|m| m.version > version && m.state != MigrationState::Pending);
    migrations.reverse();
    Ok(migrations)
}

/// Asks on a terminal; anywhere else only `--yes` is consent.
fn confirmed(number: usize) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "undoing {number} migrations deletes their data: add --yes to do it, or --dry-run to \
             see which"
        );
    }
    eprint!("This deletes the data of {number} migrations. Type yes to go on: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

async fn status(pool: &PgPool, output: Output) -> anyhow::Result<()> {
    let migrations = db::migration_status(pool).await?;
    match output {
        Output::Table => {
            println!("{:>7}  {:<8}  {:<20}  NAME", "VERSION", "STATE", "APPLIED AT");
            for migration in &migrations {
                let (state, applied_at) = words(migration.state);
                let applied_at = applied_at.unwrap_or_else(|| "-".to_owned());
                println!(
                    "{:>7}  {state:<8}  {applied_at:<20}  {}",
                    migration.version, migration.name
                );
            }
        }
        Output::Json | Output::Jsonl => {
            let rows = migrations.iter().map(|migration| {
                let (state, applied_at) = words(migration.state);
                json!({
                    "version": migration.version,
                    "name": migration.name,
                    "state": state,
                    "applied_at": applied_at,
                })
            });
            println!("{}", json!(rows.collect::<Vec<_>>()));
        }
    }
    Ok(())
}

/// The state in one word, and since when.
fn words(state: MigrationState) -> (&'static str, Option<String>) {
    let (word, applied_at) = match state {
        MigrationState::Pending => ("pending", None),
        MigrationState::Applied(at) => ("applied", Some(at)),
        MigrationState::Changed(at) => ("changed", Some(at)),
        MigrationState::Unknown(at) => ("unknown", Some(at)),
    };
    (word, applied_at.map(to_the_second))
}

fn to_the_second(at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}
