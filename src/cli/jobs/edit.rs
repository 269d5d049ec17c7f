//! `app jobs edit`: other arguments for a job that waits, or that is discarded and to be redriven.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::results::{ResultPrinter, Selected};
use super::{APPLICATION, Output, json, typed, usage};
use crate::cli::actor::ActorArgs;
use crate::cli::database::Database;
use crate::operations::Mode;
use crate::operations::jobs::JobId;
use crate::operations::jobs::edit::{ArgsChange, EditError, EditJob, JsonText, edit};

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
    args: Option<JsonText>,
    /// The value of a field from now on, as JSON or text; several for several fields.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = assignment)]
    set: Vec<(String, JsonText)>,
    /// A field to be left out from now on.
    #[arg(long, value_name = "FIELD")]
    unset: Vec<String>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    actor: ActorArgs,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

fn assignment(text: &str) -> Result<(String, JsonText), String> {
    match text.split_once('=') {
        Some((field, value)) if !field.is_empty() => Ok((field.to_owned(), typed(value)?)),
        _ => Err("not FIELD=VALUE".to_owned()),
    }
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pool = args.database.connect_current(APPLICATION).await?;
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Commit };
    let change = match args.args {
        Some(args) => ArgsChange::Replace(args),
        None => {
            let mut set = BTreeMap::new();
            for (field, value) in args.set {
                if set.insert(field.clone(), value).is_some() {
                    let error = format!("the field {field} is set twice");
                    return Ok(usage(&error, "say once what its value is"));
                }
            }
            ArgsChange::Fields { set, unset: args.unset }
        }
    };
    let request = EditJob { id: JobId(args.id), change, if_version: None, mode };
    let result = match edit(&pool, request, &args.actor.into_actor()).await {
        Ok(result) => result,
        Err(EditError::Args { kind, source }) => {
            let error = format!("arguments of kind {kind} cannot be these: {source}");
            return Ok(usage(&error, "correct them; nothing was changed"));
        }
        Err(EditError::TooLong(error)) => {
            return Ok(usage(&error.to_string(), "shorten them; nothing was changed"));
        }
        Err(EditError::Invalid(problem)) => {
            return Ok(usage(&problem.to_string(), "correct them; nothing was changed"));
        }
        Err(error @ EditError::Stale) => return Err(error.into()),
        Err(EditError::Jobs(error)) => return Err(error.into()),
    };
    let mut printer = ResultPrinter::new(args.output, Selected::ByNumber, mode);
    printer.print(&result);
    Ok(printer.finish("a discarded job runs again after 'app jobs retry'"))
}
