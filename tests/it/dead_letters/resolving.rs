//! Decisions over an order of which nobody knows yet what the bank did, while the job that is to
//! find out is still at it.

use serde_json::json;
use surety::ids::OrderId;

use super::{World, failed, is, pair};
use crate::support::ledger::count;
use crate::support::{SimulatedBank, scratch_dir, wait_for_locks};

/// How many jobs that find out are still to run.
const RESOLVING: &str = "select count(*) from queue.jobs where kind = 'resolve_bank_order'";

/// Keeps the jobs that execute orders from running.
async fn hold_back_execution(world: &World) {
    let statement = "update queue.jobs set run_at = case kind
                       when 'execute_bank_order' then now() + interval '1 hour' else now() end";
    sqlx::query(statement).execute(world.pool()).await.unwrap();
}

/// Locks an order until the transaction that is returned ends.
async fn lock(world: &World, order: OrderId) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut tx = world.pool().begin().await.unwrap();
    sqlx::query("select from payments.orders where id = $1 for update")
        .bind(order)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx
}

#[tokio::test]
async fn an_order_in_doubt_keeps_its_hold_until_it_is_written_off() {
    let mut world = World::new().await;
    let (order, job) = world.in_doubt().await;
    assert_eq!(world.balance().await, pair("100.00", "70.00"));
    assert_eq!((world.listed().await, count(world.pool(), RESOLVING).await), (vec![job], 1));

    world.write_off(job).await;
    assert_eq!(world.outcome(order).await, failed("written-off"));
    assert_eq!(world.balance().await, pair("100.00", "100.00"));
    world.verify().await;

    world.bank = SimulatedBank::start(json!({ "success_rate": 1 })).await;
    world.bank.run_jobs(world.pool()).await;
    assert_eq!(world.outcome(order).await, failed("written-off"));
    assert_eq!(count(world.pool(), RESOLVING).await, 0);
    assert_eq!(world.bank.booked(order).await, []);
    world.verify().await;
}

#[tokio::test]
async fn an_order_in_doubt_that_is_redriven_is_left_alone_by_the_job_that_was_to_find_out() {
    let mut world = World::new().await;
    let (order, job) = world.in_doubt().await;
    world.redrive(job).await;
    assert_eq!(world.outcome(order).await, is("PROCESSING"));
    assert_eq!(world.balance().await, pair("100.00", "70.00"));

    // This bank knows nothing of the order, so that an enquiry would end it.
    world.bank = SimulatedBank::start(json!({ "success_rate": 1 })).await;
    hold_back_execution(&world).await;
    world.bank.run_due_jobs(world.pool()).await;
    assert_eq!(count(world.pool(), RESOLVING).await, 0);
    assert_eq!(world.outcome(order).await, is("PROCESSING"));
    assert_eq!(world.balance().await, pair("100.00", "70.00"));

    world.bank.run_jobs(world.pool()).await;
    assert_eq!(world.outcome(order).await, is("COMPLETED"));
    assert_eq!(world.balance().await, pair("70.00", "70.00"));
    assert_eq!(world.bank.booked(order).await, [pair("withdrawal", "30.00")]);
    world.verify().await;
}

#[tokio::test]
async fn a_redrive_that_comes_before_the_finding_wins_over_it() {
    let mut world = World::new().await;
    let (order, job) = world.in_doubt().await;
    world.bank = SimulatedBank::start(json!({ "success_rate": 1 })).await;
    let locked = lock(&world, order).await;

    let (redriven, found_out) = tokio::join!(world.decide(job, "redrive"), async {
        // The redrive waits for the order; then whoever has asked the bank does.
        wait_for_locks(world.pool(), 1).await;
        let stop_there = async {
            wait_for_locks(world.pool(), 2).await;
            locked.commit().await.unwrap();
        };
        let run = world.bank.run_jobs(world.pool());
        let (summary, ()) = tokio::join!(run, stop_there);
        summary
    });

    assert_eq!(redriven.status, 200, "{redriven:?}");
    assert!(found_out.completed >= 1, "{found_out:?}");
    assert_eq!(count(world.pool(), RESOLVING).await, 0);
    assert_ne!(world.outcome(order).await, failed("bank-unavailable"));
    world.bank.run_jobs(world.pool()).await;
    assert_eq!(world.outcome(order).await, is("COMPLETED"));
    assert_eq!(world.bank.booked(order).await, [pair("withdrawal", "30.00")]);
    assert_eq!(world.balance().await, pair("70.00", "70.00"));
    world.verify().await;
}

#[tokio::test]
async fn a_redrive_that_comes_after_the_finding_is_too_late() {
    let mut world = World::new().await;
    let (order, job) = world.in_doubt().await;
    world.bank = SimulatedBank::start(json!({ "unavailable_rate": 1 })).await;
    let locked = lock(&world, order).await;

    let (found_out, redriven) = tokio::join!(world.bank.run_jobs(world.pool()), async {
        wait_for_locks(world.pool(), 1).await;
        let let_go = async {
            wait_for_locks(world.pool(), 2).await;
            locked.commit().await.unwrap();
        };
        let (redriven, ()) = tokio::join!(world.decide(job, "redrive"), let_go);
        redriven
    });

    assert_eq!((redriven.status, redriven.code()), (409, "dead-letter-decided".to_owned()));
    assert!(found_out.completed >= 1, "{found_out:?}");
    assert_eq!(world.outcome(order).await, failed("bank-unavailable"));
    assert_eq!(world.balance().await, pair("100.00", "100.00"));
    world.verify().await;
}

#[tokio::test]
async fn what_the_bank_did_after_all_leaves_an_operator_nothing_to_decide() {
    for (dials, expected, available, reason) in [
        (json!({ "success_rate": 1, "latency": "10s" }), is("COMPLETED"), "70.00", "booked"),
        (
            json!({ "insufficient_funds_rate": 1, "latency": "10s" }),
            failed("insufficient-funds"),
            "100.00",
            "declined",
        ),
    ] {
        let dir = scratch_dir();
        let file = dir.join("bank.jsonl");
        let mut world = World::new().await;
        // It decides at once, and answers when nobody listens any more.
        world.bank = SimulatedBank::start_on(dials, Some(file.clone())).await;
        let order = world.order("/v1/withdrawals", "30 USD").await;
        world.bank.run_jobs(world.pool()).await;
        world.bank.stop().await;
        world.bank.run_until_given_up(world.pool()).await;
        let job = world.job(order).await;
        assert_eq!(world.listed().await, [job]);

        world.bank = SimulatedBank::start_on(json!({}), Some(file)).await;
        world.bank.run_jobs(world.pool()).await;
        assert_eq!(world.outcome(order).await, expected);
        assert_eq!(world.balance().await.1, available);
        assert_eq!(world.listed().await, [0; 0]);
        let decided = &world.show(job).await["decisions"][0];
        assert_eq!(decided["decided_by"], "resolve_bank_order");
        assert!(decided["reason"].as_str().unwrap().contains(reason), "{decided}");
        let late = world.decide(job, "redrive").await;
        assert_eq!((late.status, late.code()), (409, "dead-letter-decided".to_owned()));
        world.verify().await;
    }
}

#[tokio::test]
async fn a_finding_that_comes_too_late_does_no_harm_and_is_in_the_log() {
    let dir = scratch_dir();
    let file = dir.join("bank.jsonl");
    let mut world = World::new().await;
    let booking = json!({ "success_rate": 1, "latency": "10s" });
    world.bank = SimulatedBank::start_on(booking, Some(file.clone())).await;
    let order = world.order("/v1/withdrawals", "30 USD").await;
    world.bank.run_jobs(world.pool()).await;
    world.bank.stop().await;
    world.bank.run_until_given_up(world.pool()).await;
    let job = world.job(order).await;
    world.bank = SimulatedBank::start_on(json!({}), Some(file)).await;
    let locked = lock(&world, order).await;

    let (_, written_off) = tokio::join!(
        async {
            wait_for_locks(world.pool(), 1).await;
            let let_go = async {
                wait_for_locks(world.pool(), 2).await;
                locked.commit().await.unwrap();
            };
            tokio::join!(world.bank.run_jobs(world.pool()), let_go)
        },
        world.decide(job, "write-off")
    );

    assert_eq!(written_off.status, 200, "{written_off:?}");
    assert_eq!(world.outcome(order).await, failed("written-off"));
    assert_eq!(world.balance().await, pair("100.00", "100.00"));
    let told = "select count(*) from bank.calls where operation = 'enquire' and outcome = 'booked'";
    assert_eq!(count(world.pool(), told).await, 1);
    assert_eq!(count(world.pool(), RESOLVING).await, 0);
    world.verify().await;
}
