//! Executes a deposit or a withdrawal: asks the bank, and writes what it did.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::announcements::announce_here;
use super::execute_transfer::MissingOrder;
use super::resolve_bank_order::ResolveBankOrder;
use super::{Bank, Services};
use crate::bank::breaker::{BankHealth, Pass, Permit};
use crate::bank::call_log::{self, CallId, CallOperation, CallResult};
use crate::bank::settings::MAX_TIMEOUT;
use crate::bank::{BankError, BankInstruction, Direction, EffectKey, PaymentStatus, Receipt};
use crate::ids::OrderId;
use crate::money::Money;
use crate::payments::orders::{self, Executed, Execution, Kind, Order, Status};
use crate::payments::transfers::TransferRefusal;
use crate::queue::{Committed, JobContext, RunTransaction};
use crate::queue::{FollowUp, Job, JobError};

/// The actor in the audit log, also of what is found out after the job was given up.
const BY: &str = "job:execute_bank_order";
/// A worker without a bank looks again after this long whether it was given one: after a restart.
const WITHOUT_BANK: Duration = Duration::from_secs(30);
/// A bank that has not decided is asked again after a tenth of the order's age, within these
/// bounds: soon when it takes seconds, and with few calls when it takes days.
const UNDECIDED: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30 * 60)];
/// The time for the commits around the calls of a run.
const COMMITS: Duration = Duration::from_secs(10);
const _: () = assert!(
    ExecuteBankOrder::TIMEOUT.as_secs() >= 2 * MAX_TIMEOUT.as_secs() + COMMITS.as_secs(),
    "a run must not be stopped in a call that the bank may still answer"
);

/// Has the bank move the money of an order, at most once, and posts it when it did.
///
/// ```text
///   intent: PROCESSING, and the call in the log (own commit)
///     → call, with no transaction open
///     → booked: entries, COMPLETED    declined: FAILED, the hold released    (one commit each)
///     → otherwise: another attempt
/// ```
///
/// Once the bank may have acted on the order's effect key, the next attempt enquires before
/// anything else; it sends only when the bank knows nothing of the key (G6). While the circuit
/// breaker is open the job snoozes, which uses no attempt. After the last attempt
/// [`ResolveBankOrder`] finds out what there is to find out.
///
/// A run that is cut in a call, because its worker dies, loses its lease or stops and its grace is
/// over, leaves an intent without an outcome. The bank may have acted on it, so the next run
/// enquires; that is all there is to it. If the call was the probe of the breaker, the others wait
/// until the lease of the probe is over.
///
/// What the bank did may contradict what it was told or what the ledger allows. Then the job is
/// discarded for an operator to look at, and the order stays as it is, with what it holds: its
/// money may be gone.
///
/// Enqueued once per order, by whoever places it, in the same database transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExecuteBankOrder {
    /// The order, a deposit or a withdrawal.
    pub order: OrderId,
}

impl Job for ExecuteBankOrder {
    const KIND: &'static str = "execute_bank_order";
    const QUEUE: &'static str = "bank";
    const MAX_ATTEMPTS: i16 = 4;
    const TIMEOUT: Duration = Duration::from_secs(90);
    const ON_DISCARD: Option<FollowUp> = Some(FollowUp::job::<ResolveBankOrder>());
    type State = Services;

    async fn run(self, state: &Services, cx: JobContext) -> Result<Committed, JobError> {
        let Some(bank) = &state.bank else {
            return Err(without_bank());
        };
        if is_finished(self.order, state).await? {
            // An earlier run did it, and died before it could say so.
            return cx.complete_without_effects().await;
        }
        let delay = cx.delay(&bank.retries);
        execute(self.order, bank, state, cx).await.map_err(|error| match error {
            JobError::Retry { error, delay: None } => JobError::retry_after(delay, error),
            other => other,
        })
    }
}

async fn is_finished(id: OrderId, state: &Services) -> Result<bool, JobError> {
    let mut conn = state.pool.acquire().await?;
    let order = orders::find(&mut conn, id).await?;
    Ok(order.ok_or_else(|| JobError::discard(MissingOrder(id)))?.is_finished())
}

async fn execute(
    id: OrderId,
    bank: &Bank,
    state: &Services,
    cx: JobContext,
) -> Result<Committed, JobError> {
    // Twice at most: an enquiry may end with "unknown", and then it is to be sent.
    loop {
        let (intent, status) = ask(bank, state, intend(id, &cx)).await?;
        match status {
            PaymentStatus::Booked(receipt) => {
                let mut tx = cx.begin().await?;
                return match post(&mut tx, &intent, receipt).await? {
                    Ok(()) => complete(cx, tx, id).await,
                    Err(contradiction) => leave_to_operator(cx, tx, contradiction).await,
                };
            }
            PaymentStatus::Declined { reason } => {
                let tx = cx.begin().await?;
                return fail(cx, tx, id, &reason).await;
            }
            PaymentStatus::Pending => return Err(undecided(&intent, state).await),
            PaymentStatus::Unknown => {}
        }
    }
}

/// A call that is about to be made, and is in the log.
pub(super) struct Intent {
    pub(super) call: CallId,
    operation: CallOperation,
    instruction: BankInstruction,
    order: Order,
}

/// Has the breaker's leave, commits the intent, and makes the call.
pub(super) async fn ask(
    bank: &Bank,
    state: &Services,
    intend: impl Future<Output = Result<Intent, JobError>>,
) -> Result<(Intent, PaymentStatus), JobError> {
    let pass = permit(bank, state).await?;
    let intent = match intend.await {
        Ok(intent) => intent,
        Err(error) => {
            // Otherwise others would wait for a probe that is never made, until its lease is over.
            let mut conn = state.pool.acquire().await?;
            bank.breaker.give_back(&mut conn, pass).await?;
            return Err(error);
        }
    };
    let status = call(bank, state, pass, &intent).await?;
    Ok((intent, status))
}

/// The breaker's leave to call.
async fn permit(bank: &Bank, state: &Services) -> Result<Pass, JobError> {
    let mut conn = state.pool.acquire().await?;
    match bank.breaker.permit(&mut conn).await? {
        Permit::Call(pass) => Ok(pass),
        Permit::Wait(delay) => {
            let reason = "the circuit breaker is open: the bank is left alone after failed calls";
            // Not all at once: the first one back is the probe, the others would wait again.
            let jitter = delay.mul_f64(fastrand::f64() * 0.1) + Duration::from_millis(100);
            Err(JobError::snooze_because(delay + jitter, reason))
        }
    }
}

/// Commits the record of what is about to be asked of the bank.
async fn intend(id: OrderId, cx: &JobContext) -> Result<Intent, JobError> {
    let mut tx = cx.begin().await?;
    cx.require_lease(&mut tx).await?;
    let order =
        orders::begin(&mut tx, id).await?.ok_or_else(|| JobError::discard(MissingOrder(id)))?;
    if order.is_finished() {
        // This very moment, by somebody else. The next run completes the job.
        return Err(JobError::snooze(Duration::ZERO));
    }
    let operation = match call_log::may_have_acted(&mut tx, &EffectKey::of_order(order.id)).await? {
        true => CallOperation::Enquire,
        false => CallOperation::Send,
    };
    let intent = write_intent(&mut tx, operation, order).await?;
    tx.commit().await?;
    Ok(intent)
}

/// Writes a call into the log, to be committed before it is made.
pub(super) async fn write_intent(
    conn: &mut PgConnection,
    operation: CallOperation,
    order: Order,
) -> Result<Intent, JobError> {
    let instruction = instruction(&order)?;
    let call = call_log::begin(conn, operation, &instruction).await?;
    Ok(Intent { order, instruction, call, operation })
}

/// Translates an order into an instruction for the bank.
fn instruction(order: &Order) -> Result<BankInstruction, JobError> {
    let (direction, wallet) = match order.kind {
        Kind::Deposit => (Direction::Deposit, order.destination),
        Kind::Withdrawal => (Direction::Withdrawal, order.source),
        Kind::Transfer | Kind::Refund => {
            let error =
                anyhow::anyhow!("the {} {} is not for the bank", order.kind.as_str(), order.id);
            return Err(JobError::discard(error));
        }
    };
    Ok(BankInstruction {
        effect_key: EffectKey::of_order(order.id),
        direction,
        money: order.money,
        account: wallet.to_string(),
    })
}

/// Makes the call, with no transaction open; then tells the log and the breaker what came of it.
///
/// That it is not told, because the worker or the database dies first, costs nothing: a call
/// without an outcome is one on which the bank may have acted.
async fn call(
    bank: &Bank,
    state: &Services,
    pass: Pass,
    intent: &Intent,
) -> Result<PaymentStatus, JobError> {
    let Intent { operation, instruction, call, .. } = intent;
    let (status, ended, health) = match operation {
        CallOperation::Send => {
            let result = bank.client.send(instruction).await;
            let (ended, health) = (CallResult::of_send(&result), BankHealth::of(&result));
            (status_after_send(result), ended, health)
        }
        CallOperation::Enquire => {
            let result = bank.client.enquire(&instruction.effect_key).await;
            let (ended, health) = (CallResult::of_enquiry(&result), BankHealth::of(&result));
            (result, ended, health)
        }
    };
    let mut conn = state.pool.acquire().await?;
    bank.breaker.record(&mut conn, pass, health).await?;
    call_log::finish(&mut conn, *call, &ended).await?;
    Ok(status?)
}

/// The status of the payment, where the answer to sending it tells one.
fn status_after_send(result: Result<Receipt, BankError>) -> Result<PaymentStatus, BankError> {
    match result {
        Ok(receipt) => Ok(PaymentStatus::Booked(receipt)),
        Err(BankError::Declined { reason }) => Ok(PaymentStatus::Declined { reason }),
        Err(BankError::Pending) => Ok(PaymentStatus::Pending),
        Err(error) => Err(error),
    }
}

/// Without a bank nothing can be done or found out.
pub(super) fn without_bank() -> JobError {
    JobError::snooze_because(WITHOUT_BANK, "no bank is set: APP_BANK_URL")
}

/// The bank will say more later.
pub(super) async fn undecided(intent: &Intent, state: &Services) -> JobError {
    match order_age(intent, state).await {
        Ok(age) => {
            let [soon, late] = UNDECIDED;
            // After the clock was set back, an order can be younger than nothing.
            let delay = Duration::try_from(age / 10).unwrap_or(soon).clamp(soon, late);
            JobError::snooze_because(delay, "the bank has not decided yet")
        }
        Err(error) => error.into(),
    }
}

/// The age of the order, by the database's clock.
async fn order_age(intent: &Intent, state: &Services) -> sqlx::Result<time::Duration> {
    let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#);
    Ok(now.fetch_one(&state.pool).await? - intent.order.created_at)
}

/// Posts what the bank has done: entries, outcome and hold. After a contradiction nothing may be
/// committed.
pub(super) async fn post(
    conn: &mut PgConnection,
    intent: &Intent,
    receipt: Receipt,
) -> Result<Result<(), Contradiction>, JobError> {
    let Intent { order: Order { id, .. }, instruction, .. } = intent;
    let order = *id;
    if receipt.money != instruction.money {
        // Not ours to judge which of the two is right.
        return Ok(Err(Contradiction::OtherMoney { order, booked: receipt.money }));
    }
    let execution = Execution { order, bank_reference: Some(receipt.bank_reference) };
    let (executed, outcomes) = orders::execute_many(&mut *conn, &[execution]).await?;
    announce_here(&mut *conn, &outcomes, BY).await?;
    Ok(match executed.first() {
        Some(Executed::Completed) => Ok(()),
        Some(Executed::AlreadyFinished) => {
            let found = orders::find(conn, order).await?;
            match found.is_some_and(|order| order.status == Status::Failed) {
                true => Err(Contradiction::AlreadyFailed(order)),
                false => Ok(()),
            }
        }
        Some(Executed::Failed(refusal)) => Err(Contradiction::Refused { order, refusal: *refusal }),
        Some(Executed::Missing) | None => return Err(JobError::discard(MissingOrder(order))),
    })
}

/// Completes the job in the commit of what was posted.
pub(super) async fn complete(
    cx: JobContext,
    tx: RunTransaction,
    id: OrderId,
) -> Result<Committed, JobError> {
    let committed = cx.complete(tx).await?;
    tracing::info!(order = %id, "order {id} completed");
    Ok(committed)
}

/// The bank did what we cannot follow.
#[derive(Debug, thiserror::Error)]
pub(super) enum Contradiction {
    #[error("the bank booked {booked} for the order {order}, which is of other money")]
    OtherMoney { order: OrderId, booked: Money },
    #[error("the bank booked the order {0}, which had failed by then")]
    AlreadyFailed(OrderId),
    #[error("the bank booked the order {order}, but the ledger refuses: {refusal}")]
    Refused { order: OrderId, refusal: TransferRefusal },
}

/// Undoes what is in this transaction, and discards the job without a follow-up: to ask the bank
/// again would tell nothing new.
pub(super) async fn leave_to_operator(
    cx: JobContext,
    tx: RunTransaction,
    error: Contradiction,
) -> Result<Committed, JobError> {
    tx.rollback().await?;
    tracing::error!("{error}");
    let tx = cx.begin().await?;
    cx.discard(tx, error).await
}

/// The order moved nothing and will not: outcome, hold and the job in one commit.
pub(super) async fn fail(
    cx: JobContext,
    mut tx: RunTransaction,
    id: OrderId,
    reason: &str,
) -> Result<Committed, JobError> {
    let outcomes = orders::fail(&mut tx, id, reason).await?;
    announce_here(&mut tx, &outcomes, BY).await?;
    let committed = cx.complete(tx).await?;
    tracing::info!(order = %id, reason, "order {id} failed: {reason}");
    Ok(committed)
}
