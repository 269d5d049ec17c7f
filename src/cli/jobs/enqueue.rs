//! `app jobs enqueue`.

use std::io::Read as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use humantime::parse_duration;
use serde_json::{Value, json};
use sqlx::PgPool;
use time::OffsetDateTime;

use super::filters::at;
use super::{APPLICATION, Output, usage};
use crate::cli::database::Database;
use crate::jobs::{self, JobState, ResolveBankOrder};
use crate::queue::enqueue::kinds::KindDeclaration;
use crate::queue::enqueue::notify_now;
use crate::queue::{Enqueued, Job as _, NewJob, Unique, enqueue};

/// Enqueues a job, with the queue, priority and bounds of its kind.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,
    /// The kind of the job.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    kind: String,
    /// Its arguments as JSON; - reads them from stdin.
    #[arg(default_value = "{}")]
    args: String,
    /// Another queue than that of the kind.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    queue: Option<String>,
    /// Another priority than that of the kind: 1 is claimed first, 4 last.
    #[arg(long, value_parser = clap::value_parser!(i16).range(1..=4))]
    priority: Option<i16>,
    /// Due after this long.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "run_at")]
    delay: Option<Duration>,
    /// Due then, like 2026-11-21T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = at)]
    run_at: Option<OffsetDateTime>,
    /// Whom the job is for.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    key: Option<String>,
    /// A word to find it by; several for several.
    #[arg(long, value_delimiter = ',')]
    tag: Vec<String>,
    /// Discarded after so many failed attempts, instead of the kind's number.
    #[arg(long, value_parser = clap::value_parser!(i16).range(1..=1000))]
    max_attempts: Option<i16>,
    /// Only if no unfinished job of the kind has the same arguments.
    #[arg(long)]
    unique: bool,
    /// Only if none has the same values in these fields of its arguments.
    #[arg(long, value_name = "FIELD", value_delimiter = ',', conflicts_with = "unique")]
    unique_by: Vec<String>,
    /// Only if none was enqueued in this time, completed ones included.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    unique_for: Option<Duration>,
    /// Even if this program does not know the kind: other workers may.
    #[arg(long)]
    allow_unknown_kind: bool,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let job_args = match parse(&args.args)? {
        Ok(job_args) => job_args,
        Err(error) => {
            let error = format!("the arguments are not JSON: {error}");
            return Ok(usage(&error, "quote them for the shell, like '{\"to\": \"ada\"}'"));
        }
    };
    if args.unique_for.is_some() && !args.unique && args.unique_by.is_empty() {
        return Ok(usage("--unique-for alone says not by what", "add --unique or --unique-by"));
    }
    let pool = args.database.connect_current(APPLICATION).await?;
    let job = match new_job(&pool, &args, job_args) {
        Ok(job) => job,
        Err((error, fix)) => return Ok(usage(&error, &fix)),
    };
    let mut tx = pool.begin().await?;
    let enqueued = enqueue(&mut tx, with_flags(job, &args)).await?;
    tx.commit().await?;
    notify_now(&pool).await;
    tell(enqueued, args.output);
    Ok(ExitCode::SUCCESS)
}

fn parse(text: &str) -> anyhow::Result<Result<Value, serde_json::Error>> {
    if text != "-" {
        return Ok(serde_json::from_str(text));
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("stdin cannot be read")?;
    Ok(serde_json::from_str(&text))
}

/// As its kind has it; or what is wrong with it, and what to do.
fn new_job(pool: &PgPool, args: &Args, job_args: Value) -> Result<NewJob, (String, String)> {
    let registry = jobs::registry(JobState { pool: pool.clone(), bank: None });
    let kinds = registry.declarations();
    let kind = args.kind.as_str();
    let Some(known) = kinds.iter().find(|known| known.kind() == kind) else {
        if args.allow_unknown_kind {
            return Ok(NewJob::raw(kind, job_args));
        }
        let names: Vec<&str> = kinds.iter().map(KindDeclaration::kind).collect();
        let fix = format!("there are {}; or add --allow-unknown-kind", names.join(", "));
        return Err((format!("this program does not know the kind {kind}"), fix));
    };
    if kind == ResolveBankOrder::KIND {
        let error = format!("jobs of kind {kind} only ever follow up a discarded one");
        return Err((error, "to run that one again: 'app jobs retry'".to_owned()));
    }
    registry.check_args(kind, &job_args).map_err(|error| {
        let error = format!("arguments of kind {kind} cannot be these: {error}");
        (error, "correct them".to_owned())
    })?;
    known.job(job_args).map_err(|error| {
        (error.to_string(), "enqueue it from the program that has the keys".to_owned())
    })
}

fn with_flags(mut job: NewJob, args: &Args) -> NewJob {
    if let Some(queue) = &args.queue {
        job = job.queue(queue.clone());
    }
    if let Some(priority) = args.priority {
        job = job.priority(priority);
    }
    if let Some(max_attempts) = args.max_attempts {
        job = job.max_attempts(max_attempts);
    }
    if let Some(delay) = args.delay {
        job = job.delay(delay);
    }
    if let Some(run_at) = args.run_at {
        job = job.run_at(run_at);
    }
    if let Some(key) = &args.key {
        job = job.key(key.clone());
    }
    for tag in &args.tag {
        job = job.tag(tag.clone());
    }
    let fields: Vec<&str> = args.unique_by.iter().map(String::as_str).collect();
    let unique = match (args.unique, fields.is_empty()) {
        (true, _) => Unique::by_args(),
        (false, false) => Unique::by_fields(&fields),
        (false, true) => return job,
    };
    job.unique(match args.unique_for {
        Some(window) => unique.lasting(window),
        None => unique,
    })
}

fn tell(enqueued: Enqueued, output: Output) {
    let (id, is_new) = (enqueued.id(), !enqueued.is_existing());
    match output {
        Output::Table if is_new => println!("job {id} is enqueued; see: app jobs show {id}"),
        Output::Table => println!("job {id} does that already; nothing was enqueued"),
        Output::Json | Output::Jsonl => println!("{}", json!({ "id": id, "is_new": is_new })),
        Output::Id => println!("{id}"),
    }
}
