//! History of one transaction or order: what the ledger knows of it, as events in order.

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::archives;
use super::orders::Order;
use super::transactions::{Status, Transaction};

/// Something that happened to a transaction or an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MoneyEvent {
    /// The moment.
    pub at: OffsetDateTime,
    /// The event.
    pub what: Happened,
}

/// The events that there are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happened {
    /// It was accepted.
    Accepted,
    /// The same id came with other content, for the first time. The content itself stays out.
    Conflict {
        /// The times that this content came.
        received_count: i64,
        /// The last time that it came.
        #[serde(with = "time::serde::rfc3339")]
        last_seen_at: OffsetDateTime,
    },
    /// Money moved on an account.
    Entry {
        /// The account.
        account_id: Uuid,
        /// The transfer that the entry is a side of.
        transfer_id: Uuid,
        /// The amount, negative where money left.
        amount: String,
        /// The currency.
        currency: String,
        /// The balance of the account afterwards.
        balance_after: String,
    },
    /// Its entries were moved out of the ledger, into a file.
    Archived {
        /// The number of the archive.
        archive: i32,
        /// The name of the file.
        file: String,
        /// The SHA-256 of the file, as hexadecimal digits.
        sha256: String,
    },
    /// It reached its outcome.
    Ended {
        /// `COMPLETED` or `FAILED`.
        status: &'static str,
        /// The reason of a failure, as a stable code.
        failure_reason: Option<String>,
    },
}

/// The history of a transaction, by time.
///
/// A webhook that came again with the same content leaves no trace, as it changes nothing.
///
/// # Errors
///
/// When the database refuses.
pub async fn of_transaction(
    conn: &mut PgConnection,
    transaction: &Transaction,
) -> sqlx::Result<Vec<MoneyEvent>> {
    let conflicts = sqlx::query!(
        "
        select received_count, first_seen_at, last_seen_at
        from payments.transaction_conflicts
        where transaction_id = $1
        order by id
        limit 100
        ",
        transaction.transaction_id,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut events = vec![MoneyEvent { at: transaction.created_at, what: Happened::Accepted }];
    events.extend(conflicts.into_iter().map(|row| MoneyEvent {
        at: row.first_seen_at,
        what: Happened::Conflict {
            received_count: row.received_count,
            last_seen_at: row.last_seen_at,
        },
    }));
    let entries = entries(&mut *conn, Some(transaction.id.0), None).await?;
    let is_without = entries.is_empty() && transaction.status == Status::Completed;
    events.extend(entries);
    let reason = transaction.failure_reason.clone();
    events.extend(ended(transaction.processed_at, transaction.status, reason));
    if is_without {
        events.extend(archived(conn, transaction).await?);
    }
    Ok(events)
}

/// The history of an order, by time.
///
/// # Errors
///
/// When the database refuses.
pub async fn of_order(conn: &mut PgConnection, order: &Order) -> sqlx::Result<Vec<MoneyEvent>> {
    let mut events = vec![MoneyEvent { at: order.created_at, what: Happened::Accepted }];
    events.extend(entries(conn, None, Some(order.id.0)).await?);
    events.extend(ended(order.finished_at, order.status, order.failure_reason.clone()));
    Ok(events)
}

fn ended(at: Option<OffsetDateTime>, status: Status, reason: Option<String>) -> Option<MoneyEvent> {
    let status = match status {
        Status::Completed => "COMPLETED",
        Status::Failed => "FAILED",
        Status::Pending | Status::Processing => return None,
    };
    Some(MoneyEvent { at: at?, what: Happened::Ended { status, failure_reason: reason } })
}

/// The archive of its transfer, if it is in one.
async fn archived(
    conn: &mut PgConnection,
    transaction: &Transaction,
) -> sqlx::Result<Option<MoneyEvent>> {
    let archive = archives::of_transaction(conn, transaction.id).await?;
    Ok(archive.map(|archive| MoneyEvent {
        at: archive.made_at,
        what: Happened::Archived {
            archive: archive.number,
            file: archive.file_name,
            sha256: hex::encode(archive.file_sha256),
        },
    }))
}

/// The entries of the transfer that settled it.
async fn entries(
    conn: &mut PgConnection,
    transaction: Option<i64>,
    order: Option<Uuid>,
) -> sqlx::Result<Vec<MoneyEvent>> {
    let rows = sqlx::query!(
        "
        select
          entry.account_id, entry.transfer_id, entry.amount, entry.balance_after,
          entry.created_at, transfer.currency
        from payments.transfers as transfer
        join payments.entries as entry on entry.transfer_id = transfer.id
        where transfer.transaction_id = $1 or transfer.order_id = $2
        order by entry.amount
        ",
        transaction,
        order,
    )
    .fetch_all(conn)
    .await?;
    let event = rows.into_iter().map(|row| MoneyEvent {
        at: row.created_at,
        what: Happened::Entry {
            account_id: row.account_id,
            transfer_id: row.transfer_id,
            amount: row.amount.to_string(),
            currency: row.currency,
            balance_after: row.balance_after.to_string(),
        },
    });
    Ok(event.collect())
}
