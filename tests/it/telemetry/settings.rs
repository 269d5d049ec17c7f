//! The `OTEL_*` variables, and what happens without them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{CALLER, enqueue_settlement, exporting, stop, wait_until_settled, work};
use crate::support::{App, Binary as _, OtlpReceiver, TestDb};

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
    let receiver = OtlpReceiver::start().await;
    let mut exporter = exporting(work(&db), &receiver).spawn();
    exporter.wait_for_line("working").await;
    let exporters_threads = threads_of(&exporter);

    if cfg!(target_os = "linux") {
        let exports = |name: &String| name.starts_with("OpenTelemetry");
        assert!(exporters_threads.iter().any(exports), "{exporters_threads:?}");
    }
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
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "protobuf", "set it to `http/protobuf`"),
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
