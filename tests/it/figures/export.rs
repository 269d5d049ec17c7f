//! Figures and log lines by OTLP.

use crate::support::{App, Binary as _, OtlpReceiver, Signal, TestApi, TestDb, event, eventually};

#[tokio::test]
async fn figures_and_lines_reach_the_collector_compressed() {
    let (db, receiver) = (TestDb::new().await, OtlpReceiver::start().await);
    let api = TestApi::start_on(db.pool.clone(), |_| {}).await;
    api.post(event("a")).await;
    let mut worker = App::command(["work", "--poll", "20ms"])
        .env("DATABASE_URL", &db.url)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=seven%20seas")
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        .env("OTEL_METRICS_EXPORTER", "otlp")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "100")
        .env("OTEL_LOGS_EXPORTER", "otlp")
        .env("OTEL_BLRP_SCHEDULE_DELAY", "100")
        .env("OTEL_SERVICE_NAME", "payments-worker")
        .spawn();
    let completed = |figure: &crate::support::ReceivedFigure| {
        figure.name == "app.job.attempts"
            && figure.attributes.get("outcome").is_some_and(|it| it == "completed")
            && figure.attributes.get("kind").is_some_and(|it| it == "settle_transaction")
    };
    eventually("the attempt is told", || receiver.figures().iter().any(completed)).await;
    eventually("its line is told", || {
        receiver.lines().iter().any(|line| line.contains("settle_transaction completed"))
    })
    .await;
    worker.signal(Signal::Terminate);
    assert!(worker.wait_for_exit().await.success());

    let figures = receiver.figures();
    let attempt = figures.iter().rfind(|it| completed(it)).unwrap();
    assert!((attempt.value - 1.0).abs() < 0.1, "{attempt:?}");
    assert_eq!(attempt.unit, "{attempt}");
    assert_eq!(attempt.attributes["queue"], "default");
    assert_eq!(attempt.resource["service.name"], "payments-worker");
    assert!(figures.iter().any(|it| it.name == "app.job.run.duration"), "times are told, too");
    let requests = receiver.requests();
    assert!(requests.iter().all(|headers| headers["content-encoding"] == "gzip"));
    assert!(requests.iter().all(|headers| headers["x-tenant"] == "seven seas"));
}

#[tokio::test]
async fn spans_figures_and_lines_reach_a_collector_by_grpc() {
    for compression in ["none", "gzip"] {
        let (db, receiver) = (TestDb::new().await, OtlpReceiver::start_grpc().await);
        let api = TestApi::start_on(db.pool.clone(), |_| {}).await;
        api.post(event("a")).await;
        let mut worker = App::command(["work", "--poll", "20ms"])
            .env("DATABASE_URL", &db.url)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=seven%20seas")
            .env("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
            .env("OTEL_METRICS_EXPORTER", "otlp")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "100")
            .env("OTEL_LOGS_EXPORTER", "otlp")
            .env("OTEL_BLRP_SCHEDULE_DELAY", "100")
            .spawn();
        eventually("figures come", || {
            receiver.figures().iter().any(|figure| figure.name == "app.job.attempts")
        })
        .await;
        eventually("lines come", || {
            receiver.lines().iter().any(|line| line.contains("settle_transaction completed"))
        })
        .await;
        // The last spans are sent at the end.
        worker.signal(Signal::Terminate);
        assert!(worker.wait_for_exit().await.success(), "{}", worker.output());
        assert!(receiver.spans().iter().any(|span| span.name == "process default"));
        assert!(!worker.output().contains("not exported"), "{}", worker.output());
        let requests = receiver.requests();
        assert!(requests.iter().all(|headers| headers["x-tenant"] == "seven seas"));
    }
}

#[tokio::test]
async fn a_collector_that_is_no_such_service_is_told_of_and_holds_nobody_up() {
    let (db, receiver) = (TestDb::new().await, OtlpReceiver::start().await);
    let mut worker = App::command(["work", "--poll", "20ms"])
        .env("DATABASE_URL", &db.url)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_METRICS_EXPORTER", "otlp")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "100")
        .spawn();
    // It speaks HTTP/1.1, and no HTTP/2.
    worker.wait_for_line("figures not exported: the collector cannot be reached").await;
    worker.signal(Signal::Terminate);
    assert!(worker.wait_for_exit().await.success(), "{}", worker.output());
}

#[tokio::test]
async fn a_setting_of_figures_that_cannot_work_is_refused_in_one_sentence() {
    let table = [
        ("OTEL_METRICS_EXPORTER", "prometheus", "set it to `otlp` or `none`"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "10s", "is no number of milliseconds"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "set it to `http/protobuf`"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "set it to `gzip` or `none`"),
        ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "/nowhere.pem", "holds no certificate"),
    ];
    for (variable, value, fix) in table {
        let (status, said) = App::command(["work"])
            .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
            .env("OTEL_METRICS_EXPORTER", "otlp")
            .env(variable, value)
            .run()
            .await;
        assert_eq!(status.code(), Some(78), "{variable}={value}: {said}");
        assert!(said.starts_with("error: ") && said.contains(fix), "{said}");
    }
}
