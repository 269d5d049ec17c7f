//! `app queues`: what waits in which queue, and holding queues up.
//!
//! - Here: the commands, and those that change one thing.
//! - `listing`: what a queue looks like.
//! - `limits`: reading and changing what a queue is held to.

mod limits;
mod listing;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use humantime::parse_duration;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use super::database::Database;
use super::dead_letters::Why;
use super::output::{Output, moment};
use super::report::{CONFLICT, NOT_FOUND, TIMED_OUT};
use crate::queue::operate::queues::{self, Which};

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
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Shows one queue.
    Show {
        #[command(flatten)]
        database: Database,
        /// The queue.
        name: String,
        /// How to print it.
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
        why: Why,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Undoes a pause.
    Resume {
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        which: OneOrAll,
        /// How to print it.
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
        why: Why,
        /// How long to wait at most.
        #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
        timeout: Duration,
        /// How to print it.
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
        /// How many at most.
        #[arg(long, default_value_t = 50,
              value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// How to print it.
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
        why: Why,
        /// How to print it.
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
    fn which(&self) -> Which<'_> {
        self.name.as_deref().map_or(Which::All, Which::One)
    }
}

/// In words, and what to write behind `app queues pause`.
fn named(which: Which<'_>) -> (String, &str) {
    match which {
        Which::All => ("every queue".to_owned(), "--all"),
        Which::One(name) => (format!("queue {name}"), name),
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
        Command::Pause { database, which, why, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            pause(&mut *pool.acquire().await?, which.which(), &why, output).await
        }
        Command::Resume { database, which, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            resume(&mut *pool.acquire().await?, which.which(), output).await
        }
        Command::Drain { database, name, why, timeout, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            drain(&pool, &name, &why, timeout, output).await
        }
        Command::Limits(args) => limits::run(args).await,
        Command::Blocked { database, name, limit, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            listing::blocked(&pool, &name, limit, output).await
        }
        Command::Unblock { database, name, key, why, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            unblock(&mut *pool.acquire().await?, &name, &key, &why, output).await
        }
    }
}

/// What a command did, for people or for programs.
fn say(output: Output, words: &str, result: &Value) {
    match output {
        Output::Table => println!("{words}"),
        Output::Json | Output::Jsonl => println!("{result}"),
    }
}

async fn pause(
    conn: &mut PgConnection,
    which: Which<'_>,
    why: &Why,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let paused = queues::pause(conn, which, &why.who(), &why.reason).await?;
    let (what, argument) = named(which);
    let result = json!({"queue": argument, "result": if paused { "paused" } else { "was-paused" }});
    if !paused {
        say(output, &format!("{what} was paused before: 'app queues list' says by whom"), &result);
        return Ok(ExitCode::from(CONFLICT));
    }
    let words =
        format!("{what} is paused, what runs goes on; undo it with 'app queues resume {argument}'");
    say(output, &words, &result);
    Ok(ExitCode::SUCCESS)
}

async fn resume(
    conn: &mut PgConnection,
    which: Which<'_>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let resumed = queues::resume(conn, which).await?;
    let (what, argument) = named(which);
    // Pauses of the other sort may be left: of all, or of single queues.
    let left = queues::pauses(conn).await?.into_iter().find(|(queue, _)| match which {
        Which::One(_) => queue.is_none(),
        Which::All => true,
    });
    let mut words = match resumed {
        true => format!("{what} is resumed"),
        false => format!("{what} was not paused"),
    };
    if let Some((queue, pause)) = &left {
        let stays = queue.as_deref().map_or(named(Which::All).0, |name| named(Which::One(name)).0);
        let (by, at) = (&pause.paused_by, moment(Some(pause.paused_at)));
        words += &format!("; but {stays} stays paused, by {by} at {at}: {}", pause.reason);
    }
    let result = json!({
        "queue": argument,
        "result": if resumed { "resumed" } else { "was-not-paused" },
        "stays_paused": left.is_some(),
    });
    say(output, &words, &result);
    Ok(if resumed { ExitCode::SUCCESS } else { ExitCode::from(CONFLICT) })
}

/// How often it is looked whether jobs still run.
const DRAIN_POLL: Duration = Duration::from_millis(200);

/// No job must be seen for so long: a claim that began before the pause may just be coming.
const DRAINED_FOR: Duration = Duration::from_secs(1);

async fn drain(
    pool: &PgPool,
    name: &str,
    why: &Why,
    timeout: Duration,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let mut conn = pool.acquire().await?;
    // Whoever paused it before keeps the word.
    queues::pause(&mut conn, Which::One(name), &why.who(), &why.reason).await?;
    let deadline = Instant::now() + timeout;
    let mut none_since = None;
    loop {
        let running = queues::running(&mut conn, name).await?;
        let now = Instant::now();
        none_since = if running == 0 { none_since.or(Some(now)) } else { None };
        if none_since.is_some_and(|since| now - since >= DRAINED_FOR) {
            let words =
                format!("queue {name} is drained and paused: 'app queues resume {name}' undoes it");
            say(output, &words, &json!({"queue": name, "result": "drained", "running": 0}));
            return Ok(ExitCode::SUCCESS);
        }
        if now >= deadline {
            let words = format!("queue {name} is paused, but {running} of its jobs still run");
            say(output, &words, &json!({"queue": name, "result": "paused", "running": running}));
            return Ok(ExitCode::from(TIMED_OUT));
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

async fn unblock(
    conn: &mut PgConnection,
    name: &str,
    key: &str,
    why: &Why,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let head = queues::unblock_key(conn, name, key, &why.who(), &why.reason).await?;
    let result = |word| json!({"queue": name, "key": key, "result": word, "job_id": head});
    match head {
        Some(id) => {
            let words = format!("key {key} of queue {name} goes on; job {id} was at its head");
            say(output, &words, &result("unblocked"));
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let words =
                format!("key {key} of queue {name} is not blocked: 'app queues blocked {name}'");
            say(output, &words, &result("not-found"));
            Ok(ExitCode::from(NOT_FOUND))
        }
    }
}
