//! Decisions by HTTP.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use surety::jobs::SettleTransaction;
use surety::queue::{NewJob, enqueue};

use super::{World, failed, is, pair};
use crate::support::SimulatedBank;
use crate::support::ledger::{accepted, balance, count, external, outcome, run_jobs};
use crate::support::money::discarded_job;

#[tokio::test]
async fn an_order_that_the_bank_never_took_fails_without_a_hold_and_asks_nothing_of_an_operator() {
    let world = World::new().await;
    let (order, job) = world.given_up("30 USD").await;

    assert_eq!(world.outcome(order).await, failed("bank-unavailable"));
    assert_eq!(world.balance().await, pair("100.00", "100.00"));
    assert_eq!(world.listed().await, [0; 0], "the rules have decided");
    let letter = world.show(job).await;
    assert_eq!(letter["is_open"], false);
    assert_eq!(letter["decisions"][0]["decided_by"], "resolve_bank_order");
    assert_eq!(letter["order"]["id"], order.to_string());
    assert_eq!(letter["order"]["failure_reason"], "bank-unavailable");
    let attempts = letter["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 4);
    assert!(attempts.iter().all(|it| !it["error"].as_str().unwrap().is_empty()), "{attempts:?}");
    world.verify().await;
}

#[tokio::test]
async fn what_has_failed_stays_failed_whoever_wants_it_otherwise() {
    let mut world = World::new().await;
    let (never_taken, never_taken_job) = world.given_up("30 USD").await;
    let (written_off, written_off_job) = world.stuck("10 USD").await;
    world.write_off(written_off_job).await;
    let (transaction, unsettled_job) = unsettled(&world).await;
    world.write_off(unsettled_job).await;

    for job in [never_taken_job, written_off_job, unsettled_job] {
        for what in ["redrive", "write-off"] {
            let late = world.decide(job, what).await;
            assert_eq!((late.status, late.code()), (409, "dead-letter-decided".to_owned()));
        }
        let (code, output) = world.run(&["redrive", &job.to_string(), "--reason", "again"]).await;
        assert_eq!(code, Some(5), "{output}");
    }
    let (code, output) = world.run(&["redrive", "--all", "--yes", "--reason", "again"]).await;
    assert_eq!(code, Some(0), "{output}");
    world.bank = SimulatedBank::start(json!({ "success_rate": 1 })).await;
    world.bank.run_jobs(world.pool()).await;

    assert_eq!(world.outcome(never_taken).await, failed("bank-unavailable"));
    assert_eq!(world.outcome(written_off).await, failed("written-off"));
    assert_eq!(outcome(world.pool(), transaction).await.0, "FAILED");
    assert_eq!(world.bank.booked(never_taken).await, []);
    assert_eq!(world.balance().await, pair("100.00", "100.00"));
    world.verify().await;
}

#[tokio::test]
async fn the_database_itself_keeps_an_outcome_as_it_is() {
    let world = World::new().await;
    world.given_up("30 USD").await;
    for (table, from, to) in [
        ("orders", "FAILED", "PENDING"),
        ("orders", "FAILED", "COMPLETED"),
        ("orders", "COMPLETED", "FAILED"),
        ("transactions", "FAILED", "PROCESSING"),
        ("transactions", "COMPLETED", "PROCESSING"),
    ] {
        if table == "transactions" {
            accepted(world.pool(), "alice", "bob", "1 USD").await;
            let end = "update payments.transactions set processed_at = clock_timestamp(),
                         status = 'COMPLETED' where status = 'PROCESSING'";
            sqlx::query(end).execute(world.pool()).await.unwrap();
        }
        let (dated, reason) = match to {
            "COMPLETED" => ("clock_timestamp()", "null"),
            "FAILED" => ("clock_timestamp()", "'other'"),
            _ => ("null", "null"),
        };
        let dated_at = if table == "orders" { "finished_at" } else { "processed_at" };
        let sql = format!(
            "update payments.{table}
             set status = '{to}', failure_reason = {reason}, {dated_at} = {dated}
             where status = '{from}'"
        );
        let refused = sqlx::query(AssertSqlSafe(sql)).execute(world.pool()).await;
        match (refused, (table, from)) {
            // None has failed.
            (Ok(done), ("transactions", "FAILED")) => assert_eq!(done.rows_affected(), 0),
            (refused, _) => {
                let refused = refused.unwrap_err();
                let code = refused.as_database_error().unwrap().code().unwrap().into_owned();
                assert_eq!(code, "23001", "{table} {from} {to}: {refused}");
            }
        }
    }
}

#[tokio::test]
async fn an_order_in_doubt_that_is_redriven_is_executed_once_under_its_old_key() {
    let mut world = World::new().await;
    let (order, job) = world.in_doubt().await;
    assert_eq!(world.listed().await, [job]);

    world.redrive(job).await;
    assert_eq!(world.outcome(order).await, is("PROCESSING"));
    assert_eq!(world.balance().await, pair("100.00", "70.00"));
    assert_eq!(world.listed().await, [0; 0]);
    world.verify().await;
    world.bank = SimulatedBank::start(json!({ "success_rate": 1 })).await;
    world.bank.run_jobs(world.pool()).await;

    assert_eq!(world.outcome(order).await, is("COMPLETED"));
    assert_eq!(world.balance().await, pair("70.00", "70.00"));
    assert_eq!(world.bank.booked(order).await, [pair("withdrawal", "30.00")]);
    let decided = &world.show(job).await["decisions"][0];
    assert_eq!(decided["decision"], "redriven");
    assert_eq!(decided["reason"], "case 4711");
    assert_eq!(decided["decided_by"], format!("user:{}", world.admin.id));
    world.verify().await;
}

#[tokio::test]
async fn who_only_reads_decides_over_no_money() {
    let world = World::new().await;
    let (order, job) = world.stuck("30 USD").await;
    for what in ["redrive", "write-off"] {
        let path = format!("/v1/dead-letters/{job}/{what}");
        let reason = json!({ "reason": "case 4711" });
        for person in [&world.operator, &world.customer.person] {
            let answer = person.send(&world.api, "POST", &path, &reason).await;
            assert_eq!((answer.status, answer.code()), (403, "forbidden".to_owned()));
        }
    }
    assert_eq!(world.listed().await, [job]);
    assert_eq!(world.outcome(order).await, is("PENDING"));
    assert_eq!(world.balance().await, pair("100.00", "70.00"));
}

#[tokio::test]
async fn of_many_decisions_at_once_one_wins_and_the_others_are_conflicts() {
    let world = World::new().await;
    for _round in 0..5 {
        let (order, job) = world.stuck("1 USD").await;
        let decisions = (0..12).map(|number| {
            let what = if number % 2 == 0 { "redrive" } else { "write-off" };
            let world = &world;
            async move { (what, world.decide(job, what).await) }
        });
        let answers = futures_util::future::join_all(decisions).await;

        let mut statuses = BTreeMap::new();
        for (_, answer) in &answers {
            *statuses.entry(answer.status).or_insert(0) += 1;
        }
        assert_eq!(statuses, BTreeMap::from([(200, 1), (409, 11)]), "{answers:?}");
        let (winner, _) = answers.iter().find(|(_, answer)| answer.status == 200).unwrap();
        let (now, then) = match *winner {
            "redrive" => (is("PENDING"), is("COMPLETED")),
            _ => (failed("written-off"), failed("written-off")),
        };
        assert_eq!(world.outcome(order).await, now);
        world.verify().await;
        world.bank.run_jobs(world.pool()).await;
        assert_eq!(world.outcome(order).await, then);
    }
}

#[tokio::test]
async fn a_transfer_that_was_given_up_keeps_its_hold_until_it_is_decided_over() {
    let world = World::new().await;
    let ((first, first_job), (second, second_job)) =
        (world.stuck("40 USD").await, world.stuck("40 USD").await);
    assert_eq!(world.balance().await, pair("100.00", "20.00"));

    world.write_off(first_job).await;
    assert_eq!(world.outcome(first).await, failed("written-off"));
    assert_eq!(world.balance().await, pair("100.00", "60.00"));
    world.redrive(second_job).await;
    world.bank.run_jobs(world.pool()).await;
    assert_eq!(world.outcome(second).await, is("COMPLETED"));
    assert_eq!(world.balance().await, pair("60.00", "60.00"));
    world.verify().await;
}

/// A provider's transaction whose settle job was given up, and the job.
async fn unsettled(world: &World) -> (surety::ids::TransactionId, i64) {
    let (transaction, job) = accepted(world.pool(), "alice", "bob", "12.50 USD").await;
    // An amount that no settlement can read, as if another program had written it.
    spoil(world, "alter table payments.transactions disable trigger all").await;
    spoil(world, "update queue.jobs set max_attempts = 1").await;
    spoil(world, "update payments.transactions set currency = 'XXX' where status = 'PROCESSING'")
        .await;
    assert_eq!(run_jobs(world.pool()).await.discarded, 1);
    spoil(world, "update payments.transactions set currency = 'USD' where currency = 'XXX'").await;
    (transaction, job.0)
}

async fn spoil(world: &World, statement: &'static str) {
    sqlx::query(statement).execute(world.pool()).await.unwrap();
}

#[tokio::test]
async fn a_discarded_settle_job_that_is_redriven_settles_its_transaction() {
    let world = World::new().await;
    let (transaction, job) = unsettled(&world).await;
    let letter = world.show(job).await;
    assert_eq!(letter["transaction"]["status"], "PROCESSING");
    assert_eq!(letter["order"], Value::Null);

    world.redrive(job).await;
    run_jobs(world.pool()).await;
    assert_eq!(outcome(world.pool(), transaction).await, ("COMPLETED".to_owned(), None, true));
    let bob = external(world.pool(), "bob", "USD").await;
    assert_eq!(balance(world.pool(), bob).await.0, "12.5000");
    world.verify().await;
}

#[tokio::test]
async fn a_discarded_settle_job_that_is_written_off_fails_its_transaction() {
    let world = World::new().await;
    let (transaction, job) = unsettled(&world).await;

    world.write_off(job).await;
    let expected = ("FAILED".to_owned(), Some("written-off".to_owned()), true);
    assert_eq!(outcome(world.pool(), transaction).await, expected);
    let late = world.decide(job, "redrive").await;
    assert_eq!((late.status, late.code()), (409, "dead-letter-decided".to_owned()));
    let transfers = "select count(*) from payments.transfers where transaction_id is not null";
    assert_eq!(count(world.pool(), transfers).await, 0);
    world.verify().await;
}

#[tokio::test]
async fn a_job_about_nothing_can_only_be_written_off() {
    let world = World::new().await;
    let mut tx = world.pool().begin().await.unwrap();
    let missing = SettleTransaction { transaction: surety::ids::TransactionId(4711) };
    let job = enqueue(&mut tx, NewJob::new(&missing).unwrap()).await.unwrap().id();
    tx.commit().await.unwrap();
    run_jobs(world.pool()).await;

    let refused = world.decide(job.0, "redrive").await;
    assert_eq!((refused.status, refused.code()), (409, "nothing-to-redrive".to_owned()));
    assert!(!world.holds().await, "somebody has to look at it");
    world.write_off(job.0).await;
    assert_eq!(world.listed().await, [0; 0]);
    world.verify().await;
}

/// The way on for a payment whose job is gone for good.
#[tokio::test]
async fn a_settle_job_that_takes_the_place_of_one_that_was_given_up_settles_and_all_is_well() {
    let world = World::new().await;
    let (transaction, _given_up) = unsettled(&world).await;
    let mut conn = world.pool().acquire().await.unwrap();
    let again = NewJob::new(&SettleTransaction { transaction }).unwrap();
    enqueue(&mut conn, again).await.unwrap();
    run_jobs(world.pool()).await;
    assert_eq!(outcome(world.pool(), transaction).await, ("COMPLETED".to_owned(), None, true));
    world.verify().await;
}

#[tokio::test]
async fn what_is_no_dead_letter_is_not_found() {
    let world = World::new().await;
    let order = world.order("/v1/withdrawals", "1 USD").await;
    let waiting = world.job(order).await;
    for job in [waiting, 4_711_000, -1] {
        let answer = world.operator.get(&world.api, &format!("/v1/dead-letters/{job}")).await;
        assert_eq!((answer.status, answer.code()), (404, "dead-letter-not-found".to_owned()));
        for what in ["redrive", "write-off"] {
            let answer = world.decide(job, what).await;
            assert_eq!((answer.status, answer.code()), (404, "dead-letter-not-found".to_owned()));
        }
    }
    assert_eq!(world.outcome(order).await, is("PENDING"));
}

#[tokio::test]
async fn a_decision_needs_a_reason() {
    let world = World::new().await;
    let job = discarded_job(world.pool()).await;
    let path = format!("/v1/dead-letters/{job}/redrive");
    for (body, status) in [
        (json!({}), 400),
        (json!({ "reason": "" }), 422),
        (json!({ "reason": "x".repeat(501) }), 422),
        (json!({ "reason": "a\u{0}b" }), 400),
        (json!({ "reason": "why", "force": true }), 400),
    ] {
        let answer = world.admin.send(&world.api, "POST", &path, &body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    assert_eq!(world.listed().await, [job.0]);
}

#[tokio::test]
async fn pages_show_each_dead_letter_once_newest_first() {
    let world = World::new().await;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(discarded_job(world.pool()).await.0);
    }
    jobs.reverse();

    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = world.list(&query).await;
        let letters = page["dead_letters"].as_array().unwrap().iter();
        seen.extend(letters.map(|letter| letter["job_id"].as_i64().unwrap()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, jobs);
    let path = format!("/v1/dead-letters{}", query.replace("?limit=2", "?kind=other"));
    let foreign = world.operator.get(&world.api, &path).await;
    assert_eq!((foreign.status, foreign.code()), (400, "invalid-cursor".to_owned()));
    let misspelt = world.operator.get(&world.api, "/v1/dead-letters?kinds=other").await;
    assert_eq!(misspelt.status, 400);
}
