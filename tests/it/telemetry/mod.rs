//! Traces and log lines of the real binary, with a collector in the test.

mod logs;
mod settings;
mod traces;

use std::time::{Duration, Instant};

use serde_json::Value as Json;
use surety::ids::TransactionId;
use surety::jobs::SettleTransaction;
use surety::queue::telemetry::TraceContext;
use surety::queue::{JobId, NewJob, enqueue};

use crate::support::{App, AppCommand, Binary as _, OtlpReceiver, ReceivedSpan, Signal, TestDb};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER_SPAN_ID: &str = "00f067aa0ba902b7";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// `app work` on this database, which exports to nobody.
fn work(db: &TestDb) -> AppCommand {
    App::command(["work", "--poll", "20ms"]).env("DATABASE_URL", &db.url)
}

/// `app serve` on this database, and where it listens. Exports to nobody.
struct Server {
    app: App,
    url: String,
}

impl Server {
    fn command(db: &TestDb) -> AppCommand {
        App::command(["serve", "--listen", "127.0.0.1:0"]).env("DATABASE_URL", &db.url)
    }

    /// Starts it, or anything else that says where its documentation is.
    async fn start(command: AppCommand) -> Self {
        let mut app = command.spawn();
        let line = app.wait_for_line("/docs").await;
        let (before, _) = line.rsplit_once("/docs").unwrap();
        let url = before[before.rfind("http://").unwrap()..].to_owned();
        Self { app, url }
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        reqwest::Client::new().request(method, format!("{}{path}", self.url))
    }

    /// Posts a transaction of this id.
    fn webhook(&self, transaction_id: &str) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::POST, "/v1/webhooks/transactions").json(&serde_json::json!({
            "transaction_id": transaction_id,
            "source_account": "alice",
            "destination_account": "bob",
            "amount": "1500.00",
            "currency": "INR",
        }))
    }
}

async fn send(request: reqwest::RequestBuilder) -> reqwest::Response {
    request.send().await.unwrap()
}

fn request_id_of(response: &reqwest::Response) -> String {
    response.headers()["x-request-id"].to_str().unwrap().to_owned()
}

/// With an export that sends nothing by itself for an hour: what arrives was flushed.
fn exporting(app: AppCommand, receiver: &OtlpReceiver) -> AppCommand {
    app.env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())
        .env("OTEL_BSP_SCHEDULE_DELAY", "3600000")
}

/// A transaction with its job, enqueued by a caller with this `traceparent`.
async fn enqueue_settlement(db: &TestDb, transaction_id: &str, traceparent: &str) -> JobId {
    let mut tx = db.pool.begin().await.unwrap();
    let id: i64 = sqlx::query_scalar(
        "
        insert into payments.transactions
          (transaction_id, source_account, destination_account, amount, currency, body)
        values ($1, 'alice', 'bob', 12.50, 'EUR', '')
        returning id
        ",
    )
    .bind(transaction_id)
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    let job = NewJob::new(&SettleTransaction { transaction: TransactionId(id) })
        .unwrap()
        .trace_context(Some(TraceContext::from_traceparent(traceparent)));
    let job_id = enqueue(&mut tx, job).await.unwrap().id();
    tx.commit().await.unwrap();
    job_id
}

async fn wait_until(db: &TestDb, what: &str, sql: &'static str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !sqlx::query_scalar::<_, bool>(sql).fetch_one(&db.pool).await.unwrap() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn wait_until_settled(db: &TestDb) {
    let settled = "select bool_and(status <> 'PROCESSING') from payments.transactions";
    wait_until(db, "all transactions are settled", settled).await;
}

/// Ends the process as a supervisor does; it must end well.
async fn stop(app: &mut App) {
    app.signal(Signal::Terminate);
    let status = app.wait_for_exit().await;
    assert!(status.success(), "{status}:\n{}", app.output());
}

/// What the process logged: every line must be one JSON object.
fn log_of(app: &App) -> Vec<Json> {
    let parse = |line: &String| match serde_json::from_str(line) {
        Ok(object @ Json::Object(_)) => object,
        other => panic!("{line:?} is {other:?}"),
    };
    app.lines().iter().map(parse).collect()
}

fn the_one<'a>(spans: &'a [ReceivedSpan], name: &str) -> &'a ReceivedSpan {
    let named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(named.len(), 1, "{name} in {spans:#?}");
    named[0]
}
