//! Money by HTTP: `app serve` as a child process takes deposits and shows balances, as signed-in
//! users ask for them.
//!
//! Each connection has one request at a time, the next as soon as the one before is answered. No
//! worker runs: what becomes of a deposit is the bank's time.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::app_process::Serve;
use super::condition_report::Latency;
use super::figures::{Figure, Percentiles, show};
use super::http::HttpConnection;
use super::report::{Report, Section, Table};
use super::scratch::{Database, Server};

/// Users that the connections are shared among: each takes two password hashes to make.
const USERS: usize = 20;
const WARM_UP: Duration = Duration::from_secs(1);

/// Options of `money`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Connections that post deposits, each one at a time.
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Connections that read balances, each one at a time.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..))]
    readers: u16,
    /// Length of one measurement, after a second to warm up.
    #[arg(long, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..))]
    secs: u64,
}

/// The operation that is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    /// `POST /v1/deposits`.
    Deposit,
    /// `GET /v1/users/{id}/balance`.
    Balance,
}

/// One operation in one round.
struct Run {
    operation: Operation,
    rate: f64,
    latency_ms: Percentiles,
}

/// A user who is signed in, with a wallet.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    id: String,
    wallet: String,
    authorization: String,
}

/// Measures, and reports medians.
pub(crate) async fn run(args: &Args, server: &Server, rounds: u32) -> anyhow::Result<Report> {
    let mut measured = Vec::new();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        let database = server.fresh_database().await?;
        measured.extend(measure(args, &database).await?);
        database.end().await?;
    }
    let results = [(Operation::Deposit, args.connections), (Operation::Balance, args.readers)]
        .map(|(operation, connections)| Summary::of(operation, connections, &measured));
    let settings = json!({
        "connections": args.connections,
        "readers": args.readers,
        "secs": args.secs,
        "users": USERS,
    });
    let subject =
        format!("money: {USERS} users, {} s each after 1 s to warm up, rate limits off", args.secs);
    Ok(Report::new(subject, rounds, settings, &results))
}

async fn measure(args: &Args, database: &Database<'_>) -> anyhow::Result<Vec<Run>> {
    let mut serve = Serve::start(&database.url).await?;
    let address = serve.address.to_string();
    let customers = sign_up(&address, "user").await?;
    let mut runs = Vec::new();
    let mut accepted = 0;
    for (operation, connections) in
        [(Operation::Deposit, args.connections), (Operation::Balance, args.readers)]
    {
        let length = Duration::from_secs(args.secs);
        let warm = load(operation, &address, &customers, connections, WARM_UP).await?;
        let samples = load(operation, &address, &customers, connections, length).await?;
        if operation == Operation::Deposit {
            accepted += warm.len() + samples.len();
        }
        let rate = samples.len() as f64 / length.as_secs_f64();
        let latency_ms = Percentiles::of(samples).context("nothing was answered")?;
        runs.push(Run { operation, rate, latency_ms });
    }
    serve.stop().await?;
    require_stored(&database.url, accepted).await?;
    Ok(runs)
}

/// Makes users whose addresses begin so, each with a wallet, and signs them in.
pub(crate) async fn sign_up(address: &str, prefix: &str) -> anyhow::Result<Vec<Customer>> {
    let mut connection = HttpConnection::open(address).await?;
    let mut customers = Vec::with_capacity(USERS);
    for number in 0..USERS {
        let email = format!("{prefix}{number}@example.com");
        let password = Uuid::new_v4().to_string();
        let new = json!({ "email": email, "password": password, "currency": "EUR" });
        let user = ask(&mut connection, Method::POST, "/v1/users", "", new).await?;
        let who = json!({ "email": email, "password": password });
        let token = ask(&mut connection, Method::POST, "/v1/auth/login", "", who).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("not a text");
        let authorization = format!("Bearer {}", text(&token["access_token"])?);
        let wallets =
            ask(&mut connection, Method::GET, "/v1/wallets", &authorization, Value::Null).await?;
        let wallet = text(&wallets["wallets"][0]["id"])?;
        customers.push(Customer { id: text(&user["id"])?, wallet, authorization });
    }
    Ok(customers)
}

/// The JSON that answers a request with these credentials, if any, and this JSON.
async fn ask(
    connection: &mut HttpConnection,
    method: Method,
    path: &str,
    authorization: &str,
    body: Value,
) -> anyhow::Result<Value> {
    let mut request = connection.request().method(method).uri(path);
    if !authorization.is_empty() {
        request = request.header("authorization", authorization);
    }
    let request = match body {
        Value::Null => request.body(Full::default())?,
        body => request.header("content-type", "application/json").body(body.to_string().into())?,
    };
    let (status, body) = connection.send(request).await?;
    ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&body));
    Ok(serde_json::from_slice(&body)?)
}

/// Sends for so long on so many connections; gives the latency of each answer, in milliseconds.
pub(crate) async fn load(
    operation: Operation,
    address: &str,
    customers: &[Customer],
    connections: u16,
    length: Duration,
) -> anyhow::Result<Vec<f64>> {
    let until = Instant::now() + length;
    let mut clients = JoinSet::new();
    for number in 0..usize::from(connections) {
        let customer = customers[number % customers.len()].clone();
        clients.spawn(client(operation, address.to_owned(), customer, until));
    }
    let mut samples = Vec::new();
    while let Some(one) = clients.join_next().await {
        samples.extend(one??);
    }
    Ok(samples)
}

async fn client(
    operation: Operation,
    address: String,
    customer: Customer,
    until: Instant,
) -> anyhow::Result<Vec<f64>> {
    let mut connection = HttpConnection::open(&address).await?;
    let mut samples = Vec::new();
    while Instant::now() < until {
        let request = request(operation, &connection, &customer)?;
        let begun = Instant::now();
        exchange(&mut connection, request, operation).await?;
        samples.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(samples)
}

fn request(
    operation: Operation,
    connection: &HttpConnection,
    customer: &Customer,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let request = connection.request().header("authorization", &customer.authorization);
    Ok(match operation {
        Operation::Deposit => {
            let wallet = &customer.wallet;
            let body = format!(r#"{{"wallet_id":"{wallet}","amount":"12.50","currency":"EUR"}}"#);
            request
                .method(Method::POST)
                .uri("/v1/deposits")
                .header("content-type", "application/json")
                .header("idempotency-key", Uuid::new_v4().to_string())
                .body(Full::from(body))?
        }
        Operation::Balance => {
            let uri = format!("/v1/users/{}/balance", customer.id);
            request.method(Method::GET).uri(uri).body(Full::default())?
        }
    })
}

async fn exchange(
    connection: &mut HttpConnection,
    request: Request<Full<Bytes>>,
    operation: Operation,
) -> anyhow::Result<()> {
    let (status, body) = connection.send(request).await?;
    let expected = match operation {
        Operation::Deposit => StatusCode::ACCEPTED,
        Operation::Balance => StatusCode::OK,
    };
    ensure!(status == expected, "answered {status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}

/// A fast answer that stored nothing is not an answer.
async fn require_stored(url: &str, accepted: usize) -> anyhow::Result<()> {
    let mut conn = PgConnection::connect(url).await?;
    let stored: (i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from payments.orders), (select count(*) from queue.jobs),
                (select count(*) from api.idempotency_keys)",
    )
    .fetch_one(&mut conn)
    .await?;
    conn.close().await?;
    let expected = i64::try_from(accepted)?;
    ensure!(
        stored == (expected, expected, expected),
        "{accepted} were accepted, but orders, jobs and keys stored are {stored:?}"
    );
    Ok(())
}

/// One operation over all rounds.
#[derive(Serialize)]
struct Summary {
    operation: Operation,
    connections: u16,
    requests_per_second: Option<Figure>,
    #[serde(flatten)]
    latency: Latency,
}

impl Summary {
    fn of(operation: Operation, connections: u16, measured: &[Run]) -> Self {
        let runs = measured.iter().filter(|run| run.operation == operation);
        Self {
            operation,
            connections,
            requests_per_second: Figure::of(runs.clone().map(|run| run.rate)),
            latency: Latency::of(runs.map(|run| run.latency_ms)),
        }
    }
}

impl Section for Summary {
    fn title(&self) -> String {
        let what = match self.operation {
            Operation::Deposit => "POST /v1/deposits",
            Operation::Balance => "GET /v1/users/{id}/balance",
        };
        format!("{what}, {} connections", self.connections)
    }

    fn write(&self, table: &mut Table) {
        let rate = show(self.requests_per_second, 0);
        table.line("answered", format_args!("{rate} requests/s"));
        table.line("latency", self.latency);
    }
}
