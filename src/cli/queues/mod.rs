//! `app queues`: flags, tables and exit codes of the
//! [operations on queues](crate::operations::queues).
//!
//! - Here: the commands, and those that change one thing.
//! - `listing`: tables of queues and of blocked keys.
//! - `limits`: flags that show and change limits.

mod limits;
mod listing;

use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::parse_duration;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use super::actor::{ActorArgs, NameArg};
use super::database::Database;
use super::known_names::TypedNames;
use super::output::{Output, moment};
use super::report::{CONFLICT, NOT_FOUND, TIMED_OUT};
use crate::operations::queues::{self, DrainResult, PauseResult, QueueScope};
use crate::operations::{Actor, Identity};

const APPLICATION: &str = "surety-queues";

const EXAMPLES: &str = "\
Examples:
  app queues list
  app queues pause payouts --reason \"the bank is down\"
  app queues resume payouts
  app queues drain payouts --reason \"the bank moves\" --timeout 5m
  app queues limits payouts --max-running 20 --rate 100/1m
  app queues limits payouts --ordered skip_after=3
  app queues blocked payouts
  app queues unblock payouts customer-17 --reason \"refunded by hand\"

A queue exists by its name alone, so one that has no job yet can be paused and limited. Jobs that
run are never interrupted.

Exit codes: 0 done, 2 usage, 3 no such queue or key, 5 was so before, 6 not drained in time,
7 database unreachable, 8 schema mismatch.";

/// Shows queues, pauses, drains and limits them.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Lists the queues that have unfinished jobs, a pause or limits.
    List {
        #[command(flatten)]
        database: Database,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Shows one queue.
    Show {
        #[command(flatten)]
        database: Database,
        /// The queue.
        name: String,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Starts no more jobs of a queue; those that run go on.
    Pause {
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        which: OneOrAll,
        #[command(flatten)]
        actor: ActorArgs,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Undoes a pause.
    Resume {
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        which: OneOrAll,
        #[command(flatten)]
        by: NameArg,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Pauses a queue and waits until none of its jobs runs.
    Drain {
        #[command(flatten)]
        database: Database,
        /// The queue.
        name: String,
        #[command(flatten)]
        actor: ActorArgs,
        /// The longest time to wait.
        #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
        timeout: Duration,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Shows or changes what a queue is limited to.
    Limits(limits::Args),
    /// Lists the keys of an ordered queue that wait for somebody to decide.
    Blocked {
        #[command(flatten)]
        database: Database,
        /// The queue.
        name: String,
        /// The most that are listed.
        #[arg(long, default_value_t = 50,
              value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Lets a blocked key go on: a parked head is tried again, a discarded one stays behind.
    Unblock {
        #[command(flatten)]
        database: Database,
        /// The queue.
        name: String,
        /// The key.
        key: String,
        #[command(flatten)]
        actor: ActorArgs,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

#[derive(clap::Args, Debug)]
struct OneOrAll {
    /// The queue.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// All queues, those included that do not exist yet.
    #[arg(long)]
    all: bool,
}

impl OneOrAll {
    fn scope(self) -> QueueScope {
        self.name.map_or(QueueScope::All, QueueScope::One)
    }
}

/// The scope in words.
fn named(scope: &QueueScope) -> String {
    match scope {
        QueueScope::All => "every queue".to_owned(),
        QueueScope::One(name) => format!("queue {name}"),
    }
}

/// The scope as an argument of `app queues pause`.
fn argument(scope: &QueueScope) -> &str {
    match scope {
        QueueScope::All => "--all",
        QueueScope::One(name) => name,
    }
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
            listing::list(&pool, output).await
        }
        Command::Show { database, name, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            listing::show(&pool, &name, output).await
        }
        Command::Pause { database, which, actor, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let (scope, actor) = (which.scope(), actor.into_actor());
            let mut conn = pool.acquire().await?;
            warn_of_unknown(&mut conn, &scope).await?;
            pause(&mut conn, &scope, &actor, output).await
        }
        Command::Resume { database, which, by, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let (scope, mut conn) = (which.scope(), pool.acquire().await?);
            warn_of_unknown(&mut conn, &scope).await?;
            resume(&mut conn, &scope, &by.identity(), output).await
        }
        Command::Drain { database, name, actor, timeout, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            TypedNames::queue(&name).warn_of_unknown(&mut *pool.acquire().await?).await?;
            drain(&pool, &name, &actor.into_actor(), timeout, output).await
        }
        Command::Limits(args) => limits::run(args).await,
        Command::Blocked { database, name, limit, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            TypedNames::queue(&name).warn_of_unknown(&mut *pool.acquire().await?).await?;
            listing::blocked(&pool, &name, limit, output).await
        }
        Command::Unblock { database, name, key, actor, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let actor = actor.into_actor();
            let mut conn = pool.acquire().await?;
            TypedNames::queue(&name).warn_of_unknown(&mut conn).await?;
            unblock(&mut conn, &name, &key, &actor, output).await
        }
    }
}

async fn warn_of_unknown(conn: &mut PgConnection, scope: &QueueScope) -> anyhow::Result<()> {
    match scope {
        QueueScope::One(name) => TypedNames::queue(name).warn_of_unknown(conn).await,
        QueueScope::All => Ok(()),
    }
}

/// Prints a result, in words or as JSON.
fn print_result(output: Output, words: &str, result: &Value) {
    match output {
        Output::Table => println!("{words}"),
        Output::Json | Output::Jsonl => println!("{result}"),
    }
}

async fn pause(
    conn: &mut PgConnection,
    scope: &QueueScope,
    actor: &Actor,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let (what, argument) = (named(scope), argument(scope));
    let result = |word| json!({"queue": argument, "result": word});
    match queues::pause(conn, scope, actor).await? {
        PauseResult::WasPaused => {
            let words = format!("{what} was paused before: 'app queues list' says by whom");
            print_result(output, &words, &result("was-paused"));
            Ok(ExitCode::from(CONFLICT))
        }
        PauseResult::Paused => {
            let words = format!(
                "{what} is paused, what runs goes on; undo it with 'app queues resume {argument}'"
            );
            print_result(output, &words, &result("paused"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn resume(
    conn: &mut PgConnection,
    scope: &QueueScope,
    by: &Identity,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let resumed = queues::resume(conn, scope, by).await?;
    let (what, argument) = (named(scope), argument(scope));
    let (mut words, code, word) = match resumed.was_paused {
        true => (format!("{what} is resumed"), ExitCode::SUCCESS, "resumed"),
        false => (format!("{what} was not paused"), ExitCode::from(CONFLICT), "was-not-paused"),
    };
    if let Some((remaining, pause)) = &resumed.remaining {
        let (stays, by, at) = (named(remaining), &pause.paused_by, moment(Some(pause.paused_at)));
        words += &format!("; but {stays} stays paused, by {by} at {at}: {}", pause.reason);
    }
    let result = json!({
        "queue": argument,
        "result": word,
        "stays_paused": resumed.remaining.is_some(),
    });
    print_result(output, &words, &result);
    Ok(code)
}

async fn drain(
    pool: &PgPool,
    name: &str,
    actor: &Actor,
    timeout: Duration,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let result = |word, running: i64| json!({"queue": name, "result": word, "running": running});
    match queues::drain(pool, name, timeout, actor).await? {
        DrainResult::Drained => {
            let words =
                format!("queue {name} is drained and paused: 'app queues resume {name}' undoes it");
            print_result(output, &words, &result("drained", 0));
            Ok(ExitCode::SUCCESS)
        }
        DrainResult::StillRunning(running) => {
            let words = format!("queue {name} is paused, but {running} of its jobs still run");
            print_result(output, &words, &result("paused", running));
            Ok(ExitCode::from(TIMED_OUT))
        }
    }
}

async fn unblock(
    conn: &mut PgConnection,
    name: &str,
    key: &str,
    actor: &Actor,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let head = queues::unblock_key(conn, name, key, actor).await?;
    let result = |word| json!({"queue": name, "key": key, "result": word, "job_id": head});
    match head {
        Some(id) => {
            let words = format!("key {key} of queue {name} goes on; job {id} was at its head");
            print_result(output, &words, &result("unblocked"));
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let words =
                format!("key {key} of queue {name} is not blocked: 'app queues blocked {name}'");
            print_result(output, &words, &result("not-found"));
            Ok(ExitCode::from(NOT_FOUND))
        }
    }
}
