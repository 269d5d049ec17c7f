//! The circuit breaker as jobs, operators and dashboards meet it.

use serde_json::json;
use surety::ids::OrderId;
use surety::queue::WorkerSettings;

use super::Scene;
use super::gate::Hold;
use crate::support::eventually_async;
use crate::support::money::TestWorker;

/// Why jobs wait while the bank is left alone.
const REASON: &str = "the circuit breaker is open: the bank is left alone after failed calls";

/// `/readyz` and `/metrics` come to say that it is so; readiness remembers what it saw for a while.
async fn assert_breaker(scene: &Scene, state: &str) {
    let is_shown = async || {
        let ready = scene.api.get("/readyz").await.json();
        let metrics = scene.api.get("/metrics").await.text;
        let sample = format!("app_bank_breaker{{state=\"{state}\"}} 1");
        ready["bank_breaker"] == state && metrics.contains(&sample)
    };
    eventually_async(&format!("the breaker is {state}"), is_shown).await;
}

async fn let_breaker_open_time_pass(scene: &Scene) {
    sqlx::query("update bank.breakers set open_until = clock_timestamp()")
        .execute(&scene.api.pool)
        .await
        .unwrap();
}

async fn orders(scene: &Scene, count: usize) -> Vec<OrderId> {
    let mut orders = Vec::new();
    for _ in 0..count {
        orders.push(scene.withdraw("1 USD").await);
    }
    orders
}

#[tokio::test]
async fn after_five_failures_over_two_workers_jobs_wait_without_attempts_and_say_why() {
    let scene = Scene::with(json!({"unavailable_rate": 1})).await;
    assert_breaker(&scene, "closed").await;
    for worker in [scene.worker(), scene.worker(), scene.worker()] {
        orders(&scene, 2).await;
        worker.run_until_idle().await.unwrap();
    }
    assert_breaker(&scene, "open").await;
    let calls = scene.calls().await.len();
    assert!((5..=6).contains(&calls), "{calls}");

    let later = orders(&scene, 3).await;
    scene.run_due().await;
    scene.let_time_pass().await;
    scene.run_due().await;
    assert_eq!(scene.calls().await.len(), calls, "the bank is left alone");
    for (kind, _, attempt, reason) in scene.jobs().await.into_iter().skip(6) {
        assert_eq!((kind.as_str(), attempt), ("execute_bank_order", 0));
        assert_eq!(reason.as_deref(), Some(REASON));
    }
    for order in later {
        assert_eq!(scene.outcome(order).await.0, "PENDING");
    }
    let soon: bool = sqlx::query_scalar(
        "select bool_and(run_at between now() + interval '50 s' and now() + interval '67 s')
         from queue.jobs",
    )
    .fetch_one(&scene.api.pool)
    .await
    .unwrap();
    assert!(soon, "they come back when the bank is probed");
}

#[tokio::test]
async fn one_probe_goes_to_the_bank_while_the_others_wait_and_its_success_lets_all_through() {
    let scene = Scene::with(json!({"unavailable_rate": 1})).await;
    orders(&scene, 8).await;
    scene.run_due().await;
    assert_breaker(&scene, "open").await;
    scene.bank.turn(json!({"success_rate": 1})).await;
    let before = scene.calls().await.len();

    let_breaker_open_time_pass(&scene).await;
    scene.let_time_pass().await;
    scene.gate.hold(Hold::Sends);
    let settings = WorkerSettings::default();
    let worker = TestWorker::start_with(&scene.api.pool, scene.way(), settings);
    scene.gate.wait_until_held(1).await;
    let waiting = "select count(*) from queue.jobs where wait_reason is not null and not running";
    eventually_async("the others wait", async || scene.api.count(waiting).await == 7).await;
    assert_eq!(scene.calls().await.len(), before + 1, "one call");
    assert_breaker(&scene, "half_open").await;

    scene.gate.hold(Hold::Nothing);
    scene.gate.forward_held();
    worker.stop().await;
    assert_breaker(&scene, "closed").await;
    scene.run_to_the_end().await;
    let completed = "select count(*) from payments.orders where bank_reference is not null";
    assert_eq!(scene.api.count(completed).await, 8);
    scene.assert_agreed().await;
}

#[tokio::test]
async fn a_probe_that_fails_keeps_the_others_waiting() {
    let scene = Scene::with(json!({"unavailable_rate": 1})).await;
    orders(&scene, 6).await;
    scene.run_due().await;
    let before = scene.calls().await.len();
    let_breaker_open_time_pass(&scene).await;
    scene.let_time_pass().await;
    scene.run_due().await;

    assert_breaker(&scene, "open").await;
    assert_eq!(scene.calls().await.len(), before + 1);
}

#[tokio::test]
async fn declined_orders_never_open_it() {
    let scene = Scene::with(json!({"insufficient_funds_rate": 1})).await;
    let orders = orders(&scene, 8).await;
    scene.run_due().await;
    for order in orders {
        assert_eq!(scene.outcome(order).await.1.as_deref(), Some("insufficient-funds"));
    }
    assert_breaker(&scene, "closed").await;
}
