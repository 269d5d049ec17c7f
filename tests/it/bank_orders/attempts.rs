//! Attempts: how many, how far apart, what is left when they are used up, and a worker that stops.

use std::time::Duration;

use serde_json::json;
use surety::jobs::{BANK_UNAVAILABLE, ExecuteBankOrder};
use surety::queue::{NewJob, WorkerSettings, enqueue, testing};

use super::Scene;
use super::gate::Hold;
use crate::support::money::TestWorker;

fn unavailable() -> (String, Option<String>) {
    ("FAILED".to_owned(), Some(BANK_UNAVAILABLE.to_owned()))
}

/// Seconds until the job of the order is due, as they were set when its attempt failed.
async fn wait_secs(scene: &Scene) -> f64 {
    sqlx::query_scalar(
        "select extract(epoch from jobs.run_at - max(attempts.ended_at))::float8
         from queue.jobs join queue.attempts on attempts.job_id = jobs.id
         where jobs.kind = 'execute_bank_order' group by jobs.id",
    )
    .fetch_one(&scene.api.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn four_attempts_about_4_16_and_64_seconds_apart_then_failed_with_every_error_kept() {
    let scene = Scene::with(json!({"unavailable_rate": 1})).await;
    let order = scene.withdraw("30 USD").await;
    for about in [4.0, 16.0, 64.0] {
        scene.run_due().await;
        assert_eq!(scene.outcome(order).await, ("PROCESSING".to_owned(), None));
        let waits = wait_secs(&scene).await / about;
        // A quarter of jitter, and what lies between the failure and its being written down.
        assert!((0.75..1.5).contains(&waits), "{waits} of {about} s");
        scene.let_time_pass().await;
    }
    // The last one; what it leads to is due at once.
    scene.run_due().await;

    assert_eq!(scene.outcome(order).await, unavailable());
    assert_eq!(scene.balance().await, ("100.00".into(), "100.00".into()), "the hold is released");
    let discarded = ("execute_bank_order".to_owned(), "discarded".to_owned(), 4, None);
    assert_eq!(scene.jobs().await, [discarded]);
    let errors = scene.errors().await;
    assert_eq!(errors.len(), 4, "{errors:?}");
    assert!(errors.iter().all(|error| error.contains("did not accept")), "{errors:?}");
    scene.assert_agreed().await;
}

#[tokio::test]
async fn a_second_job_for_an_order_that_has_failed_does_nothing() {
    let scene = Scene::with(json!({"unavailable_rate": 1})).await;
    let order = scene.withdraw("30 USD").await;
    scene.run_to_the_end().await;
    scene.bank.turn(json!({"success_rate": 1})).await;
    let before = (scene.calls().await, scene.jobs().await);

    let mut conn = scene.api.pool.acquire().await.unwrap();
    let again = NewJob::new(&ExecuteBankOrder { order }).unwrap();
    enqueue(&mut conn, again).await.unwrap();
    scene.run_due().await;

    assert_eq!(scene.outcome(order).await, unavailable());
    assert_eq!((scene.calls().await, scene.jobs().await), before);
}

#[tokio::test]
async fn a_worker_that_stops_in_a_call_hands_the_job_back_and_the_next_one_enquires() {
    let scene = Scene::with(json!({"success_rate": 1, "latency": "10s"})).await;
    let order = scene.withdraw("30 USD").await;
    let settings = WorkerSettings { grace: Duration::from_millis(1), ..WorkerSettings::default() };
    let worker = TestWorker::start_with(&scene.api.pool, scene.way(), settings);
    crate::support::eventually_async("the bank has booked it", async || {
        super::at_bank(&scene.bank.url).await.len() == 1
    })
    .await;
    assert_eq!(worker.stop().await.handed_back, 1);

    let due = ("execute_bank_order".to_owned(), "available".to_owned(), 0, None);
    assert_eq!(scene.jobs().await, [due], "due at once, and the attempt does not count");
    scene.run_due().await;
    assert_eq!(scene.outcome(order).await.0, "COMPLETED");
    let calls = scene.calls().await;
    let enquired = ("enquire".to_owned(), Some("booked".to_owned()));
    assert_eq!(calls, [("send".to_owned(), None), enquired]);
    scene.assert_agreed().await;
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_in_a_call_changes_nothing_with_the_answer() {
    let scene = Scene::with(json!({"success_rate": 1})).await;
    let order = scene.withdraw("30 USD").await;
    scene.gate.hold(Hold::Sends);
    let stale = scene.worker();
    let (summary, ()) = tokio::join!(stale.run_until_idle(), async {
        scene.gate.wait_until_held(1).await;
        let lease = WorkerSettings::default().lease;
        testing::advance(&scene.api.pool, lease).await.unwrap();
        scene.gate.hold(Hold::Nothing);
        // The other one takes it over, enquires in vain, sends, and is done.
        scene.run_due().await;
        assert_eq!(scene.outcome(order).await.0, "COMPLETED");
        scene.gate.forward_held();
    });

    assert_eq!(summary.unwrap().lease_lost, 1);
    let operations: Vec<String> = scene.calls().await.into_iter().map(|(it, _)| it).collect();
    assert_eq!(operations, ["send", "enquire", "send"]);
    scene.assert_agreed().await;
}
