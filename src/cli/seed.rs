//! `app seed`: users with money and a history, for trying things out.
//!
//! Everything is made as the service makes it: users with their wallets in one transaction, each
//! order with its job in one, and the jobs are run by a worker in this process, against a simulated
//! bank that books everything. Another worker may be faster, and its bank may decline: then the
//! order is given again. Two orders are left to whatever worker comes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use super::database::Database;
use super::output::{Output, table};
use super::password_source::PasswordSource;
use crate::bank::BankArgs;
use crate::bank::simulator::dials::Dials;
use crate::bank::simulator::{Simulator, SimulatorArgs};
use crate::db;
use crate::identity::passwords::Hasher;
use crate::identity::users::{self, NewUser};
use crate::identity::{Email, Role};
use crate::ids::{AccountId, OrderId, UserId};
use crate::jobs::{self, Bank, ExecuteBankOrder, ExecuteTransfer, JobState};
use crate::money::{Amount, Currency, Money};
use crate::payments::orders::{self, Instruction, NewOrder, Order, Status};
use crate::payments::wallets;
use crate::queue::{NewJob, Worker, WorkerSettings, enqueue};
use crate::serve;

/// A worker and its jobs need several.
const CONNECTIONS: u32 = 4;
/// How often an order is given when another worker's bank declines it.
const MAX_TRIES: u32 = 20;
/// For how long, and how often, an order is looked after that another worker has taken.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  app seed                                    prints a password for each of them
  app seed --password-stdin < password.txt    the same password for all
  app seed -o json

Makes the users ada@example.com and bob@example.com with wallets, deposits, withdrawals, transfers
and a refund; an operator, olga@example.com; and an admin, root@example.com. A deposit and a
withdrawal are left to the next worker. To be used once per database. The bank of your workers knows
nothing of the other deposits and withdrawals: a simulated one books them.

Exit codes: 0 done, 1 failed or seeded before, 2 usage.";

/// Fills a database with demo users and their money.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    database: Database,

    #[command(flatten)]
    password: PasswordSource,

    /// Do it even where the database is not on this machine.
    #[arg(long)]
    yes: bool,

    /// How to print the credentials.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Everybody, with their roles.
const PEOPLE: [(&str, Role); 4] = [
    ("ada@example.com", Role::User),
    ("bob@example.com", Role::User),
    ("olga@example.com", Role::Operator),
    ("root@example.com", Role::Admin),
];

/// Somebody who was made.
struct Person {
    id: UserId,
    email: Email,
    role: Role,
    wallet: AccountId,
    /// To be shown, unless it came from stdin.
    password: Option<String>,
}

/// What the simulated bank does with all that it is asked.
#[derive(Clone, Copy)]
enum Answer {
    Books,
    Declines,
}

impl Answer {
    fn dials(self) -> Dials {
        let (success, insufficient_funds) = match self {
            Self::Books => (1.0, 0.0),
            Self::Declines => (0.0, 1.0),
        };
        Dials {
            success_rate: Some(success),
            insufficient_funds_rate: Some(insufficient_funds),
            latency: Some("0s".parse().expect("a duration")),
            ..Dials::default()
        }
    }
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses, is not on this machine, or was seeded before.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pool = args.database.connect_many("surety-seed", CONNECTIONS).await?;
    if !args.yes && !is_on_this_machine(&pool.connect_options()) {
        bail!("the database is not on this machine: say --yes if it is to have demo users");
    }
    let people = make_people(&pool, &args.password).await?;
    make_history(&pool, &people[0], &people[1]).await?;
    show(&people, args.output);
    Ok(ExitCode::SUCCESS)
}

fn is_on_this_machine(options: &PgConnectOptions) -> bool {
    // An IPv6 address stands in brackets in a URL.
    let host = options.get_host().trim_matches(['[', ']']);
    let is_loopback = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    (options.get_socket().is_some() && !db::is_pooled(options))
        || host.starts_with('/')
        || host == "localhost"
        || is_loopback
}

/// All users with their first wallets, or none.
async fn make_people(pool: &PgPool, source: &PasswordSource) -> anyhow::Result<Vec<Person>> {
    let hasher = Hasher::default();
    let mut hashed = Vec::new();
    for (password, shown) in source.read_for(&PEOPLE.map(|(email, _role)| email))? {
        hashed.push((hasher.hash(password).await?, shown));
    }
    let currency = Currency::parse("USD")?;
    let mut people = Vec::new();
    let mut tx = pool.begin().await?;
    for ((email, role), (password_hash, password)) in PEOPLE.into_iter().zip(hashed) {
        let email: Email = email.parse()?;
        if users::find_by_email(&mut tx, &email).await?.is_some() {
            bail!("the database was seeded before: there is a user {email}");
        }
        let new = NewUser { email: email.clone(), password_hash, role, currency };
        let id = users::create(&mut tx, &new).await?.id;
        let wallet = wallets::open(&mut tx, id, currency).await?.wallet;
        people.push(Person { id, email, role, wallet, password });
    }
    // The worker of this process would finish them, too, and at the wrong bank.
    if orders::has_unfinished(&mut tx).await? {
        bail!("the database has orders that wait for their bank: have a worker finish them first");
    }
    tx.commit().await?;
    Ok(people)
}

/// What the two have done so far.
async fn make_history(pool: &PgPool, ada: &Person, bob: &Person) -> anyhow::Result<()> {
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
    finish(pool, bob, declined, Some("More than the bank would pay out"), Answer::Declines).await?;
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
    giver: &Person,
    instruction: Instruction,
    description: Option<&str>,
) -> anyhow::Result<OrderId> {
    for _ in 0..MAX_TRIES {
        let order = finish(pool, giver, instruction, description, Answer::Books).await?;
        if order.status == Status::Completed {
            return Ok(order.id);
        }
    }
    bail!("another worker takes the jobs, and its bank declines them: try it on another database")
}

/// An order that is placed, and executed by a worker and a bank that answers so.
async fn finish(
    pool: &PgPool,
    giver: &Person,
    instruction: Instruction,
    description: Option<&str>,
    answer: Answer,
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
async fn run_jobs(pool: &PgPool, answer: Answer) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let listener = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let settings = SimulatorArgs { dials: answer.dials(), ..SimulatorArgs::default() };
    let simulator = Simulator::start(listener, &settings, stop.clone())?;
    let bank_url = Some(format!("http://{}", simulator.address));
    let bank = Bank::new(&BankArgs { bank_url, ..BankArgs::default() })?;
    let registry = jobs::registry(JobState { pool: pool.clone(), bank });
    Worker::new(pool.clone(), registry, WorkerSettings::default())?.run_until_idle().await?;
    stop.cancel();
    simulator.stopped().await;
    Ok(())
}

/// An order that is placed together with its job, as the API does it.
async fn place(
    pool: &PgPool,
    giver: &Person,
    instruction: Instruction,
    description: Option<&str>,
) -> anyhow::Result<OrderId> {
    let description = description.map(str::to_owned);
    let new = NewOrder { owner: giver.id, instruction, description, if_version: None };
    let mut tx = pool.begin().await?;
    let mut placed = orders::place_many(&mut tx, &[&new]).await?;
    let order = placed.pop().context("one order has one outcome")??.id;
    let job = match instruction {
        Instruction::Deposit { .. } | Instruction::Withdrawal { .. } => {
            NewJob::new(&ExecuteBankOrder { order })?
        }
        Instruction::Transfer { .. } | Instruction::Refund { .. } => {
            NewJob::new(&ExecuteTransfer { order })?
        }
    };
    enqueue(&mut tx, job).await?;
    tx.commit().await?;
    Ok(order)
}

fn show(people: &[Person], output: Output) {
    match output {
        Output::Table => {
            let rows: Vec<_> = people
                .iter()
                .map(|person| {
                    let password = person.password.as_deref().unwrap_or("(from stdin)");
                    let role = person.role.as_str().to_owned();
                    [person.email.to_string(), role, password.to_owned(), person.id.to_string()]
                })
                .collect();
            print!("{}", table(["EMAIL", "ROLE", "PASSWORD", "ID"], &rows));
            println!("\nAda and Bob have a history, and two orders that wait for the next worker.");
            println!("The passwords are shown only now.");
        }
        Output::Json | Output::Jsonl => {
            let to_json = |person: &Person| {
                json!({
                    "id": person.id,
                    "email": person.email.as_str(),
                    "role": person.role.as_str(),
                    "password": person.password,
                    "wallet_id": person.wallet,
                })
            };
            let people: Vec<Value> = people.iter().map(to_json).collect();
            println!("{}", json!({ "users": people }));
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
