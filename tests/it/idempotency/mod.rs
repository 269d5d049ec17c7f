//! `Idempotency-Key`: a request that moves money is done once, however often, wherever and whenever
//! it is sent.

mod keys;
mod outages;
mod processes;
mod replays;

use serde_json::{Value, json};
use surety::http::edge::rate_limits::Limit;
use uuid::Uuid;

use crate::support::money::{Customer, between, over};
use crate::support::{Answer, TestApi, send};

/// An API that limits nobody.
async fn open_api() -> TestApi {
    TestApi::start_with(|api| api.limits.limit_api = Limit::Off).await
}

/// The header.
const KEY: &str = "idempotency-key";

/// Whether the answer was given before.
fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == "true"
}

/// How many orders, jobs and kept answers there are.
async fn rows(api: &TestApi) -> (i64, i64, i64) {
    (
        api.count("select count(*) from payments.orders").await,
        api.count("select count(*) from queue.all_jobs").await,
        api.count("select count(*) from api.idempotency_keys").await,
    )
}

/// One request for each operation that moves money, none of which will be refused.
async fn one_of_each(api: &TestApi, alice: &Customer, bob: &Customer) -> Vec<(String, Value)> {
    let paid = between(bob.wallet, alice.wallet, "5 USD");
    let transfer = bob.order(api, "/v1/transfers", &paid).await;
    assert_eq!(transfer.status, 202, "{transfer:?}");
    crate::support::ledger::run_jobs(&api.pool).await;
    vec![
        ("/v1/deposits".to_owned(), over(alice.wallet, "1 USD")),
        ("/v1/withdrawals".to_owned(), over(alice.wallet, "1 USD")),
        ("/v1/transfers".to_owned(), between(alice.wallet, bob.wallet, "1 USD")),
        (format!("{}/refund", transfer.header("location")), json!({})),
    ]
}

/// A request of this customer's, with a body unless it needs none.
fn request(
    api: &TestApi,
    customer: &Customer,
    path: &str,
    body: &Value,
) -> reqwest::RequestBuilder {
    let request = api.request("POST", path).bearer_auth(&customer.person.token);
    if path.ends_with("/refund") { request } else { request.json(body) }
}

async fn ask(
    api: &TestApi,
    customer: &Customer,
    key: &str,
    (path, body): (&str, &Value),
) -> Answer {
    send(request(api, customer, path, body).header(KEY, key)).await
}

fn new_key() -> String {
    Uuid::new_v4().to_string()
}
