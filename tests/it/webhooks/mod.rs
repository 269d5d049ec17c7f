//! Webhooks that we send: the whole way from an outcome to whoever wants to hear of it.

mod ended_jobs;
mod endpoints;
mod inbox;
mod kills;
mod loading;
mod lost_answers;
mod retention;
mod retries;
mod sealing;
mod stream;
mod whole_way;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgConnection;
use surety::deliveries::{Client, Guard, Limits, Reach, Transport};
use surety::identity::Role;
use surety::jobs::{EndpointSecrets, Services, Webhooks};
use surety::queue::WorkerSettings;

use self::inbox::Inbox;
use crate::support::money::{Customer, TestWorker, between};
use crate::support::{Answer, PATIENCE, Person, TestApi, send};

/// An API with a worker that sends webhooks to this machine.
struct World {
    api: TestApi,
    worker: Option<TestWorker>,
    operator: Person,
}

impl World {
    async fn start() -> Self {
        Self::with_retries("50ms,50ms,50ms").await
    }

    async fn with_retries(retries: &str) -> Self {
        let api = TestApi::start().await;
        let operator = Person::new(&api, Role::Operator).await;
        let worker = Some(worker(&api, retries));
        Self { api, worker, operator }
    }

    /// Makes an endpoint of this person's, and gives its id and its secret.
    async fn endpoint(&self, owner: &Person, url: &str, more: Value) -> (String, String) {
        let mut body = json!({ "url": url });
        let more = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        let answer = post(&self.api, owner, "/v1/webhook-endpoints", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&answer.json()["endpoint"]["id"]), text(&answer.json()["secret"]))
    }

    /// A transfer from one customer to another; gives its path.
    async fn transfer(&self, from: &Customer, to: &Customer, amount: &str) -> String {
        let body = between(from.wallet, to.wallet, amount);
        let answer = from.order(&self.api, "/v1/transfers", &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        format!("/v1/transfers/{}", answer.json()["id"].as_str().unwrap())
    }

    /// A delivery, once it is in this state.
    async fn delivery(&self, endpoint: &str, event: &str, state: &str) -> Value {
        let path = format!("/v1/webhook-endpoints/{endpoint}/deliveries/{event}");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.operator.get(&self.api, &path).await.json();
            if found["delivery"]["state"] == state {
                return found;
            }
            assert!(Instant::now() < deadline, "it is not {state}: {found}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The rows of a table that this connection has read, from itself and from its indexes, since the
/// server last took note of that. It does between transactions only.
async fn rows_read(conn: &mut PgConnection, table: &str) -> i64 {
    let read = "
        select sum(pg_stat_get_xact_tuples_returned(indexrelid))::bigint
          + pg_stat_get_xact_tuples_returned($1::regclass)
        from pg_index where indrelid = $1::regclass";
    sqlx::query_scalar(read).bind(table).fetch_one(conn).await.unwrap()
}

fn worker(api: &TestApi, retries: &str) -> TestWorker {
    worker_with(api, retries, EndpointSecrets::default())
}

/// A worker that knows the keys of endpoints' secrets.
fn worker_with(api: &TestApi, retries: &str, secrets: EndpointSecrets) -> TestWorker {
    let transport = Transport::new(Guard::new(Reach::PrivateToo), Limits::default()).unwrap();
    let webhooks = Webhooks::start(&api.pool, Client::new(transport), retries.parse().unwrap());
    let webhooks = webhooks.with_secrets(secrets);
    let services = Services { webhooks: Some(webhooks), ..Services::of_database(api.pool.clone()) };
    let poll = Duration::from_millis(50);
    TestWorker::start_with_services(services, WorkerSettings { poll, ..WorkerSettings::default() })
}

async fn post(api: &TestApi, person: &Person, path: &str, body: &Value) -> Answer {
    send(api.request("POST", path).bearer_auth(&person.token).json(body)).await
}

async fn patch(api: &TestApi, person: &Person, path: &str, body: &Value) -> Answer {
    send(api.request("PATCH", path).bearer_auth(&person.token).json(body)).await
}

async fn delete(api: &TestApi, person: &Person, path: &str) -> Answer {
    send(api.request("DELETE", path).bearer_auth(&person.token)).await
}

/// Sends a test event to an endpoint, and gives its id.
async fn test_event(world: &World, endpoint: &str) -> String {
    let path = format!("/v1/webhook-endpoints/{endpoint}/test");
    let answer = post(&world.api, &world.operator, &path, &json!({})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["event_id"].as_str().unwrap().to_owned()
}
