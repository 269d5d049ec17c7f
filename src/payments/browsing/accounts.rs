//! Accounts of the ledger by name, owner or currency, and their entries.

use rust_decimal::Decimal;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{MAX_LOOKED_AT, Page};
use crate::ids::{AccountId, OrderId, TransferId, UserId};
use crate::money::{Balance, Currency};
use crate::payments::LedgerError;

/// The sort of an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "payments.account_kind", rename_all = "snake_case")]
pub enum AccountKind {
    /// A name that a provider sent: money outside.
    External,
    /// A user's.
    Wallet,
    /// Ours at the bank.
    Bank,
}

impl AccountKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::External, Self::Wallet, Self::Bank];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Wallet => "wallet",
            Self::Bank => "bank",
        }
    }
}

/// An account as it stands.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its sort.
    pub kind: AccountKind,
    /// The provider's name of it; none unless it is external.
    pub external_ref: Option<String>,
    /// Its owner; none unless it is a wallet.
    pub owner: Option<UserId>,
    /// The balance.
    pub balance: Balance,
    /// The part of the balance that unfinished orders hold.
    pub held: Balance,
    /// The rest.
    pub available: Balance,
    /// The number of its entries.
    pub entries: i64,
    /// The moment at which it was made.
    pub created_at: OffsetDateTime,
    /// The moment since which it takes no new orders; none while it does.
    pub closed_at: Option<OffsetDateTime>,
}

/// The filter of [`browse`].
#[derive(Clone, Debug)]
pub struct AccountFilter {
    /// The sort.
    pub kind: AccountKind,
    /// The beginning of the provider's name; of external accounts only.
    pub name: Option<String>,
    /// The owner; of wallets only.
    pub owner: Option<UserId>,
    /// The currency.
    pub currency: Option<Currency>,
}

const COLUMNS: &str = "id, kind, external_ref, owner_id as owner, currency, balance, held, \
                       version as entries, created_at, closed_at";

/// The accounts that match, external ones by name, wallets from the newest user on, and those of
/// the bank by currency: at most `limit` of those behind `after`.
///
/// # Errors
///
/// When the database refuses, or a row is none that this binary wrote.
pub async fn browse(
    conn: &mut PgConnection,
    filter: &AccountFilter,
    after: Option<AccountId>,
    limit: u16,
) -> Result<Page<Account, AccountId>, LedgerError> {
    let after = match after {
        Some(after) => find(&mut *conn, after).await?,
        None => None,
    };
    let order = order_of(filter.kind);
    let mut query = looked_at(filter, after.as_ref());
    query.push("select * from looked_at where true");
    if let Some(currency) = filter.currency {
        query.push(" and currency = ").push_bind(currency.code());
    }
    query.push(" order by ").push(order.replace("owner_id", "owner"));
    query.push(" limit ").push_bind(i64::from(limit) + 1);
    let rows: Vec<Row> = query.build_query_as().fetch_all(&mut *conn).await?;
    let found = rows.into_iter().map(Account::try_from).collect::<Result<_, _>>()?;
    match Page::full(found, limit, |account: &Account| account.id) {
        Ok(page) => Ok(page),
        Err(rows) => Ok(Page { rows, next: end(conn, filter, after.as_ref()).await? }),
    }
}

/// The account from which another page goes on, if this one did not see all.
async fn end(
    conn: &mut PgConnection,
    filter: &AccountFilter,
    after: Option<&Account>,
) -> sqlx::Result<Option<AccountId>> {
    let mut query = looked_at(filter, after);
    query.push("select id from looked_at offset ").push_bind(MAX_LOOKED_AT - 1).push(" limit 1");
    let last: Option<Uuid> = query.build_query_scalar().fetch_optional(conn).await?;
    Ok(last.map(AccountId))
}

/// The order of the index that is walked.
const fn order_of(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::External => "external_ref, currency",
        AccountKind::Wallet => "owner_id desc, currency desc",
        AccountKind::Bank => "currency",
    }
}

fn looked_at(filter: &AccountFilter, after: Option<&Account>) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("with looked_at as (select ");
    query.push(COLUMNS).push(" from payments.accounts where ");
    match filter.kind {
        AccountKind::External => {
            query.push("external_ref is not null");
            if let Some(name) = &filter.name {
                // The names are in the order of their bytes, and no name has U+10FFFF in it that
                // anybody would look for.
                query.push(" and external_ref >= ").push_bind(name.clone());
                query.push(" and external_ref < ").push_bind(format!("{name}\u{10ffff}"));
            }
            if let Some((name, after)) =
                after.and_then(|after| Some((after.external_ref.clone()?, after)))
            {
                query.push(" and (external_ref, currency) > (").push_bind(name);
                query.push(", ").push_bind(after.balance.currency().code()).push(")");
            }
        }
        AccountKind::Wallet => {
            query.push("kind = 'wallet'");
            if let Some(owner) = filter.owner {
                query.push(" and owner_id = ").push_bind(owner);
            }
            if let Some((owner, after)) = after.and_then(|after| Some((after.owner?, after))) {
                query.push(" and (owner_id, currency) < (").push_bind(owner);
                query.push(", ").push_bind(after.balance.currency().code()).push(")");
            }
        }
        AccountKind::Bank => {
            query.push("kind = 'bank'");
            if let Some(after) = after {
                query.push(" and currency > ").push_bind(after.balance.currency().code());
            }
        }
    }
    query.push(" order by ").push(order_of(filter.kind));
    query.push(" limit ").push_bind(MAX_LOOKED_AT).push(") ");
    query
}

/// The account with this id, if there is one.
///
/// # Errors
///
/// As [`browse`].
pub async fn find(conn: &mut PgConnection, id: AccountId) -> Result<Option<Account>, LedgerError> {
    Ok(find_many(conn, &[id]).await?.pop())
}

/// Those of these accounts that exist.
///
/// # Errors
///
/// As [`browse`].
pub async fn find_many(
    conn: &mut PgConnection,
    ids: &[AccountId],
) -> Result<Vec<Account>, LedgerError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut query = QueryBuilder::<Postgres>::new("select ");
    query.push(COLUMNS).push(" from payments.accounts where id = any (").push_bind(ids).push(")");
    let rows: Vec<Row> = query.build_query_as().fetch_all(conn).await?;
    rows.into_iter().map(Account::try_from).collect()
}

/// An entry, with what it is an entry of.
#[derive(Clone, Debug)]
pub struct AccountEntry {
    /// The account.
    pub account: AccountId,
    /// The number of the entry within the account, from 1 without gaps.
    pub number: i64,
    /// The movement that it is one side of.
    pub transfer: TransferId,
    /// The provider's id of the transaction that the movement settles, if it settles one.
    pub transaction_id: Option<String>,
    /// The order that the movement executes, if it executes one.
    pub order: Option<OrderId>,
    /// Negative where money left.
    pub amount: Balance,
    /// The balance of the account after the entry.
    pub balance_after: Balance,
    /// The moment at which it was written.
    pub created_at: OffsetDateTime,
}

const ENTRIES: &str = "
    select
      entry.account_id as account, entry.account_version as number, transfer.id as transfer,
      transaction.transaction_id, transfer.order_id as \"order\", entry.amount,
      entry.balance_after, transfer.currency, entry.created_at
    from payments.entries as entry
    join payments.transfers as transfer on transfer.id = entry.transfer_id
    left join payments.transactions as transaction on transaction.id = transfer.transaction_id
    where ";

/// The newest entries of an account, at most `limit` of those with numbers below `before`.
///
/// # Errors
///
/// As [`browse`].
pub async fn entries(
    conn: &mut PgConnection,
    account: AccountId,
    before: Option<i64>,
    limit: u16,
) -> Result<Page<AccountEntry, i64>, LedgerError> {
    let mut query = QueryBuilder::<Postgres>::new(ENTRIES);
    query.push("entry.account_id = ").push_bind(account);
    query.push(" and entry.account_version < ").push_bind(before.unwrap_or(i64::MAX));
    query.push(" order by entry.account_version desc limit ").push_bind(i64::from(limit) + 1);
    let rows: Vec<EntryRow> = query.build_query_as().fetch_all(conn).await?;
    let found = rows.into_iter().map(AccountEntry::try_from).collect::<Result<_, _>>()?;
    let page = Page::full(found, limit, |entry: &AccountEntry| entry.number);
    Ok(page.unwrap_or_else(|rows| Page { rows, next: None }))
}

/// The two entries of the movement that settled a transaction, by its number, or executed an order;
/// what left first.
///
/// # Errors
///
/// As [`browse`].
pub async fn entries_of(
    conn: &mut PgConnection,
    subject: EntriesOf,
) -> Result<Vec<AccountEntry>, LedgerError> {
    let mut query = QueryBuilder::<Postgres>::new(ENTRIES);
    match subject {
        EntriesOf::Transaction(id) => query.push("transfer.transaction_id = ").push_bind(id),
        EntriesOf::Order(id) => query.push("transfer.order_id = ").push_bind(id),
    };
    query.push(" order by entry.amount");
    let rows: Vec<EntryRow> = query.build_query_as().fetch_all(conn).await?;
    rows.into_iter().map(AccountEntry::try_from).collect()
}

/// The cause of entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntriesOf {
    /// A transaction.
    Transaction(crate::ids::TransactionId),
    /// An order.
    Order(OrderId),
}

#[derive(sqlx::FromRow)]
struct Row {
    id: AccountId,
    kind: AccountKind,
    external_ref: Option<String>,
    owner: Option<UserId>,
    currency: String,
    balance: Decimal,
    held: Decimal,
    entries: i64,
    created_at: OffsetDateTime,
    closed_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for Account {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        Ok(Self {
            id: row.id,
            kind: row.kind,
            external_ref: row.external_ref,
            owner: row.owner,
            balance: Balance::from_stored(row.balance, &row.currency)?,
            held: Balance::from_stored(row.held, &row.currency)?,
            available: Balance::from_stored(row.balance - row.held, &row.currency)?,
            entries: row.entries,
            created_at: row.created_at,
            closed_at: row.closed_at,
        })
    }
}

#[derive(sqlx::FromRow)]
struct EntryRow {
    account: AccountId,
    number: i64,
    transfer: TransferId,
    transaction_id: Option<String>,
    order: Option<OrderId>,
    amount: Decimal,
    balance_after: Decimal,
    currency: String,
    created_at: OffsetDateTime,
}

impl TryFrom<EntryRow> for AccountEntry {
    type Error = LedgerError;

    fn try_from(row: EntryRow) -> Result<Self, LedgerError> {
        Ok(Self {
            account: row.account,
            number: row.number,
            transfer: row.transfer,
            transaction_id: row.transaction_id,
            order: row.order,
            amount: Balance::from_stored(row.amount, &row.currency)?,
            balance_after: Balance::from_stored(row.balance_after, &row.currency)?,
            created_at: row.created_at,
        })
    }
}
