//! `app jobs wait`.

use std::process::ExitCode;
use std::time::Duration;

use humantime::parse_duration;
use serde_json::{Value, json};

use super::chosen::Chosen;
use super::{APPLICATION, Output, usage};
use crate::cli::database::Database;
use crate::cli::report::{FAILED, NOT_FOUND, TIMED_OUT};
use crate::queue::operate::waiting;
use crate::queue::{JobId, JobState};

/// Waits until jobs have ended; fails if one did not complete.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    chosen: Chosen,
    /// How long at most; for ever without.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// How to print it; id prints those that completed.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(ids) = args.chosen.read()? else {
        return Ok(usage("no job is given", "name some by number, or --id-file"));
    };
    let pool = args.database.connect_current(APPLICATION).await?;
    let waited = waiting::wait(&pool, &ids, args.timeout).await?;
    let result = |id: &JobId| match waited.ended.get(id) {
        Some(state) => state.name(),
        None if waited.unfinished.contains(id) => "unfinished",
        None => "not-found",
    };
    match args.output {
        Output::Table => ids.iter().for_each(|id| match result(id) {
            "unfinished" => println!("job {id}: has not ended; 'app jobs show {id}' says why"),
            "not-found" => println!("job {id}: there is no such job, or it has left no trace"),
            state => println!("job {id}: is {state}"),
        }),
        Output::Json | Output::Jsonl => {
            let results = ids.iter().map(|id| json!({ "id": id, "result": result(id) }));
            match args.output {
                Output::Json => println!("{}", Value::Array(results.collect())),
                _ => results.for_each(|result| println!("{result}")),
            }
        }
        Output::Id => {
            ids.iter().filter(|id| result(id) == "completed").for_each(|id| println!("{id}"));
        }
    }
    let all_completed = waited.ended.values().all(|state| *state == JobState::Completed);
    Ok(match (waited.unknown.is_empty(), waited.unfinished.is_empty(), all_completed) {
        (false, ..) => ExitCode::from(NOT_FOUND),
        (true, false, _) => ExitCode::from(TIMED_OUT),
        (true, true, false) => ExitCode::from(FAILED),
        (true, true, true) => ExitCode::SUCCESS,
    })
}
