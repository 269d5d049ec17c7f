//! `app dead-letters`: flags, tables and exit codes of the
//! [operations on dead letters](crate::operations::dead_letters).

use std::process::ExitCode;

use serde_json::{Value, json};
use sqlx::PgPool;

use super::actor::ActorArgs;
use super::database::Database;
use super::known_names::TypedNames;
use super::output::{Output, moment, print_values, table};
use super::report::{CONFLICT, NOT_FOUND};
use crate::operations::dead_letters::{
    self, DeadLetterFilter, DeadLetterView, Decide, DecisionError, DecisionKind, DecisionRefusal,
    JobId, ListedDeadLetter, MAX_LISTED,
};
use crate::operations::{Actor, Mode};

const APPLICATION: &str = "surety-dead-letters";

const EXAMPLES: &str = "\
Examples:
  app dead-letters list --kind execute_bank_order
  app dead-letters show 812
  app dead-letters redrive 812 --reason \"the bank is back\"
  app dead-letters redrive --all --kind execute_transfer --reason \"the bank is back\" --dry-run
  app dead-letters write-off 812 --reason \"never sent, says the bank; case 4711\"

A job that is redriven runs again with the effect key that it had, so the bank moves no money twice.
Only what has no outcome yet can be redriven: COMPLETED and FAILED are final.
What is written off and not finished becomes FAILED, and what it held is available again: see to it
first that the bank has not moved the money ('app reconcile' tells).

Exit codes: 0 done, 1 failed, 2 usage, 3 no such dead letter, 5 decided before or not possible,
7 database unreachable, 8 schema mismatch.";

/// Lists, shows, redrives and writes off jobs that were given up.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Lists those that nobody has decided over, newest first.
    List {
        #[command(flatten)]
        database: Database,
        /// Only jobs of this kind.
        #[arg(long)]
        kind: Option<String>,
        /// The most that are listed.
        #[arg(long, default_value_t = 50,
              value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Shows one with its attempts, what was decided, and what it is about.
    Show {
        #[command(flatten)]
        database: Database,
        /// The number of the job.
        job_id: i64,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Runs jobs again.
    Redrive {
        #[command(flatten)]
        database: Database,
        /// The numbers of the jobs.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        job_ids: Vec<i64>,
        /// All that nobody has decided over.
        #[arg(long, requires = "consent")]
        all: bool,
        /// With --all: only jobs of this kind.
        #[arg(long, requires = "all")]
        kind: Option<String>,
        /// Only say what would be done.
        #[arg(long, group = "consent")]
        dry_run: bool,
        /// Do it to all, however many there are.
        #[arg(long, group = "consent")]
        yes: bool,
        #[command(flatten)]
        actor: ActorArgs,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Gives up what jobs were to do.
    WriteOff {
        #[command(flatten)]
        database: Database,
        /// The numbers of the jobs.
        #[arg(required = true)]
        job_ids: Vec<i64>,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        actor: ActorArgs,
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
        Command::List { database, kind, limit, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            TypedNames::kinds(&kind).warn_of_unknown(&mut *pool.acquire().await?).await?;
            list(&pool, kind, limit, output).await
        }
        Command::Show { database, job_id, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            show(&pool, JobId(job_id), output).await
        }
        Command::Redrive { database, job_ids, all, kind, dry_run, yes: _, actor, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            TypedNames::kinds(&kind).warn_of_unknown(&mut *pool.acquire().await?).await?;
            let (verdict, mode) = (DecisionKind::Redriven, mode(dry_run));
            let mut command = Decisions::new(pool, verdict, mode, actor.into_actor(), output);
            match all {
                true => command.decide_over_all(kind).await?,
                false => command.decide_over(&job_ids).await?,
            }
            Ok(command.finish())
        }
        Command::WriteOff { database, job_ids, dry_run, actor, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let (verdict, mode) = (DecisionKind::WrittenOff, mode(dry_run));
            let mut command = Decisions::new(pool, verdict, mode, actor.into_actor(), output);
            command.decide_over(&job_ids).await?;
            Ok(command.finish())
        }
    }
}

fn mode(dry_run: bool) -> Mode {
    if dry_run { Mode::DryRun } else { Mode::Commit }
}

async fn list(
    pool: &PgPool,
    kind: Option<String>,
    limit: u32,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let mut conn = pool.acquire().await?;
    let filter = DeadLetterFilter { kind, queue: None };
    let mut letters: Vec<ListedDeadLetter> = Vec::new();
    loop {
        let wanted = (limit - u32::try_from(letters.len())?).min(MAX_LISTED);
        let before = letters.last().map(ListedDeadLetter::position);
        let page = dead_letters::list(&mut conn, &filter, before, wanted).await?;
        let is_last = page.len() < wanted as usize;
        letters.extend(page);
        if is_last || letters.len() >= limit as usize {
            break;
        }
    }
    match output {
        Output::Table => {
            let rows: Vec<_> = letters.iter().map(row).collect();
            print!("{}", table(["JOB", "KIND", "ATTEMPT", "GIVEN UP", "ERROR"], &rows));
        }
        Output::Json | Output::Jsonl => print_values(&letters, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn row(letter: &ListedDeadLetter) -> [String; 5] {
    let attempt = format!("{} of {}", letter.attempt, letter.max_attempts);
    // The whole chain is for `show`.
    let error: String = letter.error.as_deref().unwrap_or("-").chars().take(80).collect();
    let error = error.replace(char::is_control, " ");
    let discarded_at = moment(Some(letter.discarded_at));
    [letter.job_id.to_string(), letter.kind.clone(), attempt, discarded_at, error]
}

async fn show(pool: &PgPool, id: JobId, output: Output) -> anyhow::Result<ExitCode> {
    let Some(letter) = dead_letters::find(&mut *pool.acquire().await?, id).await? else {
        eprintln!("error: there is no dead letter {id}; 'app dead-letters list' shows them");
        return Ok(ExitCode::from(NOT_FOUND));
    };
    match output {
        Output::Table => print!("{}", details(&letter)),
        Output::Json | Output::Jsonl => {
            println!("{}", serde_json::to_string(&letter)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn details(letter: &DeadLetterView) -> String {
    let state = if letter.is_open { "waits for a decision" } else { "is decided over" };
    let (id, kind, args) = (letter.job_id, &letter.kind, &letter.args);
    let mut text = format!("job {id} ({kind}) {state}\nargs: {args}\n");
    text += &match (&letter.order, &letter.transaction) {
        (Some(order), _) => {
            let order = &order.0;
            let (kind, status) = (order.kind.as_str(), order.status);
            let reason = order.failure_reason.as_deref().unwrap_or("-");
            format!("{kind} {} of {}: {status:?}, reason {reason}\n", order.id, order.money)
        }
        (None, Some(transaction)) => {
            let it = &transaction.0;
            let reason = it.failure_reason.as_deref().unwrap_or("-");
            let (id, money, status) = (&it.transaction_id, it.money, it.status);
            format!("transaction {id} of {money}: {status:?}, reason {reason}\n")
        }
        (None, None) => "about nothing that exists\n".to_owned(),
    };
    let attempts = letter.attempts.iter().map(|attempt| {
        [
            attempt.attempt.to_string(),
            moment(Some(attempt.ended_at)),
            attempt.error.as_deref().unwrap_or("-").replace(char::is_control, " "),
        ]
    });
    text += &table(["ATTEMPT", "ENDED", "ERROR"], &attempts.collect::<Vec<_>>());
    for decision in &letter.decisions {
        let (at, by) = (moment(Some(decision.decided_at)), &decision.decided_by);
        text += &format!("{} at {at} by {by}: {}\n", decision.decision.in_words(), decision.reason);
    }
    text
}

/// Decisions that one command makes, each in a transaction of its own.
struct Decisions {
    pool: PgPool,
    verdict: DecisionKind,
    mode: Mode,
    actor: Actor,
    output: Output,
    /// Results that are printed at the end, as one array.
    results: Vec<Value>,
    done: usize,
    refused: Option<DecisionRefusal>,
}

impl Decisions {
    fn new(pool: PgPool, verdict: DecisionKind, mode: Mode, actor: Actor, output: Output) -> Self {
        let (results, done, refused) = (Vec::new(), 0, None);
        Self { pool, verdict, mode, actor, output, results, done, refused }
    }

    async fn decide_over(&mut self, ids: &[i64]) -> anyhow::Result<()> {
        for id in ids {
            let refused = self.decide(JobId(*id)).await?.err();
            // A dead letter that does not exist is most likely a slip, and worth saying first.
            if self.refused != Some(DecisionRefusal::NotFound) {
                self.refused = refused.or(self.refused);
            }
        }
        Ok(())
    }

    /// From the newest down, so that a job that is discarded again meanwhile is not met again.
    async fn decide_over_all(&mut self, kind: Option<String>) -> anyhow::Result<()> {
        let filter = DeadLetterFilter { kind, queue: None };
        let mut before = None;
        loop {
            let mut conn = self.pool.acquire().await?;
            let page = dead_letters::list(&mut conn, &filter, before, MAX_LISTED).await?;
            drop(conn);
            let Some(last) = page.last() else { return Ok(()) };
            before = Some(last.position());
            for letter in page {
                match self.decide(letter.job_id).await? {
                    // Somebody else has decided since the page was read.
                    Ok(()) | Err(DecisionRefusal::AlreadyDecided | DecisionRefusal::NotFound) => {}
                    Err(refusal) => self.refused = Some(refusal),
                }
            }
        }
    }

    async fn decide(&mut self, id: JobId) -> anyhow::Result<Result<(), DecisionRefusal>> {
        let request = Decide { id, verdict: self.verdict, mode: self.mode };
        let mut conn = self.pool.acquire().await?;
        let decided = match dead_letters::decide(&mut conn, request, &self.actor).await {
            Ok(_letter) => Ok(()),
            Err(DecisionError::Refused(refusal)) => Err(refusal),
            Err(DecisionError::Failed(error)) => return Err(error.into()),
        };
        self.done += usize::from(decided.is_ok());
        self.print(id, decided);
        Ok(decided)
    }

    fn print(&mut self, id: JobId, decided: Result<(), DecisionRefusal>) {
        use DecisionKind::{Redriven, WrittenOff};
        let (code, words) = match (decided, self.verdict, self.mode) {
            (Err(refusal), _, _) => (refusal.code(), refusal.to_string()),
            (Ok(()), Redriven, Mode::Commit) => ("redriven", "runs again".to_owned()),
            (Ok(()), Redriven, Mode::DryRun) => ("would-redrive", "would run again".to_owned()),
            (Ok(()), WrittenOff, Mode::Commit) => ("written-off", "is written off".to_owned()),
            (Ok(()), WrittenOff, Mode::DryRun) => {
                ("would-write-off", "would be written off".to_owned())
            }
        };
        let result = json!({ "job_id": id, "result": code });
        match self.output {
            Output::Table => println!("job {id}: {words}"),
            Output::Json => self.results.push(result),
            Output::Jsonl => println!("{result}"),
        }
    }

    fn finish(self) -> ExitCode {
        match self.output {
            Output::Table => {
                let dry =
                    if self.mode == Mode::DryRun { ", if it were not for --dry-run" } else { "" };
                println!("{} done{dry}", self.done);
            }
            Output::Json => println!("{}", Value::Array(self.results)),
            Output::Jsonl => {}
        }
        match self.refused {
            None => ExitCode::SUCCESS,
            Some(DecisionRefusal::NotFound) => ExitCode::from(NOT_FOUND),
            Some(_) => ExitCode::from(CONFLICT),
        }
    }
}
