//! Archives: old transfers between accounts of providers, moved out of the ledger into files.
//!
//! Transactions stay, because a provider may send one again after years (G2), and so does all that
//! is of users: only what settled the transactions goes, transfers with their entries, which is the
//! most of what the ledger keeps for good.
//!
//! - [`making`]: the transfers of the next archive, and its file. `removing`: their removal.
//! - [`mod@format`]: the file.
//! - [`checking`]: what can be proved of a file, alone.
//!
//! Guaranteed, by the database as well (`payments.check_archived_entries` and what it names): an
//! archive takes whole transfers, and of each account its oldest entries, without a gap. Each
//! account carries forward the version and the balance that they left it; entries go on from there.
//! So the ledger adds up without its files, and the files add up to what is carried forward.

pub mod checking;
pub mod format;
pub mod making;
mod removing;

use std::ops::RangeInclusive;

use sqlx::PgConnection;
use time::OffsetDateTime;

use self::format::CarriedForward;
use crate::ids::{AccountId, TransactionId};

/// An archive, as the database knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Archive {
    /// The number, from 1.
    pub number: i32,
    /// Its transfers are dated before this.
    pub dated_before: OffsetDateTime,
    /// The number of its transfers.
    pub transfers: i64,
    /// The name of its file.
    pub file_name: String,
    /// The SHA-256 of its file.
    pub file_sha256: Vec<u8>,
    /// The moment at which it was made.
    pub made_at: OffsetDateTime,
}

/// The archives, newest first: at most `limit` of those before `before`.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(
    conn: &mut PgConnection,
    before: Option<i32>,
    limit: u16,
) -> sqlx::Result<Vec<Archive>> {
    sqlx::query_as!(
        Archive,
        "
        select number, dated_before, transfers, file_name, file_sha256, made_at
        from payments.archives
        where number < $1
        order by number desc
        limit $2
        ",
        before.unwrap_or(i32::MAX),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}

/// The archive with this number, if there is one.
///
/// # Errors
///
/// When the database refuses.
pub async fn find(conn: &mut PgConnection, number: i32) -> sqlx::Result<Option<Archive>> {
    let found = list(conn, number.checked_add(1), 1).await?;
    Ok(found.into_iter().find(|archive| archive.number == number))
}

/// The archive that the transfer of this transaction is in, if it is in one.
///
/// # Errors
///
/// When the database refuses.
pub async fn of_transaction(
    conn: &mut PgConnection,
    transaction: TransactionId,
) -> sqlx::Result<Option<Archive>> {
    sqlx::query_as!(
        Archive,
        "
        select number, dated_before, transfers, file_name, file_sha256, made_at
        from (
          select last, archive from payments.archived_transactions
          where first <= $1 order by first desc limit 1
        ) as archived
        join payments.archives on archives.number = archived.archive
        where archived.last >= $1
        ",
        transaction.0,
    )
    .fetch_optional(conn)
    .await
}

/// The state in which archives left this account; none if they have nothing of it.
///
/// # Errors
///
/// When the database refuses.
pub async fn carried_forward(
    conn: &mut PgConnection,
    account: AccountId,
) -> sqlx::Result<Option<CarriedForward>> {
    sqlx::query_as!(
        CarriedForward,
        "select version, balance from payments.carried_forward where account_id = $1",
        account.0,
    )
    .fetch_optional(conn)
    .await
}

/// The numbers of the transactions that an archive has settled, as ranges in rising order.
///
/// # Errors
///
/// When the database refuses.
pub async fn transactions_of(
    conn: &mut PgConnection,
    number: i32,
) -> sqlx::Result<Vec<RangeInclusive<i64>>> {
    let rows = sqlx::query!(
        "
        select first, last from payments.archived_transactions where archive = $1 order by first
        ",
        number,
    );
    let rows = rows.fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| row.first..=row.last).collect())
}
