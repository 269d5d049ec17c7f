//! `app jobs retry`, `cancel` and `discard`: of jobs by number, or of all that match a filter.
//!
//! All that match are changed in small transactions, so that nobody waits for long. The command can
//! be stopped at any time, and the same command goes on with the rest.

use std::process::ExitCode;

use sqlx::{PgConnection, PgPool};

use super::chosen::Chosen;
use super::filters::FilterArgs;
use super::pace::{Pace, Rate};
use super::results::{ResultPrinter, Selected};
use super::{APPLICATION, Output, usage};
use crate::cli::actor::ActorArgs;
use crate::cli::database::Database;
use crate::cli::known_names::TypedNames;
use crate::cli::operations::print_skipped;
use crate::operations::bulk::{JobCount, JobScope, NewBulk};
use crate::operations::jobs::{ChangeJobs, JobAction, JobId, JobSelection, change};
use crate::operations::{Actor, Mode, wake_workers};
use crate::terminal;

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    chosen: Chosen,
    /// All that match the filter.
    #[arg(long)]
    all_matching: bool,
    /// With --all-matching and no filter: every job.
    #[arg(long, requires = "all_matching")]
    all: bool,
    #[command(flatten)]
    filter: FilterArgs,
    /// With --all-matching: the most jobs, the newest first.
    #[arg(long, requires = "all_matching", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// The most jobs in a second or minute, like 50/s or 600/m.
    #[arg(long)]
    rate: Option<Rate>,
    /// With --all-matching: let a worker do it, and only say what 'app operations' shows.
    #[arg(long, requires = "all_matching", conflicts_with_all = ["rate", "dry_run"])]
    background: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Do it to more than one job without asking.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    actor: ActorArgs,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(super) async fn run(action: JobAction, args: Args) -> anyhow::Result<ExitCode> {
    let ids = args.chosen.read()?;
    let names = args.filter.names();
    let mut selection = JobSelection::from(args.filter);
    if let Some((error, fix)) =
        contradiction(ids.is_some(), args.all_matching, selection.is_everything())
    {
        return Ok(usage(error, fix));
    }
    if args.all_matching && selection.is_everything() != args.all {
        let (error, fix) = match args.all {
            true => ("--all and a filter are given", "choose one of them"),
            false => ("no filter is given", "give one, or add --all if every job is meant"),
        };
        return Ok(usage(error, fix));
    }
    selection.states = match action.states(&selection.states) {
        Ok(states) => states,
        Err(unsuitable) => {
            let fix = format!("leave it out: {} cannot be undergone by such jobs", action.name());
            let error = format!("--state {} is of no use here", unsuitable.state.name());
            return Ok(usage(&error, &fix));
        }
    };
    let pool = args.database.connect_current(APPLICATION).await?;
    if args.background {
        let new = NewBulk { action, selection, limit: args.limit, mode: Mode::Commit };
        let actor = args.actor.into_actor();
        return crate::cli::operations::start(&pool, new, actor, args.yes, args.output.into())
            .await;
    }
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Commit };
    let (rate, yes, output) = (args.rate, args.yes, args.output);
    let actor = args.actor.into_actor();
    let command = Command { pool, action, mode, actor, rate, yes, output, names };
    match ids {
        Some(ids) => command.by_number(&ids).await,
        None => {
            let limit = args.limit.map_or(usize::MAX, |it| it.try_into().unwrap_or(usize::MAX));
            command.by_filter(selection, limit).await
        }
    }
}

/// The contradiction in the flags that select jobs, and its fix.
fn contradiction(
    by_number: bool,
    all_matching: bool,
    is_everything: bool,
) -> Option<(&'static str, &'static str)> {
    match (by_number, all_matching, is_everything) {
        (true, false, true) | (false, true, _) => None,
        (true, ..) => Some(("jobs are given by number and by a filter", "choose one of them")),
        (false, false, false) => {
            Some(("a filter alone changes nothing", "add --all-matching if they are meant"))
        }
        (false, false, true) => {
            Some(("no job is given", "name some by number, or a filter and --all-matching"))
        }
    }
}

/// A command that changes jobs.
struct Command {
    pool: PgPool,
    action: JobAction,
    mode: Mode,
    actor: Actor,
    rate: Option<Rate>,
    yes: bool,
    output: Output,
    /// Of the filter: when no job has them, they may be mistyped.
    names: TypedNames,
}

impl Command {
    async fn by_number(&self, ids: &[JobId]) -> anyhow::Result<ExitCode> {
        if self.mode == Mode::Commit && !self.consents(&ids.len().to_string(), ids.len())? {
            return Ok(self.no_consent());
        }
        let mut printer = ResultPrinter::new(self.output, Selected::ByNumber, self.mode);
        let mut pace = Pace::new(self.rate);
        let (mut rest, total) = (ids, ids.len().to_string());
        while !rest.is_empty() {
            let (chunk, others) = rest.split_at(pace.chunk().min(rest.len()));
            rest = others;
            self.change(chunk, &mut printer).await?;
            pace.keep(chunk.len(), &total, rest.is_empty()).await;
        }
        Ok(self.finish(printer).await)
    }

    async fn by_filter(&self, selection: JobSelection, limit: usize) -> anyhow::Result<ExitCode> {
        let mut conn = self.pool.acquire().await?;
        let filter = selection.into_filter(&mut conn).await?;
        let taken = JobScope::take(&mut conn, self.action, filter, limit).await?;
        let Some(mut scope) = taken else {
            return self.none_match(&mut conn).await;
        };
        let count = scope.count(&mut conn, self.action).await?;
        if count.matching == 0 && self.mode == Mode::Commit {
            return self.none_match(&mut conn).await;
        }
        if count.matching == 0 {
            self.names.warn_of_unknown(&mut conn).await?;
        }
        drop(conn);
        if self.mode == Mode::DryRun {
            return self.print_count(&count);
        }
        if !self.yes && self.output == Output::Table {
            count.sample.iter().for_each(|job| eprintln!("  job {} {}", job.id, job.kind));
        }
        if !self.consents(&eligible(&count), count.matching)? {
            return Ok(self.no_consent());
        }
        let mut printer = ResultPrinter::new(self.output, Selected::ByFilter, self.mode);
        let mut pace = Pace::new(self.rate);
        while let Some(ids) = self.next_page(&mut scope).await? {
            let mut rest = ids.as_slice();
            while !rest.is_empty() {
                let (chunk, others) = rest.split_at(pace.chunk().min(rest.len()));
                rest = others;
                self.change(chunk, &mut printer).await?;
                let is_last = rest.is_empty() && scope.is_exhausted();
                pace.keep(chunk.len(), &total(&count), is_last).await;
            }
        }
        Ok(self.finish(printer).await)
    }

    /// The next jobs of the scope. The connection goes back to the pool, which has one only.
    async fn next_page(&self, scope: &mut JobScope) -> anyhow::Result<Option<Vec<JobId>>> {
        let mut conn = self.pool.acquire().await?;
        let page = scope.next_page(&mut conn).await?;
        Ok(page.map(|jobs| jobs.iter().map(|job| job.id).collect()))
    }

    async fn change(&self, ids: &[JobId], printer: &mut ResultPrinter) -> anyhow::Result<()> {
        let request = ChangeJobs { action: self.action, ids, mode: self.mode };
        let mut conn = self.pool.acquire().await?;
        let results = change::change(&mut conn, request, &self.actor).await?;
        results.iter().for_each(|result| printer.print(result));
        Ok(())
    }

    async fn finish(&self, printer: ResultPrinter) -> ExitCode {
        if self.mode == Mode::Commit {
            wake_workers(&self.pool).await;
        }
        printer.finish("'app jobs show' tells of each")
    }

    fn print_count(&self, count: &JobCount) -> anyhow::Result<ExitCode> {
        match self.output {
            Output::Table => {
                println!("would {} {} jobs, such as", self.action.name(), eligible(count));
                for job in &count.sample {
                    let (id, kind, state, args) = (job.id, &job.kind, job.state.name(), &job.args);
                    println!("  job {id}: {kind}, {state}, {args}");
                }
                print_skipped("would pass over", &count.skipped);
                println!("nothing was changed, because of --dry-run");
            }
            Output::Json | Output::Jsonl => {
                println!("{}", serde_json::to_string(count)?);
            }
            Output::Id => count.sample.iter().for_each(|job| println!("{}", job.id)),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Asks on a terminal; anywhere else only `--yes` is consent to more than one.
    fn consents(&self, total: &str, number: usize) -> anyhow::Result<bool> {
        if self.yes || number <= 1 {
            return Ok(true);
        }
        Ok(terminal::says_yes_to(&format!("This will {} {total} jobs.", self.action.name()))?)
    }

    fn no_consent(&self) -> ExitCode {
        let action = self.action.name();
        usage(
            &format!("nothing was changed: to {action} more than one job needs consent"),
            "add --yes to do it, or --dry-run to see which",
        )
    }

    async fn none_match(&self, conn: &mut PgConnection) -> anyhow::Result<ExitCode> {
        self.names.warn_of_unknown(conn).await?;
        match self.output {
            Output::Json => println!("[]"),
            Output::Table => println!("no job matches that could undergo it; nothing was changed"),
            Output::Jsonl | Output::Id => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The number of jobs that would be changed.
fn eligible(count: &JobCount) -> String {
    format!("{}{}", if count.is_more { "more than " } else { "" }, count.eligible)
}

fn total(count: &JobCount) -> String {
    format!("{}{}", if count.is_more { "more than " } else { "" }, count.matching)
}
