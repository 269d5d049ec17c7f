//! What nobody knows: whether the bank got an instruction, and whether it still will.

use std::time::Duration;

use serde_json::json;
use surety::ids::OrderId;
use surety::jobs::BANK_UNAVAILABLE;
use surety::queue::operate::discarded::{self, Decision, Filter, Resolved};

use super::gate::Hold;
use super::{SHORT, Scene};
use crate::support::eventually_async;
use crate::support::wait_for_locks;

/// Runs the job of the only order until its attempts are used up, and not what follows.
pub(super) async fn exhaust(scene: &Scene) {
    sqlx::query("update queue.jobs set max_attempts = attempt + 1")
        .execute(&scene.api.pool)
        .await
        .unwrap();
    scene.run_due().await;
}

/// Has the discarded job of the order run again, though nothing is known of it yet.
async fn redrive(scene: &Scene) {
    let mut conn = scene.api.pool.acquire().await.unwrap();
    let found = discarded::list(&mut conn, &Filter::default(), None, 10).await.unwrap();
    let by_ada = Decision { by: "ada", reason: "the bank is back" };
    assert_eq!(discarded::redrive(&mut conn, found[0].id, by_ada).await.unwrap(), Resolved::Done);
}

async fn status(scene: &Scene, order: OrderId) -> String {
    scene.outcome(order).await.0
}

async fn wait_until_booked(scene: &Scene) {
    let booked = async || super::at_bank(&scene.bank.url).await.len() == 1;
    eventually_async("the bank books it", booked).await;
}

#[tokio::test]
async fn an_order_that_was_given_up_is_completed_when_the_bank_had_booked_it() {
    let scene = Scene::impatient(json!({"accept_then_timeout_rate": 1})).await;
    let order = scene.withdraw("30 USD").await;
    scene.gate.hold(Hold::Enquiries);
    exhaust(&scene).await;
    scene.let_time_pass().await;
    scene.run_due().await;
    assert_eq!(status(&scene, order).await, "PROCESSING", "nobody could be asked");
    assert_eq!(scene.balance().await, ("100.00".into(), "70.00".into()));

    scene.gate.hold(Hold::Nothing);
    scene.run_to_the_end().await;
    assert_eq!(status(&scene, order).await, "COMPLETED");
    scene.assert_agreed().await;
}

#[tokio::test]
async fn an_order_is_not_failed_while_it_may_be_on_its_way_to_the_bank() {
    let mut scene = Scene::impatient(json!({"success_rate": 1})).await;
    scene.args.bank_lost_after = Duration::from_secs(3600);
    let order = scene.withdraw("30 USD").await;
    scene.gate.hold(Hold::Sends);
    exhaust(&scene).await;
    // Asked at once, the bank knows nothing.
    let waits = scene.jobs().await;
    let [_discarded, (kind, _, 0, Some(reason))] = waits.as_slice() else { panic!("{waits:?}") };
    assert!(kind == "resolve_bank_order" && reason.contains("on its way"), "{waits:?}");
    assert_eq!(status(&scene, order).await, "PROCESSING");

    scene.gate.forward_held();
    wait_until_booked(&scene).await;
    scene.let_time_pass().await;
    scene.run_due().await;
    assert_eq!(status(&scene, order).await, "COMPLETED");
    scene.assert_agreed().await;
}

#[tokio::test]
async fn that_the_bank_knew_nothing_before_a_later_send_was_refused_does_not_fail_an_order() {
    let mut scene = Scene::impatient(json!({"unavailable_rate": 1})).await;
    scene.args.bank_lost_after = Duration::from_secs(3600);
    let order = scene.withdraw("30 USD").await;
    scene.gate.hold(Hold::Sends);
    scene.run_due().await;
    // The first is still out there when the bank says that it knows nothing and accepts nothing.
    scene.gate.hold(Hold::Nothing);
    scene.let_time_pass().await;
    exhaust(&scene).await;
    let outcomes: Vec<_> = scene.calls().await.into_iter().filter_map(|(_, it)| it).collect();
    assert_eq!(outcomes, ["timed_out", "unknown_key", "unavailable", "unknown_key"]);
    assert_eq!(status(&scene, order).await, "PROCESSING");

    scene.bank.turn(json!({"success_rate": 1})).await;
    scene.gate.forward_held();
    wait_until_booked(&scene).await;
    scene.run_to_the_end().await;
    assert_eq!(status(&scene, order).await, "COMPLETED");
    scene.assert_agreed().await;
}

#[tokio::test]
async fn what_the_bank_books_after_it_was_given_up_for_lost_stays_failed_and_is_a_break() {
    let scene = Scene::impatient(json!({"success_rate": 1})).await;
    let order = scene.withdraw("30 USD").await;
    scene.gate.hold(Hold::Sends);
    exhaust(&scene).await;
    scene.run_to_the_end().await;
    let lost = ("FAILED".to_owned(), Some(BANK_UNAVAILABLE.to_owned()));
    assert_eq!(scene.outcome(order).await, lost);
    assert_eq!(scene.balance().await, ("100.00".into(), "100.00".into()));
    scene.gate.forward_held();
    wait_until_booked(&scene).await;

    // Its owner was told, and may have paid another way: what then is to be done is for people.
    scene.gate.hold(Hold::Nothing);
    scene.run_due().await;
    assert_eq!(scene.outcome(order).await, lost);
    let (here, there) =
        (super::in_ledger(&scene.api.pool).await, super::at_bank(&scene.bank.url).await);
    assert_ne!(here, there, "which a reconciliation tells");
}

#[tokio::test]
async fn an_order_is_not_failed_while_its_redriven_job_sends_it() {
    let mut scene = Scene::impatient(json!({"timeout_rate": 1})).await;
    scene.args.bank_lost_after = Duration::from_secs(3600);
    let order = scene.withdraw("30 USD").await;
    exhaust(&scene).await;
    scene.args.bank_lost_after = SHORT;
    scene.bank.turn(json!({"success_rate": 1})).await;
    redrive(&scene).await;

    // The bank has said that it knows nothing. The redriven job is about to write that it sends;
    // the other one sees that it was redriven.
    let mut elsewhere = scene.api.pool.begin().await.unwrap();
    lock(&mut elsewhere, order).await;
    let (redriven, resolving) = (scene.worker(), scene.worker());
    tokio::join!(async { redriven.run_until_idle().await.unwrap() }, async {
        wait_for_locks(&scene.api.pool, 1).await;
        scene.let_time_pass().await;
        resolving.run_until_idle().await.unwrap();
        elsewhere.rollback().await.unwrap();
    });

    scene.run_to_the_end().await;
    assert_eq!(status(&scene, order).await, "COMPLETED");
    scene.assert_agreed().await;
}

async fn lock(conn: &mut sqlx::PgConnection, order: OrderId) {
    sqlx::query("select from payments.orders where id = $1 for update")
        .bind(order)
        .execute(conn)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_bank_that_is_killed_and_comes_back_with_its_books_has_booked_once() {
    let scene = Scene::impatient(json!({"success_rate": 1})).await;
    let dir = crate::support::scratch_dir();
    let data = dir.join("bank.jsonl");
    let flags = ["--latency", "1h", "--success-rate", "1"];
    let (mut bank, url) = crate::bank::process::spawn(&data, &flags).await;
    scene.gate.lead_to(&url);
    let orders = [scene.withdraw("30 USD").await, scene.deposit("5 USD").await];
    let worker = scene.worker();
    tokio::join!(async { worker.run_until_idle().await.unwrap() }, async {
        let booked = async || super::at_bank(&url).await.len() == 2;
        eventually_async("the bank books both", booked).await;
        bank.kill().await;
    });
    let (_bank, url) = crate::bank::process::spawn(&data, &["--success-rate", "1"]).await;
    scene.gate.lead_to(&url);
    scene.run_to_the_end().await;

    for order in orders {
        assert_eq!(status(&scene, order).await, "COMPLETED");
    }
    super::assert_agreed(&scene.api.pool, &url).await;
}
