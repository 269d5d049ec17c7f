//! `app reconcile`: agrees after whatever the bank has put us through, and finds each way in which
//! the two sides can differ.

use std::path::Path;

use serde_json::{Value, json};
use sqlx::PgPool;
use surety::ids::OrderId;
use surety::jobs::history_keeper::{HistoryKeeper, HistoryRetention};

use crate::support::money::{Customer, over};
use crate::support::{
    App, Binary as _, RETENTION, SimulatedBank, TestApi, TestDb, eventually_async, scratch_dir,
};

/// An API, a bank that books everything, and a customer who has deposited 100 dollars.
struct World {
    api: TestApi,
    bank: SimulatedBank,
    customer: Customer,
}

impl World {
    async fn new() -> Self {
        Self::on(SimulatedBank::start(json!({ "success_rate": 1 })).await).await
    }

    async fn on(bank: SimulatedBank) -> Self {
        let api = TestApi::start().await;
        let customer = Customer::new(&api).await;
        let world = Self { api, bank, customer };
        world.order("/v1/deposits", "100 USD").await;
        world.run_jobs().await;
        world
    }

    fn pool(&self) -> &PgPool {
        &self.api.pool
    }

    async fn run_jobs(&self) {
        self.bank.run_jobs(self.pool()).await;
    }

    async fn order(&self, path: &str, text: &str) -> OrderId {
        let body = over(self.customer.wallet, text);
        let answer = self.customer.order(&self.api, path, &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        OrderId(answer.json()["id"].as_str().unwrap().parse().unwrap())
    }

    /// A withdrawal of 30 dollars that is executed.
    async fn withdrawal(&self) -> OrderId {
        let order = self.order("/v1/withdrawals", "30 USD").await;
        self.run_jobs().await;
        order
    }

    /// A withdrawal of 30 dollars whose job is yet to run.
    async fn unfinished(&self) -> OrderId {
        self.order("/v1/withdrawals", "30 USD").await
    }

    /// Runs `app reconcile`: the exit code, and what it said.
    async fn reconcile(&self, args: &[&str]) -> (Option<i32>, String) {
        let url = &self.api.db.as_ref().unwrap().url;
        let command = App::command([&["reconcile"], args].concat());
        let command = command.env("DATABASE_URL", url).env("APP_BANK_URL", &self.bank.url);
        let (status, output) = command.run().await;
        (status.code(), output)
    }

    async fn json(&self, args: &[&str]) -> (Option<i32>, Value) {
        let (code, output) = self.reconcile(&[&["-o", "json"], args].concat()).await;
        (code, serde_json::from_str(&output).unwrap_or_else(|_| panic!("not JSON: {output}")))
    }

    /// The one break there is, which makes the exit code 1.
    async fn only_break(&self, kind: &str, args: &[&str]) -> Value {
        let (code, found) = self.json(args).await;
        assert_eq!(found["counts"], json!({ kind: 1 }), "{found}");
        assert_eq!((code, &found["agrees"]), (Some(1), &json!(false)), "{found}");
        let one = found["breaks"][0].clone();
        assert_eq!((&one["type"], &one["is_break"]), (&json!(kind), &json!(true)));
        assert!(one["age_secs"].as_u64().is_some_and(|age| age < 600), "{one}");
        one
    }

    /// Changes what cannot be changed.
    async fn edit(&self, statements: &'static str) {
        let mut tx = self.pool().begin().await.unwrap();
        sqlx::raw_sql("set local session_replication_role = replica")
            .execute(&mut *tx)
            .await
            .unwrap();
        sqlx::raw_sql(statements).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}

fn side(direction: &str, amount: &str, currency: &str) -> Value {
    json!({ "direction": direction, "amount": amount, "currency": currency })
}

fn key(order: OrderId) -> String {
    format!("surety-{order}")
}

#[tokio::test]
async fn two_sides_that_have_the_same_agree_and_their_totals_are_told() {
    let world = World::new().await;
    world.withdrawal().await;
    let (code, found) = world.json(&[]).await;

    assert_eq!(code, Some(0), "{found}");
    assert_eq!((&found["agrees"], &found["breaks"]), (&json!(true), &json!([])), "{found}");
    assert_eq!(found["bookings"], 2);
    let total = |direction: &str, amount: &str| {
        json!({
            "currency": "USD", "direction": direction, "here": amount, "bank": amount,
            "difference": "0.00",
        })
    };
    assert_eq!(found["totals"], json!([total("deposit", "100.00"), total("withdrawal", "30.00")]));
    let (code, output) = world.reconcile(&[]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("the two sides agree") && output.contains("100.00"), "{output}");
}

#[tokio::test]
async fn after_whatever_the_bank_does_the_two_sides_agree() {
    let world = World::new().await;
    for dials in [
        json!({ "accept_then_timeout_rate": 1 }),
        json!({ "cut_body_rate": 1 }),
        json!({ "answer_twice_rate": 1 }),
        json!({ "wrong_amount_rate": 1 }),
        json!({ "unavailable_rate": 1 }),
        json!({ "timeout_rate": 1 }),
        json!({ "insufficient_funds_rate": 1 }),
        json!({ "late_rate": 1, "late_after": "0s" }),
        json!({ "success_rate": 0.5 }),
    ] {
        world.bank.turn(dials).await;
        for _ in 0..3 {
            world.order("/v1/deposits", "7 USD").await;
            world.order("/v1/withdrawals", "1.25 USD").await;
        }
        for _attempt in 0..2 {
            world.run_jobs().await;
            let (code, found) = world.json(&[]).await;
            assert_eq!(code, Some(0), "{found:#}");
        }
    }
    world.bank.turn(json!({ "success_rate": 1 })).await;
    for _attempt in 0..10 {
        world.run_jobs().await;
    }
    let (code, found) = world.json(&["--settle-within", "0s"]).await;
    assert_eq!(code, Some(0), "{found:#}");
    assert_eq!(found["counts"], json!({}), "nothing is in flight any more");
    let booked = found["bookings"].as_u64().unwrap();
    assert!(booked > 20, "{booked} were booked");
}

#[tokio::test]
async fn what_is_unfinished_is_in_flight_for_a_while_and_then_overdue() {
    let world = World::new().await;
    let order = world.unfinished().await;

    let (code, found) = world.json(&[]).await;
    assert_eq!((code, &found["counts"]), (Some(0), &json!({ "in-flight": 1 })), "{found}");
    assert_eq!(found["breaks"][0]["is_break"], false);
    assert_eq!(found["agrees"], true);
    let overdue = world.only_break("overdue", &["--settle-within", "0s"]).await;
    assert_eq!(overdue["order_id"], order.to_string());
    assert_eq!(overdue["here"], side("withdrawal", "30.00", "USD"));
    assert_eq!((&overdue["bank"], &overdue["status"]), (&Value::Null, &json!("PENDING")));
}

#[tokio::test]
async fn what_the_bank_booked_and_we_gave_up_is_missing_here() {
    let world = World::new().await;
    world.bank.turn(json!({ "unavailable_rate": 1 })).await;
    let order = world.order("/v1/withdrawals", "30 USD").await;
    world.bank.run_until_given_up(world.pool()).await;
    let (code, found) = world.json(&[]).await;
    assert_eq!((code, &found["counts"]), (Some(0), &json!({})), "{found}");

    // It said that it had not taken it, and books it all the same.
    world.bank.turn(json!({ "success_rate": 1 })).await;
    let booked = world.bank.pay(&key(order), "withdrawal", "30 USD").await;
    let one = world.only_break("missing-here", &[]).await;
    assert_eq!(one["order_id"], order.to_string());
    assert_eq!(one["status"], "FAILED");
    assert_eq!(one["here"], one["bank"]);
    assert_eq!(one["bank_reference"], booked.json()["bank_reference"]);
    assert_eq!(one["last_call"], "send unavailable");
    let totals = world.json(&[]).await.1["totals"].clone();
    assert_eq!(totals[1]["difference"], "-30.00", "{totals}");
}

#[tokio::test]
async fn what_the_bank_booked_and_we_are_slow_to_post_is_missing_here() {
    let world = World::new().await;
    world.bank.turn(json!({ "accept_then_timeout_rate": 1 })).await;
    let order = world.order("/v1/withdrawals", "30 USD").await;
    world.run_jobs().await;

    let (code, found) = world.json(&[]).await;
    assert_eq!((code, &found["counts"]), (Some(0), &json!({ "in-flight": 1 })), "{found}");
    let one = world.only_break("missing-here", &["--settle-within", "0s"]).await;
    assert_eq!(one["order_id"], order.to_string());
    assert_eq!(
        (&one["status"], &one["last_call"]),
        (&json!("PROCESSING"), &json!("send timed_out"))
    );
}

#[tokio::test]
async fn what_we_posted_and_the_bank_did_not_book_is_missing_there() {
    let mut world = World::new().await;
    let order = world.withdrawal().await;
    let deposited = world.bank.pay("other", "deposit", "1 USD").await;
    assert_eq!(deposited.status, 201);
    // A bank that knows the deposit of the beginning, and nothing else.
    let dir = scratch_dir();
    world.bank = bank_with(&dir.join("bank.jsonl"), &world, &[("deposit", "100.00")]).await;

    let one = world.only_break("missing-there", &[]).await;
    assert_eq!(one["order_id"], order.to_string());
    assert_eq!(one["here"], side("withdrawal", "30.00", "USD"));
    assert_eq!((&one["bank"], &one["status"]), (&Value::Null, &json!("COMPLETED")));
    assert_eq!(one["last_call"], "send booked");
}

/// A bank whose books say that it has booked these of our completed orders, by their kinds, with
/// these amounts, and under the references that we know.
async fn bank_with(file: &Path, world: &World, bookings: &[(&str, &str)]) -> SimulatedBank {
    let mut lines = String::new();
    for (kind, amount) in bookings {
        let (order, reference): (OrderId, String) = sqlx::query_as(
            "select id, bank_reference from payments.orders
             where kind = $1::payments.order_kind and status = 'COMPLETED'",
        )
        .bind(kind)
        .fetch_one(world.pool())
        .await
        .unwrap();
        let (amount, currency) = amount.split_once(' ').unwrap_or((amount, "USD"));
        // As the simulator writes it.
        lines += &entry(order, kind, amount, currency, &reference);
    }
    std::fs::write(file, lines).unwrap();
    SimulatedBank::start_on(json!({ "success_rate": 1 }), Some(file.to_owned())).await
}

fn entry(order: OrderId, direction: &str, amount: &str, currency: &str, reference: &str) -> String {
    let entry = json!({
        "effect_key": key(order),
        "request": {
            "direction": direction, "amount": amount, "currency": currency, "account": "somewhere",
        },
        "decision": { "booked": { "bank_reference": reference } },
        "decided_at": decided_at(),
    });
    format!("{entry}\n")
}

/// Now, in the form of the simulator's file.
fn decided_at() -> Value {
    let now = time::OffsetDateTime::now_utc();
    json!(now.format(&time::format_description::well_known::Rfc3339).unwrap())
}

#[tokio::test]
async fn another_amount_direction_currency_or_reference_is_a_break_of_its_own() {
    for (kind, booking) in
        [("amount", ("withdrawal", "30.01")), ("currency", ("withdrawal", "30.00 EUR"))]
    {
        let mut world = World::new().await;
        let order = world.withdrawal().await;
        let dir = scratch_dir();
        let file = dir.join("bank.jsonl");
        world.bank = bank_with(&file, &world, &[("deposit", "100.00"), booking]).await;
        let one = world.only_break(kind, &[]).await;
        assert_eq!(one["order_id"], order.to_string());
        assert_eq!(one["here"], side("withdrawal", "30.00", "USD"));
        assert_ne!(one["bank"], one["here"]);
    }
    for (kind, edit) in [
        ("direction", "update payments.orders set kind = 'deposit' where kind = 'withdrawal'"),
        (
            "reference",
            "update payments.orders set bank_reference = 'b-other' where kind = 'withdrawal'",
        ),
        ("amount", "update payments.transfers set amount = 30.01 where amount = 30"),
        ("missing-here", "delete from payments.transfers where amount = 30"),
        ("missing-here", "update payments.orders set status = 'FAILED' where kind = 'withdrawal'"),
        ("unlogged", "delete from bank.calls where direction = 'withdrawal'"),
    ] {
        let world = World::new().await;
        world.withdrawal().await;
        sqlx::raw_sql("alter table payments.orders drop constraint orders_failure_has_reason")
            .execute(world.pool())
            .await
            .unwrap();
        world.edit(edit).await;
        world.only_break(kind, &[]).await;
    }
}

#[tokio::test]
async fn two_bookings_for_one_key_are_a_duplicate() {
    let mut world = World::new().await;
    let order = world.withdrawal().await;
    let dir = scratch_dir();
    let file = dir.join("bank.jsonl");
    drop(bank_with(&file, &world, &[("deposit", "100.00"), ("withdrawal", "30.00")]).await);
    let mut lines = std::fs::read_to_string(&file).unwrap();
    lines += &entry(order, "withdrawal", "30.00", "USD", "b-again");
    std::fs::write(&file, lines).unwrap();
    let bank = SimulatedBank::start_on(json!({ "success_rate": 1 }), Some(file)).await;
    world.bank = bank;

    let one = world.only_break("duplicate", &[]).await;
    assert_eq!((&one["order_id"], &one["bank_reference"]), (&json!(order), &json!("b-again")));
    let totals = world.json(&[]).await.1["totals"].clone();
    assert_eq!((&totals[1]["here"], &totals[1]["bank"]), (&json!("30.00"), &json!("60.00")));
}

#[tokio::test]
async fn what_is_no_order_of_ours_is_an_unknown_key() {
    for foreign in ["somebody-elses", "surety-0199a3f5-8c21-7d40-9b6e-2f1c0a7d5e93"] {
        let world = World::new().await;
        world.bank.pay(foreign, "deposit", "12.50 EUR").await;
        let one = world.only_break("unknown-key", &[]).await;
        assert_eq!((&one["effect_key"], &one["order_id"]), (&json!(foreign), &Value::Null));
        assert_eq!(one["bank"], side("deposit", "12.50", "EUR"));
        assert_eq!((&one["here"], &one["last_call"]), (&Value::Null, &Value::Null));
    }
}

#[tokio::test]
async fn what_is_older_than_asked_for_is_left_out() {
    let world = World::new().await;
    world.bank.pay("somebody-elses", "deposit", "12.50 EUR").await;
    let (code, found) = world.json(&["--since", "2199-01-01T00:00:00Z"]).await;
    assert_eq!((code, &found["breaks"]), (Some(0), &json!([])), "{found}");
    assert_eq!(found["totals"], json!([]));
    assert_eq!(world.json(&["--since", "1h"]).await.0, Some(1));
}

#[tokio::test]
async fn calls_that_were_kept_for_their_time_and_dropped_are_not_missed() {
    let world = World::new().await;
    world.withdrawal().await;
    let age = "
        update payments.orders set finished_at = finished_at - interval '400 days';
        update bank.calls set started_at = started_at - interval '400 days'";
    world.edit(age).await;
    let young = world.withdrawal().await;
    let retention = HistoryRetention { bank_log_days: Some(100), ..RETENTION };
    let keeper = HistoryKeeper { pool: world.pool().clone(), retention };
    assert_eq!(keeper.prune().await.unwrap().bank_calls, 2);
    let (code, found) = world.json(&[]).await;
    assert_eq!((code, &found["counts"]), (Some(0), &json!({})), "{found}");

    world.edit("delete from bank.calls").await;
    let missed = world.only_break("unlogged", &[]).await;
    assert_eq!(missed["effect_key"], key(young));
}

#[tokio::test]
async fn a_long_statement_is_read_to_its_end_and_all_breaks_are_counted() {
    let world = World::new().await;
    for number in 0..250 {
        world.bank.pay(&format!("somebody-{number}"), "deposit", "1 USD").await;
    }
    let (code, found) = world.json(&["--limit", "10"]).await;
    assert_eq!(code, Some(1));
    assert_eq!(found["counts"], json!({ "unknown-key": 250 }));
    assert_eq!(found["bookings"], 251);
    assert_eq!(found["breaks"].as_array().unwrap().len(), 10);
    let (_, output) = world.reconcile(&["--limit", "10"]).await;
    assert!(output.contains("240 more are not shown"), "{output}");
    let (_, output) = world.reconcile(&["-o", "jsonl"]).await;
    let lines: Vec<Value> =
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 251, "the breaks, and the summary");
    assert_eq!(lines[250]["counts"], json!({ "unknown-key": 250 }));
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_not_said_to_differ() {
    let mut world = World::new().await;
    world.bank.stop().await;
    let (code, output) = world.reconcile(&[]).await;
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("the bank's statement cannot be read"), "{output}");

    let db = TestDb::new().await;
    for (url, bank, words) in [
        (db.url.as_str(), "", "no bank is set"),
        (db.url.as_str(), "ftp://bank.example", "APP_BANK_URL"),
        ("postgres://nobody@127.0.0.1:1/none", "http://127.0.0.1:1", "127.0.0.1:1/none"),
    ] {
        let command = App::command(["reconcile"]).env("DATABASE_URL", url);
        let (status, output) = command.env("APP_BANK_URL", bank).run().await;
        assert_eq!(status.code(), Some(2), "{output}");
        assert!(output.contains(words), "{output}");
    }
}

#[tokio::test]
async fn reconciling_changes_nothing() {
    let world = World::new().await;
    world.unfinished().await;
    let rows = "select
                  (select count(*) from payments.orders) + (select count(*) from bank.calls)
                  + (select count(*) from queue.jobs) + (select count(*) from payments.entries)";
    let before = world.api.count(rows).await;
    world.json(&[]).await;
    assert_eq!(world.api.count(rows).await, before);
    let left = "select count(*) from pg_class where relname = 'statement_lines'";
    // A moment after the command has ended, with its session.
    eventually_async("its table is gone", async || world.api.count(left).await == 0).await;
}
