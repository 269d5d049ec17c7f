//! Enqueue: how fast jobs get in, in the ways that there are.

use anyhow::ensure;
use clap::ValueEnum;
use futures_util::future::try_join_all;
use serde::Serialize;
use serde_json::json;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, Postgres};
use tokio::task::JoinSet;

use super::figures::{Figure, show};
use super::gauges::{Counted, Gauges};
use super::handling::Handling;
use super::kinds::new_job;
use super::report::{Report, Section, Table};
use super::scratch::{Database, Server};
use surety::db;
use surety_queue::{NewJob, enqueue_many};

/// Options of `enqueue`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Jobs to enqueue many at once, per form and round.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 200_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    jobs: u64,
    /// Jobs to enqueue one at a time, per round.
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    single_jobs: u64,
    /// Jobs per statement and commit, of those that are enqueued many at once.
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    batch_size: u64,
    /// Connections that enqueue many at once. One at a time is always by one connection.
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: u32,
    /// Only these forms.
    #[arg(long, value_name = "FORM,…", value_delimiter = ',', value_enum,
          default_values_t = [Form::Alone, Form::Single, Form::Many])]
    forms: Vec<Form>,
}

/// The way in which jobs are enqueued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    /// One job by one statement, which commits it.
    Alone,
    /// One job in a transaction of the caller's: begin, insert, commit.
    Single,
    /// Many jobs by one statement.
    Many,
}

/// One form in one round.
struct Round {
    form: Form,
    jobs: u64,
    rate: f64,
    counted: Counted,
}

/// Measures, and reports medians.
pub(crate) async fn run(args: &Args, server: &Server, rounds: u32) -> anyhow::Result<Report> {
    let mut measured = Vec::new();
    for round in 0..rounds {
        for turn in 0..args.forms.len() {
            // Who comes first changes from round to round.
            let form = args.forms[(turn + round as usize) % args.forms.len()];
            eprintln!("round {} of {rounds}: {}", round + 1, describe(form, args));
            let database = server.fresh_database().await?;
            measured.push(measure(args, server, &database, form).await?);
            database.end().await?;
        }
    }
    let results: Vec<Summary> =
        args.forms.iter().filter_map(|&form| Summary::of(&measured, form, args)).collect();
    let settings = json!({ "clients": args.clients, "batch_size": args.batch_size });
    Ok(Report::new("enqueue", rounds, settings, &results))
}

fn describe(form: Form, args: &Args) -> String {
    match form {
        Form::Alone => "one job per statement, which commits it, 1 client".to_owned(),
        Form::Single => "one job per transaction of the caller's, 1 client".to_owned(),
        Form::Many => {
            format!("{} jobs per statement, {} clients", args.batch_size, args.clients)
        }
    }
}

async fn measure(
    args: &Args,
    server: &Server,
    database: &Database<'_>,
    form: Form,
) -> anyhow::Result<Round> {
    let (jobs, clients, batch) = match form {
        Form::Alone | Form::Single => (args.single_jobs, 1, 1),
        Form::Many => (args.jobs, args.clients, args.batch_size),
    };
    let gauges = Gauges::start(server, database).await?;
    let pool = db::connect(&database.url, clients, "surety-bench").await?;
    let connections = try_join_all((0..clients).map(|_| pool.acquire())).await?;
    let begun = std::time::Instant::now();
    insert_by_all(connections, form, jobs, batch).await?;
    let secs = begun.elapsed().as_secs_f64();
    pool.close().await;
    let counted = gauges.end(0, false).await?;

    let pool = db::connect(&database.url, 1, "surety-bench").await?;
    let stored: i64 =
        sqlx::query_scalar("select count(*) from queue.jobs").fetch_one(&pool).await?;
    pool.close().await;
    let expected = i64::try_from(jobs)?;
    ensure!(stored == expected, "of {expected} jobs, {stored} are stored");
    Ok(Round { form, jobs, rate: jobs as f64 / secs, counted })
}

/// Inserts so many jobs by so many clients at once, each of which keeps its connection.
async fn insert_by_all(
    connections: Vec<PoolConnection<Postgres>>,
    form: Form,
    jobs: u64,
    batch: u64,
) -> anyhow::Result<()> {
    let clients = connections.len() as u64;
    let mut working = JoinSet::new();
    for (client, mut connection) in (0..).zip(connections) {
        let share = jobs / clients + u64::from(client < jobs % clients);
        working.spawn(async move { insert(&mut connection, form, share, batch).await });
    }
    while let Some(client) = working.join_next().await {
        client??;
    }
    Ok(())
}

async fn insert(
    connection: &mut PgConnection,
    form: Form,
    jobs: u64,
    batch: u64,
) -> anyhow::Result<()> {
    for first in (0..jobs).step_by(usize::try_from(batch)?) {
        let new = (first..jobs.min(first + batch))
            .map(|_| new_job(Handling::PLAIN))
            .collect::<Result<Vec<NewJob>, _>>()?;
        if form == Form::Alone {
            enqueue_many(connection, &new).await?;
            continue;
        }
        let mut tx = connection.begin().await?;
        enqueue_many(&mut tx, &new).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// One form over all rounds.
#[derive(Serialize)]
struct Summary {
    form: Form,
    description: String,
    jobs: u64,
    enqueued_per_second: Option<Figure>,
    wal_bytes_per_job: Option<Figure>,
    commits_per_job: Option<Figure>,
}

impl Summary {
    fn of(measured: &[Round], form: Form, args: &Args) -> Option<Self> {
        let rounds: Vec<&Round> = measured.iter().filter(|round| round.form == form).collect();
        let jobs = rounds.first()?.jobs;
        let per_job = |of: fn(&Counted) -> Option<f64>| {
            Figure::of(
                rounds.iter().filter_map(|round| Some(of(&round.counted)? / round.jobs as f64)),
            )
        };
        Some(Self {
            form,
            description: describe(form, args),
            jobs,
            enqueued_per_second: Figure::of(rounds.iter().map(|round| round.rate)),
            wal_bytes_per_job: per_job(|counted| Some(counted.wal_bytes)),
            commits_per_job: per_job(|counted| counted.commits),
        })
    }
}

impl Section for Summary {
    fn title(&self) -> String {
        format!("{} jobs: {}", self.jobs, self.description)
    }

    fn write(&self, table: &mut Table) {
        table.line("enqueued", format_args!("{} jobs/s", show(self.enqueued_per_second, 0)));
        let wal = show(self.wal_bytes_per_job, 0);
        let commits = show(self.commits_per_job, 3);
        table.line("per job", format_args!("{wal} bytes of WAL, {commits} commits"));
    }
}
