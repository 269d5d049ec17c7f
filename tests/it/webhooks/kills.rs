//! Deliveries by worker processes that are killed, to receivers that fail half of the time.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde_json::json;
use surety::payments::transactions::{self, NewTransaction, Recorded};
use surety::queue::{NewJob, enqueue_many};

use super::*;
use crate::support::ledger::money;
use crate::support::{App, Binary as _, TestDb};

/// Few enough to be run with all the others; `SURETY_TEST_OUTCOMES` asks for more.
const OUTCOMES: usize = 500;
const KILLS: usize = 4;
/// A header's value that nobody but the receivers may see.
const CANARY: &str = "canary-8f2c";

pub(super) fn worker_process(url: &str) -> App {
    let waits = ["20ms"; 20].join(",");
    App::command(["work"])
        .env("DATABASE_URL", url)
        .env("APP_WEBHOOK_ALLOW_PRIVATE", "true")
        .env("APP_WEBHOOK_RETRIES", waits)
        .env("APP_WORKER_LEASE", "3s")
        .env("APP_WORKER_HEARTBEAT", "1s")
        .env("APP_WORKER_POLL", "100ms")
        .spawn()
}

/// Accepts transactions of these numbers, of one account, so that their outcomes have one order.
pub(super) async fn accept(api: &TestApi, numbers: Range<usize>) {
    let mut tx = api.pool.begin().await.unwrap();
    let new: Vec<NewTransaction> = numbers
        .map(|number| NewTransaction {
            transaction_id: format!("txn_{number}"),
            source_account: "payer".to_owned(),
            destination_account: format!("shop-{}", number % 10),
            money: money("1 USD"),
            body: bytes::Bytes::new(),
        })
        .collect();
    let recorded = transactions::record_many(&mut tx, &new.iter().collect::<Vec<_>>()).await;
    let jobs: Vec<NewJob> = recorded
        .unwrap()
        .into_iter()
        .map(|recorded| match recorded {
            Recorded::New(transaction) => {
                NewJob::new(&surety::jobs::SettleTransaction { transaction }).unwrap()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    enqueue_many(&mut tx, &jobs).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn every_outcome_reaches_every_endpoint_under_one_id_whoever_is_killed() {
    let asked = std::env::var("SURETY_TEST_OUTCOMES").ok();
    let outcomes: usize = asked.map_or(OUTCOMES, |asked| asked.parse().unwrap());
    let db = TestDb::new().await;
    let api = TestApi::start_on(db.pool.clone(), |_| {}).await;
    let operator = Person::new(&api, Role::Operator).await;
    let mut inboxes = Vec::new();
    for _ in 0..3 {
        inboxes.push(Inbox::answering(|_, _| Some(if fastrand::bool() { 200 } else { 500 })).await);
    }
    for (number, inbox) in inboxes.iter().enumerate() {
        let body = json!({
            "url": inbox.url,
            "ordered": number == 0,
            "headers": { "authorization": format!("Bearer {CANARY}") },
        });
        assert_eq!(post(&api, &operator, "/v1/webhook-endpoints", &body).await.status, 201);
    }
    accept(&api, 0..outcomes).await;
    let mut workers = [worker_process(&db.url), worker_process(&db.url)];
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let worker = &mut workers[kill % 2];
        worker.kill().await;
        *worker = worker_process(&db.url);
    }

    let deadline = Instant::now() + Duration::from_secs(240 + outcomes as u64 / 4);
    let left = "select count(*) from deliveries.deliveries where state = 'pending'";
    let made = "select count(*) from deliveries.deliveries";
    loop {
        let count = async |statement: &'static str| -> i64 {
            sqlx::query_scalar(statement).fetch_one(&api.pool).await.unwrap()
        };
        let (left, made) = (count(left).await, count(made).await);
        if made == 3 * outcomes as i64 && left == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{made} deliveries were made, {left} are pending");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let failed: i64 =
        sqlx::query_scalar("select count(*) from deliveries.deliveries where state = 'failed'")
            .fetch_one(&api.pool)
            .await
            .unwrap();
    assert_eq!(failed, 0);
    for worker in &mut workers {
        worker.kill().await;
        let output = worker.output();
        assert!(!output.contains(CANARY) && !output.contains("whsec_"), "{output}");
    }
    let told: i64 = sqlx::query_scalar(
        "select count(*)
         from (
           select row_to_json(entries)::text from audit.entries
           union all select row_to_json(jobs)::text from queue.all_jobs as jobs
           union all select row_to_json(attempts)::text from deliveries.attempts
           union all select row_to_json(attempts)::text from queue.attempts
         ) as rows (text)
         where text like '%whsec\\_%' or text like '%canary-8f2c%'",
    )
    .fetch_one(&api.pool)
    .await
    .unwrap();
    assert_eq!(told, 0, "secrets are in no record");
    let mut ids_of: HashMap<String, String> = HashMap::new();
    for (number, inbox) in inboxes.iter().enumerate() {
        let (mut told, mut order) = (HashSet::new(), Vec::new());
        for seen in inbox.seen() {
            assert_eq!(seen.header("authorization"), format!("Bearer {CANARY}"));
            let transaction = seen.json()["data"]["transaction_id"].as_str().unwrap().to_owned();
            let id = ids_of.entry(transaction.clone()).or_insert_with(|| seen.id().to_owned());
            assert_eq!(id, seen.id(), "one event has one id, in all attempts and for everybody");
            if told.insert(transaction) {
                order.push(seen.id().to_owned());
            }
        }
        assert_eq!(told.len(), outcomes, "endpoint {number}");
        if number == 0 {
            let events: Vec<String> = sqlx::query_scalar(
                "select 'evt_' || replace(id::text, '-', '') from events.events order by seq",
            )
            .fetch_all(&api.pool)
            .await
            .unwrap();
            assert_eq!(order, events, "the ordered endpoint is told in the order of the events");
        }
    }
}
