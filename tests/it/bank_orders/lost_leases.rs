//! A worker that has lost its lease by the time at which it would call the bank: it writes no
//! intent, and sends nothing. Somebody else has the job, and may be calling.

use serde_json::json;

use super::Scene;
use super::gate::Hold;
use super::lost_answers::exhaust;
use crate::support::money::TestWorker;
use crate::support::wait_for_locks;

/// Runs what is due up to the moment before its intent, has another worker take the job there, and
/// lets it go on.
async fn lose_the_lease_before_the_intent(scene: &Scene) {
    // Whoever is about to call asks the breaker first.
    let mut breaker = scene.api.pool.begin().await.unwrap();
    sqlx::query("lock table bank.breakers in access exclusive mode")
        .execute(&mut *breaker)
        .await
        .unwrap();
    let worker = TestWorker::start(&scene.api.pool, scene.way());
    wait_for_locks(&scene.api.pool, 1).await;
    let taken = "update queue.jobs
                 set fence = nextval('queue.fence'), worker_id = gen_random_uuid(),
                   attempt = attempt + 1, lease_expires_at = clock_timestamp() + interval '1 hour'
                 where running";
    let taken = sqlx::query(taken).execute(&scene.api.pool).await.unwrap();
    assert_eq!(taken.rows_affected(), 1);
    breaker.rollback().await.unwrap();
    worker.stop().await;
}

#[tokio::test]
async fn an_order_whose_job_is_somebody_elses_is_not_sent() {
    let scene = Scene::with(json!({"success_rate": 1})).await;
    let order = scene.withdraw("30 USD").await;

    lose_the_lease_before_the_intent(&scene).await;

    assert_eq!(scene.calls().await, []);
    assert!(super::at_bank(&scene.bank.url).await.is_empty(), "the bank was called");
    assert_eq!(scene.outcome(order).await, ("PENDING".to_owned(), None), "there is an intent");
}

#[tokio::test]
async fn an_order_whose_resolution_is_somebody_elses_is_not_asked_about() {
    let scene = Scene::impatient(json!({"accept_then_timeout_rate": 1})).await;
    let order = scene.withdraw("30 USD").await;
    scene.gate.hold(Hold::Enquiries);
    exhaust(&scene).await;
    let calls = scene.calls().await;
    scene.let_time_pass().await;

    lose_the_lease_before_the_intent(&scene).await;

    assert_eq!(scene.calls().await, calls);
    assert_eq!(scene.outcome(order).await, ("PROCESSING".to_owned(), None));
}
