//! Deposits and withdrawals through a bank that fails: whatever it does, and whoever dies
//! meanwhile, what it booked stands in the ledger, and nothing is held for a finished order.

mod attempts;
mod breaker;
mod gate;
mod kills;
mod lost_answers;
mod lost_leases;
mod outcomes;
mod parallel;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::PgPool;
use surety::bank::simulator::SimulatorArgs;
use surety::bank::{BankArgs, Direction, EffectKey};
use surety::http::edge::rate_limits::Limit;
use surety::ids::OrderId;
use surety::jobs::{self, Bank, Services};
use surety::operations::verify;
use surety::queue::{Worker, WorkerSettings, WorkerSummary};

use self::gate::Gate;
use crate::bank::{TestBank, client};
use crate::support::money::{Customer, over};
use crate::support::{PATIENCE, TestApi};

/// For calls that are given up.
const SHORT: Duration = Duration::from_millis(400);

/// An API, a bank with a wire to it, and a customer with 100 dollars.
struct Scene {
    api: TestApi,
    bank: TestBank,
    gate: Gate,
    /// How workers reach the bank.
    args: BankArgs,
    alice: Customer,
}

impl Scene {
    /// A bank with these dials, and workers that are patient with it.
    async fn with(dials: Value) -> Self {
        let api = TestApi::start_with(|api| api.limits.limit_api = Limit::Off).await;
        let seed = SimulatorArgs { seed: Some(1), ..SimulatorArgs::default() };
        let bank = TestBank::start_with(dials, seed).await;
        let gate = Gate::to(&bank.url).await;
        let args = BankArgs { bank_url: Some(gate.url.clone()), ..BankArgs::default() };
        let alice = Customer::with(&api, "100 USD").await;
        Self { api, bank, gate, args, alice }
    }

    /// The same with workers that are not.
    async fn impatient(dials: Value) -> Self {
        let mut this = Self::with(dials).await;
        this.args.bank_connect_timeout = SHORT / 2;
        this.args.bank_timeout = SHORT;
        this.args.bank_lost_after = SHORT;
        this
    }

    async fn deposit(&self, text: &str) -> OrderId {
        self.order("/v1/deposits", text).await
    }

    async fn withdraw(&self, text: &str) -> OrderId {
        self.order("/v1/withdrawals", text).await
    }

    async fn order(&self, path: &str, text: &str) -> OrderId {
        place(&self.api, &self.alice, path, text).await
    }

    /// The way of a worker to the bank.
    fn way(&self) -> Option<Bank> {
        Bank::new(&self.args).unwrap()
    }

    fn worker(&self) -> Worker<Services> {
        let registry = jobs::registry(Services {
            pool: self.api.pool.clone(),
            bank: self.way(),
            mailer: None,
        });
        Worker::new(self.api.pool.clone(), registry, WorkerSettings::default()).unwrap()
    }

    /// Runs what is due now.
    async fn run_due(&self) -> WorkerSummary {
        self.worker().run_until_idle().await.unwrap()
    }

    /// All that waits for its time is due.
    async fn let_time_pass(&self) {
        let_time_pass(&self.api.pool).await;
    }

    /// Runs what is due, and what will be, until all orders have their outcome.
    async fn run_to_the_end(&self) {
        let deadline = Instant::now() + PATIENCE;
        let worker = self.worker();
        loop {
            worker.run_until_idle().await.unwrap();
            if self.unfinished().await == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{:?}", self.jobs().await);
            self.let_time_pass().await;
        }
    }

    async fn unfinished(&self) -> i64 {
        unfinished(&self.api.pool).await
    }

    /// Status and reason of an order.
    async fn outcome(&self, order: OrderId) -> (String, Option<String>) {
        sqlx::query_as("select status::text, failure_reason from payments.orders where id = $1")
            .bind(order)
            .fetch_one(&self.api.pool)
            .await
            .unwrap()
    }

    /// Balance and what of it is available.
    async fn balance(&self) -> (String, String) {
        self.alice.balance(&self.api).await
    }

    /// Kind, state, attempts and reason to wait of every job that is not completed.
    async fn jobs(&self) -> Vec<(String, String, i16, Option<String>)> {
        sqlx::query_as(
            "select kind, state, attempt, wait_reason from queue.all_jobs
             where state <> 'completed' order by id",
        )
        .fetch_all(&self.api.pool)
        .await
        .unwrap()
    }

    /// The errors of all attempts that failed, in their order.
    async fn errors(&self) -> Vec<String> {
        sqlx::query_scalar(
            "select error from queue.attempts where error is not null order by job_id, attempt",
        )
        .fetch_all(&self.api.pool)
        .await
        .unwrap()
    }

    /// What was asked of the bank, and what came of it.
    async fn calls(&self) -> Vec<(String, Option<String>)> {
        sqlx::query_as("select operation::text, outcome::text from bank.calls order by id")
            .fetch_all(&self.api.pool)
            .await
            .unwrap()
    }

    /// The books of both sides agree.
    async fn assert_agreed(&self) {
        assert_agreed(&self.api.pool, &self.bank.url).await;
    }
}

/// Places a deposit or a withdrawal.
async fn place(api: &TestApi, customer: &Customer, path: &str, text: &str) -> OrderId {
    let placed = customer.order(api, path, &over(customer.wallet, text)).await;
    assert_eq!(placed.status, 202, "{placed:?}");
    OrderId(placed.json()["id"].as_str().unwrap().parse().unwrap())
}

async fn let_time_pass(pool: &PgPool) {
    sqlx::query(
        "update queue.jobs set run_at = clock_timestamp()
         where not running and run_at > clock_timestamp()",
    )
    .execute(pool)
    .await
    .unwrap();
}

async fn unfinished(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "select count(*) from payments.orders where status in ('PENDING', 'PROCESSING')",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

/// What one side has booked of an order.
type Booked = (Direction, String, String);

/// Everything that `app verify` checks holds, the bank has booked what stands in the ledger, no
/// more and no less, and nothing is held but for orders that are not finished.
async fn assert_agreed(pool: &PgPool, bank_url: &str) {
    let mut conn = pool.acquire().await.unwrap();
    for invariant in verify::invariants() {
        let finding = invariant.check(&mut conn).await.unwrap();
        assert_eq!(finding.violations, 0, "{}: {:?}", invariant.claim, finding.samples);
    }
    if unfinished(pool).await == 0 {
        let held: i64 =
            sqlx::query_scalar("select count(*) from payments.accounts where held <> 0")
                .fetch_one(pool)
                .await
                .unwrap();
        assert_eq!(held, 0, "something is held");
    }
    assert_eq!(in_ledger(pool).await, at_bank(bank_url).await, "ledger and bank");
    assert_eq!(blind_sends(pool).await, [""; 0], "sent without having asked first");
}

/// Orders that were sent again although the bank may have acted on them and had not said since that
/// it knows nothing of them.
async fn blind_sends(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select again.effect_key
         from bank.calls as sent
         join bank.calls as again on again.effect_key = sent.effect_key and again.id > sent.id
         where sent.operation = 'send' and again.operation = 'send'
           and (sent.outcome in ('unavailable', 'declined')) is not true
           and not exists (
             select from bank.calls as enquired
             where enquired.effect_key = sent.effect_key and enquired.outcome = 'unknown_key'
               and enquired.id between sent.id and again.id
           )",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

/// What stands in the ledger of orders that the bank was called for.
async fn in_ledger(pool: &PgPool) -> BTreeMap<EffectKey, Booked> {
    let rows: Vec<(OrderId, Direction, String, String)> = sqlx::query_as(
        "select orders.id, orders.kind::text::bank.direction,
           trim_scale(transfers.amount)::text || ' ' || transfers.currency, orders.bank_reference
         from payments.transfers join payments.orders on orders.id = transfers.order_id
         where exists (select from bank.calls where effect_key = 'surety-' || orders.id)",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let count = rows.len();
    let booked: BTreeMap<_, _> = rows
        .into_iter()
        .map(|(id, direction, money, reference)| {
            (EffectKey::of_order(id), (direction, money, reference))
        })
        .collect();
    assert_eq!(booked.len(), count, "an order has two transfers");
    booked
}

/// What the bank has booked.
async fn at_bank(url: &str) -> BTreeMap<EffectKey, Booked> {
    let client = client(url, PATIENCE);
    let mut booked = BTreeMap::new();
    let mut after = Some(0);
    while let Some(from) = after {
        let page = client.statement(from).await.unwrap();
        for line in page.lines {
            let money = line.receipt.money;
            let amount = money.amount().as_decimal().normalize();
            let text = format!("{amount} {}", money.currency().code());
            let booking = (line.direction, text, line.receipt.bank_reference);
            let before = booked.insert(line.effect_key, booking);
            assert_eq!(before, None, "booked twice");
        }
        after = page.next;
    }
    booked
}
