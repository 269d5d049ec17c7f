//! Settlement: a provider's transaction becomes a transfer, and gets its outcome.
//!
//! A transaction leaves `PROCESSING` exactly once: its row is locked before it is judged, and only
//! the one who finds it in `PROCESSING` writes. Whoever comes second, for whatever reason, finds it
//! settled and changes nothing (G3).
//!
//! The outcome is written first, and then the money moved: the account of a busy merchant is locked
//! by one settlement at a time, and for no longer than it takes to post. Accounts of providers have
//! no floor, so that a transfer of theirs is hardly ever refused; then it all begins anew.

use std::collections::{HashMap, HashSet};

use rust_decimal::Decimal;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::LedgerError;
use super::accounts::{self, ExternalAccount};
use super::outcomes::{Outcome, Outcomes};
use super::transactions::{self, Status, Transaction, TransactionError};
use super::transfers::{self, NewTransfer, Reason, TransferRefusal};
use crate::ids::TransactionId;
use crate::money::Money;

/// The result of settling a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// The transfer is posted; the transaction is now `COMPLETED`.
    Completed,
    /// The transaction broke a rule and moved no money; it is now `FAILED`, with this reason.
    Failed(TransferRefusal),
    /// The transaction had its outcome before. Nothing was changed.
    AlreadySettled,
    /// There is no such transaction, or it is not for settlement yet (`PENDING`). Nothing was
    /// changed.
    Missing,
}

/// Transactions whose outcomes are written, and whose money is still to be moved.
#[derive(Debug)]
#[must_use = "an outcome without its transfer must not be committed"]
pub struct Settling {
    settled: Vec<(TransactionId, Settled)>,
    outcomes: Outcomes,
    /// Those that are now `COMPLETED`.
    payments: Vec<Payment>,
}

/// The end of moving the money.
#[derive(Debug)]
pub enum Posted {
    /// It is moved. One result for each transaction, in the order that was asked for.
    All(Vec<(TransactionId, Settled)>),
    /// The ledger refused these. Nothing may be committed: [`decide`] again, with these too.
    Refused(HashMap<TransactionId, TransferRefusal>),
}

/// Writes the outcome of each of these transactions, as if it were alone: one that breaks a rule
/// ends in `FAILED` and does not touch the others. `refused` are those whose transfer the ledger
/// has refused before.
///
/// The transactions stay locked until the caller's transaction ends; of the accounts none is. What
/// is to be written with the outcomes is best written now, before [`Settling::post`]: the accounts
/// of busy merchants are what settlements wait for each other for.
///
/// # Errors
///
/// When the database refuses, or a stored row contradicts the ledger ([`LedgerError`]). Nothing may
/// be committed then; settled one by one, only the transaction at fault fails again.
pub async fn decide(
    conn: &mut PgConnection,
    ids: &[TransactionId],
    refused: &HashMap<TransactionId, TransferRefusal>,
) -> Result<Settling, LedgerError> {
    let locked = lock_transactions(&mut *conn, ids).await?;
    let payments = locked
        .iter()
        .filter(|transaction| transaction.is_processing)
        .map(Payment::from_stored)
        .collect::<Result<Vec<Payment>, LedgerError>>()?;
    let known: HashSet<TransactionId> = locked.iter().map(|transaction| transaction.id).collect();
    let mut decided: HashMap<TransactionId, Settled> =
        payments.iter().map(|payment| (payment.id, payment.expected(refused))).collect();
    let mut outcomes = Outcomes::default();
    if !payments.is_empty() {
        let moments = record_outcomes(conn, &decided).await?;
        outcomes = outcomes_of(locked, &payments, &decided, &moments);
    }
    let is_completed = |it: &Payment| decided.get(&it.id) == Some(&Settled::Completed);
    let payments = payments.into_iter().filter(is_completed).collect();
    let settled = |id: &TransactionId| match decided.remove(id) {
        Some(settled) => (*id, settled),
        None if known.contains(id) => (*id, Settled::AlreadySettled),
        None => (*id, Settled::Missing),
    };
    let settled = ids.iter().map(settled).collect();
    Ok(Settling { settled, outcomes, payments })
}

impl Settling {
    /// The result for each transaction, in the order that was asked for.
    pub fn settled(&self) -> &[(TransactionId, Settled)] {
        &self.settled
    }

    /// The outcomes that were written.
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// Moves the money. The accounts stay locked until the caller's transaction ends; call it once
    /// per transaction. The number of statements does not depend on that of the transactions.
    ///
    /// # Errors
    ///
    /// As [`decide`].
    pub async fn post(self, conn: &mut PgConnection) -> Result<Posted, LedgerError> {
        let transfers = transfers_of(&mut *conn, &self.payments).await?;
        let posted = transfers::post_many(conn, &transfers).await?;
        let refused: HashMap<TransactionId, TransferRefusal> = self
            .payments
            .iter()
            .zip(posted)
            .filter_map(|(payment, posted)| Some((payment.id, posted.err()?)))
            .collect();
        Ok(if refused.is_empty() { Posted::All(self.settled) } else { Posted::Refused(refused) })
    }
}

/// Moves a transaction from `PROCESSING` to `FAILED` for this reason, a stable code, without any
/// transfer: for an operator who has given it up. There is no outcome if it had one: it is left as
/// it is.
///
/// # Errors
///
/// When the database refuses.
pub async fn write_off(
    conn: &mut PgConnection,
    id: TransactionId,
    reason: &str,
) -> Result<Outcomes, LedgerError> {
    let updated = sqlx::query!(
        "
        update payments.transactions
        set status = 'FAILED', failure_reason = $2, processed_at = clock_timestamp()
        where id = $1 and status = 'PROCESSING'
        ",
        id.0,
        reason,
    )
    .execute(&mut *conn)
    .await?;
    if updated.rows_affected() == 0 {
        return Ok(Outcomes::default());
    }
    let written_off =
        transactions::find_by_number(conn, id).await.map_err(|error| match error {
            TransactionError::Database(error) => LedgerError::Database(error),
            TransactionError::NotMoney(source) => LedgerError::UnreadableTransaction { id, source },
            TransactionError::Vanished => LedgerError::ConcurrentChange,
        })?;
    Ok(Outcomes::of(written_off.map(Outcome::Transaction)))
}

/// A transaction's row, under lock.
struct StoredTransaction {
    id: TransactionId,
    transaction_id: String,
    source_account: String,
    destination_account: String,
    amount: Decimal,
    currency: String,
    created_at: OffsetDateTime,
    is_processing: bool,
}

/// Locks these transactions in id order. `for no key update` lets a conflicting webhook, which
/// refers to the row, be recorded meanwhile.
async fn lock_transactions(
    conn: &mut PgConnection,
    ids: &[TransactionId],
) -> Result<Vec<StoredTransaction>, LedgerError> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let locked = sqlx::query_as!(
        StoredTransaction,
        r#"
        select
          id as "id: TransactionId", transaction_id, source_account, destination_account, amount,
          currency, created_at, status = 'PROCESSING' as "is_processing!"
        from payments.transactions
        where id = any ($1) and status <> 'PENDING'
        order by id
        for no key update
        "#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(locked)
}

/// A transaction to be settled, parsed.
#[derive(Debug)]
struct Payment {
    id: TransactionId,
    source: ExternalAccount,
    destination: ExternalAccount,
    money: Money,
}

impl Payment {
    fn from_stored(stored: &StoredTransaction) -> Result<Self, LedgerError> {
        let money = Money::from_stored(stored.amount, &stored.currency)
            .map_err(|source| LedgerError::UnreadableTransaction { id: stored.id, source })?;
        let account = |external_ref: &str| ExternalAccount {
            external_ref: external_ref.to_owned(),
            currency: money.currency(),
        };
        Ok(Self {
            id: stored.id,
            source: account(&stored.source_account),
            destination: account(&stored.destination_account),
            money,
        })
    }

    /// The outcome by all that can be known without a look at any account.
    fn expected(&self, refused: &HashMap<TransactionId, TransferRefusal>) -> Settled {
        if self.source == self.destination {
            return Settled::Failed(TransferRefusal::SameAccount);
        }
        refused.get(&self.id).map_or(Settled::Completed, |refusal| Settled::Failed(*refusal))
    }
}

/// The transfer of each payment, between accounts that are made where they are seen for the first
/// time.
async fn transfers_of(
    conn: &mut PgConnection,
    payments: &[Payment],
) -> Result<Vec<NewTransfer>, LedgerError> {
    let sides: Vec<ExternalAccount> = payments
        .iter()
        .flat_map(|payment| [payment.source.clone(), payment.destination.clone()])
        .collect();
    let accounts = accounts::open_external(conn, &sides).await?;
    let (pairs, _) = accounts.as_chunks::<2>();
    let transfer = |(payment, [source, destination]): (&Payment, &[_; 2])| NewTransfer {
        reason: Reason::Transaction(payment.id),
        source: *source,
        destination: *destination,
        money: payment.money,
    };
    Ok(payments.iter().zip(pairs).map(transfer).collect())
}

/// Moves each transaction from `PROCESSING` to its outcome, and tells the moment of each.
async fn record_outcomes(
    conn: &mut PgConnection,
    settled: &HashMap<TransactionId, Settled>,
) -> Result<HashMap<TransactionId, OffsetDateTime>, LedgerError> {
    let (ids, reasons): (Vec<i64>, Vec<Option<&str>>) = settled
        .iter()
        .map(|(id, settled)| match settled {
            Settled::Failed(refusal) => (id.0, Some(refusal.code())),
            Settled::Completed | Settled::AlreadySettled | Settled::Missing => (id.0, None),
        })
        .unzip();
    let updated = sqlx::query!(
        r#"
        update payments.transactions as transaction
        set
          status = case when outcome.reason is null then 'COMPLETED' else 'FAILED' end
            ::payments.transaction_status,
          failure_reason = outcome.reason,
          processed_at = clock_timestamp()
        from unnest($1::bigint[], $2::text[]) as outcome (id, reason)
        where transaction.id = outcome.id and transaction.status = 'PROCESSING'
        returning transaction.id as "id: TransactionId", processed_at as "processed_at!"
        "#,
        &ids,
        &reasons as &[Option<&str>],
    )
    .fetch_all(conn)
    .await?;
    if updated.len() != ids.len() {
        return Err(LedgerError::ConcurrentChange);
    }
    Ok(updated.into_iter().map(|row| (row.id, row.processed_at)).collect())
}

/// The transactions that were settled, in the order of their numbers, as they now stand.
fn outcomes_of(
    locked: Vec<StoredTransaction>,
    payments: &[Payment],
    settled: &HashMap<TransactionId, Settled>,
    moments: &HashMap<TransactionId, OffsetDateTime>,
) -> Outcomes {
    let unsettled = locked.into_iter().filter(|stored| stored.is_processing);
    Outcomes::of(unsettled.zip(payments).map(|(stored, payment)| {
        let refusal = match settled.get(&stored.id) {
            Some(Settled::Failed(refusal)) => Some(refusal.code()),
            _ => None,
        };
        Outcome::Transaction(Transaction {
            id: stored.id,
            transaction_id: stored.transaction_id,
            source_account: stored.source_account,
            destination_account: stored.destination_account,
            money: payment.money,
            status: if refusal.is_some() { Status::Failed } else { Status::Completed },
            failure_reason: refusal.map(str::to_owned),
            created_at: stored.created_at,
            processed_at: moments.get(&stored.id).copied(),
        })
    }))
}
