//! `app jobs show`: why has this job not run, and all that is known of it.

use std::process::ExitCode;

use super::APPLICATION;
use crate::cli::database::Database;
use crate::cli::output::{Output, moment, table};
use crate::cli::report::NOT_FOUND;
use crate::operations::dead_letters::OrderView;
use crate::operations::jobs::edit::JsonText;
use crate::operations::jobs::reading::{ExplainedJob, explain};
use crate::operations::jobs::{Attempt, JobDetails, JobId, ResolutionKind};

/// Says why a job has not run, and all that is known of it.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,
    /// The number of the job.
    #[arg(value_name = "JOB")]
    id: i64,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pool = args.database.connect_current(APPLICATION).await?;
    let id = JobId(args.id);
    let Some(explained) = explain(&mut *pool.acquire().await?, id).await? else {
        eprintln!("error: there is no job {id}, or retention has dropped it");
        return Ok(ExitCode::from(NOT_FOUND));
    };
    match args.output {
        Output::Table => print!("{}", in_words(&explained)),
        Output::Json | Output::Jsonl => println!("{}", serde_json::to_string(&explained)?),
    }
    Ok(ExitCode::SUCCESS)
}

fn in_words(explained: &ExplainedJob) -> String {
    let job = &explained.job;
    let mut text = format!("{}\n", explained.explanation);
    for also in &explained.also {
        text += &format!("Also: {also}\n");
    }
    text.push('\n');
    if let Some(about) = about(explained) {
        text += &format!("{:<13}{about}; 'app timeline' shows it from all sources\n", "about:");
    }
    for (name, value) in fields(job) {
        text += &format!("{:<13}{value}\n", format!("{name}:"));
    }
    if !job.attempts.is_empty() {
        let attempts: Vec<_> = job.attempts.iter().map(attempt).collect();
        text.push('\n');
        text += &table(["ATTEMPT", "STARTED", "TOOK", "OUTCOME", "WORKER", "ERROR"], &attempts);
    }
    let decided = decisions(job);
    if !decided.is_empty() {
        text.push('\n');
        text += &table(["WHEN", "WHAT", "WHO", "WHY"], &decided);
    }
    text
}

fn about(explained: &ExplainedJob) -> Option<String> {
    let transaction =
        || Some(format!("transaction {}", explained.transaction.as_ref()?.0.transaction_id));
    let order =
        explained.order.as_ref().map(|OrderView(it)| format!("{} {}", it.kind.as_str(), it.id));
    order.or_else(transaction)
}

/// The fields of a job that have a value, with their names.
fn fields(job: &JobDetails) -> Vec<(&'static str, String)> {
    let json = |value: &Option<JsonText>| value.as_ref().map(ToString::to_string);
    let attempts = format!("{} of {} begun", job.attempt, job.max_attempts);
    let crashes = (job.crash_count > 0).then(|| job.crash_count.to_string());
    let progress = job
        .progress
        .map(|percent| format!("{percent} % {}", job.progress_text.as_deref().unwrap_or_default()));
    let fields = [
        ("job", Some(job.id.to_string())),
        ("kind", Some(job.kind.clone())),
        ("state", Some(job.state.name().to_owned())),
        ("queue", Some(format!("{}, priority {}", job.queue, job.priority))),
        ("attempts", Some(attempts)),
        ("crashes", crashes),
        ("key", job.key.clone()),
        ("tags", job.tags.as_ref().map(|tags| tags.join(", "))),
        ("batch", job.batch_id.map(|batch| batch.to_string())),
        ("enqueued", Some(moment(Some(job.enqueued_at)))),
        ("due", Some(moment(Some(job.run_at)))),
        ("finished", job.finished_at.map(|at| moment(Some(at)))),
        ("fingerprint", job.fingerprint.map(|failure| failure.to_string())),
        ("worker", job.worker_id.map(|worker| worker.to_string())),
        ("lease until", job.lease_expires_at.map(|at| moment(Some(at)))),
        ("progress", progress.map(|progress| progress.trim().to_owned())),
        ("args", Some(job.args.to_string())),
        ("checkpoint", json(&job.checkpoint)),
        ("output", json(&job.output)),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn attempt(attempt: &Attempt) -> [String; 6] {
    let took = attempt.ended_at - attempt.started_at;
    [
        attempt.attempt.to_string(),
        moment(Some(attempt.started_at)),
        format!("{:.3} s", took.as_seconds_f64()),
        serde_json::to_value(attempt.outcome)
            .ok()
            .and_then(|outcome| outcome.as_str().map(str::to_owned))
            .unwrap_or_default(),
        attempt.worker_id.to_string(),
        attempt.error.as_deref().unwrap_or("-").replace(char::is_control, " "),
    ]
}

/// Decisions and interventions of operators, in order.
fn decisions(job: &JobDetails) -> Vec<[String; 4]> {
    let resolutions = job.resolutions.iter().map(|resolved| {
        let what = match resolved.resolution {
            ResolutionKind::Redriven => "redriven",
            ResolutionKind::Dismissed => "written off",
        };
        (resolved.resolved_at, what.to_owned(), &resolved.resolved_by, &resolved.reason)
    });
    let interventions = job.interventions.iter().map(|made| {
        let detail = match (made.action.as_str(), &made.detail) {
            ("edit", Some(detail)) => {
                let fields = detail.fields();
                let shown = |name: &str| fields.get(name).map_or("", |args| args.get());
                format!(" {} to {}", shown("old"), shown("new"))
            }
            _ => String::new(),
        };
        (made.made_at, format!("{}{detail}", made.action), &made.made_by, &made.reason)
    });
    let mut all: Vec<_> = resolutions.chain(interventions).collect();
    all.sort_by_key(|(at, ..)| *at);
    let row = |(at, what, who, why): (_, String, &String, &String)| {
        [moment(Some(at)), what, who.clone(), why.replace(char::is_control, " ")]
    };
    all.into_iter().map(row).collect()
}
