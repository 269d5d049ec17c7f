//! Workers that are killed with signal 9 before a call, in it, and between the bank's answer and
//! our commit, while the bank behaves in each of its ways: what it booked stands in the ledger.
//!
//! Nothing is left to chance: calls are held on the wire and commits by a lock until the worker
//! stands where it is to die. `SURETY_TEST_KILLS` is how often it dies in each place, for a longer
//! run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{PgPool, Postgres, Transaction};
use surety::http::edge::rate_limits::Limit;
use surety::ids::OrderId;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::gate::{Gate, Hold};
use super::{assert_agreed, let_time_pass, place, unfinished};
use crate::bank::process;
use crate::support::money::Customer;
use crate::support::wait_for_locks;
use crate::support::{
    App, Binary as _, PATIENCE, ScratchDir, Signal, TestApi, TestCluster, eventually_async,
    migrated, scratch_dir, send,
};

/// In each place, under each dial: with the defaults of three places and nine dials, 108.
const KILLS: usize = 4;
/// Dials that are tried at the same moment.
const LANES: usize = 6;

const DIALS: [&str; 9] = [
    "success_rate",
    "timeout_rate",
    "unavailable_rate",
    "insufficient_funds_rate",
    "accept_then_timeout_rate",
    "answer_twice_rate",
    "late_rate",
    "cut_body_rate",
    "wrong_amount_rate",
];

/// Where a worker dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// The intent is committed, and the bank has not been reached.
    BeforeCall,
    /// The bank has decided, and has not answered.
    InCall,
    /// The bank has answered, and nothing of that is written down.
    BeforeOutcome,
    /// The answer is in the log, and nothing of it in the ledger; or the next call is not.
    BeforeCommit,
}

/// A database, a bank process, and a worker process that dies over and over.
struct Lane {
    api: TestApi,
    alice: Customer,
    bank: App,
    bank_url: String,
    gate: Gate,
    worker: App,
    database_url: String,
    _books: ScratchDir,
}

impl Lane {
    async fn open(api: TestApi, database_url: &str) -> Self {
        let books = scratch_dir();
        let (bank, bank_url) = process::spawn(&books.join("bank.jsonl"), &[]).await;
        let gate = Gate::to(&bank_url).await;
        let alice = Customer::with(&api, "10000 USD").await;
        let worker = work(database_url, &gate.url);
        let database_url = database_url.to_owned();
        Self { api, alice, bank, bank_url, gate, worker, database_url, _books: books }
    }

    async fn turn(&self, dial: &str, latency: &str) {
        let dials = json!({dial: 1, "latency": latency, "late_after": "200ms..900ms"});
        let turned = turn(&self.bank_url, &dials).await;
        assert_eq!(turned, 200);
    }

    async fn place_both(&self, number: usize) -> [OrderId; 2] {
        let text = format!("{}.{:02} USD", 1 + number, number % 100);
        [
            place(&self.api, &self.alice, "/v1/deposits", &text).await,
            place(&self.api, &self.alice, "/v1/withdrawals", &text).await,
        ]
    }

    /// Has the worker die in this place with two orders in hand, and another one go on.
    async fn kill_worker(&mut self, dial: &str, place: Place, number: usize) {
        let latency = if place == Place::InCall { "1h" } else { "0s" };
        self.turn(dial, latency).await;
        self.gate.hold(Hold::Sends);
        let orders = self.place_both(number).await;
        self.gate.wait_until_held(2).await;
        match place {
            Place::BeforeCall => {
                self.worker.kill().await;
                self.gate.drop_held();
            }
            Place::InCall => {
                self.gate.forward_held();
                let keys = orders.map(|order| format!("surety-{order}: "));
                for key in keys {
                    self.bank.wait_for_line(&key).await;
                }
                self.worker.kill().await;
            }
            Place::BeforeOutcome | Place::BeforeCommit => {
                let lock = lock(&self.api.pool, place).await;
                self.gate.forward_held();
                self.gate.hold(Hold::Nothing);
                wait_for_locks(&self.api.pool, 2).await;
                self.worker.kill().await;
                lock.rollback().await.unwrap();
            }
        }
        self.gate.hold(Hold::Nothing);
        // A bank that never answers would take minutes to be given up.
        let next = if dial == "timeout_rate" { "success_rate" } else { dial };
        self.turn(next, "0s").await;
        self.worker = work(&self.database_url, &self.gate.url);
    }

    /// Waits until all orders have their outcome, and compares.
    async fn assert_settled(&self, what: &str) {
        let deadline = Instant::now() + 2 * PATIENCE;
        while unfinished(&self.api.pool).await > 0 {
            assert!(Instant::now() < deadline, "{what}: {}", self.worker.output());
            let_time_pass(&self.api.pool).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_agreed(&self.api.pool, &self.bank_url).await;
    }
}

async fn turn(bank_url: &str, dials: &Value) -> u16 {
    send(reqwest::Client::new().put(format!("{bank_url}/dials")).json(dials)).await.status
}

fn work(database_url: &str, bank_url: &str) -> App {
    let flags = "work --lease 1s --heartbeat 300ms --poll 50ms --bank-connect-timeout 1s
        --bank-timeout 2s --bank-lost-after 2s --bank-retry-delay 50ms
        --bank-breaker-threshold 10000 --bank-url";
    App::command(flags.split_whitespace().chain([bank_url]))
        .env("DATABASE_URL", database_url)
        .spawn()
}

/// Keeps a worker from writing what comes after this place.
async fn lock(pool: &PgPool, place: Place) -> Transaction<'static, Postgres> {
    let rows = match place {
        Place::BeforeOutcome => "select from bank.calls where outcome is null for update",
        Place::BeforeCommit => "select from payments.orders where status = 'PROCESSING' for update",
        Place::BeforeCall | Place::InCall => unreachable!("it dies before there is an answer"),
    };
    let mut tx = pool.begin().await.unwrap();
    sqlx::query(rows).execute(&mut *tx).await.unwrap();
    tx
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_worker_is_killed_the_bank_has_booked_what_stands_in_the_ledger() {
    let kills = std::env::var("SURETY_TEST_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let lanes = Arc::new(Semaphore::new(LANES));
    let mut running = JoinSet::new();
    for dial in DIALS {
        let lanes = Arc::clone(&lanes);
        running.spawn(async move {
            let _lane = lanes.acquire().await.unwrap();
            die_over_and_over(dial, kills).await;
        });
    }
    running.join_all().await;
}

async fn die_over_and_over(dial: &str, kills: usize) {
    let api = TestApi::start_with(|api| api.limits.limit_api = Limit::Off).await;
    let url = api.db.as_ref().unwrap().url.clone();
    let mut lane = Lane::open(api, &url).await;
    for number in 0..kills {
        let late = [Place::BeforeOutcome, Place::BeforeCommit][number % 2];
        for (position, place) in [Place::BeforeCall, Place::InCall, late].into_iter().enumerate() {
            lane.kill_worker(dial, place, 3 * number + position).await;
            lane.assert_settled(&format!("{dial}, {place:?}, {number}")).await;
        }
    }
    let orders = lane.api.count("select count(*) from payments.orders").await;
    assert_eq!(orders, 6 * kills as i64 + 1);
    let (status, output) = App::command(["verify"]).env("DATABASE_URL", &url).run().await;
    assert!(status.success(), "{dial}: {output}");
    lane.worker.signal(Signal::Terminate);
    assert!(lane.worker.wait_for_exit().await.success(), "{}", lane.worker.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_crashes_in_the_middle_of_calls_has_what_the_bank_has() {
    let mut cluster = TestCluster::start().await;
    let pool = migrated(&cluster, "surety").await;
    let url = cluster.url("surety");
    let api = TestApi::start_on(pool, |api| api.limits.limit_api = Limit::Off).await;
    let lane = Lane::open(api, &url).await;
    for round in 0..3 {
        lane.turn("success_rate", "300ms..1500ms").await;
        for number in 0..4 {
            lane.place_both(10 * round + number).await;
        }
        let booked = 8 * round + 8;
        eventually_async("the bank has booked all", async || {
            super::at_bank(&lane.bank_url).await.len() == booked
        })
        .await;
        cluster.stop_immediate().await;
        cluster.start_again().await;
        lane.assert_settled(&format!("round {round}")).await;
    }
    let (status, output) = App::command(["verify"]).env("DATABASE_URL", &url).run().await;
    assert!(status.success(), "{output}");
}
