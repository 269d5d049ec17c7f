//! Tell: how fast outcomes are delivered by webhooks, and what telling costs the settling.
//!
//! Transactions are settled twice in each round, in databases of their own: with nobody listening,
//! and with endpoints that want everything. Then, with everything settled, the deliveries alone are
//! sent to a receiver in this process, which answers at once.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use surety::db;
use surety::deliveries::{Client, Guard, Limits, Reach, RetrySchedule, Transport};
use surety::jobs::{self, Services, Webhooks};
use surety::operations::Identity;
use surety::operations::endpoints::{self, EndpointChange};
use surety_queue::{Worker, WorkerSettings};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::figures::{Figure, Percentiles, show};
use super::filling::fill_with_transactions;
use super::report::{Report, Section, Table};
use super::scratch::{Database, Server};

/// Options of `tell`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Transactions to settle, and to tell of, per measurement.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    transactions: u64,
    /// Endpoints that want everything.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    endpoints: u32,
    /// Of these, endpoints that take connections and never answer.
    #[arg(long, value_name = "N", default_value_t = 0)]
    hanging: u32,
    /// The endpoints are told in the order of the events, each of one at a time.
    #[arg(long)]
    ordered: bool,
    /// Deliveries on the wire at once.
    #[arg(long, value_name = "N", default_value_t = 64)]
    in_flight: usize,
}

/// One round.
struct Round {
    settled_alone: f64,
    settled_telling: f64,
    delivered: f64,
    waits: Percentiles,
    statements_per_delivery: Option<f64>,
}

/// The deliveries of one round.
struct Delivered {
    per_second: f64,
    /// From the start of the workers to the receiver, in milliseconds.
    waits: Percentiles,
    statements_each: Option<f64>,
}

#[derive(Serialize)]
struct Summary {
    transactions: u64,
    endpoints: u32,
    hanging: u32,
    /// Transactions settled in a second with nobody listening, their events announced to nobody.
    settled_per_second: Option<Figure>,
    /// The same with the endpoints, while their deliveries are sent.
    settled_per_second_telling: Option<Figure>,
    /// The second over the first, in each round.
    ratio: Option<Figure>,
    /// Deliveries in a second, with nothing else to do.
    delivered_per_second: Option<Figure>,
    /// From the start of the workers to the receiver, in milliseconds: half of the deliveries, and
    /// 99 in 100.
    p50_ms: Option<Figure>,
    p99_ms: Option<Figure>,
    /// SQL statements for each of them, of all connections.
    statements_per_delivery: Option<Figure>,
}

/// Measures, and reports medians.
pub(crate) async fn run(args: &Args, server: &Server, rounds: u32) -> anyhow::Result<Report> {
    let mut measured = Vec::new();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        measured.push(measure(args, server).await?);
    }
    let figure = |of: fn(&Round) -> f64| Figure::of(measured.iter().map(of));
    let summary = Summary {
        transactions: args.transactions,
        endpoints: args.endpoints,
        hanging: args.hanging,
        settled_per_second: figure(|round| round.settled_alone),
        settled_per_second_telling: figure(|round| round.settled_telling),
        ratio: figure(|round| round.settled_telling / round.settled_alone),
        delivered_per_second: figure(|round| round.delivered),
        p50_ms: figure(|round| round.waits.p50),
        p99_ms: figure(|round| round.waits.p99),
        statements_per_delivery: Figure::of(
            measured.iter().filter_map(|round| round.statements_per_delivery),
        ),
    };
    let settings = json!({ "in_flight": args.in_flight, "where": "in this process" });
    let subject = format!("tell: up to {} deliveries on the wire", args.in_flight);
    Ok(Report::new(subject, rounds, settings, &[summary]))
}

async fn measure(args: &Args, server: &Server) -> anyhow::Result<Round> {
    let database = server.fresh_database().await?;
    let settled_alone = settle(args, &database, 0, None).await?;
    database.end().await?;

    let receiver = Receiver::start().await?;
    let database = server.fresh_database().await?;
    let settled_telling = settle(args, &database, args.endpoints, Some(&receiver)).await?;
    database.end().await?;

    let database = server.fresh_database().await?;
    let delivered = deliver(args, server, &database, &receiver).await?;
    database.end().await?;
    receiver.stop.cancel();
    let Delivered { per_second: delivered, waits, statements_each } = delivered;
    let statements_per_delivery = statements_each;
    Ok(Round { settled_alone, settled_telling, delivered, waits, statements_per_delivery })
}

/// Settles everything with a worker that does all there is to do, and gives the rate until the last
/// transaction is settled.
async fn settle(
    args: &Args,
    database: &Database<'_>,
    endpoints: u32,
    receiver: Option<&Receiver>,
) -> anyhow::Result<f64> {
    let pool = db::connect(&database.url, 10, "surety-bench").await?;
    if let Some(receiver) = receiver {
        listen(&pool, endpoints, args.ordered, &receiver.url).await?;
    }
    fill_with_transactions(&pool, 0..args.transactions).await?;
    database.settle_down().await?;
    let begun = Instant::now();
    let working = Working::start(&pool, WorkerSettings::default())?;
    let unsettled = "select from payments.transactions where status <> 'COMPLETED'";
    until_none(&pool, unsettled).await?;
    let took = begun.elapsed();
    working.stop().await;
    pool.close().await;
    Ok(args.transactions as f64 / took.as_secs_f64())
}

/// Sends everything that is to be sent, and nothing else. Gives the rate, and the statements for
/// each delivery.
async fn deliver(
    args: &Args,
    server: &Server,
    database: &Database<'_>,
    receiver: &Receiver,
) -> anyhow::Result<Delivered> {
    let pool = db::connect(&database.url, 10, "surety-bench").await?;
    let answering = args.endpoints.saturating_sub(args.hanging);
    listen(&pool, answering, args.ordered, &receiver.url).await?;
    let hole = TcpListener::bind("127.0.0.1:0").await?;
    listen(&pool, args.hanging, args.ordered, &format!("http://{}/", hole.local_addr()?)).await?;
    fill_with_transactions(&pool, 0..args.transactions).await?;
    let only = |queues: &[&str]| WorkerSettings {
        queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
        ..WorkerSettings::default()
    };
    let preparing = Working::start(&pool, only(&["default", "events"]))?;
    let rest = "select from queue.jobs where kind not like 'deliver_webhook%'";
    until_none(&pool, rest).await?;
    preparing.stop().await;
    database.settle_down().await?;
    let deliveries = args.transactions * u64::from(answering);
    let statements = async || -> anyhow::Result<i64> {
        let calls = "select coalesce(sum(calls), 0)::bigint from pg_stat_statements";
        Ok(sqlx::query_scalar(calls).fetch_one(&pool).await?)
    };
    let before = if server.counts_statements() { Some(statements().await?) } else { None };
    receiver.arrivals().clear();

    let begun = Instant::now();
    let settings =
        WorkerSettings { concurrency: args.in_flight, ..only(&["webhooks", "webhooks_ordered"]) };
    let working = Working::start(&pool, settings)?;
    while (receiver.arrivals().len() as u64) < deliveries {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if args.hanging == 0 {
        until_none(&pool, "select from queue.jobs").await?;
    }
    let took = begun.elapsed();
    let ms = |at: &Instant| at.duration_since(begun).as_secs_f64() * 1000.0;
    let waits = Percentiles::of(receiver.arrivals().iter().map(ms).collect());
    let after = if server.counts_statements() { Some(statements().await?) } else { None };
    working.stop().await;
    if args.hanging == 0 {
        let undelivered = "select count(*) from deliveries.deliveries where state <> 'delivered'";
        let undelivered: i64 = sqlx::query_scalar(undelivered).fetch_one(&pool).await?;
        ensure!(undelivered == 0, "{undelivered} deliveries were not made");
    }
    pool.close().await;
    let each = |(before, after): (i64, i64)| (after - before) as f64 / deliveries as f64;
    Ok(Delivered {
        per_second: deliveries as f64 / took.as_secs_f64(),
        waits: waits.context("nothing was delivered")?,
        statements_each: before.zip(after).map(each),
    })
}

/// Makes endpoints of the operators' that want everything.
pub(crate) async fn listen(
    pool: &PgPool,
    endpoints: u32,
    ordered: bool,
    url: &str,
) -> anyhow::Result<()> {
    let safeguards = Guard::new(Reach::PrivateToo).into();
    let by = Identity::command_line("surety-bench");
    for _ in 0..endpoints {
        let url = Some(url.to_owned());
        let ordered = Some(ordered);
        let change = EndpointChange { url, ordered, ..EndpointChange::default() };
        endpoints::create(pool, &safeguards, None, change, &by).await?;
    }
    Ok(())
}

/// Waits until this finds nothing. Looks for one row only: to count them all would take from what
/// is measured.
pub(crate) async fn until_none(pool: &PgPool, rows: &str) -> anyhow::Result<()> {
    let question = format!("select exists ({rows})");
    loop {
        let is_any: bool =
            sqlx::query_scalar(AssertSqlSafe(question.as_str())).fetch_one(pool).await?;
        if !is_any {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A worker that sends webhooks.
pub(crate) struct Working {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Working {
    pub(crate) fn start(pool: &PgPool, settings: WorkerSettings) -> anyhow::Result<Self> {
        let transport = Transport::new(Guard::new(Reach::PrivateToo), Limits::default())?;
        let webhooks = Webhooks::start(pool, Client::new(transport), RetrySchedule::default());
        let services = Services { webhooks: Some(webhooks), ..Services::of_database(pool.clone()) };
        let worker = Worker::new(pool.clone(), jobs::registry(services), settings)?;
        let stop = CancellationToken::new();
        let until = stop.clone();
        let task = tokio::spawn(async move {
            worker.run(until).await;
        });
        Ok(Self { stop, task })
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        // It says itself what went wrong.
        let _ = self.task.await;
    }
}

/// Answers every request with 204, and notes when it came.
pub(crate) struct Receiver {
    pub(crate) url: String,
    arrivals: Arc<Mutex<Vec<Instant>>>,
    pub(crate) stop: CancellationToken,
}

impl Receiver {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let (arrivals, stop) = (Arc::<Mutex<Vec<Instant>>>::default(), CancellationToken::new());
        let (counting, until) = (Arc::clone(&arrivals), stop.clone());
        tokio::spawn(until.run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let arrivals = Arc::clone(&counting);
                let service = service_fn(move |request: Request<Incoming>| {
                    let arrivals = Arc::clone(&arrivals);
                    async move {
                        let _ = request.into_body().collect().await;
                        lock(&arrivals).push(Instant::now());
                        let answer = Response::builder().status(204).body(Empty::<Bytes>::new());
                        Ok::<_, Infallible>(answer.unwrap_or_default())
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        }));
        Ok(Self { url, arrivals, stop })
    }

    pub(crate) fn arrivals(&self) -> MutexGuard<'_, Vec<Instant>> {
        lock(&self.arrivals)
    }
}

fn lock(arrivals: &Mutex<Vec<Instant>>) -> MutexGuard<'_, Vec<Instant>> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Section for Summary {
    fn title(&self) -> String {
        let Self { transactions, endpoints, hanging, .. } = self;
        format!("{transactions} transactions, {endpoints} endpoints, {hanging} of them hanging")
    }

    fn write(&self, table: &mut Table) {
        let rate = |figure| format!("{}/s", show(figure, 0));
        table.line("settled, nobody listening", rate(self.settled_per_second));
        table.line("settled while telling", rate(self.settled_per_second_telling));
        table.line("of the rate alone", show(self.ratio, 2));
        table.line("delivered", rate(self.delivered_per_second));
        let waits = format!("{} / {}", show(self.p50_ms, 0), show(self.p99_ms, 0));
        table.line("p50 / p99 of waits, ms", waits);
        table.line("statements per delivery", show(self.statements_per_delivery, 2));
    }
}
