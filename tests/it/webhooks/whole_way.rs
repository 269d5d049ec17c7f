//! From an outcome to its endpoints.

use serde_json::json;

use super::*;
use crate::support::event;

#[tokio::test]
async fn an_outcome_reaches_whom_it_concerns_signed_and_says_what_the_api_says() {
    let world = World::start().await;
    let (payer, payee) =
        (Customer::with(&world.api, "100 USD").await, Customer::new(&world.api).await);
    let stranger = Customer::new(&world.api).await;
    let inboxes =
        [Inbox::start().await, Inbox::start().await, Inbox::start().await, Inbox::start().await];
    let owners = [&payer.person, &payee.person, &world.operator, &stranger.person];
    let mut secrets = Vec::new();
    for (inbox, owner) in inboxes.iter().zip(owners) {
        secrets.push(world.endpoint(owner, &inbox.url, json!({})).await.1);
    }

    let path = world.transfer(&payer, &payee, "12.50 USD").await;
    let transfer = payer.finished(&world.api, &path).await;

    let mut ids = Vec::new();
    for (inbox, secret) in inboxes[..3].iter().zip(&secrets) {
        let seen = inbox.after(1).await.remove(0);
        assert!(seen.is_signed_by(secret), "{seen:?}");
        assert_eq!(seen.path, "/hooks");
        assert_eq!(seen.header("content-type"), "application/json");
        assert_eq!(seen.json()["type"], "transfer.completed");
        assert_eq!(seen.json()["timestamp"], transfer["finished_at"]);
        assert_eq!(seen.json()["data"], transfer);
        ids.push(seen.id().to_owned());
    }
    assert!(ids[0].starts_with("evt_") && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(inboxes[3].seen().len(), 0, "it does not concern the stranger");
}

#[tokio::test]
async fn a_providers_transaction_is_told_to_operators() {
    let world = World::start().await;
    let inbox = Inbox::start().await;
    world.endpoint(&world.operator, &inbox.url, json!({})).await;

    assert_eq!(world.api.post(event("txn_1")).await.status, 202);

    let seen = inbox.after(1).await.remove(0);
    let transaction = world.operator.get(&world.api, "/v1/transactions/txn_1").await.json();
    assert_eq!(seen.json()["type"], "transaction.completed");
    assert_eq!(seen.json()["data"], transaction);
}

#[tokio::test]
async fn an_endpoint_gets_the_types_that_it_wants() {
    let world = World::start().await;
    let payer = Customer::with(&world.api, "100 USD").await;
    let payee = Customer::new(&world.api).await;
    let (all, some) = (Inbox::start().await, Inbox::start().await);
    world.endpoint(&world.operator, &all.url, json!({ "event_types": ["*"] })).await;
    let wanted = json!({ "event_types": ["transaction.completed", "deposit.failed"] });
    world.endpoint(&world.operator, &some.url, wanted).await;

    let path = world.transfer(&payer, &payee, "1 USD").await;
    payer.finished(&world.api, &path).await;
    assert_eq!(world.api.post(event("txn_1")).await.status, 202);

    all.after(2).await;
    let seen = some.after(1).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].json()["type"], "transaction.completed");
}

#[tokio::test]
async fn the_trace_and_the_id_of_the_request_go_along() {
    let world = World::start().await;
    let payer = Customer::with(&world.api, "100 USD").await;
    let payee = Customer::new(&world.api).await;
    let inbox = Inbox::start().await;
    world.endpoint(&payer.person, &inbox.url, json!({})).await;

    let body = between(payer.wallet, payee.wallet, "1 USD");
    let request = payer.request(&world.api, "/v1/transfers", &body);
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = send(
        request
            .header("idempotency-key", "one")
            .header("x-request-id", "req-42")
            .header("traceparent", traceparent),
    );
    assert_eq!(answer.await.status, 202);

    let seen = inbox.after(1).await.remove(0);
    assert_eq!(seen.header("x-request-id"), "req-42");
    let trace = seen.header("traceparent");
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{trace}");
}

#[tokio::test]
async fn a_rotated_secret_and_the_one_before_both_sign_for_a_while() {
    let world = World::start().await;
    let inbox = Inbox::start().await;
    let (id, old) = world.endpoint(&world.operator, &inbox.url, json!({})).await;
    let path = format!("/v1/webhook-endpoints/{id}/secret");
    let rotate = async |seconds: u32| {
        let body = json!({ "overlap_seconds": seconds });
        let answer = post(&world.api, &world.operator, &path, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["secret"].as_str().unwrap().to_owned()
    };
    let test = format!("/v1/webhook-endpoints/{id}/test");

    let new = rotate(60).await;
    assert_eq!(post(&world.api, &world.operator, &test, &json!({})).await.status, 202);
    let seen = inbox.after(1).await.remove(0);
    assert!(seen.is_signed_by(&old) && seen.is_signed_by(&new));

    let newest = rotate(0).await;
    assert_eq!(post(&world.api, &world.operator, &test, &json!({})).await.status, 202);
    let seen = inbox.after(2).await.remove(1);
    // The first one is still in its minute.
    assert!(seen.is_signed_by(&newest) && !seen.is_signed_by(&new) && seen.is_signed_by(&old));
}

#[tokio::test]
async fn ordered_deliveries_come_in_the_order_of_the_outcomes_even_if_each_fails_at_first() {
    let world = World::with_retries("10ms,10ms").await;
    let payer = Customer::with(&world.api, "1000 USD").await;
    let payee = Customer::new(&world.api).await;
    // The first attempt of each fails.
    let tried = std::sync::Mutex::new(std::collections::HashSet::new());
    let inbox = Inbox::answering(move |_, seen| {
        let is_first = tried.lock().unwrap().insert(seen.id().to_owned());
        Some(if is_first { 500 } else { 200 })
    })
    .await;
    world.endpoint(&world.operator, &inbox.url, json!({ "ordered": true })).await;

    let mut orders = Vec::new();
    for cents in 1..=10 {
        let path = world.transfer(&payer, &payee, &format!("0.{cents:02} USD")).await;
        orders.push(payer.finished(&world.api, &path).await["id"].clone());
    }

    let seen = inbox.after(20).await;
    let came: Vec<_> = seen.iter().map(|seen| seen.json()["data"]["id"].clone()).collect();
    let expected: Vec<_> = orders.iter().flat_map(|id| [id.clone(), id.clone()]).collect();
    assert_eq!(came, expected);
}

#[tokio::test]
async fn an_outcome_is_in_the_audit_log_and_its_timeline_tells_who_heard_of_it() {
    let world = World::start().await;
    let inbox = Inbox::answering(|n, _| Some(if n == 0 { 500 } else { 200 })).await;
    world.endpoint(&world.operator, &inbox.url, json!({})).await;
    assert_eq!(world.api.post(event("txn_1")).await.status, 202);
    let seen = inbox.after(2).await.remove(0);
    let endpoint = world.operator.get(&world.api, "/v1/webhook-endpoints").await.json();
    let endpoint = endpoint["endpoints"][0]["id"].as_str().unwrap();
    world.delivery(endpoint, seen.id(), "delivered").await;

    let path = "/v1/transactions/txn_1/timeline";
    let timeline = world.operator.get(&world.api, path).await;
    assert_eq!(timeline.status, 200, "{timeline:?}");
    let events: Vec<String> = timeline.json()["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} {}", it["source"].as_str().unwrap(), it["event"].as_str().unwrap()))
        .collect();
    for expected in [
        "event transaction.completed",
        "audit transaction.completed",
        "delivery attempt",
        "delivery delivered",
    ] {
        assert!(events.iter().any(|it| it == expected), "{expected}: {events:?}");
    }
    assert_eq!(events.iter().filter(|it| *it == "delivery attempt").count(), 2);
}
