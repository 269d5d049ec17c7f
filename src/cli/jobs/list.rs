//! `app jobs list`.

use std::process::ExitCode;

use sqlx::PgConnection;

use super::chosen::Chosen;
use super::filters::FilterArgs;
use super::{APPLICATION, Output};
use crate::cli::database::Database;
use crate::cli::known_names::TypedNames;
use crate::cli::output::{moment, table};
use crate::operations::jobs::reading::list;
use crate::operations::jobs::{JobId, JobSelection, JobState, JobSummary, MAX_LISTED};

/// Lists jobs, newest first.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    filter: FilterArgs,
    /// The most that are listed.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only jobs enqueued before this one: where another list ended.
    #[arg(long, value_name = "JOB")]
    before: Option<i64>,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pool = args.database.connect_current(APPLICATION).await?;
    let ids = args.chosen.read()?;
    let mut conn = pool.acquire().await?;
    let names = args.filter.names();
    let mut filter = JobSelection::from(args.filter).into_filter(&mut conn).await?;
    let mut printer = Printer::new(args.output);
    let mut left = args.limit;
    if let Some(ids) = ids {
        for ids in ids.chunks(MAX_LISTED as usize) {
            filter.ids = Some(ids.to_vec());
            let mut jobs = list(&mut conn, &filter, None, MAX_LISTED).await?.jobs;
            jobs.truncate(left as usize);
            left -= u32::try_from(jobs.len())?;
            printer.print(jobs)?;
        }
        printer.warn_if_empty(&names, &mut conn).await?;
        return printer.finish(None);
    }
    let mut before = args.before.map(JobId);
    loop {
        let page = list(&mut conn, &filter, before, left.min(MAX_LISTED)).await?;
        left -= u32::try_from(page.jobs.len())?;
        printer.print(page.jobs)?;
        before = page.next;
        if left == 0 || before.is_none() {
            printer.warn_if_empty(&names, &mut conn).await?;
            return printer.finish(before);
        }
    }
}

struct Printer {
    output: Output,
    /// Jobs that are printed at the end, as columns or brackets need all of them.
    jobs: Vec<JobSummary>,
    /// True until a job is printed.
    is_empty: bool,
}

impl Printer {
    fn new(output: Output) -> Self {
        Self { output, jobs: Vec::new(), is_empty: true }
    }

    /// A name that no job has may be mistyped.
    async fn warn_if_empty(
        &self,
        names: &TypedNames,
        conn: &mut PgConnection,
    ) -> anyhow::Result<()> {
        match self.is_empty {
            true => names.warn_of_unknown(conn).await,
            false => Ok(()),
        }
    }

    fn print(&mut self, jobs: Vec<JobSummary>) -> anyhow::Result<()> {
        self.is_empty &= jobs.is_empty();
        match self.output {
            Output::Table | Output::Json => self.jobs.extend(jobs),
            Output::Jsonl => {
                for job in jobs {
                    println!("{}", serde_json::to_string(&job)?);
                }
            }
            Output::Id => {
                for job in jobs {
                    println!("{}", job.id);
                }
            }
        }
        Ok(())
    }

    fn finish(self, next: Option<JobId>) -> anyhow::Result<ExitCode> {
        match self.output {
            Output::Table => {
                let rows: Vec<_> = self.jobs.iter().map(row).collect();
                print!(
                    "{}",
                    table(["JOB", "STATE", "KIND", "QUEUE", "ATTEMPT", "WHEN", "ERROR"], &rows)
                );
                if rows.is_empty() {
                    eprintln!("no job matches; 'app jobs enqueue' makes one");
                }
                if let Some(next) = next {
                    eprintln!("there may be more: --limit for longer lists, or --before {next}");
                }
            }
            Output::Json => {
                println!("{}", serde_json::to_string(&self.jobs)?);
            }
            Output::Jsonl | Output::Id => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// As a list shows it; the whole error is for `show`.
fn row(job: &JobSummary) -> [String; 7] {
    let error: String = job.error.as_deref().unwrap_or("-").chars().take(80).collect();
    let at = moment(Some(job.finished_at.unwrap_or(job.run_at)));
    let when = match job.state {
        JobState::Scheduled | JobState::Retryable => format!("due {at}"),
        JobState::Available => format!("since {at}"),
        JobState::Running => "now".to_owned(),
        JobState::Completed | JobState::Cancelled | JobState::Discarded => at,
    };
    [
        job.id.to_string(),
        job.state.name().to_owned(),
        job.kind.clone(),
        job.queue.clone(),
        format!("{} of {}", job.attempt, job.max_attempts),
        when,
        error.replace(char::is_control, " "),
    ]
}
