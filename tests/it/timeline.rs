//! Timelines: everything that happened to a transaction or an order, from all sources, in order.

use serde_json::{Value, json};
use surety::identity::Role;
use surety::ids::OrderId;

use crate::support::ledger::run_jobs;
use crate::support::money::Customer;
use crate::support::{App, Binary as _, Person, TestApi, event, event_of};

async fn timeline(api: &TestApi, by: &Person, path: &str) -> Vec<Value> {
    let answer = by.get(api, path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["events"].as_array().unwrap().clone()
}

/// `source event` of each.
fn words(events: &[Value]) -> Vec<String> {
    let word = |event: &Value| {
        format!("{} {}", event["source"].as_str().unwrap(), event["event"].as_str().unwrap())
    };
    events.iter().map(word).collect()
}

#[tokio::test]
async fn the_timeline_of_a_transaction_has_all_sources_in_order_with_traces() {
    let api = TestApi::start().await;
    let operator = Person::new(&api, Role::Operator).await;
    let traced = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let sent = api.webhook(event("txn/1")).header("traceparent", traced).send().await.unwrap();
    assert_eq!(sent.status(), 202);
    assert_eq!(api.post(event_of("txn/1", "7.00")).await.status, 409);
    run_jobs(&api.pool).await;
    let mut conn = api.pool.acquire().await.unwrap();
    surety::audit::log_transaction(&mut conn, "txn/1", &json!({ "n": 1 })).await.unwrap();

    let events = timeline(&api, &operator, "/v1/transactions/txn%2F1/timeline").await;
    let words = words(&events);
    for expected in [
        "money accepted",
        "money conflict",
        "job enqueued",
        "money entry",
        "money ended",
        "audit transaction.logged",
    ] {
        assert!(words.iter().any(|word| word == expected), "{expected} in {words:?}");
    }
    assert_eq!(words.first().unwrap(), "money accepted");
    assert_eq!(words.last().unwrap(), "audit transaction.logged");
    assert_eq!(words.iter().filter(|word| *word == "money entry").count(), 2);
    let times: Vec<&str> = events.iter().map(|event| event["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");

    let db = api.db.as_ref().unwrap();
    let command = App::command(["timeline", "txn/1", "-o", "json"]).env("DATABASE_URL", &db.url);
    let (status, output) = command.run().await;
    assert!(status.success(), "{output}");
    assert_eq!(serde_json::from_str::<Vec<Value>>(&output).unwrap(), events);
    let command = App::command(["timeline", "nobody"]).env("DATABASE_URL", &db.url);
    assert_eq!(command.run().await.0.code(), Some(3));
    let nobody = operator.get(&api, "/v1/transactions/nobody/timeline").await;
    assert_eq!(nobody.code(), "transaction-not-found");
}

#[tokio::test]
async fn the_timeline_of_an_order_has_its_job_and_is_found_under_its_own_kind_only() {
    let api = TestApi::start().await;
    let operator = Person::new(&api, Role::Operator).await;
    let payer = Customer::with(&api, "100 USD").await;
    let payee = Customer::new(&api).await;
    let body = json!({
        "source_wallet_id": payer.wallet, "destination_wallet_id": payee.wallet,
        "amount": "30.00", "currency": "USD",
    });
    let placed = payer.order(&api, "/v1/transfers", &body).await;
    assert_eq!(placed.status, 202, "{placed:?}");
    let id: OrderId = serde_json::from_value(placed.json()["id"].clone()).unwrap();
    run_jobs(&api.pool).await;
    let events = timeline(&api, &operator, &format!("/v1/transfers/{id}/timeline")).await;
    let words = words(&events);
    assert_eq!(words.first().unwrap(), "money accepted");
    for expected in ["job enqueued", "money entry", "money ended"] {
        assert!(words.iter().any(|word| word == expected), "{expected} in {words:?}");
    }
    let other = operator.get(&api, &format!("/v1/deposits/{id}/timeline")).await;
    assert_eq!(other.code(), "order-not-found");
    let owner = payer.person.get(&api, &format!("/v1/transfers/{id}/timeline")).await;
    assert_eq!(owner.code(), "forbidden");
}
