//! Accounts: holders of money, each in one currency: a name that providers send, a user's wallet
//! ([`super::wallets`]), or the bank.
//!
//! A balance is read and written only under a lock on its row, and rows are locked in id order, so
//! that two batches over the same accounts wait for each other and never in a circle. The lock is
//! `for no key update`: it lets others refer to the account meanwhile.

use std::collections::{HashMap, HashSet};

use rust_decimal::Decimal;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::LedgerError;
use crate::ids::{AccountId, UserId};
use crate::money::Currency;

/// An account that stands for money outside: a provider's name for its holder, in one currency.
///
/// The same name in another currency is another account. It has no floor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ExternalAccount {
    /// The name, as the provider wrote it.
    pub external_ref: String,
    /// The currency of the account.
    pub currency: Currency,
}

/// An account as it stood when its row was locked; nobody else can change it until the transaction
/// ends.
#[derive(Clone, Debug)]
pub(super) struct LockedAccount {
    pub(super) id: AccountId,
    /// The code of its currency.
    pub(super) currency: String,
    pub(super) balance: Decimal,
    /// The part of the balance that unfinished orders hold.
    pub(super) held: Decimal,
    /// The least that may be available; `None` means no floor.
    pub(super) floor: Option<Decimal>,
    /// Number of entries so far.
    pub(super) version: i64,
    /// The number of changes of `held` so far.
    pub(super) hold_changes: i64,
    /// The owner, if the account is a wallet.
    pub(super) owner: Option<UserId>,
    /// The account accepts no new orders.
    pub(super) is_closed: bool,
    /// No new entry is dated before this.
    pub(super) entries_from: OffsetDateTime,
    /// The database's clock once the row was locked.
    pub(super) locked_at: OffsetDateTime,
}

impl LockedAccount {
    /// Tells if the rules allow the account to have this balance, of which this much is held.
    pub(super) fn affords(&self, balance: Decimal, held: Decimal) -> bool {
        self.floor.is_none_or(|floor| balance - held >= floor)
    }
}

/// The sum of a batch of entries and holds on one account.
#[derive(Clone, Debug)]
pub(super) struct AccountChange {
    pub(super) account: AccountId,
    /// The version that the change is based on.
    pub(super) version_before: i64,
    /// The number of entries in the sum.
    pub(super) entries: i64,
    /// No later entry is dated before this; as before, when none.
    pub(super) entries_from: Option<OffsetDateTime>,
    pub(super) balance_delta: Decimal,
    /// The number of holds in the sum.
    pub(super) hold_changes: i64,
    pub(super) held_delta: Decimal,
}

/// Gives the id of each of these accounts, in their order, making those that are seen for the first
/// time.
///
/// # Errors
///
/// When the database refuses.
pub async fn open_external(
    conn: &mut PgConnection,
    accounts: &[ExternalAccount],
) -> Result<Vec<AccountId>, LedgerError> {
    // In the order of the unique key: two transactions that make the same accounts wait for each
    // other at the first one they share, and never in a circle.
    let mut wanted: Vec<&ExternalAccount> = accounts.iter().collect();
    wanted.sort_unstable_by_key(|account| (&account.external_ref, account.currency.code()));
    wanted.dedup();

    let mut known = find_external(conn, &wanted).await?;
    wanted.retain(|account| !known.contains_key(account));
    if !wanted.is_empty() {
        insert_external(conn, &wanted).await?;
        known.extend(find_external(conn, &wanted).await?);
    }
    accounts
        .iter()
        .map(|account| known.get(account).copied().ok_or(LedgerError::ConcurrentChange))
        .collect()
}

/// The ids of those of these accounts that exist.
async fn find_external<'a>(
    conn: &mut PgConnection,
    accounts: &[&'a ExternalAccount],
) -> Result<HashMap<&'a ExternalAccount, AccountId>, LedgerError> {
    let (external_refs, currencies) = external_columns(accounts);
    let ids = sqlx::query_scalar!(
        r#"
        select account.id as "id?: AccountId"
        from unnest($1::text[], $2::text[])
          with ordinality as wanted (external_ref, currency, position)
        left join payments.accounts as account using (external_ref, currency)
        order by wanted.position
        "#,
        &external_refs as &[&str],
        &currencies as &[&str],
    )
    .fetch_all(conn)
    .await?;
    Ok(accounts.iter().zip(ids).filter_map(|(account, id)| Some((*account, id?))).collect())
}

async fn insert_external(
    conn: &mut PgConnection,
    accounts: &[&ExternalAccount],
) -> Result<(), LedgerError> {
    let (external_refs, currencies) = external_columns(accounts);
    let ids: Vec<Uuid> = accounts.iter().map(|_| Uuid::now_v7()).collect();
    sqlx::query!(
        "
        insert into payments.accounts (id, external_ref, currency)
        select id, external_ref, currency
        from unnest($1::uuid[], $2::text[], $3::text[])
          with ordinality as new (id, external_ref, currency, position)
        order by position
        on conflict on constraint accounts_external_key do nothing
        ",
        &ids,
        &external_refs as &[&str],
        &currencies as &[&str],
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn external_columns<'a>(accounts: &[&'a ExternalAccount]) -> (Vec<&'a str>, Vec<&'a str>) {
    accounts.iter().map(|account| (account.external_ref.as_str(), account.currency.code())).unzip()
}

/// Locks these accounts until the transaction ends, in id order, and reads them as they stand then.
/// Ids that name no account are left out.
pub(super) async fn lock(
    conn: &mut PgConnection,
    accounts: &HashSet<AccountId>,
) -> Result<Vec<LockedAccount>, LedgerError> {
    let ids: Vec<Uuid> = accounts.iter().map(|account| account.0).collect();
    let locked = sqlx::query_as!(
        LockedAccount,
        r#"
        select
          id as "id: AccountId", currency, balance, held, floor, version, hold_changes,
          owner_id as "owner: UserId", closed_at is not null as "is_closed!", entries_from,
          clock_timestamp() as "locked_at!"
        from payments.accounts
        where id = any ($1)
        order by id
        for no key update
        "#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(locked)
}

/// Writes the balances of accounts that the caller has locked: one update per account, however many
/// entries and holds.
pub(super) async fn change(
    conn: &mut PgConnection,
    changes: &[AccountChange],
) -> Result<(), LedgerError> {
    let ids: Vec<Uuid> = changes.iter().map(|change| change.account.0).collect();
    let versions_before: Vec<i64> = changes.iter().map(|change| change.version_before).collect();
    let entries: Vec<i64> = changes.iter().map(|change| change.entries).collect();
    let balance_deltas: Vec<Decimal> = changes.iter().map(|change| change.balance_delta).collect();
    let hold_changes: Vec<i64> = changes.iter().map(|change| change.hold_changes).collect();
    let held_deltas: Vec<Decimal> = changes.iter().map(|change| change.held_delta).collect();
    let entries_from: Vec<Option<OffsetDateTime>> =
        changes.iter().map(|change| change.entries_from).collect();
    let updated = sqlx::query!(
        "
        update payments.accounts as account
        set
          balance = account.balance + change.balance_delta,
          version = account.version + change.entries,
          held = account.held + change.held_delta,
          hold_changes = account.hold_changes + change.hold_changes,
          entries_from = coalesce(change.entries_from, account.entries_from)
        from unnest(
          $1::uuid[], $2::bigint[], $3::bigint[], $4::numeric[], $5::bigint[], $6::numeric[],
          $7::timestamptz[]
        ) as change (
          id, version_before, entries, balance_delta, hold_changes, held_delta, entries_from
        )
        where account.id = change.id and account.version = change.version_before
        ",
        &ids,
        &versions_before,
        &entries,
        &balance_deltas,
        &hold_changes,
        &held_deltas,
        &entries_from as &[Option<OffsetDateTime>],
    )
    .execute(conn)
    .await?
    .rows_affected();
    if updated != changes.len() as u64 {
        return Err(LedgerError::ConcurrentChange);
    }
    Ok(())
}

/// Gives the account of the bank in each of these currencies, made where it is needed for the first
/// time. What users deposit comes out of it and what they withdraw goes into it, so its balance is
/// what the bank owes users, turned round. It has no floor.
///
/// # Errors
///
/// When the database refuses.
pub async fn open_bank(
    conn: &mut PgConnection,
    currencies: &HashSet<Currency>,
) -> Result<HashMap<Currency, AccountId>, LedgerError> {
    let mut known = find_bank(conn, currencies).await?;
    // In one order everywhere, as with external accounts.
    let mut missing: Vec<&str> = currencies
        .iter()
        .filter(|currency| !known.contains_key(currency))
        .map(|currency| currency.code())
        .collect();
    missing.sort_unstable();
    if !missing.is_empty() {
        let ids: Vec<Uuid> = missing.iter().map(|_| Uuid::now_v7()).collect();
        sqlx::query!(
            "
            insert into payments.accounts (id, kind, currency)
            select id, 'bank', currency
            from unnest($1::uuid[], $2::text[]) with ordinality as new (id, currency, position)
            order by position
            on conflict (currency) where kind = 'bank' do nothing
            ",
            &ids,
            &missing as &[&str],
        )
        .execute(&mut *conn)
        .await?;
        known = find_bank(conn, currencies).await?;
    }
    Ok(known)
}

async fn find_bank(
    conn: &mut PgConnection,
    currencies: &HashSet<Currency>,
) -> Result<HashMap<Currency, AccountId>, LedgerError> {
    let codes: Vec<&str> = currencies.iter().map(|currency| currency.code()).collect();
    let found = sqlx::query!(
        r#"
        select id as "id: AccountId", currency
        from payments.accounts
        where kind = 'bank' and currency = any ($1)
        "#,
        &codes as &[&str],
    )
    .fetch_all(conn)
    .await?;
    let id_of = |currency: &Currency| {
        let row = found.iter().find(|row| row.currency == currency.code())?;
        Some((*currency, row.id))
    };
    Ok(currencies.iter().filter_map(id_of).collect())
}
