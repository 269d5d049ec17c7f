//! Drain: jobs are enqueued and committed, then workers run until the database says that nothing is
//! left.
//!
//! The clock runs from the first line of the first handler to a look that finds no job.

use anyhow::ensure;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use super::account::Enqueued;
use super::condition_report::ConditionReport;
use super::conditions::{Condition, ConditionArgs};
use super::figures::{Figure, show};
use super::filling::{ENQUEUE_BATCH, enqueued, fill, fill_with_transactions};
use super::handling::{Commit, Handler, Handling, HandlingArgs};
use super::measurement::{self, Measured, Measurement};
use super::report::{Report, Section, Table};
use super::rounds::Rounds;
use super::scratch::{Database, Server};
use super::transfers::{open_wallets, place_transfers};
use super::workers::{Work, WorkerArgs};
use surety::db;
use surety::jobs::{ExecuteTransfer, SettleTransaction};
use surety_queue::BatchJob;

/// Options of `drain`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Jobs that do nothing, per kind and round.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    jobs: u64,
    /// Transactions to settle, and transfers to execute, per round.
    #[arg(long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    settle_jobs: u64,
    /// Only these kinds, instead of --batch, --no-batch and --commit [default: all; with --chaos
    /// noop-batch]
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', value_enum,
          conflicts_with_all = ["batch", "no_batch", "commit"])]
    kinds: Vec<Kind>,
    #[command(flatten)]
    handling: HandlingArgs,
    #[command(flatten)]
    workers: WorkerArgs,
    #[command(flatten)]
    conditions: ConditionArgs,
}

/// The kind of the jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Nothing, job by job; completions of a moment share a commit.
    Noop,
    /// Nothing, job by job, each in a database transaction of its own.
    NoopPerJob,
    /// Nothing, in batches of one database transaction each.
    NoopBatch,
    /// A provider's transaction: a transfer in the ledger, balances, and the outcome.
    Settle,
    /// Users' transfers among ten thousand wallets.
    TransferSpread,
    /// Users' transfers between the same two wallets, back and forth.
    TransferHot,
}

impl Kind {
    /// Among how many wallets transfers go.
    fn wallets(self) -> u64 {
        match self {
            Self::TransferSpread => 10_000,
            Self::TransferHot => 2,
            Self::Noop | Self::NoopPerJob | Self::NoopBatch | Self::Settle => 0,
        }
    }

    /// The handler of jobs that do nothing; none for those that do something.
    fn handler(self) -> Option<Handler> {
        match self {
            Self::Noop => Some(Handler::OneByOne(Commit::Batch)),
            Self::NoopPerJob => Some(Handler::OneByOne(Commit::PerJob)),
            Self::NoopBatch => Some(Handler::Batch),
            Self::Settle | Self::TransferSpread | Self::TransferHot => None,
        }
    }

    fn of(handler: Handler) -> Self {
        match handler {
            Handler::OneByOne(Commit::Batch) => Self::Noop,
            Handler::OneByOne(Commit::PerJob) => Self::NoopPerJob,
            Handler::Batch => Self::NoopBatch,
        }
    }
}

/// A kind, and how it is handled.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Subject {
    kind: Kind,
    work: Work,
}

impl Subject {
    fn describe(self) -> String {
        match self.work {
            Work::Noop(handling) => format!("no-op, {handling}"),
            Work::Money if self.kind == Kind::Settle => {
                format!("settle_transaction, in batches of up to {}", SettleTransaction::MAX_BATCH)
            }
            Work::Money => format!(
                "execute_transfer over {} wallets, in batches of up to {}",
                self.kind.wallets(),
                ExecuteTransfer::MAX_BATCH
            ),
        }
    }
}

/// One subject in one round.
struct Round {
    enqueued_per_second: f64,
    measured: Measured,
}

impl Args {
    /// Checks that this can be measured at all.
    pub(crate) fn check(&self, has_private_server: bool) -> anyhow::Result<()> {
        let works = self.subjects()?.into_iter().map(|subject| subject.work);
        measurement::check(works, &self.conditions, has_private_server)
    }

    fn subjects(&self) -> anyhow::Result<Vec<Subject>> {
        let handlers = self.handling.handlers()?;
        let of_handling = |handling: Handling| Subject {
            kind: Kind::of(handling.handler),
            work: Work::Noop(handling),
        };
        if !handlers.is_empty() {
            return Ok(self.handling.of_handlers(&handlers).into_iter().map(of_handling).collect());
        }
        let kinds = match self.kinds.as_slice() {
            [] if self.conditions.is_chaotic() => vec![Kind::NoopBatch],
            [] => Kind::value_variants().to_vec(),
            some => some.to_vec(),
        };
        let mut subjects = Vec::new();
        for kind in kinds {
            match kind.handler() {
                Some(handler) => subjects
                    .extend(self.handling.of_handlers(&[handler]).into_iter().map(of_handling)),
                None => subjects.push(Subject { kind, work: Work::Money }),
            }
        }
        Ok(subjects)
    }

    fn jobs_of(&self, work: Work) -> u64 {
        match work {
            Work::Noop(_) => self.jobs,
            Work::Money => self.settle_jobs,
        }
    }
}

/// Measures, and reports medians.
pub(crate) async fn run(args: &Args, server: &Server, rounds: u32) -> anyhow::Result<Report> {
    let subjects = args.subjects()?;
    let measured = Rounds::measure(
        rounds,
        &subjects,
        &args.conditions,
        server,
        |subject| format!("{} jobs, {}", args.jobs_of(subject.work), subject.describe()),
        async |database, subject, condition| {
            measure(args, server, database, subject, condition).await
        },
    )
    .await?;
    let results = summaries(args, &measured);
    let settings = json!({
        "workers": args.workers.workers,
        "concurrency": args.workers.settings().concurrency,
        "lease_ms": args.workers.lease.as_millis() as u64,
        "enqueue_batch": ENQUEUE_BATCH,
        "where": if args.conditions.is_chaotic() { "processes" } else { "in this process" },
    });
    let subject = format!(
        "drain: {} jobs in progress in each worker, enqueued {ENQUEUE_BATCH} per commit; waits \
         count from the start of the workers, WAL and commits without the enqueue",
        args.workers.settings().concurrency
    );
    Ok(Report::new(subject, rounds, settings, &results))
}

async fn measure(
    args: &Args,
    server: &Server,
    database: &Database<'_>,
    subject: Subject,
    condition: Condition,
) -> anyhow::Result<Round> {
    let jobs = args.jobs_of(subject.work);
    let pool = db::connect(&database.url, 2, "surety-bench").await?;
    let wallets = open_wallets(&pool, subject.kind.wallets(), ENQUEUE_BATCH).await?;
    let begun = std::time::Instant::now();
    match subject.work {
        Work::Noop(handling) => fill(&pool, jobs, handling).await?,
        Work::Money if subject.kind == Kind::Settle => {
            fill_with_transactions(&pool, 0..jobs).await?
        }
        Work::Money => place_transfers(&pool, &wallets, jobs, ENQUEUE_BATCH).await?,
    }
    let enqueued_per_second = jobs as f64 / begun.elapsed().as_secs_f64();
    let waiting: Enqueued = enqueued(&pool, database).await?;
    pool.close().await;
    database.settle_down().await?;

    let measurement = Measurement {
        server,
        database,
        work: subject.work,
        conditions: &args.conditions,
        condition,
        workers: &args.workers,
        jobs,
    };
    let measured = measurement
        .run(async |stage| {
            stage.until_empty(&waiting).await?;
            Ok(waiting)
        })
        .await?;
    if subject.work == Work::Money {
        require_settled(database).await?;
    }
    Ok(Round { enqueued_per_second, measured })
}

/// A job that is done without what it is for is not done.
async fn require_settled(database: &Database<'_>) -> anyhow::Result<()> {
    let pool = db::connect(&database.url, 1, "surety-bench").await?;
    let unsettled: i64 = sqlx::query_scalar(
        "select (select count(*) from payments.transactions where status <> 'COMPLETED')
           + (select count(*) from payments.orders where status <> 'COMPLETED')",
    )
    .fetch_one(&pool)
    .await?;
    pool.close().await;
    ensure!(unsettled == 0, "{unsettled} transactions or orders were not settled");
    Ok(())
}

/// One subject under one condition over all rounds.
#[derive(Serialize)]
struct Summary {
    kind: Kind,
    description: String,
    /// The handling of jobs that do nothing.
    handling: Option<Handling>,
    jobs: u64,
    enqueued_per_second: Option<Figure>,
    drained_per_second: Option<Figure>,
    /// The rate under these conditions over that of the undisturbed run of the same round.
    ratio_to_undisturbed: Option<Figure>,
    #[serde(flatten)]
    outcome: ConditionReport,
}

fn summaries(args: &Args, measured: &Rounds<Subject, Round>) -> Vec<Summary> {
    let of = |(subject, condition, rounds): (Subject, Condition, Vec<&Round>)| {
        let under = args.conditions.describe(condition);
        let outcomes: Vec<&Measured> = rounds.iter().map(|round| &round.measured).collect();
        let figure = |of: fn(&Round) -> f64| Figure::of(rounds.iter().map(|round| of(round)));
        Summary {
            kind: subject.kind,
            description: subject.describe(),
            handling: match subject.work {
                Work::Noop(handling) => Some(handling),
                Work::Money => None,
            },
            jobs: args.jobs_of(subject.work),
            enqueued_per_second: figure(|round| round.enqueued_per_second),
            drained_per_second: figure(|round| round.measured.jobs_per_second),
            ratio_to_undisturbed: measured
                .ratio(subject, condition, |round| Some(round.measured.jobs_per_second)),
            outcome: ConditionReport::of(condition, under, &outcomes),
        }
    };
    measured.all().into_iter().map(of).collect()
}

impl Section for Summary {
    fn title(&self) -> String {
        format!("{} jobs: {}; {}", self.jobs, self.description, self.outcome.under)
    }

    fn write(&self, table: &mut Table) {
        table.line("drained", format_args!("{} jobs/s", show(self.drained_per_second, 0)));
        if let Some(ratio) = self.ratio_to_undisturbed {
            table.line("of undisturbed rate", show(Some(ratio), 2));
        }
        table.line("enqueued", format_args!("{} jobs/s", show(self.enqueued_per_second, 0)));
        self.outcome.write(table);
    }
}
