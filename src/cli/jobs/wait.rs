//! `app jobs wait`.

use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::parse_duration;
use serde_json::json;

use super::chosen::Chosen;
use super::{APPLICATION, Output, usage};
use crate::cli::database::Database;
use crate::cli::report::{FAILED, NOT_FOUND, TIMED_OUT};
use crate::operations::jobs::JobState;
use crate::operations::jobs::reading::{JobEnd, WaitedJob, wait};

/// Waits until jobs have ended; fails if one did not complete.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    chosen: Chosen,
    /// The longest time to wait; for ever without.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// The output format; id prints the jobs that completed.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(ids) = args.chosen.read()? else {
        return Ok(usage("no job is given", "name some by number, or --id-file"));
    };
    let pool = args.database.connect_current(APPLICATION).await?;
    let waited = wait(&pool, &ids, args.timeout).await?;
    match args.output {
        Output::Table => waited.iter().for_each(|job| println!("{}", in_words(job))),
        Output::Json => println!("{}", serde_json::to_string(&waited)?),
        Output::Jsonl => waited.iter().for_each(|job| println!("{}", json!(job))),
        Output::Id => {
            let completed = waited.iter().filter(|job| job.end == COMPLETED);
            completed.for_each(|job| println!("{}", job.id));
        }
    }
    let any = |end| waited.iter().any(|job| job.end == end);
    let all_completed = waited.iter().all(|job| job.end == COMPLETED);
    Ok(match (any(JobEnd::NotFound), any(JobEnd::Unfinished), all_completed) {
        (true, ..) => ExitCode::from(NOT_FOUND),
        (false, true, _) => ExitCode::from(TIMED_OUT),
        (false, false, false) => ExitCode::from(FAILED),
        (false, false, true) => ExitCode::SUCCESS,
    })
}

const COMPLETED: JobEnd = JobEnd::Ended(JobState::Completed);

fn in_words(job: &WaitedJob) -> String {
    let id = job.id;
    match job.end {
        JobEnd::Unfinished => format!("job {id}: has not ended; 'app jobs show {id}' says why"),
        JobEnd::NotFound => format!("job {id}: there is no such job, or it has left no trace"),
        JobEnd::Ended(state) => format!("job {id}: is {}", state.name()),
    }
}
