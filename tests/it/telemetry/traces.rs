//! The shape of a trace, from the request to the last run of its job.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use serde_json::Value as Json;

use super::{
    CALLER, CALLER_SPAN_ID, Server, TRACE_ID, enqueue_settlement, exporting, request_id_of, send,
    stop, the_one, wait_until, wait_until_settled, work,
};
use crate::support::{OtlpReceiver, ReceivedSpan, TestDb};

#[tokio::test]
async fn a_webhook_is_one_trace_from_its_request_to_its_settlement() {
    let (db, receiver) = (TestDb::new().await, OtlpReceiver::start().await);
    let mut server = Server::start(exporting(Server::command(&db), &receiver)).await;
    let mut worker = exporting(work(&db), &receiver).spawn();
    let response = send(server.webhook("txn_1").header("traceparent", CALLER)).await;
    assert_eq!(response.status(), 202);
    let request_id = request_id_of(&response);
    wait_until_settled(&db).await;
    stop(&mut server.app).await;
    stop(&mut worker).await;

    let spans = without_announcements(receiver.trace(TRACE_ID));
    assert_eq!(spans.len(), 3, "{spans:#?}");
    let request = the_one(&spans, "POST /v1/webhooks/transactions");
    let enqueue = the_one(&spans, "enqueue default");
    let process = the_one(&spans, "process default");

    assert_eq!(request.kind, SpanKind::Server);
    assert_eq!(request.parent_span_id, CALLER_SPAN_ID);
    assert_eq!(request.status, SpanStatus::Unset);
    assert_eq!(request.resource["service.name"], "surety-serve");
    let (host, port) = server.url["http://".len()..].split_once(':').unwrap();
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/webhooks/transactions"),
        ("http.response.status_code", "202"),
        ("url.path", "/v1/webhooks/transactions"),
        ("url.scheme", "http"),
        ("server.address", host),
        ("server.port", port),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("app.request.id", &request_id),
        ("app.event.id", "txn_1"),
        ("app.event.outcome", "accepted"),
    ] {
        assert_eq!(request.attribute(name), value, "{name}");
    }

    assert_eq!(enqueue.kind, SpanKind::Producer);
    assert_eq!(enqueue.parent_span_id, request.span_id);
    assert_eq!(enqueue.resource["service.name"], "surety-serve");
    assert_eq!(enqueue.attribute("messaging.operation.type"), "send");
    assert_eq!(enqueue.attribute("app.job.kind"), "settle_transaction");

    assert_eq!(process.kind, SpanKind::Consumer);
    assert_eq!(process.parent_span_id, enqueue.span_id);
    assert_eq!(process.links[0].span_id, enqueue.span_id);
    assert_eq!(process.resource["service.name"], "surety-work");
    assert_eq!(
        process.attribute("messaging.message.id"),
        enqueue.attribute("messaging.message.id")
    );
}

#[tokio::test]
async fn each_of_many_webhooks_at_once_keeps_its_own_trace() {
    let (db, receiver) = (TestDb::new().await, OtlpReceiver::start().await);
    let mut server = Server::start(exporting(Server::command(&db), &receiver)).await;
    let mut worker = exporting(work(&db), &receiver).spawn();
    let traces: Vec<String> = (1..=50_u128).map(|number| format!("{number:032x}")).collect();
    // Sent together, so that they share commits and batches.
    let webhooks = traces.iter().enumerate().map(|(number, trace_id)| {
        let traceparent = format!("00-{trace_id}-{CALLER_SPAN_ID}-01");
        send(server.webhook(&format!("txn_{number}")).header("traceparent", traceparent))
    });
    for response in futures_util::future::join_all(webhooks).await {
        assert_eq!(response.status(), 202);
    }
    wait_until_settled(&db).await;
    stop(&mut server.app).await;
    stop(&mut worker).await;

    for trace_id in &traces {
        let spans = without_announcements(receiver.trace(trace_id));
        assert_eq!(spans.len(), 3, "{spans:#?}");
        let request = the_one(&spans, "POST /v1/webhooks/transactions");
        let enqueue = the_one(&spans, "enqueue default");
        let process = the_one(&spans, "process default");
        assert_eq!(enqueue.parent_span_id, request.span_id);
        assert_eq!(process.parent_span_id, enqueue.span_id);
    }
}

#[tokio::test]
async fn claim_commit_and_completion_lead_to_the_traces_that_they_are_part_of() {
    let (db, receiver) = (TestDb::new().await, OtlpReceiver::start().await);
    let mut server = Server::start(exporting(Server::command(&db), &receiver)).await;
    let mut worker = exporting(work(&db), &receiver).spawn();
    send(server.webhook("txn_1").header("traceparent", CALLER)).await;
    wait_until_settled(&db).await;
    stop(&mut server.app).await;
    stop(&mut worker).await;

    let all = receiver.spans();
    let of_trace = receiver.trace(TRACE_ID);
    let request = the_one(&of_trace, "POST /v1/webhooks/transactions");
    let is_settlement = |span: &&ReceivedSpan| {
        span.name == "process default" && span.attribute("app.job.kind") == "settle_transaction"
    };
    let process = of_trace.iter().find(is_settlement).unwrap();
    let enqueue = all.iter().find(|span| span.span_id == process.parent_span_id).unwrap();
    let leads_to = |name: &str, span_id: &str| {
        let found = all.iter().find(|span| {
            span.name == name && span.links.iter().any(|link| link.span_id == span_id)
        });
        found.unwrap_or_else(|| panic!("no {name} leads to {span_id}: {all:#?}"))
    };

    let commit = leads_to("commit webhooks", &request.span_id);
    assert_eq!(commit.attribute("app.commit.requests"), "1");
    let claim = leads_to("claim default", &enqueue.span_id);
    assert_eq!((claim.kind, claim.parent_span_id.as_str()), (SpanKind::Client, ""));
    assert_eq!(claim.attribute("messaging.operation.type"), "receive");
    let complete = leads_to("complete", &process.span_id);
    assert_eq!(complete.parent_span_id, process.span_id);
    assert_eq!(complete.attribute("messaging.operation.type"), "settle");
}

/// The spans but for those of the job that tells others, which goes on in the trace, and those of
/// completions.
fn without_announcements(spans: Vec<ReceivedSpan>) -> Vec<ReceivedSpan> {
    let is_of_one = |span: &ReceivedSpan| {
        span.name == "complete"
            || span.attributes.get("app.job.kind").is_some_and(|kind| kind == "announce_outcomes")
    };
    spans.into_iter().filter(|span| !is_of_one(span)).collect()
}

#[tokio::test]
async fn without_a_collector_the_callers_trace_reaches_the_job_as_it_came() {
    let db = TestDb::new().await;
    let server = Server::start(Server::command(&db)).await;
    send(server.webhook("with").header("traceparent", CALLER).header("tracestate", "a=b")).await;
    send(server.webhook("without")).await;
    send(server.webhook("rubbish").header("traceparent", "00-rubbish-rubbish-01")).await;

    // The id of the request is there in any case.
    let without_id = "select nullif(trace_context - 'app.request.id', '{}') from queue.jobs
                      where trace_context ? 'app.request.id' order by id";
    let contexts: Vec<Option<Json>> =
        sqlx::query_scalar(without_id).fetch_all(&db.pool).await.unwrap();
    let callers = serde_json::json!({"traceparent": CALLER, "tracestate": "a=b"});
    assert_eq!(contexts, [Some(callers), None, None]);
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

    let mut spans = without_announcements(receiver.trace(TRACE_ID));
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
