//! Users' money: wallets with something in them, and orders over them.

use std::time::Instant;

use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use surety::http::api::orders::{OrderRequest, PlaceOrders, Placed};
use surety::http::edge::idempotency::Claim;
use surety::identity::Role;
use surety::ids::{AccountId, OrderId, UserId};
use surety::jobs::{self, Bank, Services};
use surety::payments::orders::{
    self, Executed, Execution, Instruction, NewOrder, Order, PlacementRefusal,
};
use surety::payments::wallets;
use surety::queue::operate::discarded::{self, Decision, Resolved};
use surety::queue::{JobId, Worker, WorkerSettings, WorkerSummary};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ledger::money;
use super::{Answer, PATIENCE, Person, TestApi, send};

/// A user who has signed in, and the wallet that came with the account.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    pub(crate) person: Person,
    pub(crate) wallet: AccountId,
}

impl Customer {
    /// A new one with an empty wallet in US dollars.
    pub(crate) async fn new(api: &TestApi) -> Self {
        let person = Person::new(api, Role::User).await;
        let answer = person.get(api, "/v1/wallets").await;
        let wallet = answer.json()["wallets"][0]["id"].as_str().unwrap().parse().unwrap();
        Self { person, wallet: AccountId(wallet) }
    }

    /// A new one with money: `Customer::with(api, "100 USD")`.
    pub(crate) async fn with(api: &TestApi, text: &str) -> Self {
        let this = Self::new(api).await;
        fund(&api.pool, this.id(), this.wallet, text).await;
        this
    }

    pub(crate) fn id(&self) -> UserId {
        UserId(self.person.id)
    }

    /// Asks for an order under a new key.
    pub(crate) async fn order(&self, api: &TestApi, path: &str, body: &Value) -> Answer {
        self.order_as(api, path, &Uuid::new_v4().to_string(), body).await
    }

    /// Asks for an order under this key.
    pub(crate) async fn order_as(
        &self,
        api: &TestApi,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Answer {
        send(self.request(api, path, body).header("idempotency-key", key)).await
    }

    /// A request for an order, without a key and not sent yet.
    pub(crate) fn request(
        &self,
        api: &TestApi,
        path: &str,
        body: &Value,
    ) -> reqwest::RequestBuilder {
        api.request("POST", path).bearer_auth(&self.person.token).json(body)
    }

    /// Reads an order until it has its outcome. Somebody has to execute it meanwhile.
    pub(crate) async fn finished(&self, api: &TestApi, path: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let order = self.person.get(api, path).await.json();
            if ["COMPLETED", "FAILED"].contains(&order["status"].as_str().unwrap()) {
                return order;
            }
            assert!(Instant::now() < deadline, "it is not finished: {order}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Balance and what of it is available, as the API shows them.
    pub(crate) async fn balance(&self, api: &TestApi) -> (String, String) {
        let wallet = self.person.get(api, &format!("/v1/wallets/{}", self.wallet)).await.json();
        let text = |name: &str| wallet[name].as_str().unwrap().to_owned();
        (text("balance"), text("available"))
    }
}

/// The body of a deposit or a withdrawal: `over(wallet, "12.50 USD")`.
pub(crate) fn over(wallet: AccountId, text: &str) -> Value {
    let (amount, currency) = text.split_once(' ').unwrap();
    json!({ "wallet_id": wallet, "amount": amount, "currency": currency })
}

/// The body of a transfer.
pub(crate) fn between(source: AccountId, destination: AccountId, text: &str) -> Value {
    let (amount, currency) = text.split_once(' ').unwrap();
    json!({
        "source_wallet_id": source,
        "destination_wallet_id": destination,
        "amount": amount,
        "currency": currency,
    })
}

/// A wallet of this user's, who need not exist.
pub(crate) async fn open_wallet(pool: &PgPool, owner: UserId, currency: &str) -> AccountId {
    let mut conn = pool.acquire().await.unwrap();
    let currency = money(&format!("1 {currency}")).currency();
    wallets::open(&mut conn, owner, currency).await.unwrap().wallet
}

/// Brings money into a wallet without the bank: a deposit that is executed at once, with all that
/// belongs to one.
pub(crate) async fn fund(pool: &PgPool, owner: UserId, wallet: AccountId, text: &str) {
    let instruction = Instruction::Deposit { wallet, money: money(text) };
    let key = Uuid::new_v4().to_string();
    let deposit = taken(take(pool, owner, &key, instruction).await);
    let execution = Execution { order: deposit, bank_reference: None };
    let mut tx = pool.begin().await.unwrap();
    let (executed, _) = orders::execute_many(&mut tx, &[execution]).await.unwrap();
    assert_eq!(executed, [Executed::Completed]);
    complete_job(&mut tx, deposit).await;
    tx.commit().await.unwrap();
}

/// Places an order in a transaction of its own, without a job.
pub(crate) async fn place(
    pool: &PgPool,
    owner: UserId,
    instruction: Instruction,
) -> Result<Order, PlacementRefusal> {
    place_new(pool, &NewOrder { owner, instruction, description: None, if_version: None }).await
}

/// The same with all that an order can have.
pub(crate) async fn place_new(pool: &PgPool, new: &NewOrder) -> Result<Order, PlacementRefusal> {
    let mut tx = pool.begin().await.unwrap();
    let mut placed = orders::place_many(&mut tx, &[new]).await.unwrap();
    tx.commit().await.unwrap();
    placed.pop().unwrap()
}

/// Executes orders in one transaction, as if the bank had booked them.
pub(crate) async fn execute(pool: &PgPool, ids: &[OrderId]) -> Vec<Executed> {
    let executions: Vec<Execution> =
        ids.iter().map(|id| Execution { order: *id, bank_reference: None }).collect();
    let mut tx = pool.begin().await.unwrap();
    let (executed, _) = orders::execute_many(&mut tx, &executions).await.unwrap();
    tx.commit().await.unwrap();
    executed
}

/// Places an order with its job and its kept answer, as the API does.
pub(crate) async fn take(
    pool: &PgPool,
    owner: UserId,
    description: &str,
    instruction: Instruction,
) -> Placed {
    let request = order_request(owner, description, instruction);
    let mut tx = pool.begin().await.unwrap();
    let mut placed = PlaceOrders.write(&mut tx, &[request]).await.unwrap();
    tx.commit().await.unwrap();
    placed.pop().unwrap()
}

/// A request for an order, whose description is also its key, by which tests find it again.
pub(crate) fn order_request(
    owner: UserId,
    description: &str,
    instruction: Instruction,
) -> OrderRequest {
    let claim = Claim {
        caller: format!("user:{owner}"),
        route: "POST /v1/orders".to_owned(),
        key: description.to_owned(),
        fingerprint: [0; 32],
    };
    let description = Some(description.to_owned());
    let order = NewOrder { owner, instruction, description, if_version: None };
    OrderRequest { claim, order, path: "/v1/orders".to_owned(), trace_context: None }
}

/// The id of the order that was taken.
pub(crate) fn taken(placed: Placed) -> OrderId {
    let Placed::Answered(answer) = placed else { panic!("not answered: {placed:?}") };
    assert_eq!(answer.status, 202, "{answer:?}");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    OrderId(body["id"].as_str().unwrap().parse().unwrap())
}

/// Claims the job of an order, as a worker does.
async fn claim_job(conn: &mut PgConnection, order: OrderId) -> (i64, i64) {
    sqlx::query_as(
        "update queue.jobs
         set running = true, attempt = attempt + 1, fence = nextval('queue.fence'),
           worker_id = gen_random_uuid(), started_at = clock_timestamp(),
           lease_expires_at = clock_timestamp() + interval '30 seconds'
         where args ->> 'order' = $1::text
         returning id, fence",
    )
    .bind(order.to_string())
    .fetch_one(conn)
    .await
    .unwrap()
}

/// Completes it.
pub(crate) async fn complete_job(conn: &mut PgConnection, order: OrderId) {
    let (job, fence) = claim_job(&mut *conn, order).await;
    end_job(conn, job, fence, "completed").await;
}

/// Discards it, without what follows a discard.
pub(crate) async fn discard_job(conn: &mut PgConnection, order: OrderId) -> JobId {
    let (job, fence) = claim_job(&mut *conn, order).await;
    end_job(conn, job, fence, "discarded").await;
    JobId(job)
}

async fn end_job(conn: &mut PgConnection, job: i64, fence: i64, state: &str) {
    let ended: i64 = sqlx::query_scalar(
        "select id
         from queue.end_jobs(
           array[$1], array[$2], $3::queue.finished_state, $3::queue.attempt_outcome,
           case when $3 = 'discarded' then array['given up'] end
         )",
    )
    .bind(job)
    .bind(fence)
    .bind(state)
    .fetch_one(conn)
    .await
    .unwrap();
    assert_eq!(ended, job);
}

/// A job of no kind that anybody knows, discarded and not decided over.
pub(crate) async fn discarded_job(pool: &PgPool) -> JobId {
    let id: i64 = sqlx::query_scalar(
        "with job as (
           insert into queue.finished_jobs
             (id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at,
              enqueued_at, args, failure)
           values (nextval(pg_get_serial_sequence('queue.jobs', 'id')), 'default', 'other', 2, 1,
             1, 0, 'discarded', now(), now(), '{}', queue.failure_of('other', 'given up'))
           returning id
         )
         insert into queue.attempts
           (job_id, attempt, fence, worker_id, started_at, outcome, error)
         select id, 1, nextval('queue.fence'), gen_random_uuid(), now(), 'discarded', 'given up'
         from job
         returning job_id",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    JobId(id)
}

/// A worker of the application's jobs, in this process.
pub(crate) struct TestWorker {
    shutdown: CancellationToken,
    working: JoinHandle<WorkerSummary>,
}

impl TestWorker {
    /// Starts working; without a bank, deposits and withdrawals wait.
    pub(crate) fn start(pool: &PgPool, bank: Option<Bank>) -> Self {
        Self::start_with(pool, bank, WorkerSettings::default())
    }

    /// The same with other settings.
    pub(crate) fn start_with(pool: &PgPool, bank: Option<Bank>, settings: WorkerSettings) -> Self {
        Self::start_with_services(
            Services { bank, ..Services::of_database(pool.clone()) },
            settings,
        )
    }

    /// The same with other services.
    pub(crate) fn start_with_services(services: Services, settings: WorkerSettings) -> Self {
        let pool = services.pool.clone();
        let worker = Worker::new(pool, jobs::registry(services), settings).unwrap();
        let shutdown = CancellationToken::new();
        let until = shutdown.clone();
        Self { shutdown, working: tokio::spawn(async move { worker.run(until).await }) }
    }

    /// Lets it finish what it has begun.
    pub(crate) async fn stop(self) -> WorkerSummary {
        self.shutdown.cancel();
        self.working.await.unwrap()
    }
}
