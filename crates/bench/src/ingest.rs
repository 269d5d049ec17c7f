//! Ingest: `app serve` as a child process takes webhooks from the generator of `app send`, in turns
//! with `pgbench`.

use std::time::Duration;

use anyhow::bail;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::app_process::Serve;
use super::figures::{Figure, show};
use super::pgbench::{self, Script};
use super::report::{Report, Section, Table};
use super::scratch::{Database, Server};
use surety::cli::send::client::Target;
use surety::cli::send::events::{Plan, Source};
use surety::cli::send::load::Load;
use surety::cli::send::tally::Tally;

/// The time after which a request counts as failed.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Options of `ingest`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Numbers of connections to measure with; each has one request at a time.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 16, 64])]
    connections: Vec<u16>,
    /// Length of one measurement, after a second to warm up.
    #[arg(long, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..))]
    secs: u64,
}

/// One round with one number of connections.
struct Round {
    connections: u16,
    app: AppRun,
    one_statement: Option<f64>,
    four_round_trips: Option<f64>,
}

/// The results of one run of `app serve`, as the generator saw them.
struct AppRun {
    rate: f64,
    latency_ms: [f64; 3],
    /// Microseconds of CPU that the generator took per request, on the cores that it shares.
    generator_us: Option<f64>,
}

/// Measures, and reports medians.
pub(crate) async fn run(args: &Args, server: &Server, rounds: u32) -> anyhow::Result<Report> {
    let mut measured = Vec::new();
    for round in 0..rounds {
        for &connections in &args.connections {
            eprintln!("round {} of {rounds}: {connections} connections", round + 1);
            measured.push(measure_round(server, connections, args.secs, round).await?);
        }
    }
    let results: Vec<Summary> =
        args.connections.iter().filter_map(|&number| Summary::of(&measured, number)).collect();
    let settings = json!({ "secs": args.secs, "connections": args.connections });
    let subject = format!(
        "ingest: POST /v1/webhooks/transactions, {} s each after 1 s to warm up",
        args.secs
    );
    Ok(Report::new(subject, rounds, settings, &results))
}

async fn measure_round(
    server: &Server,
    connections: u16,
    secs: u64,
    round: u32,
) -> anyhow::Result<Round> {
    let mut app = None;
    let mut one_statement = None;
    let mut four_round_trips = None;
    // Who comes first changes from round to round, so that no one always follows the same one.
    for turn in 0..3 {
        let database = server.fresh_database().await?;
        let clients = usize::from(connections);
        let by_pgbench =
            |script| pgbench::measure(server.pgbench(), &database.url, script, clients, secs);
        match (turn + round) % 3 {
            0 => app = Some(measure_app(&database, clients, secs).await?),
            1 => one_statement = by_pgbench(Script::OneStatement).await?,
            _ => four_round_trips = by_pgbench(Script::FourRoundTrips).await?,
        }
        database.end().await?;
    }
    let app = app.expect("one of three turns is the app's");
    Ok(Round { connections, app, one_statement, four_round_trips })
}

async fn measure_app(
    database: &Database<'_>,
    connections: usize,
    secs: u64,
) -> anyhow::Result<AppRun> {
    let mut serve = Serve::start(&database.url).await?;
    let target = serve.target()?;
    let warm_up = send(&target, connections, 1, 0).await?;
    let tally = send(&target, connections, secs, 1).await?;
    serve.stop().await?;
    // A fast answer that stored nothing is not an answer.
    require_stored(&database.url, warm_up.accepted + tally.accepted).await?;
    Ok(AppRun {
        rate: tally.rate(),
        latency_ms: [50.0, 95.0, 99.0].map(|percentile| tally.latency_ms(percentile)),
        generator_us: tally.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / tally.finished().max(1) as f64),
    })
}

/// Sends new transactions for so many seconds.
pub(crate) async fn send(
    target: &Target,
    connections: usize,
    secs: u64,
    seed: u64,
) -> anyhow::Result<Tally> {
    let load = Load { target: target.clone(), connections, rate: None, retries: 0, signer: None };
    let plan = Plan { firsts: u64::MAX / 2, repeats: 0, seed };
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(secs)).await;
        stopper.cancel();
    });
    let tally = load.run(Source::Generated, plan, ProgressBar::hidden(), stop).await?;
    if let Some((reason, failures)) = tally.failures.first_key_value() {
        bail!("{} requests failed: {reason}: {}", tally.failed(), failures.example);
    }
    Ok(tally)
}

async fn require_stored(url: &str, accepted: u64) -> anyhow::Result<()> {
    let mut conn = PgConnection::connect(url).await?;
    let (transactions, jobs): (i64, i64) = sqlx::query_as(
        "select (select count(*) from payments.transactions), (select count(*) from queue.jobs)",
    )
    .fetch_one(&mut conn)
    .await?;
    conn.close().await?;
    let expected = i64::try_from(accepted)?;
    if (transactions, jobs) != (expected, expected) {
        bail!(
            "{accepted} were accepted, but {transactions} transactions and {jobs} jobs are stored"
        );
    }
    Ok(())
}

/// One number of connections over all rounds.
#[derive(Serialize)]
struct Summary {
    connections: u16,
    requests_per_second: Option<Figure>,
    p50_ms: Option<Figure>,
    p95_ms: Option<Figure>,
    p99_ms: Option<Figure>,
    pgbench_one_statement_per_second: Option<Figure>,
    pgbench_four_round_trips_per_second: Option<Figure>,
    ratio_to_one_statement: Option<Figure>,
    ratio_to_four_round_trips: Option<Figure>,
    generator_cpu_us_per_request: Option<Figure>,
}

impl Summary {
    fn of(measured: &[Round], connections: u16) -> Option<Self> {
        let rounds: Vec<&Round> =
            measured.iter().filter(|round| round.connections == connections).collect();
        let figure =
            |of: fn(&Round) -> Option<f64>| Figure::of(rounds.iter().filter_map(|round| of(round)));
        (!rounds.is_empty()).then(|| Self {
            connections,
            requests_per_second: figure(|round| Some(round.app.rate)),
            p50_ms: figure(|round| Some(round.app.latency_ms[0])),
            p95_ms: figure(|round| Some(round.app.latency_ms[1])),
            p99_ms: figure(|round| Some(round.app.latency_ms[2])),
            pgbench_one_statement_per_second: figure(|round| round.one_statement),
            pgbench_four_round_trips_per_second: figure(|round| round.four_round_trips),
            ratio_to_one_statement: figure(|round| Some(round.app.rate / round.one_statement?)),
            ratio_to_four_round_trips: figure(|round| {
                Some(round.app.rate / round.four_round_trips?)
            }),
            generator_cpu_us_per_request: figure(|round| round.app.generator_us),
        })
    }
}

impl Section for Summary {
    fn title(&self) -> String {
        format!("{} connections", self.connections)
    }

    fn write(&self, table: &mut Table) {
        let rate = show(self.requests_per_second, 0);
        table.line("app serve", format_args!("{rate} requests/s"));
        let latency = [self.p50_ms, self.p95_ms, self.p99_ms].map(|figure| show(figure, 1));
        let [p50, p95, p99] = latency;
        table.line("latency", format_args!("p50 {p50} ms, p95 {p95} ms, p99 {p99} ms"));
        let by_pgbench = |rate: Option<Figure>, ratio: Option<Figure>| {
            format!("{} tx/s, ratio {}", show(rate, 0), show(ratio, 2))
        };
        table.line(
            "pgbench, one statement",
            by_pgbench(self.pgbench_one_statement_per_second, self.ratio_to_one_statement),
        );
        table.line(
            "pgbench, four round trips",
            by_pgbench(self.pgbench_four_round_trips_per_second, self.ratio_to_four_round_trips),
        );
        let cpu = show(self.generator_cpu_us_per_request, 1);
        table.line("generator", format_args!("{cpu} µs of CPU per request"));
    }
}
