//! `app jobs retry`, `cancel` and `discard`: of jobs by number, or of all that match a filter.
//!
//! All that match are found page by page from the newest down and changed in small transactions, so
//! nobody waits for it, and it can be stopped at any time: what was changed matches no more, and
//! the same command goes on with the rest. Jobs that were enqueued after it began are left out.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use serde_json::json;
use sqlx::PgPool;

use super::chosen::Chosen;
use super::filters::FilterArgs;
use super::pace::{Pace, Rate};
use super::tell::{Meant, Teller};
use super::verb::{Mode, Session, Verb};
use super::{APPLICATION, Output, usage};
use crate::cli::database::Database;
use crate::cli::dead_letters::Why;
use crate::queue::JobId;
use crate::queue::operate::JobFilter;
use crate::queue::operate::interventions::{Refusal, standings};
use crate::queue::operate::list::{self, JobSummary};

/// How many jobs are counted before it is asked whether they are meant.
const MAX_COUNTED: usize = 100_000;

/// So many of the jobs are shown before.
const SHOWN: usize = 5;

/// The jobs of one page.
const PAGE: u32 = 500;

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    chosen: Chosen,
    /// All that match the filter.
    #[arg(long)]
    all_matching: bool,
    #[command(flatten)]
    filter: FilterArgs,
    /// With --all-matching: no more than so many, the newest first.
    #[arg(long, requires = "all_matching", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// No faster than so many in a second or minute, like 50/s or 600/m.
    #[arg(long)]
    rate: Option<Rate>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Do it to more than one job without asking.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    why: Why,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(super) async fn run(verb: Verb, mut args: Args) -> anyhow::Result<ExitCode> {
    let ids = std::mem::take(&mut args.chosen).read()?;
    match (&ids, args.all_matching, args.filter.is_empty()) {
        (Some(_), false, true) | (None, true, _) => {}
        (Some(_), ..) => {
            return Ok(usage("jobs are given by number and by a filter", "choose one of them"));
        }
        (None, false, false) => {
            return Ok(usage(
                "a filter alone changes nothing",
                "add --all-matching if they are meant",
            ));
        }
        (None, false, true) => {
            return Ok(usage(
                "no job is given",
                "name some by number, or a filter and --all-matching",
            ));
        }
    }
    let states = std::mem::take(&mut args.filter.state);
    args.filter.state = match verb.states(&states) {
        Ok(states) => states,
        Err(state) => {
            let fix = format!("leave it out: {} cannot be undergone by such jobs", verb.name());
            return Ok(usage(&format!("--state {} is of no use here", state.name()), &fix));
        }
    };
    let pool = args.database.connect_current(APPLICATION).await?;
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Commit };
    let session =
        Session { pool: pool.clone(), verb, mode, by: args.why.who(), reason: args.why.reason };
    let bulk = Bulk { session, rate: args.rate, yes: args.yes, output: args.output };
    match ids {
        Some(ids) => bulk.named(&ids).await,
        None => {
            let filter = args.filter.filter(&pool).await?;
            let limit =
                args.limit.map_or(usize::MAX, |limit| limit.try_into().unwrap_or(usize::MAX));
            bulk.matching(&filter, limit).await
        }
    }
}

/// A change of many jobs.
struct Bulk {
    session: Session,
    rate: Option<Rate>,
    yes: bool,
    output: Output,
}

impl Bulk {
    fn is_dry_run(&self) -> bool {
        self.session.mode == Mode::DryRun
    }

    async fn named(&self, ids: &[JobId]) -> anyhow::Result<ExitCode> {
        if !self.is_dry_run() && !self.consents(&ids.len().to_string(), ids.len())? {
            return Ok(self.not_meant());
        }
        let mut teller = Teller::new(self.output, Meant::Named, self.is_dry_run());
        let mut pace = Pace::new(self.rate);
        let (mut rest, total) = (ids, ids.len().to_string());
        while !rest.is_empty() {
            let (chunk, others) = rest.split_at(pace.chunk().min(rest.len()));
            rest = others;
            let found = standings(&mut *self.session.pool.acquire().await?, chunk).await?;
            let kinds: BTreeMap<JobId, &str> =
                found.iter().map(|(id, standing)| (*id, standing.kind.as_str())).collect();
            for id in chunk.iter().filter(|id| !kinds.contains_key(id)) {
                teller.tell(*id, &Refusal::NotFound.into());
            }
            self.change(&kinds, &mut teller).await?;
            pace.keep(chunk.len(), &total, rest.is_empty()).await;
        }
        Ok(self.session.finish(teller).await)
    }

    async fn matching(&self, filter: &JobFilter, limit: usize) -> anyhow::Result<ExitCode> {
        let Some(newest) = newest(&self.session.pool).await? else {
            return Ok(self.none_match());
        };
        let count = count(&self.session.pool, filter, newest, limit).await?;
        if self.is_dry_run() {
            return self.dry_run(&count);
        }
        if count.number == 0 {
            return Ok(self.none_match());
        }
        if !self.yes && self.output == Output::Table {
            count.sample.iter().for_each(|job| eprintln!("  job {} {}", job.id, job.kind));
        }
        if !self.consents(&count.total(), count.number)? {
            return Ok(self.not_meant());
        }
        let mut teller = Teller::new(self.output, Meant::Matching, false);
        let mut pace = Pace::new(self.rate);
        let (mut before, mut left) = (Some(newest), limit);
        while let (Some(end), true) = (before, left > 0) {
            let mut conn = self.session.pool.acquire().await?;
            let page = list::list(&mut conn, filter, Some(end), PAGE).await?;
            drop(conn);
            before = page.next;
            let jobs = &page.jobs[..left.min(page.jobs.len())];
            left -= jobs.len();
            let mut rest = jobs;
            while !rest.is_empty() {
                let (chunk, others) = rest.split_at(pace.chunk().min(rest.len()));
                rest = others;
                let kinds = chunk.iter().map(|job| (job.id, job.kind.as_str())).collect();
                self.change(&kinds, &mut teller).await?;
                let is_last = rest.is_empty() && (before.is_none() || left == 0);
                pace.keep(chunk.len(), &count.total(), is_last).await;
            }
        }
        Ok(self.session.finish(teller).await)
    }

    async fn change(
        &self,
        kinds: &BTreeMap<JobId, &str>,
        teller: &mut Teller,
    ) -> anyhow::Result<()> {
        for (id, outcome) in self.session.change(kinds).await? {
            teller.tell(id, &outcome);
        }
        Ok(())
    }

    fn dry_run(&self, count: &Count) -> anyhow::Result<ExitCode> {
        match self.output {
            Output::Table => {
                let verb = self.session.verb.name();
                println!("would {verb} {} jobs, such as", count.total());
                for job in &count.sample {
                    let (id, kind, state, args) = (job.id, &job.kind, job.state.name(), &job.args);
                    println!("  job {id}: {kind}, {state}, {args}");
                }
                println!("nothing was changed, because of --dry-run");
            }
            Output::Json | Output::Jsonl => println!(
                "{}",
                json!({
                    "matching": count.number,
                    "is_more": count.is_more,
                    "sample": serde_json::to_value(&count.sample)?,
                })
            ),
            Output::Id => count.sample.iter().for_each(|job| println!("{}", job.id)),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Asks on a terminal; anywhere else only `--yes` is consent to more than one.
    fn consents(&self, total: &str, number: usize) -> anyhow::Result<bool> {
        if self.yes || number <= 1 {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            return Ok(false);
        }
        eprint!("This will {} {total} jobs. Type yes to go on: ", self.session.verb.name());
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(answer.trim() == "yes")
    }

    fn not_meant(&self) -> ExitCode {
        usage(
            &format!(
                "nothing was changed: to {} more than one job needs consent",
                self.session.verb.name()
            ),
            "add --yes to do it, or --dry-run to see which",
        )
    }

    fn none_match(&self) -> ExitCode {
        match self.output {
            Output::Json => println!("[]"),
            Output::Table => println!("no job matches that could undergo it; nothing was changed"),
            Output::Jsonl | Output::Id => {}
        }
        ExitCode::SUCCESS
    }
}

/// What is before every job that is enqueued from now on; none if there are no jobs.
async fn newest(pool: &PgPool) -> anyhow::Result<Option<JobId>> {
    let mut conn = pool.acquire().await?;
    let page = list::list(&mut conn, &JobFilter::default(), None, 1).await?;
    Ok(page.jobs.first().map(|job| JobId(job.id.0 + 1)))
}

/// How many jobs match.
struct Count {
    number: usize,
    /// There are more than were counted.
    is_more: bool,
    sample: Vec<JobSummary>,
}

impl Count {
    fn total(&self) -> String {
        let (number, more) = (self.number, if self.is_more { "more than " } else { "" });
        format!("{more}{number}")
    }
}

async fn count(
    pool: &PgPool,
    filter: &JobFilter,
    newest: JobId,
    limit: usize,
) -> anyhow::Result<Count> {
    let mut conn = pool.acquire().await?;
    let (mut number, mut sample) = (0, Vec::new());
    let mut before = Some(newest);
    let most = limit.min(MAX_COUNTED);
    while let (Some(end), true) = (before, number < most) {
        let page = list::list(&mut conn, filter, Some(end), list::MAX_LISTED).await?;
        before = page.next;
        number += page.jobs.len();
        let missing = SHOWN.saturating_sub(sample.len());
        sample.extend(page.jobs.into_iter().take(missing));
    }
    let is_more = limit > MAX_COUNTED && before.is_some() && number >= MAX_COUNTED;
    Ok(Count { number: number.min(most), is_more, sample })
}
