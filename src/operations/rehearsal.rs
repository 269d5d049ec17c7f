//! Rehearsals: payments that are made up to be watched, and what became of them, for `app dev`.
//!
//! Unlike a [`super::trigger`], which executes what it makes, these are left to the
//! workers that run: what they do, or what is done to them, is what there is to be seen.
//!
//! Errors are `anyhow`'s, as in [`demo_data`]: a caller can only show them.

use anyhow::Context as _;
use sqlx::PgPool;

use super::{demo_data, trigger};
use crate::ids::OrderId;
use crate::payments::orders::{self, Instruction};
use crate::payments::transactions;
use crate::queue::commits::commit;
use crate::queue::enqueue;

/// The outcome of a payment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// `COMPLETED` or `FAILED`.
    pub status: &'static str,
    /// The reason of a failure, a stable code.
    pub failure_reason: Option<String>,
}

/// Deposits of a demo user's, each with its job in this queue, where a worker must fetch it.
///
/// # Errors
///
/// When the database refuses.
pub async fn place_deposits(
    pool: &PgPool,
    queue: &str,
    count: usize,
) -> anyhow::Result<Vec<OrderId>> {
    let ada = trigger::person(pool, 0).await?;
    let money = trigger::money(trigger::AMOUNT)?;
    let instruction = Instruction::Deposit { wallet: ada.wallet, money };
    let mut placed = Vec::new();
    for _ in 0..count {
        let mut tx = pool.begin().await?;
        let order = trigger::place(&mut tx, ada, instruction).await??;
        enqueue(&mut tx, demo_data::job_of(instruction, order)?.queue(queue)).await?;
        commit(tx).await?;
        placed.push(order);
    }
    Ok(placed)
}

/// The outcome of an order; none as long as it has none.
///
/// # Errors
///
/// When the database refuses, or there is no such order.
pub async fn outcome_of_order(pool: &PgPool, id: OrderId) -> anyhow::Result<Option<Outcome>> {
    let order = orders::find(&mut *pool.acquire().await?, id).await?;
    let order = order.context("there is no such order")?;
    let status = trigger::status(order.status);
    let outcome = Outcome { status, failure_reason: order.failure_reason.clone() };
    Ok(order.is_finished().then_some(outcome))
}

/// The outcome of a provider's transaction; none as long as it has none.
///
/// # Errors
///
/// When the database refuses, or there is no such transaction.
pub async fn outcome_of_transaction(pool: &PgPool, id: &str) -> anyhow::Result<Option<Outcome>> {
    let transaction = transactions::find(&mut *pool.acquire().await?, id).await?;
    let transaction = transaction.context("there is no such transaction")?;
    let status = trigger::status(transaction.status);
    let outcome = Outcome { status, failure_reason: transaction.failure_reason };
    Ok(transaction.processed_at.is_some().then_some(outcome))
}
