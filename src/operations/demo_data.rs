//! Demo data: users with money and a history, for trying things out.
//!
//! Everything is made as the service makes it: users with their wallets in one transaction, each
//! order with its job in one, and the jobs are run by a worker in this process, against a simulated
//! bank that books everything. Another worker may be faster, and its bank may decline: then the
//! order is given again. Two orders are left to the next worker.
//!
//! Errors are `anyhow`'s, unlike elsewhere in this layer: a caller can only show them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Identity;
use super::users::role;
use crate::audit::{self, Subject};
use crate::bank::BankArgs;
use crate::bank::simulator::behaviour::BehaviourSettings;
use crate::bank::simulator::{Simulator, SimulatorArgs};
use crate::db;
use crate::identity::passwords::{Hasher, Password};
use crate::identity::users::{self, NewUser};
use crate::identity::{Email, Role};
use crate::ids::{AccountId, OrderId, UserId};
use crate::jobs::{self, Bank, ExecuteBankOrder, ExecuteTransfer, Services};
use crate::money::{Amount, Currency, Money};
use crate::payments::orders::{self, Instruction, NewOrder, Order, Status};
use crate::payments::wallets;
use crate::queue::{NewJob, QueueError, Worker, WorkerSettings, enqueue};

/// Connections that are needed: a worker and its jobs hold several.
pub const CONNECTIONS: u32 = 4;

/// The most times that an order is given when another worker's bank declines it.
const MAX_TRIES: u32 = 20;
/// The time for which an order is waited for that another worker has taken.
const PATIENCE: Duration = Duration::from_secs(60);
/// The wait before a bank is asked again that has not decided.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The interval between two looks at such an order.
const POLL: Duration = Duration::from_millis(100);

/// The email addresses and roles of the demo users.
pub const USERS: [(&str, Role); 4] = [
    ("ada@example.com", Role::User),
    ("bob@example.com", Role::User),
    ("olga@example.com", Role::Operator),
    ("root@example.com", Role::Admin),
];

/// A user who was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DemoUser {
    /// The user.
    pub id: UserId,
    /// The address to sign in with.
    pub email: String,
    /// The rights of the user.
    #[serde(serialize_with = "role")]
    pub role: Role,
    /// The user's first wallet.
    #[serde(rename = "wallet_id")]
    pub wallet: AccountId,
}

/// Makes the demo [`USERS`] with these passwords, and what two of them have done so far.
///
/// # Errors
///
/// When the database refuses, was seeded before, or has unfinished orders.
pub async fn seed(
    pool: &PgPool,
    passwords: [Password; 4],
    by: &Identity,
) -> anyhow::Result<Vec<DemoUser>> {
    let users = make_users(pool, passwords, by).await?;
    make_history(pool, &users[0], &users[1]).await?;
    Ok(users)
}

/// True if a database with these options is on this machine.
#[must_use]
pub fn is_on_this_machine(options: &PgConnectOptions) -> bool {
    // An IPv6 address stands in brackets in a URL.
    let host = options.get_host().trim_matches(['[', ']']);
    let is_loopback = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    (options.get_socket().is_some() && !db::is_pooled(options))
        || host.starts_with('/')
        || host == "localhost"
        || is_loopback
}

/// All users with their first wallets, or none.
async fn make_users(
    pool: &PgPool,
    passwords: [Password; 4],
    by: &Identity,
) -> anyhow::Result<Vec<DemoUser>> {
    let hasher = Hasher::default();
    let mut hashes = Vec::new();
    for password in passwords {
        hashes.push(hasher.hash(password).await?);
    }
    let currency = Currency::parse("USD")?;
    let mut made = Vec::new();
    let mut tx = pool.begin().await?;
    for ((email, role), password_hash) in USERS.into_iter().zip(hashes) {
        let email: Email = email.parse()?;
        if users::find_by_email(&mut tx, &email).await?.is_some() {
            bail!("the database was seeded before: there is a user {email}");
        }
        let new = NewUser { email: email.clone(), password_hash, role, currency };
        let id = users::create(&mut tx, &new).await?.id;
        let wallet = wallets::open(&mut tx, id, currency).await?.wallet;
        made.push(DemoUser { id, email: email.to_string(), role, wallet });
    }
    // The worker of this process would finish them, too, and at the wrong bank.
    if orders::has_unfinished(&mut tx).await? {
        bail!("the database has orders that wait for their bank: have a worker finish them first");
    }
    audit::record(&mut tx, &[by.entry("demo.seed", Subject::new("database", "demo"))]).await?;
    tx.commit().await?;
    Ok(made)
}

/// Makes what the two have done so far.
async fn make_history(pool: &PgPool, ada: &DemoUser, bob: &DemoUser) -> anyhow::Result<()> {
    let euros = Currency::parse("EUR")?;
    let mut tx = pool.begin().await?;
    let ada_euros = wallets::open(&mut tx, ada.id, euros).await?.wallet;
    tx.commit().await?;

    let deposit = |wallet, amount, currency| {
        money(amount, currency).map(|money| Instruction::Deposit { wallet, money })
    };
    let withdrawal = |wallet, amount| {
        money(amount, "USD").map(|money| Instruction::Withdrawal { wallet, money })
    };
    let transfer = |source: AccountId, destination: AccountId, amount| {
        let money = money(amount, "USD");
        money.map(|money| Instruction::Transfer { source, destination, money })
    };
    let (wallet, bobs) = (ada.wallet, bob.wallet);
    complete(pool, ada, deposit(wallet, "1500.00", "USD")?, Some("Salary")).await?;
    complete(pool, ada, deposit(ada_euros, "300.00", "EUR")?, Some("Travel money")).await?;
    complete(pool, bob, deposit(bobs, "250.00", "USD")?, None).await?;
    complete(pool, ada, transfer(wallet, bobs, "620.00")?, Some("My half of the rent")).await?;
    complete(pool, bob, transfer(bobs, wallet, "35.50")?, Some("Concert tickets")).await?;
    let twice = transfer(wallet, bobs, "60.00")?;
    let twice = complete(pool, ada, twice, Some("Dinner, paid twice by mistake")).await?;
    complete(pool, bob, Instruction::Refund { transfer: twice }, None).await?;
    complete(pool, ada, withdrawal(wallet, "200.00")?, Some("To my savings")).await?;
    let declined = withdrawal(bobs, "80.00")?;
    finish(pool, bob, declined, Some("More than the bank would pay out"), BankAnswer::Declines)
        .await?;
    place(pool, ada, deposit(wallet, "75.00", "USD")?, Some("Still on its way")).await?;
    place(pool, bob, withdrawal(bobs, "40.00")?, Some("Still on its way")).await?;
    Ok(())
}

fn money(amount: &str, currency: &str) -> anyhow::Result<Money> {
    Ok(Money::new(Amount::parse(amount)?, Currency::parse(currency)?)?)
}

/// An order that is placed, and brought to its end until that is a good one.
async fn complete(
    pool: &PgPool,
    giver: &DemoUser,
    instruction: Instruction,
    description: Option<&str>,
) -> anyhow::Result<OrderId> {
    for _ in 0..MAX_TRIES {
        let order = finish(pool, giver, instruction, description, BankAnswer::Books).await?;
        if order.status == Status::Completed {
            return Ok(order.id);
        }
    }
    bail!("another worker takes the jobs, and its bank declines them: try it on another database")
}

/// An order that is placed, and executed by a worker and a bank that answers so.
async fn finish(
    pool: &PgPool,
    giver: &DemoUser,
    instruction: Instruction,
    description: Option<&str>,
    answer: BankAnswer,
) -> anyhow::Result<Order> {
    let id = place(pool, giver, instruction, description).await?;
    run_jobs(pool, answer).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = orders::find(&mut *pool.acquire().await?, id).await?;
        let order = found.context("orders are never deleted")?;
        if order.is_finished() {
            return Ok(order);
        }
        if Instant::now() > deadline {
            bail!("another worker has taken the order {id}, and does not finish it");
        }
        // It is in the hands of another worker.
        tokio::time::sleep(POLL).await;
    }
}

/// Runs the jobs that are due, against a bank that answers so.
async fn run_jobs(pool: &PgPool, answer: BankAnswer) -> anyhow::Result<()> {
    let bank = DemoBank::start(answer).await?;
    bank.run_jobs(pool, None).await?;
    bank.stop().await;
    Ok(())
}

/// A simulated bank in this process that gives one answer to everything.
pub(super) struct DemoBank {
    simulator: Simulator,
    stop: CancellationToken,
}

impl DemoBank {
    pub(super) async fn start(answer: BankAnswer) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let settings = SimulatorArgs { behaviour: answer.behaviour(), ..SimulatorArgs::default() };
        let simulator = Simulator::start(listener, &settings, stop.clone())?;
        Ok(Self { simulator, stop })
    }

    /// Runs the jobs that are due, of one queue or of all, with this bank.
    pub(super) async fn run_jobs(&self, pool: &PgPool, queue: Option<&str>) -> anyhow::Result<()> {
        let bank_url = Some(format!("http://{}", self.simulator.address));
        let bank_retry_delay = RETRY_DELAY;
        let args = BankArgs { bank_url, bank_retry_delay, ..BankArgs::default() };
        let bank = Bank::new(&args)?;
        let services = Services { bank, ..Services::of_database(pool.clone()) };
        run_with(pool, services, queue).await
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.simulator.stopped().await;
    }
}

/// Runs the jobs of this queue that need nobody but the database.
pub(super) async fn run_in_ledger(pool: &PgPool, queue: &str) -> anyhow::Result<()> {
    run_with(pool, Services::of_database(pool.clone()), Some(queue)).await
}

async fn run_with(pool: &PgPool, services: Services, queue: Option<&str>) -> anyhow::Result<()> {
    let queues = queue.map(str::to_owned).into_iter().collect();
    let settings = WorkerSettings { queues, ..WorkerSettings::default() };
    Worker::new(pool.clone(), jobs::registry(services), settings)?.run_until_idle().await?;
    Ok(())
}

/// An order that is placed together with its job, as the API does it.
async fn place(
    pool: &PgPool,
    giver: &DemoUser,
    instruction: Instruction,
    description: Option<&str>,
) -> anyhow::Result<OrderId> {
    let description = description.map(str::to_owned);
    let new = NewOrder { owner: giver.id, instruction, description, if_version: None };
    let mut tx = pool.begin().await?;
    let mut placed = orders::place_many(&mut tx, &[&new]).await?;
    let order = placed.pop().context("one order has one outcome")??.id;
    enqueue(&mut tx, job_of(instruction, order)?).await?;
    tx.commit().await?;
    Ok(order)
}

/// The job that executes an order with this instruction.
pub(super) fn job_of(instruction: Instruction, order: OrderId) -> Result<NewJob, QueueError> {
    match instruction {
        Instruction::Deposit { .. } | Instruction::Withdrawal { .. } => {
            NewJob::new(&ExecuteBankOrder { order })
        }
        Instruction::Transfer { .. } | Instruction::Refund { .. } => {
            NewJob::new(&ExecuteTransfer { order })
        }
    }
}

/// The simulated bank's answer to all instructions.
#[derive(Clone, Copy)]
pub(super) enum BankAnswer {
    Books,
    Declines,
    /// Decides after a few seconds.
    Late,
}

impl BankAnswer {
    fn behaviour(self) -> BehaviourSettings {
        let (success, insufficient_funds, late) = match self {
            Self::Books => (1.0, 0.0, 0.0),
            Self::Declines => (0.0, 1.0, 0.0),
            Self::Late => (0.0, 0.0, 1.0),
        };
        BehaviourSettings {
            success_rate: Some(success),
            insufficient_funds_rate: Some(insufficient_funds),
            late_rate: Some(late),
            late_after: Some("3s".parse().expect("a duration")),
            latency: Some("0s".parse().expect("a duration")),
            ..BehaviourSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_and_sockets_are_on_this_machine() {
        for (url, expected) in [
            ("postgres://me@localhost/db", true),
            ("postgres://me@127.0.0.1:5433/db", true),
            ("postgres://me@[::1]/db", true),
            ("postgres://me@localhost/db?host=/run/postgresql", true),
            ("postgres://me@db.example/db", false),
            ("postgres://me@10.0.0.1/db", false),
            ("postgres://me@localhost.example/db", false),
        ] {
            let options: PgConnectOptions = url.parse().expect("a URL");
            assert_eq!(is_on_this_machine(&options), expected, "{url}");
        }
    }
}
