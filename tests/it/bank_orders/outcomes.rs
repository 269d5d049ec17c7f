//! What the bank says becomes the outcome of the order.

use serde_json::json;
use surety::bank::{BankInstruction, Direction, EffectKey};
use surety::ids::OrderId;
use surety::payments::orders;

use super::Scene;
use super::gate::Hold;
use crate::support::ledger::money;
use crate::support::{PATIENCE, wait_for_locks};

fn declined(reason: &str) -> (String, Option<String>) {
    ("FAILED".to_owned(), Some(reason.to_owned()))
}

fn completed() -> (String, Option<String>) {
    ("COMPLETED".to_owned(), None)
}

#[tokio::test]
async fn what_the_bank_books_is_posted_under_its_reference() {
    let scene = Scene::with(json!({"success_rate": 1})).await;
    let (deposit, withdrawal) = (scene.deposit("50 USD").await, scene.withdraw("30.25 USD").await);
    assert_eq!(scene.balance().await, ("100.00".into(), "69.75".into()), "it is held");
    scene.run_due().await;

    for order in [deposit, withdrawal] {
        assert_eq!(scene.outcome(order).await, completed());
    }
    assert_eq!(scene.balance().await, ("119.75".into(), "119.75".into()));
    let booked = ("send".to_owned(), Some("booked".to_owned()));
    assert_eq!(scene.calls().await, [booked.clone(), booked], "each is sent once");
    scene.assert_agreed().await;
}

#[tokio::test]
async fn what_the_bank_declines_fails_for_its_reason_and_leaves_nothing() {
    let scene = Scene::with(json!({"insufficient_funds_rate": 1})).await;
    let (deposit, withdrawal) = (scene.deposit("50 USD").await, scene.withdraw("30 USD").await);
    let entries = "select count(*) from payments.entries";
    let before = scene.api.count(entries).await;
    scene.run_due().await;

    for order in [deposit, withdrawal] {
        assert_eq!(scene.outcome(order).await, declined("insufficient-funds"));
    }
    assert_eq!(scene.balance().await, ("100.00".into(), "100.00".into()), "the hold is released");
    assert_eq!(scene.api.count(entries).await, before);
    assert_eq!(scene.jobs().await, [], "a decline is no failure of the job");
    scene.assert_agreed().await;
}

#[tokio::test]
async fn however_nasty_the_answer_what_was_booked_is_posted_and_sent_once() {
    for (dial, outcome) in [
        ("accept_then_timeout_rate", "timed_out"),
        ("cut_body_rate", "malformed"),
        ("wrong_amount_rate", "malformed"),
        ("answer_twice_rate", "booked"),
    ] {
        let scene = Scene::impatient(json!({dial: 1})).await;
        let orders = [scene.deposit("50 USD").await, scene.withdraw("30 USD").await];
        scene.run_to_the_end().await;

        for order in orders {
            assert_eq!(scene.outcome(order).await, completed(), "{dial}");
        }
        let sends: Vec<_> =
            scene.calls().await.into_iter().filter(|(operation, _)| operation == "send").collect();
        let expected = ("send".to_owned(), Some(outcome.to_owned()));
        assert_eq!(sends, [expected.clone(), expected], "{dial}");
        assert_eq!(scene.balance().await, ("120.00".into(), "120.00".into()), "{dial}");
        scene.assert_agreed().await;
    }
}

#[tokio::test]
async fn what_the_bank_decides_late_is_waited_for_without_attempts_and_goes_either_way() {
    let mut scene = Scene::impatient(json!({"late_rate": 1, "late_after": "2s"})).await;
    scene.args.bank_breaker_threshold = 100;
    for _ in 0..10 {
        scene.deposit("10 USD").await;
        scene.withdraw("5 USD").await;
    }
    scene.run_due().await;
    scene.let_time_pass().await;
    scene.run_due().await;
    for (kind, state, attempt, reason) in scene.jobs().await {
        assert_eq!((kind.as_str(), state.as_str()), ("execute_bank_order", "retryable"));
        // The first one timed out; that the bank has not decided is no failure.
        assert_eq!(attempt, 1);
        assert_eq!(reason.as_deref(), Some("the bank has not decided yet"));
    }
    scene.run_to_the_end().await;

    let completed = "select count(*) from payments.orders where bank_reference is not null";
    assert!((1..20).contains(&scene.api.count(completed).await), "both ways occur");
    let other = "select count(*) from payments.orders
                 where status = 'FAILED' and failure_reason <> 'account-closed'";
    assert_eq!(scene.api.count(other).await, 0);
    scene.assert_agreed().await;
}

#[tokio::test]
async fn without_a_bank_orders_wait_and_say_why() {
    let mut scene = Scene::with(json!({"success_rate": 1})).await;
    let url = scene.args.bank_url.take();
    let order = scene.deposit("10 USD").await;
    scene.run_due().await;
    let waits = ("execute_bank_order".to_owned(), "scheduled".to_owned(), 0, {
        Some("no bank is set: APP_BANK_URL".to_owned())
    });
    assert_eq!(scene.jobs().await, [waits]);
    assert_eq!(scene.outcome(order).await, ("PENDING".to_owned(), None));

    scene.args.bank_url = url;
    scene.run_to_the_end().await;
    assert_eq!(scene.outcome(order).await, completed());
    scene.assert_agreed().await;
}

/// Has the bank book something else under the key of an order.
async fn book(scene: &Scene, order: OrderId, text: &str) {
    let instruction = BankInstruction {
        effect_key: EffectKey::of_order(order),
        direction: Direction::Withdrawal,
        money: money(text),
        account: "somebody".to_owned(),
    };
    scene.bank.client(PATIENCE).send(&instruction).await.unwrap();
}

#[tokio::test]
async fn other_money_at_the_bank_is_left_to_an_operator_with_the_hold_in_place() {
    let scene = Scene::with(json!({"success_rate": 1})).await;
    let order = scene.withdraw("30 USD").await;
    book(&scene, order, "31 USD").await;
    scene.run_due().await;
    scene.let_time_pass().await;
    scene.run_due().await;

    // Discarded at once, without a follow-up: nobody can find out more by asking.
    let discarded = ("execute_bank_order".to_owned(), "discarded".to_owned(), 2, None);
    assert_eq!(scene.jobs().await, [discarded]);
    let errors = scene.errors().await;
    assert!(errors[1].contains("31.00 USD") && errors[1].contains("other money"), "{errors:?}");
    assert_eq!(scene.outcome(order).await, ("PROCESSING".to_owned(), None));
    assert_eq!(scene.balance().await, ("100.00".into(), "70.00".into()));
}

#[tokio::test]
async fn a_booking_of_an_order_that_has_failed_meanwhile_is_not_passed_over() {
    let scene = Scene::with(json!({"success_rate": 1})).await;
    let order = scene.withdraw("30 USD").await;
    scene.gate.hold(Hold::Sends);
    let worker = scene.worker();
    let (_, ()) = tokio::join!(worker.run_until_idle(), async {
        scene.gate.wait_until_held(1).await;
        let mut conn = scene.api.pool.acquire().await.unwrap();
        assert!(!orders::fail(&mut conn, order, "by-hand").await.unwrap().is_empty());
        scene.gate.forward_held();
    });

    let discarded = ("execute_bank_order".to_owned(), "discarded".to_owned(), 1, None);
    assert_eq!(scene.jobs().await, [discarded]);
    let errors = scene.errors().await;
    assert!(errors[0].contains("had failed by then"), "{errors:?}");
}

#[tokio::test]
async fn a_probe_that_is_not_made_after_all_is_given_back() {
    let scene = Scene::with(json!({"success_rate": 1})).await;
    let order = scene.withdraw("30 USD").await;
    sqlx::query(
        "insert into bank.breakers (name, failures, opened_at, open_until)
         values ('bank', 5, now(), now())",
    )
    .execute(&scene.api.pool)
    .await
    .unwrap();
    let mut elsewhere = scene.api.pool.begin().await.unwrap();
    assert!(!orders::fail(&mut elsewhere, order, "by-hand").await.unwrap().is_empty());
    let worker = scene.worker();
    let (_, ()) = tokio::join!(worker.run_until_idle(), async {
        wait_for_locks(&scene.api.pool, 1).await;
        elsewhere.commit().await.unwrap();
    });

    let taken = "select count(*) from bank.breakers where probe = 1";
    let under_way = "select count(*) from bank.breakers where probe_expires_at is not null";
    assert_eq!((scene.api.count(taken).await, scene.api.count(under_way).await), (1, 0));
    assert_eq!(scene.jobs().await, []);
    assert_eq!(scene.calls().await, []);
}

#[tokio::test]
async fn a_bank_that_is_down_for_a_while_gets_each_order_once_it_is_back() {
    let mut scene = Scene::impatient(json!({"success_rate": 1})).await;
    let order = scene.withdraw("30 USD").await;
    // Nobody listens there.
    let url = scene.args.bank_url.replace("http://127.0.0.1:1".to_owned());
    for _ in 0..2 {
        scene.run_due().await;
        scene.let_time_pass().await;
    }
    let errors = scene.errors().await;
    assert_eq!(errors.len(), 2);
    assert!(errors.iter().all(|error| error.contains("no connection")), "{errors:?}");

    scene.args.bank_url = url;
    scene.run_to_the_end().await;
    assert_eq!(scene.outcome(order).await, completed());
    let operations: Vec<String> = scene.calls().await.into_iter().map(|(it, _)| it).collect();
    assert_eq!(operations, ["send", "send", "send"], "what never arrived needs no enquiry");
    scene.assert_agreed().await;
}
