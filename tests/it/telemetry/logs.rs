//! Log lines: whose they are, and what is never in them.

use super::{
    CALLER, Server, TRACE_ID, enqueue_settlement, exporting, log_of, request_id_of, send, stop,
    wait_until_settled, work,
};
use crate::support::{App, AppCommand, Binary as _, OtlpReceiver, TestDb};

#[tokio::test]
async fn a_server_logs_one_json_line_per_request_but_none_for_probes() {
    let db = TestDb::new().await;
    let mut server = Server::start(Server::command(&db)).await;
    let accepted = server.webhook("txn_1").header("x-request-id", "mine-1");
    assert_eq!(request_id_of(&send(accepted.header("traceparent", CALLER)).await), "mine-1");
    let duplicate = request_id_of(&send(server.webhook("txn_1")).await);
    let missing = send(server.request(reqwest::Method::GET, "/v1/transactions/none")).await;
    let (missing_status, missing) = (missing.status(), request_id_of(&missing));
    for probe in ["/healthz", "/readyz"] {
        request_id_of(&send(server.request(reqwest::Method::GET, probe)).await);
    }
    stop(&mut server.app).await;

    assert_eq!(missing_status, 404);
    let mut log = log_of(&server.app);
    log.retain(|line| line.get("request_id").is_some());
    let ids: Vec<_> = log.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["mine-1", &duplicate, &missing]);
    assert_eq!(log[0]["trace_id"], TRACE_ID);
    assert_eq!(log[0]["status"], 202);
    assert_eq!(log[0]["transaction_id"], "txn_1");
    assert_eq!(log[0]["outcome"], "accepted");
    assert_eq!(log[1]["outcome"], "duplicate");
    assert_eq!(log[2]["route"], "/v1/transactions/{transaction_id}");
    assert_eq!(log[2]["level"], "INFO", "a caller's error is no concern of ours");
}

#[tokio::test]
async fn secrets_and_bodies_are_neither_logged_nor_traced() {
    let (db, receiver) = (TestDb::new().await, OtlpReceiver::start().await);
    let secret = "whsec_Y2FuYXJ5LXdlYmhvb2stc2VjcmV0LWNhbmFyeQ==";
    let canaries = [
        secret.trim_start_matches("whsec_"),
        "canary-webhook-secret-canary",
        "canary-database-password",
        "canary-collector-token",
        "canary-authorization",
        "canary-cookie",
        "canary-query",
        "canary-body",
        "canary-baggage",
    ];
    let with_password =
        db.url.replacen("postgres://postgres@", "postgres://postgres:canary-database-password@", 1);
    assert!(with_password.contains("canary"), "{}", db.url);
    let secretive = |command: AppCommand| {
        exporting(command, &receiver)
            .env("DATABASE_URL", &with_password)
            .env("APP_WEBHOOK_SECRETS", secret)
            .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=canary-collector-token")
            .env("APP_LOG", "debug")
    };
    let mut server = Server::start(secretive(Server::command(&db))).await;
    let mut worker = secretive(work(&db)).spawn();

    let body = r#"{"transaction_id": "txn_1", "source_account": "canary-body",
        "destination_account": "b", "amount": "1", "currency": "EUR"}"#;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let signature = standardwebhooks::Webhook::new(secret)
        .unwrap()
        .sign("msg_1", now, body.as_bytes())
        .unwrap();
    let path = "/v1/webhooks/transactions?token=canary-query";
    let webhook = || {
        server
            .request(reqwest::Method::POST, path)
            .header("content-type", "application/json")
            .header("authorization", "Bearer canary-authorization")
            .header("cookie", "session=canary-cookie")
            .header("traceparent", CALLER)
            .header("baggage", "card=canary-baggage")
            .header("webhook-id", "msg_1")
            .header("webhook-timestamp", now.to_string())
    };
    let signed = send(webhook().header("webhook-signature", &signature).body(body)).await;
    let unsigned = send(webhook().header("webhook-signature", "v1,AAAA").body(body)).await;
    let malformed =
        send(webhook().header("webhook-signature", &signature).body("canary-body")).await;
    assert_eq!(signed.status(), 202, "{}", server.app.output());
    wait_until_settled(&db).await;
    stop(&mut server.app).await;
    stop(&mut worker).await;

    assert_eq!(unsigned.status(), 401);
    assert_eq!(malformed.status(), 401);
    assert!(receiver.has_seen("txn_1"), "something was exported");
    assert!(receiver.requests()[0]["authorization"] == "canary-collector-token");
    for canary in canaries.iter().chain([&signature.as_str()]) {
        assert!(!receiver.has_seen(canary), "{canary} is in a span");
        for line in server.app.lines().iter().chain(&worker.lines()) {
            assert!(!line.contains(canary), "{canary} is in {line}");
        }
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

#[tokio::test]
async fn app_dev_tells_each_webhook_and_each_job_in_one_line() {
    let db = TestDb::new().await;
    let dev = ["dev", "--listen", "127.0.0.1:0", "--workers", "1", "--database-url", &db.url];
    let mut server = Server::start(App::command(dev)).await;
    for transaction_id in ["txn_1", "txn_1"] {
        assert_eq!(send(server.webhook(transaction_id)).await.status(), 202);
    }
    let job = server.app.wait_for_line("settle_transaction").await;
    server.app.wait_for_line("duplicate").await;
    stop(&mut server.app).await;

    let lines = server.app.lines();
    let webhooks: Vec<&String> = lines.iter().filter(|line| line.contains("  webhook  ")).collect();
    assert_eq!(webhooks.len(), 2, "{lines:#?}");
    // After the time of day.
    assert!(webhooks[0][8..].starts_with("  webhook  txn_1  1500.00 INR  202 in "), "{webhooks:?}");
    assert!(webhooks[0].ends_with(" ms"), "{webhooks:?}");
    assert!(webhooks[1].ends_with(" ms  duplicate"), "{webhooks:?}");
    assert!(job[8..].starts_with("  job 1    settle_transaction  attempt 1  done in "), "{job}");
}
