//! `app queues limits`: shows and changes the limits of a queue.

use std::process::ExitCode;

use serde_json::json;

use super::{APPLICATION, print_result};
use crate::cli::actor::NameArg;
use crate::cli::database::Database;
use crate::cli::known_names::TypedNames;
use crate::cli::output::Output;
use crate::cli::report::{CONFLICT, NOT_FOUND, USAGE};
use crate::operations::queues::limits::{Number, Order, Rate, Setting};
use crate::operations::queues::{self, LimitChange, LimitsView, QueuesError};

const HELP: &str = "\
Without any limit, the ones that are set are shown. What is not named stays as it is; 'off' takes
one limit away, --clear all of them.";

#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,

    /// The queue.
    name: String,

    #[command(flatten)]
    change: Change,

    /// Take all limits away; blocked keys go on.
    #[arg(long, conflicts_with = "Change")]
    clear: bool,

    #[command(flatten)]
    name_of_operator: NameArg,

    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(clap::Args, Debug)]
struct Change {
    /// The most jobs that run at once, over all workers.
    #[arg(long, value_name = "N|off")]
    max_running: Option<Setting<Number>>,

    /// The most jobs of one key that run at once.
    #[arg(long, value_name = "N|off")]
    max_running_per_key: Option<Setting<Number>>,

    /// The most jobs that start in a period, such as 100/1s.
    #[arg(long, value_name = "N/PERIOD|off")]
    rate: Option<Setting<Rate>>,

    /// The most jobs of one key that start in a period; it is the same period for both rates.
    #[arg(long, value_name = "N/PERIOD|off")]
    rate_per_key: Option<Setting<Rate>>,

    /// Jobs of one key run one after another; if one fails, those behind it wait for it (block),
    /// go on after N attempts (skip_after=N), or wait for somebody to decide (park).
    #[arg(long, value_name = "block|skip_after=N|park|off")]
    ordered: Option<Setting<Order>>,
}

impl From<Change> for LimitChange {
    fn from(change: Change) -> Self {
        Self {
            max_running: change.max_running,
            max_running_per_key: change.max_running_per_key,
            rate: change.rate,
            rate_per_key: change.rate_per_key,
            ordered: change.ordered,
        }
    }
}

/// The limits of a queue after a command.
#[derive(serde::Serialize)]
struct LimitsResult<'a> {
    queue: &'a str,
    result: &'static str,
    limits: Option<&'a LimitsView>,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let name = &args.name;
    let pool = args.database.connect_current(APPLICATION).await?;
    let mut conn = pool.acquire().await?;
    TypedNames::queue(name).warn_of_unknown(&mut conn).await?;
    let result = |word, limits| json!(LimitsResult { queue: name, result: word, limits });
    if args.clear {
        let by = args.name_of_operator.identity();
        let (code, word, words) = match queues::clear_limits(&mut conn, name, &by).await? {
            true => (0, "cleared", "has no limits any more"),
            false => (CONFLICT, "had-none", "had no limits"),
        };
        print_result(args.output, &format!("queue {name} {words}"), &result(word, None));
        return Ok(ExitCode::from(code));
    }
    let change = LimitChange::from(args.change);
    if change.is_empty() {
        let limits = queues::limits(&mut conn, name).await?.map(LimitsView);
        let (code, words) = match &limits {
            Some(limits) => (0, limits.to_string()),
            None => (NOT_FOUND, "no limits".to_owned()),
        };
        print_result(
            args.output,
            &format!("queue {name}: {words}"),
            &result("shown", limits.as_ref()),
        );
        return Ok(ExitCode::from(code));
    }
    let by = args.name_of_operator.identity();
    let limits = match queues::change_limits(&mut conn, name, change, None, &by).await {
        Ok(limits) => LimitsView(limits),
        Err(error @ QueuesError::TwoPeriods(..)) => {
            eprintln!("error: {error}: name both --rate and --rate-per-key with the same");
            return Ok(ExitCode::from(USAGE));
        }
        Err(error @ (QueuesError::Queue(_) | QueuesError::Stale)) => return Err(error.into()),
    };
    let words = format!("queue {name}: {limits}, from now on");
    print_result(args.output, &words, &result("set", Some(&limits)));
    Ok(ExitCode::SUCCESS)
}
