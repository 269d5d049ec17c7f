//! Scenarios: makes an event happen, for those who build a receiver and want to see it come.
//!
//! Nothing is faked for the receiver: an order or transaction is taken as the service takes it, and
//! executed by its job, against a bank in this process that answers as the scenario needs it. The
//! job waits in a queue of its own, so that no worker with another bank takes it. What the outcome
//! causes, deliveries and mails, is left to the workers that run.
//!
//! Errors are `anyhow`'s, as in [`demo_data`]: a caller can only show them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::demo_data::{self, BankAnswer};
use crate::identity::passwords::{Hasher, Password};
use crate::identity::users::{self, NewUser};
use crate::identity::{Email, Role};
use crate::ids::{AccountId, OrderId, UserId};
use crate::jobs::SettleTransaction;
use crate::jobs::announcements::announce_here;
use crate::money::{Amount, Currency, Money};
use crate::payments::orders::{self, Instruction, NewOrder, Order, PlacementRefusal, Status};
use crate::payments::transactions::{self, NewTransaction, Recorded};
use crate::payments::wallets;
use crate::queue::commits::commit;
use crate::queue::{NewJob, enqueue};

/// The actor in the audit log.
const BY: &str = "cli:trigger";
/// Connections that are needed: a worker and its jobs hold several.
pub const CONNECTIONS: u32 = demo_data::CONNECTIONS;

/// The time for an outcome, that of a bank that answers late among them.
const PATIENCE: Duration = Duration::from_secs(90);
/// The interval between two runs of a job that waits for its bank.
const POLL: Duration = Duration::from_millis(200);
/// The currency and amount of everything that is made.
const CURRENCY: &str = "USD";
pub(super) const AMOUNT: &str = "12.34";
/// The amount that is brought in first where a wallet has too little.
const FUNDS: &str = "1000.00";

macro_rules! scenarios {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A thing that can be made to happen.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Scenario {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Scenario {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name: of the event that is the outcome, where there is one.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// A sentence or two on what happens.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

scenarios! {
    /// A provider's transaction is taken and settled.
    TransactionCompleted = "transaction.completed",
    /// A provider's transaction fails: both sides are the same account.
    TransactionFailed = "transaction.failed",
    /// The id of a settled transaction comes again with another amount; it is kept as a conflict.
    TransactionConflict = "transaction.conflict",
    /// Ada deposits, and the bank books it.
    DepositCompleted = "deposit.completed",
    /// Ada deposits, and the bank declines.
    DepositFailed = "deposit.failed",
    /// Ada withdraws, and the bank pays out.
    WithdrawalCompleted = "withdrawal.completed",
    /// Ada withdraws, the bank declines, and the money is available again.
    WithdrawalFailed = "withdrawal.failed",
    /// Ada pays Bob.
    TransferCompleted = "transfer.completed",
    /// Ada pays Bob, and it fails. No rule makes a transfer fail that was taken: this one is ended
    /// by hand.
    TransferFailed = "transfer.failed",
    /// Ada pays Bob, and Bob gives it back.
    RefundCompleted = "refund.completed",
    /// Ada deposits, and the bank decides seconds later, for or against.
    BankLate = "bank.late",
}

/// The thing that was made, and where to look.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Triggered {
    /// The scenario.
    pub scenario: &'static str,
    /// The id of the transaction or order.
    pub id: String,
    /// Its status: `COMPLETED` or `FAILED`.
    pub status: &'static str,
    /// The reason of a failure, a stable code.
    pub failure_reason: Option<String>,
    /// Paths of the API that show it.
    pub paths: Vec<String>,
}

/// A demo user with a wallet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Person {
    pub(super) id: UserId,
    pub(super) wallet: AccountId,
}

/// Makes it happen. The demo users are made with passwords that nobody knows, unless they are
/// there.
///
/// # Errors
///
/// When the database refuses, or the outcome does not come in time.
pub async fn trigger(pool: &PgPool, scenario: Scenario) -> anyhow::Result<Triggered> {
    match scenario {
        Scenario::TransactionCompleted => transaction(pool, scenario, "acc_ben").await,
        Scenario::TransactionFailed => transaction(pool, scenario, "acc_anna").await,
        Scenario::TransactionConflict => conflict(pool).await,
        Scenario::DepositCompleted => deposit(pool, scenario, BankAnswer::Books).await,
        Scenario::DepositFailed => deposit(pool, scenario, BankAnswer::Declines).await,
        Scenario::BankLate => deposit(pool, scenario, BankAnswer::Late).await,
        Scenario::WithdrawalCompleted => withdrawal(pool, scenario, BankAnswer::Books).await,
        Scenario::WithdrawalFailed => withdrawal(pool, scenario, BankAnswer::Declines).await,
        Scenario::TransferCompleted => {
            let (ada, bob) = (person(pool, 0).await?, person(pool, 1).await?);
            let order = execute(pool, ada, payment(ada, bob)?, BankAnswer::Books).await?;
            Ok(triggered(scenario, &order))
        }
        Scenario::RefundCompleted => {
            let (ada, bob) = (person(pool, 0).await?, person(pool, 1).await?);
            let paid = execute(pool, ada, payment(ada, bob)?, BankAnswer::Books).await?;
            let refund = Instruction::Refund { transfer: paid.id };
            let order = execute(pool, bob, refund, BankAnswer::Books).await?;
            Ok(triggered(scenario, &order))
        }
        Scenario::TransferFailed => failed_transfer(pool).await,
    }
}

async fn deposit(
    pool: &PgPool,
    scenario: Scenario,
    answer: BankAnswer,
) -> anyhow::Result<Triggered> {
    let ada = person(pool, 0).await?;
    let instruction = Instruction::Deposit { wallet: ada.wallet, money: money(AMOUNT)? };
    Ok(triggered(scenario, &execute(pool, ada, instruction, answer).await?))
}

async fn withdrawal(
    pool: &PgPool,
    scenario: Scenario,
    answer: BankAnswer,
) -> anyhow::Result<Triggered> {
    let ada = person(pool, 0).await?;
    let instruction = Instruction::Withdrawal { wallet: ada.wallet, money: money(AMOUNT)? };
    Ok(triggered(scenario, &execute(pool, ada, instruction, answer).await?))
}

fn payment(from: Person, to: Person) -> anyhow::Result<Instruction> {
    let (source, destination) = (from.wallet, to.wallet);
    Ok(Instruction::Transfer { source, destination, money: money(AMOUNT)? })
}

/// Ends a transfer in the transaction that takes it. Its job finds it finished.
async fn failed_transfer(pool: &PgPool) -> anyhow::Result<Triggered> {
    let (ada, bob) = (person(pool, 0).await?, person(pool, 1).await?);
    let instruction = payment(ada, bob)?;
    fund(pool, ada, instruction).await?;
    let queue = own_queue();
    let mut tx = pool.begin().await?;
    let order = place(&mut tx, ada, instruction).await??;
    enqueue(&mut tx, demo_data::job_of(instruction, order)?.queue(&queue)).await?;
    let outcomes = orders::fail(&mut tx, order, "account-not-found").await?;
    announce_here(&mut tx, &outcomes, BY).await?;
    commit(tx).await?;
    demo_data::run_in_ledger(pool, &queue).await?;
    Ok(triggered(Scenario::TransferFailed, &found(pool, order).await?))
}

/// The demo user of this number; made, if need be.
pub(super) async fn person(pool: &PgPool, number: usize) -> anyhow::Result<Person> {
    let (email, role) = demo_data::USERS[number];
    let email: Email = email.parse()?;
    let currency = Currency::parse(CURRENCY)?;
    let known = users::find_by_email(&mut *pool.acquire().await?, &email).await?;
    let id = match known {
        Some(user) => user.id,
        None => make(pool, email, role, currency).await?,
    };
    let mut tx = pool.begin().await?;
    let wallet = wallets::open(&mut tx, id, currency).await?.wallet;
    commit(tx).await?;
    Ok(Person { id, wallet })
}

async fn make(
    pool: &PgPool,
    email: Email,
    role: Role,
    currency: Currency,
) -> anyhow::Result<UserId> {
    let password_hash = Hasher::default().hash(Password::generate()).await?;
    let mut tx = pool.begin().await?;
    let user = users::create(&mut tx, &NewUser { email, password_hash, role, currency }).await?;
    commit(tx).await?;
    Ok(user.id)
}

pub(super) fn money(amount: &str) -> anyhow::Result<Money> {
    Ok(Money::new(Amount::parse(amount)?, Currency::parse(CURRENCY)?)?)
}

/// An order that is placed, and executed against a bank that answers so.
async fn execute(
    pool: &PgPool,
    giver: Person,
    instruction: Instruction,
    answer: BankAnswer,
) -> anyhow::Result<Order> {
    fund(pool, giver, instruction).await?;
    execute_funded(pool, giver, instruction, answer).await
}

/// Sees to it that the giver can afford it.
async fn fund(pool: &PgPool, giver: Person, instruction: Instruction) -> anyhow::Result<()> {
    let mut tx = pool.begin().await?;
    let tried = place(&mut tx, giver, instruction).await?;
    tx.rollback().await?;
    match tried {
        // A receiver of Bob's refund has the money, or had it a moment ago.
        Ok(_) => Ok(()),
        Err(PlacementRefusal::InsufficientFunds) => {
            let deposit = Instruction::Deposit { wallet: giver.wallet, money: money(FUNDS)? };
            execute_funded(pool, giver, deposit, BankAnswer::Books).await?;
            Ok(())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

async fn execute_funded(
    pool: &PgPool,
    giver: Person,
    instruction: Instruction,
    answer: BankAnswer,
) -> anyhow::Result<Order> {
    let queue = own_queue();
    let mut tx = pool.begin().await?;
    let id = place(&mut tx, giver, instruction).await??;
    enqueue(&mut tx, demo_data::job_of(instruction, id)?.queue(&queue)).await?;
    commit(tx).await?;
    let bank = demo_data::DemoBank::start(answer).await?;
    let deadline = Instant::now() + PATIENCE;
    let order = loop {
        bank.run_jobs(pool, Some(&queue)).await?;
        let order = found(pool, id).await?;
        if order.is_finished() {
            break order;
        }
        if Instant::now() > deadline {
            bail!(
                "the order {id} does not come to its end; 'app jobs list --queue {queue}' tells why"
            );
        }
        tokio::time::sleep(POLL).await;
    };
    bank.stop().await;
    Ok(order)
}

pub(super) async fn place(
    conn: &mut PgConnection,
    giver: Person,
    instruction: Instruction,
) -> anyhow::Result<Result<OrderId, PlacementRefusal>> {
    let description = Some("Made by app trigger".to_owned());
    let new = NewOrder { owner: giver.id, instruction, description, if_version: None };
    let mut placed = orders::place_many(conn, &[&new]).await?;
    Ok(placed.pop().context("one order has one outcome")?.map(|order| order.id))
}

async fn found(pool: &PgPool, id: OrderId) -> anyhow::Result<Order> {
    let found = orders::find(&mut *pool.acquire().await?, id).await?;
    found.context("orders are never deleted")
}

/// A queue that no other worker claims from.
fn own_queue() -> String {
    format!("trigger-{}", Uuid::new_v4().simple())
}

fn triggered(scenario: Scenario, order: &Order) -> Triggered {
    let path = match order.kind {
        orders::Kind::Deposit => "deposits",
        orders::Kind::Withdrawal => "withdrawals",
        orders::Kind::Transfer | orders::Kind::Refund => "transfers",
    };
    Triggered {
        scenario: scenario.as_str(),
        id: order.id.to_string(),
        status: status(order.status),
        failure_reason: order.failure_reason.clone(),
        paths: vec![format!("/v1/{path}/{}", order.id)],
    }
}

pub(super) const fn status(status: Status) -> &'static str {
    match status {
        Status::Pending => "PENDING",
        Status::Processing => "PROCESSING",
        Status::Completed => "COMPLETED",
        Status::Failed => "FAILED",
    }
}

/// A transaction of a provider's from one account to another, taken and settled.
async fn transaction(
    pool: &PgPool,
    scenario: Scenario,
    destination: &str,
) -> anyhow::Result<Triggered> {
    let id = format!("txn_trigger_{}", Uuid::now_v7().simple());
    record(pool, &new_transaction(&id, destination, AMOUNT)?).await?;
    settled(pool, scenario, &id).await
}

async fn conflict(pool: &PgPool) -> anyhow::Result<Triggered> {
    let first = transaction(pool, Scenario::TransactionConflict, "acc_ben").await?;
    let other = new_transaction(&first.id, "acc_ben", "99.99")?;
    match record(pool, &other).await? {
        Recorded::Conflict => Ok(first),
        Recorded::New(_) | Recorded::Duplicate => bail!("it was not taken for a conflict"),
    }
}

fn new_transaction(id: &str, destination: &str, amount: &str) -> anyhow::Result<NewTransaction> {
    let body = json!({
        "transaction_id": id, "source_account": "acc_anna", "destination_account": destination,
        "amount": amount, "currency": CURRENCY,
    });
    Ok(NewTransaction {
        transaction_id: id.to_owned(),
        source_account: "acc_anna".to_owned(),
        destination_account: destination.to_owned(),
        money: money(amount)?,
        body: Bytes::from(body.to_string()),
    })
}

/// Records it with its job, as the API does (G2), and has the job run.
async fn record(pool: &PgPool, new: &NewTransaction) -> anyhow::Result<Recorded> {
    let queue = own_queue();
    let mut tx = pool.begin().await?;
    let recorded = transactions::record_many(&mut tx, &[new]).await?;
    let recorded = *recorded.first().context("one transaction has one outcome")?;
    if let Recorded::New(transaction) = recorded {
        let job = NewJob::new(&SettleTransaction { transaction })?;
        enqueue(&mut tx, job.queue(&queue)).await?;
    }
    commit(tx).await?;
    demo_data::run_in_ledger(pool, &queue).await?;
    Ok(recorded)
}

async fn settled(pool: &PgPool, scenario: Scenario, id: &str) -> anyhow::Result<Triggered> {
    let found = transactions::find(&mut *pool.acquire().await?, id).await?;
    let transaction = found.context("transactions are never deleted")?;
    Ok(Triggered {
        scenario: scenario.as_str(),
        id: id.to_owned(),
        status: status(transaction.status),
        failure_reason: transaction.failure_reason,
        paths: vec![format!("/v1/transactions/{id}")],
    })
}
