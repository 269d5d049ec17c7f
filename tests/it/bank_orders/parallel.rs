//! Many orders at once, through a bank that does everything that it can do wrong.

use std::time::{Duration, Instant};

use serde_json::json;
use surety::ids::OrderId;
use surety::queue::WorkerSettings;

use super::{Scene, unfinished};
use crate::support::money::{TestWorker, fund};
use crate::support::{PATIENCE, send};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_withdrawals_at_once_are_booked_as_they_stand_in_the_ledger() {
    const ORDERS: usize = 200;
    let mut scene = Scene::with(json!({
        "success_rate": 0.4, "timeout_rate": 0.05, "unavailable_rate": 0.1,
        "insufficient_funds_rate": 0.1, "accept_then_timeout_rate": 0.05, "answer_twice_rate": 0.1,
        "late_rate": 0.05, "cut_body_rate": 0.1, "wrong_amount_rate": 0.05,
        "latency": "0s..20ms", "late_after": "1s",
    }))
    .await;
    scene.args.bank_connect_timeout = Duration::from_secs(1);
    scene.args.bank_timeout = Duration::from_secs(2);
    scene.args.bank_lost_after = Duration::from_secs(2);
    scene.args.bank_retry_delay = Duration::from_millis(50);
    scene.args.bank_breaker_open = Duration::from_millis(500);
    fund(&scene.api.pool, scene.alice.id(), scene.alice.wallet, "1900 USD").await;

    let mut placing = tokio::task::JoinSet::new();
    for number in 0..ORDERS {
        let amount = format!("{}.{:02} USD", 1 + number % 9, number % 100);
        let body = crate::support::money::over(scene.alice.wallet, &amount);
        let request = scene.alice.request(&scene.api, "/v1/withdrawals", &body);
        let key = uuid::Uuid::new_v4().to_string();
        placing.spawn(async move { send(request.header("idempotency-key", key)).await });
    }
    let settings = || WorkerSettings { poll: Duration::from_millis(50), ..Default::default() };
    let workers = [0, 1].map(|_| TestWorker::start_with(&scene.api.pool, scene.way(), settings()));
    for answer in placing.join_all().await {
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let deadline = Instant::now() + 2 * PATIENCE;
    while unfinished(&scene.api.pool).await > 0 {
        assert!(Instant::now() < deadline, "{:?}", scene.jobs().await);
        // What waits longer than a test can: the bank that has not decided.
        scene.let_time_pass().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for worker in workers {
        worker.stop().await;
    }

    let orders: Vec<(OrderId, String)> =
        sqlx::query_as("select id, status::text from payments.orders where kind = 'withdrawal'")
            .fetch_all(&scene.api.pool)
            .await
            .unwrap();
    assert_eq!(orders.len(), ORDERS);
    let completed = orders.iter().filter(|(_, status)| status == "COMPLETED").count();
    assert!((100..ORDERS).contains(&completed), "{completed} completed");
    scene.assert_agreed().await;
}
