//! Transfers: movements of money from one account to another, each with the two entries that prove
//! it (G7).
//!
//! Transfers are posted in batches. The accounts of a batch are locked first; then the transfers
//! are judged in memory, one after the other, against the balances that the ones before them left;
//! then everything is written by one statement per table. An account that a thousand transfers of
//! the batch touch is still updated once.

use std::collections::{HashMap, HashSet};

use rust_decimal::Decimal;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::LedgerError;
use super::accounts::{self, AccountChange, LockedAccount};
use crate::ids::{AccountId, OrderId, TransactionId, TransferId};
use crate::money::Money;

/// The whole part of a balance stays below this, on either side of zero: what `numeric(28, 4)`
/// holds.
const BALANCE_LIMIT: i128 = 10_i128.pow(24);

/// Money to be moved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewTransfer {
    /// The cause of the movement.
    pub reason: Reason,
    /// The account that pays.
    pub source: AccountId,
    /// The account that receives.
    pub destination: AccountId,
    /// The amount and its currency.
    pub money: Money,
}

/// The cause of a transfer. Each transaction and each order has at most one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Nothing that is recorded elsewhere.
    Unrecorded,
    /// A provider's transaction.
    Transaction(TransactionId),
    /// A user's order.
    Order(OrderId),
    /// A user's order that holds the amount on the source account. The hold ends with the transfer,
    /// posted or refused.
    HeldOrder(OrderId),
}

impl Reason {
    fn transaction(self) -> Option<TransactionId> {
        match self {
            Self::Transaction(id) => Some(id),
            Self::Unrecorded | Self::Order(_) | Self::HeldOrder(_) => None,
        }
    }

    fn order(self) -> Option<OrderId> {
        match self {
            Self::Order(id) | Self::HeldOrder(id) => Some(id),
            Self::Unrecorded | Self::Transaction(_) => None,
        }
    }
}

/// The rule that a transfer broke. It then moved nothing and left no row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransferRefusal {
    /// Money cannot move from an account to itself.
    #[error("source and destination are the same account")]
    SameAccount,
    /// There is no such account.
    #[error("the account does not exist")]
    AccountNotFound,
    /// A transfer has one currency, and so have its accounts.
    #[error("the account holds another currency")]
    CurrencyMismatch,
    /// The amount that is available on the source would go below its floor.
    #[error("too little is available on the source account")]
    InsufficientFunds,
    /// A balance would leave the range that the ledger can hold.
    #[error("the balance would be out of range")]
    BalanceOutOfRange,
}

impl TransferRefusal {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::SameAccount,
        Self::AccountNotFound,
        Self::CurrencyMismatch,
        Self::InsufficientFunds,
        Self::BalanceOutOfRange,
    ];

    /// The stable code of the reason, as stored and as sent to clients.
    pub fn code(self) -> &'static str {
        match self {
            Self::SameAccount => "same-account",
            Self::AccountNotFound => "account-not-found",
            Self::CurrencyMismatch => "currency-mismatch",
            Self::InsufficientFunds => "insufficient-funds",
            Self::BalanceOutOfRange => "balance-out-of-range",
        }
    }
}

/// Posts these transfers in order, and says of each whether it was posted or which rule it broke. A
/// transfer that is refused changes nothing, and the others are posted all the same: the outcome is
/// what it would be, had they come one by one.
///
/// The accounts stay locked until the caller's transaction ends. Two calls in one transaction may
/// deadlock with another such transaction, so post all that belongs together at once.
///
/// # Errors
///
/// [`LedgerError::TransactionHasTransfer`], or when the database refuses. Nothing may be committed
/// then.
pub async fn post_many(
    conn: &mut PgConnection,
    transfers: &[NewTransfer],
) -> Result<Vec<Result<TransferId, TransferRefusal>>, LedgerError> {
    let touched: HashSet<AccountId> =
        transfers.iter().flat_map(|transfer| [transfer.source, transfer.destination]).collect();
    let mut batch = Batch::new(accounts::lock(&mut *conn, &touched).await?);
    let outcomes: Vec<Result<TransferId, TransferRefusal>> =
        transfers.iter().map(|transfer| batch.post(transfer)).collect();
    let posted: Vec<(TransferId, &NewTransfer)> = outcomes
        .iter()
        .zip(transfers)
        .filter_map(|(outcome, transfer)| Some(((*outcome).ok()?, transfer)))
        .collect();
    if !posted.is_empty() {
        insert_transfers(&mut *conn, &posted, batch.date).await?;
        insert_entries(&mut *conn, &batch.entries, batch.date).await?;
    }
    let changes = batch.changes();
    if !changes.is_empty() {
        accounts::change(conn, &changes).await?;
    }
    Ok(outcomes)
}

/// The locked accounts of a batch, and what its transfers did to them so far.
struct Batch {
    accounts: HashMap<AccountId, AccountInBatch>,
    entries: Vec<NewEntry>,
    /// The date of all transfers and entries. Not before any that an account has, nor within a
    /// period that its owner was told of; read once all accounts were locked.
    date: OffsetDateTime,
}

/// One account in the book.
struct AccountInBatch {
    locked: LockedAccount,
    balance: Decimal,
    version: i64,
    held: Decimal,
    hold_changes: i64,
}

struct NewEntry {
    account: AccountId,
    account_version: i64,
    transfer: TransferId,
    /// Negative where money leaves.
    amount: Decimal,
    balance_after: Decimal,
}

impl Batch {
    fn new(locked: Vec<LockedAccount>) -> Self {
        let dates = locked.iter().flat_map(|account| [account.locked_at, account.entries_from]);
        let date = dates.max().unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let line = |account: LockedAccount| {
            let LockedAccount { id, balance, version, held, hold_changes, .. } = account;
            (id, AccountInBatch { locked: account, balance, version, held, hold_changes })
        };
        Self { accounts: locked.into_iter().map(line).collect(), entries: Vec::new(), date }
    }

    /// Judges one transfer, and writes down its entries unless it is refused.
    fn post(&mut self, transfer: &NewTransfer) -> Result<TransferId, TransferRefusal> {
        let amount = transfer.money.amount().as_decimal();
        if let Reason::HeldOrder(_) = transfer.reason
            && let Some(line) = self.accounts.get_mut(&transfer.source)
        {
            line.held -= amount;
            line.hold_changes += 1;
        }
        if transfer.source == transfer.destination {
            return Err(TransferRefusal::SameAccount);
        }
        // Both are judged before either is changed.
        let source_after = self.account(transfer.source)?.after(-amount, transfer.money)?;
        let destination_after =
            self.account(transfer.destination)?.after(amount, transfer.money)?;

        let id = TransferId(Uuid::now_v7());
        self.enter(id, transfer.source, -amount, source_after);
        self.enter(id, transfer.destination, amount, destination_after);
        Ok(id)
    }

    fn account(&self, account: AccountId) -> Result<&AccountInBatch, TransferRefusal> {
        self.accounts.get(&account).ok_or(TransferRefusal::AccountNotFound)
    }

    fn enter(
        &mut self,
        transfer: TransferId,
        account: AccountId,
        amount: Decimal,
        balance_after: Decimal,
    ) {
        let line = self.accounts.get_mut(&account).expect("decided just before");
        line.balance = balance_after;
        line.version += 1;
        let account_version = line.version;
        self.entries.push(NewEntry { account, account_version, transfer, amount, balance_after });
    }

    /// One change per account that has new entries or lost a hold.
    fn changes(&self) -> Vec<AccountChange> {
        let entries_from = self.date + Duration::MICROSECOND;
        self.accounts
            .values()
            .map(|line| AccountChange {
                account: line.locked.id,
                version_before: line.locked.version,
                entries: line.version - line.locked.version,
                entries_from: (line.version > line.locked.version).then_some(entries_from),
                balance_delta: line.balance - line.locked.balance,
                hold_changes: line.hold_changes - line.locked.hold_changes,
                held_delta: line.held - line.locked.held,
            })
            .filter(|change| change.entries > 0 || change.hold_changes > 0)
            .collect()
    }
}

impl AccountInBatch {
    /// The balance once `amount` is added, if the rules allow it.
    fn after(&self, amount: Decimal, money: Money) -> Result<Decimal, TransferRefusal> {
        if self.locked.currency != money.currency().code() {
            return Err(TransferRefusal::CurrencyMismatch);
        }
        // Exact: balances have at most 28 digits and amounts 18, both with at most 4 decimals.
        let balance = self.balance + amount;
        if balance.trunc().mantissa().abs() >= BALANCE_LIMIT {
            return Err(TransferRefusal::BalanceOutOfRange);
        }
        let is_debit = amount.is_sign_negative();
        if is_debit && !self.locked.affords(balance, self.held) {
            return Err(TransferRefusal::InsufficientFunds);
        }
        Ok(balance)
    }
}

async fn insert_transfers(
    conn: &mut PgConnection,
    transfers: &[(TransferId, &NewTransfer)],
    date: OffsetDateTime,
) -> Result<(), LedgerError> {
    let ids: Vec<Uuid> = transfers.iter().map(|(id, _)| id.0).collect();
    let transactions: Vec<Option<i64>> =
        transfers.iter().map(|(_, it)| it.reason.transaction().map(|id| id.0)).collect();
    let orders: Vec<Option<Uuid>> =
        transfers.iter().map(|(_, it)| it.reason.order().map(|id| id.0)).collect();
    let sources: Vec<Uuid> = transfers.iter().map(|(_, transfer)| transfer.source.0).collect();
    let destinations: Vec<Uuid> =
        transfers.iter().map(|(_, transfer)| transfer.destination.0).collect();
    let amounts: Vec<Decimal> =
        transfers.iter().map(|(_, transfer)| transfer.money.amount().as_decimal()).collect();
    let currencies: Vec<&str> =
        transfers.iter().map(|(_, transfer)| transfer.money.currency().code()).collect();
    sqlx::query!(
        "
        insert into payments.transfers
          (id, transaction_id, order_id, source_account_id, destination_account_id, amount,
           currency, created_at)
        select *, $8::timestamptz
        from unnest(
          $1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::uuid[], $6::numeric[], $7::text[]
        )
        ",
        &ids,
        &transactions as &[Option<i64>],
        &orders as &[Option<Uuid>],
        &sources,
        &destinations,
        &amounts,
        &currencies as &[&str],
        date,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_entries(
    conn: &mut PgConnection,
    entries: &[NewEntry],
    date: OffsetDateTime,
) -> Result<(), LedgerError> {
    let accounts: Vec<Uuid> = entries.iter().map(|entry| entry.account.0).collect();
    let versions: Vec<i64> = entries.iter().map(|entry| entry.account_version).collect();
    let transfers: Vec<Uuid> = entries.iter().map(|entry| entry.transfer.0).collect();
    let amounts: Vec<Decimal> = entries.iter().map(|entry| entry.amount).collect();
    let balances_after: Vec<Decimal> = entries.iter().map(|entry| entry.balance_after).collect();
    sqlx::query!(
        "
        insert into payments.entries
          (account_id, account_version, transfer_id, amount, balance_after, created_at)
        select *, $6::timestamptz
        from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::numeric[], $5::numeric[])
        ",
        &accounts,
        &versions,
        &transfers,
        &amounts,
        &balances_after,
        date,
    )
    .execute(conn)
    .await?;
    Ok(())
}
