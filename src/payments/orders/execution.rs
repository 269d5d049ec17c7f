//! Execution: the steps of an order to its outcome.

use std::collections::HashMap;

use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::reading::Row;
use super::{Kind, Order, Status};
use crate::ids::{AccountId, OrderId, UserId};
use crate::payments::LedgerError;
use crate::payments::accounts::{self, AccountChange};
use crate::payments::outcomes::{Outcome, Outcomes};
use crate::payments::transfers::{self, NewTransfer, Reason, TransferRefusal};

/// An order that is to be executed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Execution {
    /// The order.
    pub order: OrderId,
    /// The bank's reference of the payment, if it went through the bank.
    pub bank_reference: Option<String>,
}

/// The result of executing an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Executed {
    /// The transfer is posted; the order is now `COMPLETED`.
    Completed,
    /// The order broke a rule of the ledger and moved no money; it is now `FAILED`.
    Failed(TransferRefusal),
    /// The order had its outcome before. Nothing was changed.
    AlreadyFinished,
    /// There is no such order. Nothing was changed.
    Missing,
}

/// Moves an order from `PENDING` to `PROCESSING`: the record that the bank is about to be asked,
/// to be committed before it is. Gives the order as it was before; none when there is no such
/// order. One that is in `PROCESSING` or finished is left as it is.
///
/// # Errors
///
/// When the database refuses.
pub async fn begin(conn: &mut PgConnection, id: OrderId) -> Result<Option<Order>, LedgerError> {
    let found = find_locked(&mut *conn, id).await?;
    if found.as_ref().is_some_and(|order| order.status == Status::Pending) {
        sqlx::query!(
            "update payments.orders set status = 'PROCESSING' where id = $1 and status = 'PENDING'",
            id.0,
        )
        .execute(conn)
        .await?;
    }
    Ok(found)
}

/// The order with this id, if any, which nobody else can change until the transaction ends.
///
/// # Errors
///
/// When the database refuses.
pub async fn find_locked(
    conn: &mut PgConnection,
    id: OrderId,
) -> Result<Option<Order>, LedgerError> {
    Ok(lock(conn, &[id.0]).await?.pop())
}

/// Those of these orders that exist, in the order of their ids, which nobody else can change until
/// the transaction ends.
///
/// # Errors
///
/// When the database refuses.
pub async fn find_many_locked(
    conn: &mut PgConnection,
    ids: &[OrderId],
) -> Result<Vec<Order>, LedgerError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    lock(conn, &ids).await
}

/// Executes these orders: posts their transfers, releases what they hold, and moves them to
/// `COMPLETED`; or to `FAILED` if they break a rule of the ledger. Gives one outcome each, in their
/// order, and the [`Outcomes`] that this call has written. An order appears once.
///
/// The number of statements does not depend on the number of orders. Call it once per database
/// transaction.
///
/// # Errors
///
/// When the database refuses, or a stored row contradicts the ledger. Nothing may be committed
/// then.
pub async fn execute_many(
    conn: &mut PgConnection,
    executions: &[Execution],
) -> Result<(Vec<Executed>, Outcomes), LedgerError> {
    let ids: Vec<Uuid> = executions.iter().map(|execution| execution.order.0).collect();
    let locked = lock(&mut *conn, &ids).await?;
    let unfinished: Vec<&Order> = locked.iter().filter(|order| !order.is_finished()).collect();
    let transfers: Vec<NewTransfer> = unfinished.iter().map(|order| transfer_of(order)).collect();
    let posted = transfers::post_many(&mut *conn, &transfers).await?;

    let mut outcomes: HashMap<OrderId, Executed> =
        locked.iter().map(|order| (order.id, Executed::AlreadyFinished)).collect();
    for (order, posted) in unfinished.iter().zip(posted) {
        let outcome = posted.map_or_else(Executed::Failed, |_transfer| Executed::Completed);
        outcomes.insert(order.id, outcome);
    }
    let expected = unfinished.len();
    let finished = record(conn, executions, &outcomes, expected).await?;
    let outcome_of = |execution: &Execution| outcomes.get(&execution.order).copied();
    let executed = executions.iter().map(|it| outcome_of(it).unwrap_or(Executed::Missing));
    Ok((executed.collect(), Outcomes::of(finished.into_iter().map(Outcome::Order))))
}

/// Moves an order to `FAILED` for this reason, a stable code, and releases what it holds. There is
/// no outcome if it had one: it is left as it is.
///
/// # Errors
///
/// When the database refuses.
pub async fn fail(
    conn: &mut PgConnection,
    id: OrderId,
    reason: &str,
) -> Result<Outcomes, LedgerError> {
    let found = find_locked(&mut *conn, id).await?;
    let Some(order) = found.filter(|order| !order.is_finished()) else {
        return Ok(Outcomes::default());
    };
    let finished_at = sqlx::query_scalar!(
        r#"
        update payments.orders
        set status = 'FAILED', failure_reason = $2, finished_at = clock_timestamp()
        where id = $1 and status in ('PENDING', 'PROCESSING')
        returning finished_at as "finished_at!"
        "#,
        id.0,
        reason,
    )
    .fetch_one(&mut *conn)
    .await?;
    if order.kind.holds() {
        release_hold(conn, &order).await?;
    }
    Ok(Outcomes::of([Outcome::Order(Order {
        status: Status::Failed,
        failure_reason: Some(reason.to_owned()),
        finished_at: Some(finished_at),
        ..order
    })]))
}

/// Locks these orders in id order, and reads them as they stand then.
async fn lock(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Order>, LedgerError> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select
          id as "id: OrderId", kind as "kind: Kind", owner_id as "owner: UserId",
          source_account_id as "source: AccountId",
          destination_account_id as "destination: AccountId", amount, currency, description,
          refund_of as "refund_of: OrderId", status as "status: Status", failure_reason,
          bank_reference, created_at, finished_at
        from payments.orders
        where id = any ($1)
        order by id
        for no key update
        "#,
        ids,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Order::try_from).collect()
}

fn transfer_of(order: &Order) -> NewTransfer {
    NewTransfer {
        reason: if order.kind.holds() {
            Reason::HeldOrder(order.id)
        } else {
            Reason::Order(order.id)
        },
        source: order.source,
        destination: order.destination,
        money: order.money,
    }
}

/// Writes the outcomes of the `expected` orders that were not finished before, and gives them as
/// they now stand, in the order of their ids.
async fn record(
    conn: &mut PgConnection,
    executions: &[Execution],
    outcomes: &HashMap<OrderId, Executed>,
    expected: usize,
) -> Result<Vec<Order>, LedgerError> {
    let mut ids: Vec<Uuid> = Vec::with_capacity(expected);
    let mut reasons: Vec<Option<&str>> = Vec::with_capacity(expected);
    let mut references: Vec<Option<&str>> = Vec::with_capacity(expected);
    for execution in executions {
        let reason = match outcomes.get(&execution.order) {
            Some(Executed::Completed) => None,
            Some(Executed::Failed(refusal)) => Some(refusal.code()),
            Some(Executed::AlreadyFinished | Executed::Missing) | None => continue,
        };
        ids.push(execution.order.0);
        reasons.push(reason);
        references.push(execution.bank_reference.as_deref());
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_as!(
        Row,
        r#"
        update payments.orders
        set
          status = case when outcome.reason is null then 'COMPLETED' else 'FAILED' end
            ::payments.transaction_status,
          failure_reason = outcome.reason,
          bank_reference = coalesce(outcome.bank_reference, orders.bank_reference),
          finished_at = clock_timestamp()
        from unnest($1::uuid[], $2::text[], $3::text[]) as outcome (id, reason, bank_reference)
        where orders.id = outcome.id and orders.status in ('PENDING', 'PROCESSING')
        returning
          orders.id as "id: OrderId", kind as "kind: Kind", owner_id as "owner: UserId",
          source_account_id as "source: AccountId",
          destination_account_id as "destination: AccountId", amount, currency, description,
          refund_of as "refund_of: OrderId", status as "status: Status", failure_reason,
          orders.bank_reference, created_at, finished_at
        "#,
        &ids,
        &reasons as &[Option<&str>],
        &references as &[Option<&str>],
    )
    .fetch_all(conn)
    .await?;
    if rows.len() != expected {
        return Err(LedgerError::ConcurrentChange);
    }
    let finished: Result<Vec<Order>, LedgerError> = rows.into_iter().map(Order::try_from).collect();
    finished.map(|mut finished| {
        finished.sort_unstable_by_key(|order| order.id);
        finished
    })
}

/// Releases what an order holds on its source account.
async fn release_hold(conn: &mut PgConnection, order: &Order) -> Result<(), LedgerError> {
    let locked = accounts::lock(&mut *conn, &[order.source].into()).await?;
    let account = locked.first().ok_or(LedgerError::ConcurrentChange)?;
    let change = AccountChange {
        account: account.id,
        version_before: account.version,
        entries: 0,
        entries_from: None,
        balance_delta: Decimal::ZERO,
        hold_changes: 1,
        held_delta: -order.money.amount().as_decimal(),
    };
    accounts::change(conn, &[change]).await
}
