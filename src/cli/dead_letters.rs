//! `app dead-letters`: what was given up, and what an operator decides over it; by the same steps
//! as the API.

use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::database::Database;
use super::output::{Output, moment, table};
use super::report::{CONFLICT, NOT_FOUND};
use crate::http::dead_letters::{DeadLetterDetails, DeadLetterOut};
use crate::jobs::dead_letters::{self, DeadLetter, Refusal, Subject, is_undecided};
use crate::queue::JobId;
use crate::queue::operate::discarded::{self, Decision, DiscardedJob, Filter, MAX_LISTED};
use crate::queue::operate::inspect::ResolutionKind;

const APPLICATION: &str = "surety-dead-letters";

const EXAMPLES: &str = "\
Examples:
  app dead-letters list --kind execute_bank_order
  app dead-letters show 812
  app dead-letters redrive 812 --reason \"the bank is back\"
  app dead-letters redrive --all --kind execute_bank_order --reason \"the bank is back\" --dry-run
  app dead-letters write-off 812 --reason \"never sent, says the bank; case 4711\"

A job that is redriven runs again with the effect key that it had, so the bank moves no money twice.
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
        /// How many at most.
        #[arg(long, default_value_t = 50,
              value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Shows one with its attempts, what was decided, and what it is about.
    Show {
        #[command(flatten)]
        database: Database,
        /// The number of the job.
        job_id: i64,
        /// How to print it.
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
        why: Why,
        /// How to print it.
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
        why: Why,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// What is kept of a decision.
#[derive(clap::Args, Debug)]
pub(super) struct Why {
    /// Why, for whoever asks later.
    #[arg(long, value_parser = reason)]
    pub(super) reason: String,

    /// Who decides. [default: the user of the system]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    by: Option<String>,
}

impl Why {
    pub(super) fn who(&self) -> String {
        operator(self.by.as_deref())
    }
}

/// What is kept of who works at the terminal: the name given, or the user of the system.
pub(super) fn operator(name: Option<&str>) -> String {
    let name = name.map(str::to_owned).or_else(|| std::env::var("USER").ok());
    format!("cli:{}", name.filter(|name| !name.is_empty()).as_deref().unwrap_or("unknown"))
}

fn reason(text: &str) -> Result<String, String> {
    match text.trim().is_empty() || text.chars().count() > dead_letters::MAX_REASON_CHARS {
        true => Err(format!("a reason has 1 to {} characters", dead_letters::MAX_REASON_CHARS)),
        false => Ok(text.to_owned()),
    }
}

/// What an operator does with a dead letter.
#[derive(Clone, Copy)]
enum Verb {
    Redrive,
    WriteOff,
}

/// Whether what is done is meant.
#[derive(Clone, Copy)]
enum Mode {
    Commit,
    DryRun,
}

impl Mode {
    fn of(dry_run: bool) -> Self {
        if dry_run { Self::DryRun } else { Self::Commit }
    }
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
            list(&pool, kind, limit, output).await
        }
        Command::Show { database, job_id, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            show(&pool, JobId(job_id), output).await
        }
        Command::Redrive { database, job_ids, all, kind, dry_run, yes: _, why, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let mut session = Session::new(pool, Verb::Redrive, Mode::of(dry_run), why, output);
            match all {
                true => session.decide_over_all(kind).await?,
                false => session.decide_over(&job_ids).await?,
            }
            Ok(session.finish())
        }
        Command::WriteOff { database, job_ids, dry_run, why, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let mut session = Session::new(pool, Verb::WriteOff, Mode::of(dry_run), why, output);
            session.decide_over(&job_ids).await?;
            Ok(session.finish())
        }
    }
}

async fn list(
    pool: &PgPool,
    kind: Option<String>,
    limit: u32,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let mut conn = pool.acquire().await?;
    let filter = Filter { kind, queue: None };
    let mut jobs: Vec<DiscardedJob> = Vec::new();
    loop {
        let wanted = (limit - u32::try_from(jobs.len())?).min(MAX_LISTED);
        let before = jobs.last().map(DiscardedJob::position);
        let page = discarded::list(&mut conn, &filter, before, wanted).await?;
        let is_last = page.len() < wanted as usize;
        jobs.extend(page);
        if is_last || jobs.len() >= limit as usize {
            break;
        }
    }
    let json = |job: DiscardedJob| serde_json::to_value(DeadLetterOut::from(job));
    match output {
        Output::Table => {
            let rows: Vec<_> = jobs.iter().map(row).collect();
            print!("{}", table(["JOB", "KIND", "ATTEMPT", "GIVEN UP", "ERROR"], &rows));
        }
        Output::Json => {
            println!("{}", Value::Array(jobs.into_iter().map(json).collect::<Result<_, _>>()?));
        }
        Output::Jsonl => {
            for job in jobs {
                println!("{}", json(job)?);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(job: &DiscardedJob) -> [String; 5] {
    let attempt = format!("{} of {}", job.attempt, job.max_attempts);
    // The whole chain is for `show`.
    let error: String = job.error.as_deref().unwrap_or("-").chars().take(80).collect();
    let error = error.replace(char::is_control, " ");
    [job.id.to_string(), job.kind.clone(), attempt, moment(Some(job.discarded_at)), error]
}

async fn show(pool: &PgPool, id: JobId, output: Output) -> anyhow::Result<ExitCode> {
    let Some(letter) = dead_letters::find(&mut *pool.acquire().await?, id).await? else {
        eprintln!("error: there is no dead letter {id}; 'app dead-letters list' shows them");
        return Ok(ExitCode::from(NOT_FOUND));
    };
    match output {
        Output::Table => print!("{}", details(&letter)),
        Output::Json | Output::Jsonl => {
            println!("{}", serde_json::to_value(DeadLetterDetails::from(letter))?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn details(DeadLetter { job, subject }: &DeadLetter) -> String {
    let state = if is_undecided(job) { "waits for a decision" } else { "is decided over" };
    let mut text = format!("job {} ({}) {state}\nargs: {}\n", job.id, job.kind, job.args);
    text += &match subject {
        Some(Subject::Order(order)) => {
            let (kind, status) = (order.kind.as_str(), order.status);
            let reason = order.failure_reason.as_deref().unwrap_or("-");
            format!("{kind} {} of {}: {status:?}, reason {reason}\n", order.id, order.money)
        }
        Some(Subject::Transaction(it)) => {
            let reason = it.failure_reason.as_deref().unwrap_or("-");
            let (id, money, status) = (&it.transaction_id, it.money, it.status);
            format!("transaction {id} of {money}: {status:?}, reason {reason}\n")
        }
        None => "about nothing that exists\n".to_owned(),
    };
    let attempts = job.attempts.iter().map(|attempt| {
        [
            attempt.attempt.to_string(),
            moment(Some(attempt.ended_at)),
            attempt.error.as_deref().unwrap_or("-").replace(char::is_control, " "),
        ]
    });
    text += &table(["ATTEMPT", "ENDED", "ERROR"], &attempts.collect::<Vec<_>>());
    for decided in &job.resolutions {
        let what = match decided.resolution {
            ResolutionKind::Redriven => "redriven",
            ResolutionKind::Dismissed => "written off",
        };
        let (at, by) = (moment(Some(decided.resolved_at)), &decided.resolved_by);
        text += &format!("{what} at {at} by {by}: {}\n", decided.reason);
    }
    text
}

/// Decisions that one command makes, each in a transaction of its own.
struct Session {
    pool: PgPool,
    verb: Verb,
    mode: Mode,
    why: Why,
    output: Output,
    /// What came of each, for programs that want one array.
    results: Vec<Value>,
    done: usize,
    refused: Option<Refusal>,
}

impl Session {
    fn new(pool: PgPool, verb: Verb, mode: Mode, why: Why, output: Output) -> Self {
        let (results, done, refused) = (Vec::new(), 0, None);
        Self { pool, verb, mode, why, output, results, done, refused }
    }

    async fn decide_over(&mut self, ids: &[i64]) -> anyhow::Result<()> {
        for id in ids {
            let refused = self.decide(JobId(*id)).await?.err();
            // That something does not exist is most likely a slip, and worth saying first.
            if self.refused != Some(Refusal::NotFound) {
                self.refused = refused.or(self.refused);
            }
        }
        Ok(())
    }

    /// From the newest down, so that what is discarded again meanwhile is not met again.
    async fn decide_over_all(&mut self, kind: Option<String>) -> anyhow::Result<()> {
        let filter = Filter { kind, queue: None };
        let mut before = None;
        loop {
            let mut conn = self.pool.acquire().await?;
            let page = discarded::list(&mut conn, &filter, before, MAX_LISTED).await?;
            drop(conn);
            let Some(last) = page.last() else { return Ok(()) };
            before = Some(last.position());
            for job in page {
                match self.decide(job.id).await? {
                    // By somebody else, since the page was read.
                    Ok(()) | Err(Refusal::AlreadyDecided | Refusal::NotFound) => {}
                    Err(refusal) => self.refused = Some(refusal),
                }
            }
        }
    }

    async fn decide(&mut self, id: JobId) -> anyhow::Result<Result<(), Refusal>> {
        let by = self.why.who();
        let decision = Decision { by: &by, reason: &self.why.reason };
        let mut tx = self.pool.begin().await?;
        let decided = match self.verb {
            Verb::Redrive => dead_letters::redrive(&mut tx, id, decision).await?,
            Verb::WriteOff => dead_letters::write_off(&mut tx, id, decision).await?,
        };
        match (decided, self.mode) {
            (Ok(()), Mode::Commit) => tx.commit().await?,
            // All was done, so that it is known to be possible, and is undone.
            (Ok(()), Mode::DryRun) | (Err(_), _) => tx.rollback().await?,
        }
        self.done += usize::from(decided.is_ok());
        self.tell(id, decided);
        Ok(decided)
    }

    fn tell(&mut self, id: JobId, decided: Result<(), Refusal>) {
        let (code, words) = match (decided, self.verb, self.mode) {
            (Err(refusal), _, _) => (refusal.code(), refusal.to_string()),
            (Ok(()), Verb::Redrive, Mode::Commit) => ("redriven", "runs again".to_owned()),
            (Ok(()), Verb::Redrive, Mode::DryRun) => {
                ("would-redrive", "would run again".to_owned())
            }
            (Ok(()), Verb::WriteOff, Mode::Commit) => ("written-off", "is written off".to_owned()),
            (Ok(()), Verb::WriteOff, Mode::DryRun) => {
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
                let (done, dry) = (self.done, matches!(self.mode, Mode::DryRun));
                println!("{done} done{}", if dry { ", if it were not for --dry-run" } else { "" });
            }
            Output::Json => println!("{}", Value::Array(self.results)),
            Output::Jsonl => {}
        }
        match self.refused {
            None => ExitCode::SUCCESS,
            Some(Refusal::NotFound) => ExitCode::from(NOT_FOUND),
            Some(_) => ExitCode::from(CONFLICT),
        }
    }
}
