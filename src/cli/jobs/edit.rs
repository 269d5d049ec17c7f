//! `app jobs edit`: other arguments for a job that waits, or that is discarded and to be redriven.

use std::process::ExitCode;

use serde_json::Value;

use super::tell::{Meant, Outcome, Teller};
use super::{APPLICATION, Output, typed, usage};
use crate::cli::database::Database;
use crate::cli::dead_letters::Why;
use crate::jobs::{self, JobState, dead_letters};
use crate::queue::JobId;
use crate::queue::operate::discarded::Decision;
use crate::queue::operate::interventions::{self, Refusal, standings};

/// Gives a job that waits or is discarded other arguments; both are kept.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,
    /// The number of the job.
    #[arg(value_name = "JOB")]
    id: i64,
    /// The arguments from now on, as JSON.
    #[arg(long, value_name = "JSON", value_parser = json, conflicts_with_all = ["set", "unset"],
          required_unless_present_any = ["set", "unset"])]
    args: Option<Value>,
    /// The value of a field from now on, as JSON or text; several for several fields.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = assignment)]
    set: Vec<(String, Value)>,
    /// A field to be left out from now on.
    #[arg(long, value_name = "FIELD")]
    unset: Vec<String>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    why: Why,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("this is not JSON: {error}"))
}

fn assignment(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((field, value)) if !field.is_empty() => Ok((field.to_owned(), typed(value))),
        _ => Err("not FIELD=VALUE".to_owned()),
    }
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pool = args.database.connect_current(APPLICATION).await?;
    let id = JobId(args.id);
    let mut teller = Teller::new(args.output, Meant::Named, args.dry_run);
    let mut tx = pool.begin().await?;
    let found = standings(&mut tx, &[id]).await?;
    let outcome = match found.get(&id).map(|standing| standing.kind.as_str()) {
        None => Refusal::NotFound.into(),
        Some(kind) if dead_letters::is_about_money(kind) => Outcome::refused(
            "about-money",
            "its arguments name what it is about, and are not changed",
        ),
        Some(kind) => {
            let by = args.why.who();
            let decision = Decision { by: &by, reason: &args.why.reason };
            let change = |old| changed(old, args.args, args.set, &args.unset);
            match interventions::edit(&mut tx, id, change, decision).await? {
                Err(refusal) => refusal.into(),
                Ok(edited) => {
                    let registry = jobs::registry(JobState { pool: pool.clone(), bank: None });
                    if let Err(error) = registry.check_args(kind, &edited.new) {
                        tx.rollback().await?;
                        let error = format!("arguments of kind {kind} cannot be these: {error}");
                        return Ok(usage(&error, "correct them; nothing was changed"));
                    }
                    Outcome::done("edited", "has other arguments; 'app jobs show' tells them")
                }
            }
        }
    };
    match outcome.is_done() && !args.dry_run {
        true => tx.commit().await?,
        false => tx.rollback().await?,
    }
    teller.tell(id, &outcome);
    Ok(teller.finish("a discarded job runs again after 'app jobs retry'"))
}

/// Arguments that are no object become one when a field is set.
fn changed(old: Value, whole: Option<Value>, set: Vec<(String, Value)>, unset: &[String]) -> Value {
    if let Some(whole) = whole {
        return whole;
    }
    let mut fields = match old {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    for field in unset {
        fields.shift_remove(field);
    }
    fields.extend(set);
    Value::Object(fields)
}
