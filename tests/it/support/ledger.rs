//! Accounts, transactions and jobs for tests of the money.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sqlx::{PgConnection, PgPool};
use surety::ids::{AccountId, TransactionId, TransferId};
use surety::jobs::{self, Services, SettleTransaction};
use surety::money::{Amount, Currency, Money};
use surety::payments::LedgerError;
use surety::payments::accounts::{self, ExternalAccount};
use surety::payments::settlement::{self, Posted, Settled};
use surety::payments::transfers::{self, NewTransfer, Reason, TransferRefusal};
use surety::queue::JobId;
use surety::queue::{NewJob, enqueue};
use surety::queue::{Worker, WorkerSettings, WorkerSummary};
use uuid::Uuid;

/// `money("12.50 USD")`.
pub(crate) fn money(text: &str) -> Money {
    let (amount, currency) = text.split_once(' ').unwrap();
    Money::new(Amount::parse(amount).unwrap(), Currency::parse(currency).unwrap()).unwrap()
}

/// A transfer that settles nothing.
pub(crate) fn transfer(source: AccountId, destination: AccountId, text: &str) -> NewTransfer {
    NewTransfer { reason: Reason::Unrecorded, source, destination, money: money(text) }
}

/// The external account of this name that holds US dollars, as yet unmade.
pub(crate) fn in_dollars(external_ref: &str) -> ExternalAccount {
    ExternalAccount { external_ref: external_ref.to_owned(), currency: money("1 USD").currency() }
}

/// The external account of this name, made if it must be.
pub(crate) async fn external(pool: &PgPool, external_ref: &str, currency: &str) -> AccountId {
    let account = ExternalAccount {
        external_ref: external_ref.to_owned(),
        currency: Currency::parse(currency).unwrap(),
    };
    let mut tx = pool.begin().await.unwrap();
    let ids = accounts::open_external(&mut tx, &[account]).await.unwrap();
    tx.commit().await.unwrap();
    ids[0]
}

/// A new account with floor 0 and nothing in it.
pub(crate) async fn wallet(pool: &PgPool, currency: &str) -> AccountId {
    let id = AccountId(Uuid::now_v7());
    let insert = "insert into payments.accounts (id, kind, owner_id, currency, floor)
                  values ($1, 'wallet', gen_random_uuid(), $2, 0)";
    sqlx::query(insert).bind(id).bind(currency).execute(pool).await.unwrap();
    id
}

/// Posts in a transaction of its own.
pub(crate) async fn post(
    pool: &PgPool,
    transfers: &[NewTransfer],
) -> Result<Vec<Result<TransferId, TransferRefusal>>, LedgerError> {
    let mut tx = pool.begin().await.unwrap();
    let outcomes = transfers::post_many(&mut tx, transfers).await?;
    tx.commit().await.unwrap();
    Ok(outcomes)
}

/// Balance and version of an account.
pub(crate) async fn balance(pool: &PgPool, account: AccountId) -> (String, i64) {
    sqlx::query_as("select balance::text, version from payments.accounts where id = $1")
        .bind(account)
        .fetch_one(pool)
        .await
        .unwrap()
}

/// A transaction in `PROCESSING`: `transaction(conn, "alice", "bob", "12.50 USD")`.
pub(crate) async fn transaction(
    conn: &mut PgConnection,
    source: &str,
    destination: &str,
    text: &str,
) -> TransactionId {
    let money = money(text);
    sqlx::query_scalar(
        "insert into payments.transactions
           (transaction_id, source_account, destination_account, amount, currency, body)
         values ($1, $2, $3, $4, $5, '')
         returning id",
    )
    .bind(format!("tx_{}", Uuid::now_v7().simple()))
    .bind(source)
    .bind(destination)
    .bind(money.amount().as_decimal())
    .bind(money.currency().code())
    .fetch_one(conn)
    .await
    .unwrap()
}

/// A transaction with its settle job, in one commit, as an inbound webhook makes them.
pub(crate) async fn accepted(
    pool: &PgPool,
    source: &str,
    destination: &str,
    text: &str,
) -> (TransactionId, JobId) {
    let mut tx = pool.begin().await.unwrap();
    let id = transaction(&mut tx, source, destination, text).await;
    let job = enqueue(&mut tx, NewJob::new(&SettleTransaction { transaction: id }).unwrap());
    let job = job.await.unwrap().id();
    tx.commit().await.unwrap();
    (id, job)
}

/// Settles in a transaction of its own.
pub(crate) async fn settle(pool: &PgPool, ids: &[TransactionId]) -> Vec<Settled> {
    let mut refused = HashMap::new();
    let settled = loop {
        let mut tx = pool.begin().await.unwrap();
        match settle_in(&mut tx, ids, &refused).await {
            Posted::All(settled) => {
                tx.commit().await.unwrap();
                break settled;
            }
            Posted::Refused(now) => refused.extend(now),
        }
    };
    assert_eq!(settled.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids, "in the order asked");
    settled.into_iter().map(|(_, settled)| settled).collect()
}

/// Settles in this transaction.
pub(crate) async fn settle_in(
    conn: &mut PgConnection,
    ids: &[TransactionId],
    refused: &HashMap<TransactionId, TransferRefusal>,
) -> Posted {
    let settling = settlement::decide(conn, ids, refused).await.unwrap();
    settling.post(conn).await.unwrap()
}

/// Runs the application's jobs until none is due.
pub(crate) async fn run_jobs(pool: &PgPool) -> WorkerSummary {
    let registry = jobs::registry(Services::of_database(pool.clone()));
    let worker = Worker::new(pool.clone(), registry, WorkerSettings::default()).unwrap();
    worker.run_until_idle().await.unwrap()
}

/// Status, reason and whether it is dated.
pub(crate) async fn outcome(pool: &PgPool, id: TransactionId) -> (String, Option<String>, bool) {
    sqlx::query_as(
        "select status::text, failure_reason, processed_at is not null
         from payments.transactions where id = $1",
    )
    .bind(id)
    .fetch_one(pool)
    .await
    .unwrap()
}

/// How many rows a query counts.
pub(crate) async fn count(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}
