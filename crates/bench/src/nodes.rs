//! Nodes: several `app serve` and several `app work` on one database. How much they do together,
//! how evenly, on how many connections, and what their statements wait for.
//!
//! All processes share the machine with PostgreSQL and with whoever sends: more nodes are not more
//! processors here. What shows is what more nodes cost.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{Duration, Instant};
use std::{fmt, iter};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use surety::db;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::app_process::{Serve, Work};
use super::figures::{Figure, show};
use super::report::{Report, Section, Table};
use super::scratch::{Database, MAX_CONNECTIONS, Server};
use super::tell::until_none;

/// The time between two looks at the sessions.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Connections that a process takes at most, by its defaults.
const CONNECTIONS_EACH: u32 = 25;
/// The processes that the private cluster has connections for.
const MOST_NODES: u32 = MAX_CONNECTIONS / CONNECTIONS_EACH - 1;
/// The waits that are reported of each measurement.
const SHOWN_WAITS: usize = 5;

/// Options of `nodes`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Webhooks that are sent, and settled.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    webhooks: u64,
    /// Numbers of `app serve` and of `app work`, such as 1x1,4x4.
    #[arg(long, value_name = "NxN,…", value_delimiter = ',', default_value = "1x1,4x4,4x16")]
    nodes: Vec<Nodes>,
    /// Connections that send, each with one request at a time: an even part to each `app serve`,
    /// and one at least.
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
}

impl Args {
    /// Without a connection for each of their sessions, processes wait for each other for ever.
    pub(crate) fn check(&self, has_private_server: bool) -> anyhow::Result<()> {
        let too_many = |nodes: &&Nodes| u32::from(nodes.serves + nodes.workers) > MOST_NODES;
        if let Some(nodes) = self.nodes.iter().find(too_many)
            && has_private_server
        {
            anyhow::bail!(
                "{nodes} are more than the {MOST_NODES} that the private cluster has connections \
                 for"
            );
        }
        Ok(())
    }
}

/// The processes of one measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Nodes {
    serves: u16,
    workers: u16,
}

impl FromStr for Nodes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers =
            text.split_once('x').map(|(serves, workers)| (serves.parse(), workers.parse()));
        match numbers {
            Some((Ok(serves @ 1..=64), Ok(workers @ 1..=64))) => Ok(Self { serves, workers }),
            _ => Err("it is two numbers from 1 to 64, such as 4x16"),
        }
    }
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} app serve, {} app work", self.serves, self.workers)
    }
}

/// One measurement.
struct Round {
    nodes: Nodes,
    /// Webhooks answered per second, while they were sent.
    answered: f64,
    /// Webhooks sent and settled, per second, from the first request to the last settlement.
    settled: f64,
    /// Completed attempts of the worker that had the fewest and of the one that had the most, as
    /// parts of an even share.
    shares: (f64, f64),
    app_cpu_us: f64,
    sessions: Sessions,
}

/// The sessions of all processes, over one measurement.
#[derive(Default)]
struct Sessions {
    most: i64,
    /// Waits of statements under way, by how often each was seen; those that wait for a processor
    /// at most are [`RUNNING`].
    seen: BTreeMap<String, i64>,
}

const RUNNING: &str = "running";

/// One number of nodes over all rounds.
#[derive(Serialize)]
struct Summary {
    serves: u16,
    workers: u16,
    answered_per_second: Option<Figure>,
    settled_per_second: Option<Figure>,
    /// Of an even share.
    least_share: Option<Figure>,
    greatest_share: Option<Figure>,
    /// Microseconds of processors of all `app` processes for each webhook.
    app_cpu_us: Option<Figure>,
    most_sessions: Option<Figure>,
    /// Of the statements that were seen under way, the part that waited for this.
    waits: Vec<Wait>,
}

#[derive(Serialize)]
struct Wait {
    of: String,
    part: f64,
}

/// Measures, and reports medians.
pub(crate) async fn run(args: &Args, server: &Server, rounds: u32) -> anyhow::Result<Report> {
    let mut measured = Vec::new();
    for round in 0..rounds {
        for &nodes in &args.nodes {
            eprintln!("round {} of {rounds}: {nodes}", round + 1);
            let database = server.fresh_database().await?;
            measured.push(measure(args, &database, nodes).await?);
            database.end().await?;
        }
    }
    let results: Vec<Summary> =
        args.nodes.iter().map(|&nodes| Summary::of(nodes, &measured)).collect();
    let settings = json!({ "webhooks": args.webhooks, "connections": args.connections });
    let about =
        format!("nodes: {} webhooks, settled, by {} connections", args.webhooks, args.connections);
    Ok(Report::new(about, rounds, settings, &results))
}

async fn measure(args: &Args, database: &Database<'_>, nodes: Nodes) -> anyhow::Result<Round> {
    database.settle_down().await?;
    let url = &database.url;
    let pool = db::connect(url, 2, "surety-bench").await?;
    let mut serves = try_join_all((0..nodes.serves).map(|_| Serve::start(url))).await?;
    let mut workers: Vec<Work> = iter::repeat_with(|| Work::start(url, &["default", "events"]))
        .take(nodes.workers.into())
        .collect::<Result<_, _>>()?;
    until_none(&pool, &some_unseen(nodes.workers)).await?;
    let looking = Looking::start(&pool);

    let begun = Instant::now();
    send(args, &serves).await?;
    let answered = begun.elapsed();
    until_none(&pool, "select from payments.transactions where status <> 'COMPLETED'").await?;
    let settled = begun.elapsed();

    let sessions = looking.end().await?;
    let cpu = serves.iter().map(Serve::cpu).chain(workers.iter().map(Work::cpu));
    let cpu: Duration = cpu.sum::<anyhow::Result<_>>()?;
    // An attempt is told with its commit, before the transaction is seen as settled.
    let done = "select count(*) from queue.attempts where outcome = 'completed' group by worker_id";
    let mut done: Vec<i64> = sqlx::query_scalar(done).fetch_all(&pool).await?;
    done.resize(nodes.workers.into(), 0);
    for serve in &mut serves {
        serve.stop().await?;
    }
    for worker in &mut workers {
        worker.stop().await?;
    }
    pool.close().await;
    let per_second = |took: Duration| args.webhooks as f64 / took.as_secs_f64();
    Ok(Round {
        nodes,
        answered: per_second(answered),
        settled: per_second(settled),
        shares: shares(&done).context("no worker did anything")?,
        app_cpu_us: cpu.as_secs_f64() * 1e6 / args.webhooks as f64,
        sessions,
    })
}

/// A query that has rows until so many workers have told that they are there.
fn some_unseen(workers: u16) -> String {
    format!("select where (select count(*) from queue.workers) < {workers}")
}

/// Sends an even part to each `app serve`.
async fn send(args: &Args, serves: &[Serve]) -> anyhow::Result<()> {
    let nodes = serves.len() as u64;
    let connections = (usize::from(args.connections) / serves.len()).max(1);
    let sending = serves.iter().zip(0..).map(async |(serve, number)| {
        let count = args.webhooks / nodes + u64::from(number < args.webhooks % nodes);
        // Of another seed, and so with other ids.
        serve.send(count, number + 1, connections).await
    });
    try_join_all(sending).await.map(drop)
}

/// The least and the greatest of these numbers, as parts of an even share; none when nothing was
/// done.
fn shares(done: &[i64]) -> Option<(f64, f64)> {
    let even = done.iter().sum::<i64>() as f64 / done.len() as f64;
    let (least, greatest) = (*done.iter().min()? as f64, *done.iter().max()? as f64);
    (even > 0.0).then(|| (least / even, greatest / even))
}

/// A task that looks at the sessions again and again.
struct Looking {
    stop: CancellationToken,
    task: JoinHandle<Result<Sessions, sqlx::Error>>,
}

impl Looking {
    fn start(pool: &PgPool) -> Self {
        let stop = CancellationToken::new();
        let (pool, stopped) = (pool.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let mut sessions = Sessions::default();
            while !stopped.is_cancelled() {
                sessions.look(&pool).await?;
                sleep(LOOK_EVERY).await;
            }
            Ok(sessions)
        });
        Self { stop, task }
    }

    async fn end(self) -> anyhow::Result<Sessions> {
        self.stop.cancel();
        Ok(self.task.await??)
    }
}

impl Sessions {
    async fn look(&mut self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let question = "
            select
              case when state <> 'active' then null
                else coalesce(wait_event_type || ' ' || wait_event, $1)
              end,
              count(*)
            from pg_stat_activity
            where datname = current_database()
              and backend_type = 'client backend'
              and application_name <> 'surety-bench'
            group by 1";
        let found: Vec<(Option<String>, i64)> =
            sqlx::query_as(question).bind(RUNNING).fetch_all(pool).await?;
        self.most = self.most.max(found.iter().map(|(_, count)| count).sum());
        for (wait, count) in found {
            if let Some(wait) = wait {
                *self.seen.entry(wait).or_default() += count;
            }
        }
        Ok(())
    }
}

impl Summary {
    fn of(nodes: Nodes, measured: &[Round]) -> Self {
        let rounds: Vec<&Round> = measured.iter().filter(|it| it.nodes == nodes).collect();
        let figure = |of: fn(&Round) -> f64| Figure::of(rounds.iter().map(|round| of(round)));
        let mut seen: BTreeMap<&str, i64> = BTreeMap::new();
        for (wait, count) in rounds.iter().flat_map(|round| &round.sessions.seen) {
            *seen.entry(wait).or_default() += count;
        }
        let all = seen.values().sum::<i64>().max(1) as f64;
        let wait = |(of, count): (&str, i64)| Wait { of: of.to_owned(), part: count as f64 / all };
        let mut waits: Vec<Wait> = seen.into_iter().map(wait).collect();
        waits.sort_by(|one, other| other.part.total_cmp(&one.part));
        waits.truncate(SHOWN_WAITS);
        Self {
            serves: nodes.serves,
            workers: nodes.workers,
            answered_per_second: figure(|round| round.answered),
            settled_per_second: figure(|round| round.settled),
            least_share: figure(|round| round.shares.0),
            greatest_share: figure(|round| round.shares.1),
            app_cpu_us: figure(|round| round.app_cpu_us),
            most_sessions: figure(|round| round.sessions.most as f64),
            waits,
        }
    }
}

impl Section for Summary {
    fn title(&self) -> String {
        Nodes { serves: self.serves, workers: self.workers }.to_string()
    }

    fn write(&self, table: &mut Table) {
        table.line("answered", format_args!("{}/s", show(self.answered_per_second, 0)));
        table.line("sent and settled", format_args!("{}/s", show(self.settled_per_second, 0)));
        table.line("least of an even share", show(self.least_share, 2));
        table.line("greatest of an even share", show(self.greatest_share, 2));
        table.line("CPU of app, µs", show(self.app_cpu_us, 0));
        table.line("most sessions", show(self.most_sessions, 0));
        for Wait { of, part } in &self.waits {
            table.line(&format!("seen: {of}"), format_args!("{:.0} %", part * 100.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_parts_of_an_even_one() {
        assert_eq!(shares(&[10, 20, 30]), Some((0.5, 1.5)));
        assert_eq!(shares(&[0, 20]), Some((0.0, 2.0)));
        assert_eq!(shares(&[0, 0]), None);
    }

    #[test]
    fn nodes_are_two_numbers() {
        assert_eq!("4x16".parse(), Ok(Nodes { serves: 4, workers: 16 }));
        for text in ["", "4", "0x1", "1x0", "4x", "x4", "65x1", "-1x1", "1x1x1"] {
            assert!(text.parse::<Nodes>().is_err(), "{text}");
        }
    }
}
