//! The log of calls to the bank: the intent before the call, what came of it after.
//!
//! The intent commits together with the state change that the call is made for, so that whoever
//! takes over from a dead worker sees that the bank may have been told.

use std::time::Duration;

use sqlx::PgConnection;

use super::{
    BankError, BankInstruction, Direction, EffectKey, InvalidAnswer, PaymentStatus, Receipt,
};

/// The number of a call in the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CallId(pub i64);

/// The operation that the bank is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "bank.call_operation", rename_all = "snake_case")]
pub enum CallOperation {
    /// To move money.
    Send,
    /// To say what became of it.
    Enquire,
}

/// The outcome of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "bank.call_outcome", rename_all = "snake_case")]
pub enum CallOutcome {
    /// The money moved.
    Booked,
    /// The money did not move and will not.
    Declined,
    /// The bank has not decided.
    Pending,
    /// The bank has never heard of it.
    UnknownKey,
    /// The bank cannot have acted.
    Unavailable,
    /// No answer: the bank may have acted.
    TimedOut,
    /// No answer that could be relied on: the bank may have acted.
    Malformed,
}

/// The result of a call, as the log keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallResult {
    outcome: CallOutcome,
    reason: Option<String>,
    /// The receipt that the bank gave, whether it is believed or not.
    answered: Option<Receipt>,
}

/// The result of writing a call's result into the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finished {
    /// The result is in the log now.
    Now,
    /// The call has another result already, or was never begun: nothing changed.
    NotOpen,
}

impl CallResult {
    /// The result of a [`send`](super::BankClient::send).
    pub fn of_send(result: &Result<Receipt, BankError>) -> Self {
        match result {
            Ok(receipt) => Self::booked(receipt),
            Err(error) => Self::failed(error),
        }
    }

    /// The result of an [`enquire`](super::BankClient::enquire).
    pub fn of_enquiry(result: &Result<PaymentStatus, BankError>) -> Self {
        let (outcome, reason) = match result {
            Ok(PaymentStatus::Booked(receipt)) => return Self::booked(receipt),
            Ok(PaymentStatus::Declined { reason }) => (CallOutcome::Declined, Some(reason.clone())),
            Ok(PaymentStatus::Pending) => (CallOutcome::Pending, None),
            Ok(PaymentStatus::Unknown) => (CallOutcome::UnknownKey, None),
            Err(error) => return Self::failed(error),
        };
        Self { outcome, reason, answered: None }
    }

    /// The outcome.
    pub fn outcome(&self) -> CallOutcome {
        self.outcome
    }

    fn booked(receipt: &Receipt) -> Self {
        Self { outcome: CallOutcome::Booked, reason: None, answered: Some(receipt.clone()) }
    }

    fn failed(error: &BankError) -> Self {
        let (outcome, answered) = match error {
            BankError::Declined { .. } => (CallOutcome::Declined, None),
            BankError::Unavailable(_) => (CallOutcome::Unavailable, None),
            BankError::TimedOut => (CallOutcome::TimedOut, None),
            BankError::Pending => (CallOutcome::Pending, None),
            BankError::Malformed(InvalidAnswer::OtherMoney(receipt)) => {
                (CallOutcome::Malformed, Some(receipt.clone()))
            }
            BankError::Malformed(_) => (CallOutcome::Malformed, None),
        };
        Self { outcome, reason: error.reason(), answered }
    }
}

/// Writes down that the bank is about to be called. Commit before calling.
///
/// # Errors
///
/// When the database refuses.
pub async fn begin(
    conn: &mut PgConnection,
    operation: CallOperation,
    instruction: &BankInstruction,
) -> sqlx::Result<CallId> {
    let id = sqlx::query_scalar!(
        "
        insert into bank.calls (effect_key, operation, direction, amount, currency)
        values ($1, $2, $3, $4, $5)
        returning id
        ",
        instruction.effect_key.as_str(),
        operation as CallOperation,
        instruction.direction as Direction,
        instruction.money.amount().as_decimal(),
        instruction.money.currency().code(),
    )
    .fetch_one(conn)
    .await?;
    Ok(CallId(id))
}

/// Writes down what came of a call.
///
/// # Errors
///
/// When the database refuses.
pub async fn finish(
    conn: &mut PgConnection,
    call: CallId,
    ending: &CallResult,
) -> sqlx::Result<Finished> {
    let answered = ending.answered.as_ref();
    let finished = sqlx::query!(
        "
        update bank.calls
        set
          ended_at = clock_timestamp(),
          outcome = $2,
          reason = $3,
          bank_reference = $4,
          answered_amount = $5,
          answered_currency = $6
        where id = $1 and outcome is null
        ",
        call.0,
        ending.outcome as CallOutcome,
        ending.reason,
        answered.map(|receipt| receipt.bank_reference.as_str()),
        answered.map(|receipt| receipt.money.amount().as_decimal()),
        answered.map(|receipt| receipt.money.currency().code()),
    )
    .execute(conn)
    .await?
    .rows_affected();
    Ok(if finished == 1 { Finished::Now } else { Finished::NotOpen })
}

/// Tells if the bank may have acted on this key, by what we know: it was sent, nobody knows for
/// certain that the bank did not take it, and the bank has not said since that it knows nothing of
/// it. While this holds, enquire; send only when it does not.
///
/// # Errors
///
/// When the database refuses.
pub async fn may_have_acted(conn: &mut PgConnection, effect_key: &EffectKey) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"
        select exists (
          select
          from bank.calls as sent
          where sent.effect_key = $1
            and sent.operation = 'send'
            -- Without an outcome: under way, or its worker died.
            and coalesce(sent.outcome not in ('unavailable', 'declined'), true)
            and not exists (
              select
              from bank.calls as enquired
              where enquired.effect_key = $1
                and enquired.operation = 'enquire'
                and enquired.outcome = 'unknown_key'
                and enquired.id > sent.id
            )
        ) as "may_have_acted!"
        "#,
        effect_key.as_str(),
    )
    .fetch_one(conn)
    .await
}

/// The time that something sent under this key may still be on its way to the bank, which did not
/// know the key when it was asked by the call `unknown_to`; none when nothing can be.
///
/// That the bank does not know a key says nothing of what has not arrived there yet. So its word is
/// final only when it was asked `lost_after` later than the last send that it may have taken, or
/// when there was no such send. For whoever gives an order up; to send the same again needs no such
/// care, since the bank takes both for one.
///
/// # Errors
///
/// When the database refuses.
pub async fn on_its_way(
    conn: &mut PgConnection,
    effect_key: &EffectKey,
    unknown_to: Option<CallId>,
    lost_after: Duration,
) -> sqlx::Result<Option<Duration>> {
    let secs = sqlx::query_scalar!(
        r#"
        select extract(epoch from
          max(sent.started_at) + make_interval(secs => $3)
            - coalesce(
                (select enquired.started_at from bank.calls as enquired where enquired.id = $2),
                max(sent.started_at)
              )
        )::float8
        from bank.calls as sent
        where sent.effect_key = $1
          and sent.operation = 'send'
          and coalesce(sent.outcome not in ('unavailable', 'declined'), true)
        "#,
        effect_key.as_str(),
        unknown_to.map(|call| call.0),
        lost_after.as_secs_f64(),
    )
    .fetch_one(conn)
    .await?;
    Ok(secs.filter(|secs| *secs > 0.0).map(Duration::from_secs_f64))
}
