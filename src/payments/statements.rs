//! Statements: the entries of a wallet over a period, and its balance at a moment.
//!
//! Both are final. Before anything is read of a period, its end is stored with the account
//! (`payments.close_period`), under the lock that every entry is written under; no later entry is
//! dated before it. So whoever writes meanwhile is waited for, or dates his entry after the period,
//! however late he commits and whatever the clock does.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use super::LedgerError;
use super::wallets::{Entry, Wallet, entries_between};
use crate::ids::AccountId;
use crate::money::Balance;

/// The statement of a wallet over a period.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The moment before which all entries are dated.
    pub until: OffsetDateTime,
    /// The balance before the first entry.
    pub opening: Balance,
    /// The entries, oldest first.
    pub entries: Vec<Entry>,
    /// The balance after the last entry.
    pub closing: Balance,
}

/// The reason that a period of a wallet's past cannot be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeriodRefusal {
    /// The period ends in the future, by the database's clock.
    #[error("the period ends in the future")]
    NotOver,
    /// The period ends before it begins.
    #[error("the period ends before it begins")]
    Backwards,
    /// The period has more entries than are told at once.
    #[error("the period has too many entries")]
    TooLong,
}

/// The entries dated from `from` on and before `until`, or until now, with what the wallet had
/// before and after them.
///
/// A statement is final: no entry is dated into its period afterwards. Waits for whoever is writing
/// an entry. Commit before telling it.
///
/// # Errors
///
/// As [`find`](super::wallets::find).
pub async fn statement(
    conn: &mut PgConnection,
    wallet: &Wallet,
    (from, until): (OffsetDateTime, Option<OffsetDateTime>),
    limit: i64,
) -> Result<Result<Statement, PeriodRefusal>, LedgerError> {
    if until.is_some_and(|until| from > until) {
        return Ok(Err(PeriodRefusal::Backwards));
    }
    let Some(until) = close_period(&mut *conn, wallet.id, until).await? else {
        return Ok(Err(PeriodRefusal::NotOver));
    };
    if from > until {
        return Ok(Err(PeriodRefusal::Backwards));
    }
    let opening = balance_before(&mut *conn, wallet, from).await?;
    let closing = balance_before(&mut *conn, wallet, until).await?;
    if closing.number - opening.number > limit {
        return Ok(Err(PeriodRefusal::TooLong));
    }
    let numbers = (opening.number, closing.number + 1);
    let mut entries = entries_between(conn, wallet.id, numbers, limit).await?;
    entries.reverse();
    let (opening, closing) = (opening.balance, closing.balance);
    Ok(Ok(Statement { until, opening, entries, closing }))
}

/// The balance of a wallet at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BalanceAt {
    /// The moment.
    pub at: OffsetDateTime,
    /// The balance.
    pub balance: Balance,
}

/// Reads the balance of a wallet at this moment, or now, by the entries dated until then; none when
/// the moment is in the future.
///
/// It is final: no entry is dated until then afterwards. Waits for whoever is writing an entry.
/// Commit before telling it.
///
/// # Errors
///
/// As [`find`](super::wallets::find).
pub async fn balance_at(
    conn: &mut PgConnection,
    wallet: &Wallet,
    moment: Option<OffsetDateTime>,
) -> Result<Option<BalanceAt>, LedgerError> {
    // The moment itself belongs to the period.
    let end = match moment.map(|moment| moment.checked_add(Duration::MICROSECOND)) {
        None => None,
        Some(Some(end)) => Some(end),
        Some(None) => return Ok(None),
    };
    let Some(end) = close_period(&mut *conn, wallet.id, end).await? else { return Ok(None) };
    let found = balance_before(conn, wallet, end).await?;
    let at = moment.unwrap_or(end - Duration::MICROSECOND);
    Ok(Some(BalanceAt { at, balance: found.balance }))
}

/// Fixes the past of a wallet until this moment, or until now, and gives the moment; none when it
/// is in the future.
async fn close_period(
    conn: &mut PgConnection,
    wallet: AccountId,
    end: Option<OffsetDateTime>,
) -> Result<Option<OffsetDateTime>, LedgerError> {
    let closed = sqlx::query_scalar!("select payments.close_period($1, $2)", wallet.0, end);
    Ok(closed.fetch_one(conn).await?)
}

/// The state of a wallet after one of its entries.
struct AfterEntry {
    /// The number of the entry; 0 before the first.
    number: i64,
    balance: Balance,
}

/// The state of a wallet after the last entry before this moment.
async fn balance_before(
    conn: &mut PgConnection,
    wallet: &Wallet,
    moment: OffsetDateTime,
) -> Result<AfterEntry, LedgerError> {
    let last = sqlx::query!(
        "
        select account_version, balance_after
        from payments.entries
        where account_id = $1 and account_version = payments.version_before($1, $2)
        ",
        wallet.id.0,
        moment,
    )
    .fetch_optional(conn)
    .await?;
    let (number, balance) =
        last.map_or((0, Decimal::ZERO), |it| (it.account_version, it.balance_after));
    let balance = Balance::from_stored(balance, wallet.balance.currency().code())?;
    Ok(AfterEntry { number, balance })
}
