//! `app jobs enqueue`.

use std::io::Read as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::parse_duration;
use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use time::OffsetDateTime;

use super::{APPLICATION, Output, json, usage};
use crate::cli::actor::NameArg;
use crate::cli::database::Database;
use crate::operations::jobs::edit::JsonText;
use crate::operations::jobs::enqueue::{
    Due, EnqueueError, EnqueueJob, EnqueuedJob, Uniqueness, enqueue,
};
use crate::operations::jobs::selection::parse_time;
use crate::operations::wake_workers;

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
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    run_at: Option<OffsetDateTime>,
    /// The key: jobs of one key share fairness, limits and order.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    key: Option<String>,
    /// A word to find it by; several for several.
    #[arg(long, value_delimiter = ',')]
    tag: Vec<String>,
    /// The number of failed attempts after which it is discarded, instead of the kind's.
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
    #[command(flatten)]
    by: NameArg,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let job_args = match parse(&args.args)? {
        Ok(job_args) => job_args,
        Err(error) => {
            let error = format!("the arguments are not taken: {error}");
            return Ok(usage(&error, "quote them for the shell, like '{\"to\": \"ada\"}'"));
        }
    };
    if args.unique_for.is_some() && !args.unique && args.unique_by.is_empty() {
        return Ok(usage("--unique-for alone says not by what", "add --unique or --unique-by"));
    }
    let pool = args.database.connect_current(APPLICATION).await?;
    let (output, by) = (args.output, args.by.identity());
    match enqueue(&pool, request(args, job_args), &by).await {
        Ok(enqueued) => {
            wake_workers(&pool).await;
            print(enqueued, output);
            Ok(ExitCode::SUCCESS)
        }
        Err(EnqueueError::Jobs(error)) => Err(error.into()),
        Err(refusal) => Ok(refused(&refusal)),
    }
}

fn parse(text: &str) -> anyhow::Result<Result<JsonText, String>> {
    if text != "-" {
        return Ok(json(text));
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("stdin cannot be read")?;
    Ok(json(&text))
}

fn request(args: Args, job_args: JsonText) -> EnqueueJob {
    let uniqueness = (args.unique || !args.unique_by.is_empty())
        .then_some(Uniqueness { fields: args.unique_by, window: args.unique_for });
    EnqueueJob {
        kind: args.kind,
        args: job_args,
        queue: args.queue,
        priority: args.priority,
        due: match (args.delay, args.run_at) {
            (Some(delay), _) => Due::After(delay),
            (None, Some(moment)) => Due::At(moment),
            (None, None) => Due::Now,
        },
        key: args.key,
        tags: args.tag,
        max_attempts: args.max_attempts,
        uniqueness,
        allow_unknown_kind: args.allow_unknown_kind,
    }
}

fn refused(refusal: &EnqueueError) -> ExitCode {
    let fix = match refusal {
        EnqueueError::UnknownKind { known, .. } => {
            format!(
                "it knows {}; of another program's, add --allow-unknown-kind: workers of \
                 that program run it, and those of this one do not",
                known.join(", ")
            )
        }
        EnqueueError::FollowUpOnly { .. } => "to run that one again: 'app jobs retry'".to_owned(),
        EnqueueError::Args { source, .. } => {
            return usage(&format!("{refusal}: {source}"), "correct them");
        }
        EnqueueError::TooLong(_) => {
            "keep what is large elsewhere and enqueue its number; the limit \
                                     is max_args_bytes in queue.settings"
                .to_owned()
        }
        EnqueueError::Sealed(_) | EnqueueError::SealedElsewhere { .. } => {
            "enqueue it from the program that has the keys".to_owned()
        }
        EnqueueError::Invalid(_)
        | EnqueueError::Priority
        | EnqueueError::MaxAttempts
        | EnqueueError::Jobs(_) => "correct it".to_owned(),
    };
    usage(&refusal.to_string(), &fix)
}

fn print(enqueued: EnqueuedJob, output: Output) {
    let EnqueuedJob { id, is_new } = enqueued;
    match output {
        Output::Table if is_new => println!("job {id} is enqueued; see: app jobs show {id}"),
        Output::Table => println!("job {id} does that already; nothing was enqueued"),
        Output::Json | Output::Jsonl => println!("{}", serde_json::json!(enqueued)),
        Output::Id => println!("{id}"),
    }
}
