//! Traces and log lines of the real binary, with a collector in the test.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use serde_json::Value as Json;
use surety::ids::TransactionId;
use surety::jobs::SettleTransaction;
use surety::queue::enqueue::{NewJob, enqueue};
use surety::queue::job::JobId;
use surety::queue::trace_context::TraceContext;

use crate::support::{App, AppCommand, OtlpReceiver, ReceivedSpan, Signal, TestDb, eventually};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER_SPAN_ID: &str = "00f067aa0ba902b7";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// `app work` on this database, which exports to nobody.
fn work(db: &TestDb) -> AppCommand {
    App::command(["work", "--poll", "20ms"]).env("DATABASE_URL", &db.url)
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
    let job_id = enqueue(&mut tx, job).await.unwrap();
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

#[tokio::test]
async fn a_run_continues_the_trace_of_its_enqueue_and_is_flushed_at_exit() {
    let (db, receiver) = (TestDb::new().await, OtlpReceiver::start().await);
    let job_id = enqueue_settlement(&db, "txn_1", CALLER).await;
    let mut worker = exporting(work(&db), &receiver)
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=ignored")
        .env("OTEL_SERVICE_NAME", "payments-worker")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=acme")
        .spawn();
    wait_until_settled(&db).await;
    assert_eq!(receiver.spans(), [], "nothing is due to be exported before the end");
    stop(&mut worker).await;

    let spans = receiver.trace(TRACE_ID);
    let process = the_one(&spans, "process default");
    assert_eq!(process.kind, SpanKind::Consumer);
    assert_eq!(process.parent_span_id, CALLER_SPAN_ID);
    assert_eq!(process.links.len(), 1);
    assert_eq!(process.links[0].span_id, CALLER_SPAN_ID);
    assert_eq!(process.attribute("messaging.system"), "surety");
    assert_eq!(process.attribute("messaging.operation.name"), "process");
    assert_eq!(process.attribute("messaging.operation.type"), "process");
    assert_eq!(process.attribute("messaging.destination.name"), "default");
    assert_eq!(process.attribute("messaging.message.id"), job_id.to_string());
    assert_eq!(process.attribute("app.job.kind"), "settle_transaction");
    assert_eq!(process.attribute("app.job.attempt"), "1");
    assert_eq!(process.attribute("app.job.outcome"), "completed");
    assert_eq!(process.status, SpanStatus::Unset);
    assert_eq!(process.schema_url, "https://opentelemetry.io/schemas/1.44.0");
    assert_eq!(process.resource["service.name"], "payments-worker");
    assert_eq!(process.resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(process.resource["deployment.environment.name"], "test");
    assert!(receiver.requests().iter().all(|headers| headers["x-tenant"] == "acme"));
}

#[tokio::test]
async fn a_retry_is_in_the_same_trace_and_links_to_the_attempt_before() {
    let (db, receiver) = (TestDb::new().await, OtlpReceiver::start().await);
    sqlx::raw_sql(
        "
        create function refuse() returns trigger language plpgsql as
          $$ begin raise exception 'the ledger is closed'; end $$;
        create trigger refuse before insert on payments.transfers
          for each statement execute function refuse();
        ",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let mut worker = exporting(work(&db), &receiver).spawn();
    enqueue_settlement(&db, "txn_1", CALLER).await;
    let failed = "select count(*) > 0 from queue.attempts where outcome = 'failed'";
    wait_until(&db, "an attempt has failed", failed).await;
    sqlx::raw_sql(
        "
        drop trigger refuse on payments.transfers;
        update queue.jobs set run_at = clock_timestamp() where not running;
        ",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    wait_until_settled(&db).await;
    stop(&mut worker).await;

    let mut spans = receiver.trace(TRACE_ID);
    spans.sort_by_key(|span| span.attribute("app.job.attempt").to_owned());
    let [.., before, last] = spans.as_slice() else { panic!("{spans:#?}") };
    assert_eq!(before.attribute("app.job.outcome"), "retried");
    assert_eq!(before.attribute("error.type"), "failed");
    assert_eq!(before.status, SpanStatus::Error);
    assert_eq!(last.attribute("app.job.outcome"), "completed");
    let attempt = |span: &ReceivedSpan| span.attribute("app.job.attempt").parse::<i32>().unwrap();
    assert_eq!(attempt(last), attempt(before) + 1);
    let linked: Vec<_> = last.links.iter().map(|link| link.span_id.as_str()).collect();
    assert_eq!(linked, [CALLER_SPAN_ID, before.span_id.as_str()]);
    assert!(spans.iter().all(|span| span.parent_span_id == CALLER_SPAN_ID), "{spans:#?}");
}

#[tokio::test]
async fn a_caller_that_samples_nothing_gets_no_spans() {
    let (db, receiver) = (TestDb::new().await, OtlpReceiver::start().await);
    let unsampled = CALLER.replace("-01", "-00");
    enqueue_settlement(&db, "txn_1", &unsampled).await;
    let mut worker = exporting(work(&db), &receiver).spawn();
    wait_until_settled(&db).await;
    stop(&mut worker).await;

    assert_eq!(receiver.spans(), []);
}

#[tokio::test]
async fn the_sampler_is_that_of_the_environment() {
    let (db, receiver) = (TestDb::new().await, OtlpReceiver::start().await);
    enqueue_settlement(&db, "txn_1", CALLER).await;
    let mut worker =
        exporting(work(&db), &receiver).env("OTEL_TRACES_SAMPLER", "always_off").spawn();
    wait_until_settled(&db).await;
    stop(&mut worker).await;

    assert_eq!(receiver.spans(), []);
}

#[tokio::test]
async fn a_disabled_sdk_exports_nothing() {
    let (db, receiver) = (TestDb::new().await, OtlpReceiver::start().await);
    enqueue_settlement(&db, "txn_1", CALLER).await;
    let mut worker = exporting(work(&db), &receiver).env("OTEL_SDK_DISABLED", "true").spawn();
    wait_until_settled(&db).await;
    stop(&mut worker).await;

    assert_eq!(receiver.requests().len(), 0);
}

#[tokio::test]
async fn without_a_collector_there_is_no_exporter() {
    let db = TestDb::new().await;
    enqueue_settlement(&db, "txn_1", CALLER).await;
    let mut worker = work(&db).env("OTEL_SERVICE_NAME", "payments-worker").spawn();
    wait_until_settled(&db).await;
    let threads = threads_of(&worker);
    stop(&mut worker).await;

    assert!(threads.iter().all(|name| !name.starts_with("OpenTelemetry")), "{threads:?}");
    let said = worker.output();
    assert!(!said.contains("exported") && !said.contains("4318"), "{said}");
}

/// The names of the process's threads, where the system tells them.
fn threads_of(app: &App) -> BTreeSet<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", app.pid())).into_iter().flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok()).collect()
}

#[tokio::test]
async fn a_collector_that_is_away_holds_up_neither_work_nor_exit() {
    let db = TestDb::new().await;
    enqueue_settlement(&db, "txn_1", CALLER).await;
    // Takes connections and never answers: the worst of collectors.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut worker = work(&db)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_BSP_SCHEDULE_DELAY", "10")
        .spawn();
    wait_until_settled(&db).await;
    let asked_to_stop = Instant::now();
    stop(&mut worker).await;

    assert!(asked_to_stop.elapsed() < Duration::from_secs(10), "{:?}", asked_to_stop.elapsed());
    let said = worker.output();
    assert!(said.contains("the last spans were not exported"), "{said}");
}

#[tokio::test]
async fn a_setting_that_cannot_work_is_refused_in_one_sentence() {
    let table = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "set it to `http/protobuf`"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "set it to `http/protobuf`"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "set it to `otlp` or `none`"),
        ("APP_LOG", "surety=noisy", "is no log filter"),
        ("RUST_LOG", "=", "is no log filter"),
    ];
    for (variable, value, fix) in table {
        let (status, said) = App::command(["work"])
            .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
            .env(variable, value)
            .run()
            .await;
        assert_eq!(status.code(), Some(78), "{variable}={value}: {said}");
        let sentence = said.lines().next().unwrap_or_default();
        assert!(sentence.starts_with("error: "), "{said}");
        assert!(sentence.contains(variable) && sentence.contains(fix), "{said}");
    }
}

#[tokio::test]
async fn a_worker_logs_json_lines_that_tell_whose_they_are() {
    let db = TestDb::new().await;
    let job_id = enqueue_settlement(&db, "txn_1", CALLER).await;
    let mut worker = work(&db).spawn();
    wait_until_settled(&db).await;
    stop(&mut worker).await;

    let log = log_of(&worker);
    for line in &log {
        for key in ["timestamp", "level", "message", "target"] {
            assert!(line[key].is_string(), "{key} is missing in {line}");
        }
    }
    let ended = log.iter().find(|line| line["outcome"] == "completed").expect("the run is logged");
    assert_eq!(ended["job_id"], job_id.0);
    assert_eq!(ended["kind"], "settle_transaction");
    assert_eq!(ended["queue"], "default");
    assert_eq!(ended["attempt"], 1);
    assert_eq!(
        ended["trace_id"], TRACE_ID,
        "the caller's trace is told also when none is exported"
    );
    assert_eq!(ended.get("span_id"), None, "the caller's span is not ours");
}
