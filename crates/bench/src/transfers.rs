//! Transfers to be executed: wallets with money, and orders between them.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use surety::ids::{AccountId, UserId};
use surety::jobs::ExecuteTransfer;
use surety::money::{Amount, Currency, Money};
use surety::payments::orders::{self, Execution, Instruction, NewOrder, Order};
use surety::payments::wallets;
use surety_queue::{NewJob, enqueue_many};

/// The balance of every wallet at first; more than all transfers together can take.
const FUNDS: &str = "1000000.00";
/// The amount of each transfer.
const AMOUNT: &str = "0.01";

/// Makes so many wallets with money.
pub(crate) async fn open_wallets(
    pool: &PgPool,
    count: u64,
    batch: u64,
) -> anyhow::Result<Vec<(UserId, AccountId)>> {
    let money = euros(FUNDS)?;
    let mut opened = Vec::new();
    for first in (0..count).step_by(usize::try_from(batch)?) {
        let mut tx = pool.begin().await?;
        let mut deposits = Vec::new();
        for _ in first..count.min(first + batch) {
            let owner = UserId(Uuid::now_v7());
            let wallet = wallets::open(&mut tx, owner, money.currency()).await?.wallet;
            opened.push((owner, wallet));
            deposits.push(new_order(owner, Instruction::Deposit { wallet, money }));
        }
        let executions: Vec<Execution> = place(&mut tx, &deposits)
            .await?
            .into_iter()
            .map(|order| Execution { order: order.id, bank_reference: None })
            .collect();
        // Nobody is to hear of them.
        let (_executed, _outcomes) = orders::execute_many(&mut tx, &executions).await?;
        tx.commit().await?;
    }
    Ok(opened)
}

/// Places so many transfers with their jobs, each from one of these wallets to the next but some.
pub(crate) async fn place_transfers(
    pool: &PgPool,
    wallets: &[(UserId, AccountId)],
    count: u64,
    batch: u64,
) -> anyhow::Result<()> {
    let money = euros(AMOUNT)?;
    let at = |number: u64| wallets[number as usize % wallets.len()];
    for first in (0..count).step_by(usize::try_from(batch)?) {
        let transfers: Vec<NewOrder> = (first..count.min(first + batch))
            .map(|number| {
                // With two wallets they go back and forth; with many, few meet.
                let ((owner, source), (_, destination)) = (at(number), at(number * 7 + number + 1));
                let destination =
                    if destination == source { at(number + 1).1 } else { destination };
                new_order(owner, Instruction::Transfer { source, destination, money })
            })
            .collect();
        let mut tx = pool.begin().await?;
        let jobs = place(&mut tx, &transfers)
            .await?
            .into_iter()
            .map(|order| NewJob::new(&ExecuteTransfer { order: order.id }))
            .collect::<Result<Vec<_>, _>>()?;
        enqueue_many(&mut tx, &jobs).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn place(conn: &mut PgConnection, new: &[NewOrder]) -> anyhow::Result<Vec<Order>> {
    let placed = orders::place_many(conn, &new.iter().collect::<Vec<_>>()).await?;
    Ok(placed.into_iter().collect::<Result<_, _>>()?)
}

fn new_order(owner: UserId, instruction: Instruction) -> NewOrder {
    NewOrder { owner, instruction, description: None, if_version: None }
}

fn euros(amount: &str) -> anyhow::Result<Money> {
    Ok(Money::new(Amount::parse(amount)?, Currency::parse("EUR")?)?)
}
