//! Placement: an order that is taken is stored, and what it will move is held.

use std::collections::{HashMap, HashSet};

use rust_decimal::Decimal;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::placement_snapshot::PlacementSnapshot;
use super::{Kind, Order, Status};
use crate::ids::{AccountId, OrderId, UserId};
use crate::money::{Currency, Money};
use crate::payments::LedgerError;
use crate::payments::accounts;

/// A user's instruction to move money.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Instruction {
    /// Bring this much in through the bank.
    Deposit {
        /// The wallet that is paid.
        wallet: AccountId,
        /// The amount.
        money: Money,
    },
    /// Take this much out through the bank.
    Withdrawal {
        /// The wallet that pays.
        wallet: AccountId,
        /// The amount.
        money: Money,
    },
    /// Give this much to somebody.
    Transfer {
        /// The wallet that pays.
        source: AccountId,
        /// The wallet that is paid; anybody's.
        destination: AccountId,
        /// The amount.
        money: Money,
    },
    /// Give back all that a transfer brought.
    Refund {
        /// The transfer.
        transfer: OrderId,
    },
}

/// An order to be judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewOrder {
    /// The user who gives the order.
    pub owner: UserId,
    /// The movement that is wanted.
    pub instruction: Instruction,
    /// The giver's own words.
    pub description: Option<String>,
    /// The version that the wallet which is paid from must have, if that matters to the giver.
    pub if_version: Option<i64>,
}

/// The reason that an order was refused. The order left no row and changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlacementRefusal {
    /// The giver has no such wallet.
    #[error("the wallet does not exist")]
    WalletNotFound,
    /// Nobody has the wallet that is to be paid.
    #[error("the destination wallet does not exist")]
    DestinationNotFound,
    /// One of the wallets is closed.
    #[error("the wallet is closed")]
    WalletClosed,
    /// One of the wallets holds another currency.
    #[error("the wallet holds another currency")]
    CurrencyMismatch,
    /// Both wallets are the same.
    #[error("source and destination are the same wallet")]
    SameWallet,
    /// Less is available than the order needs.
    #[error("too little is available in the wallet")]
    InsufficientFunds,
    /// The wallet has changed since the giver looked.
    #[error("the wallet has another version")]
    VersionMismatch,
    /// The giver has no part in such a transfer.
    #[error("the transfer does not exist")]
    TransferNotFound,
    /// Only the recipient of a transfer can give it back.
    #[error("only the recipient can refund a transfer")]
    NotRecipient,
    /// A transfer that failed moved nothing that could be given back.
    #[error("the transfer has failed")]
    NotRefundable,
    /// The transfer may still be completed; until then it cannot be given back.
    #[error("the transfer is not completed yet")]
    NotRefundableYet,
    /// The transfer was given back before.
    #[error("the transfer was refunded before")]
    AlreadyRefunded,
}

/// Judges these orders one after the other, stores those that are taken as `PENDING`, and holds
/// what they will move. Gives one outcome each, in their order.
///
/// The wallets that money is taken from stay locked until the caller's transaction ends. Call it
/// once per database transaction.
///
/// # Errors
///
/// When the database refuses. Nothing may be committed then.
pub async fn place_many(
    conn: &mut PgConnection,
    orders: &[&NewOrder],
) -> Result<Vec<Result<Order, PlacementRefusal>>, LedgerError> {
    let mut snapshot = PlacementSnapshot::prepare(&mut *conn, orders).await?;
    let decided: Vec<Result<Draft, PlacementRefusal>> =
        orders.iter().map(|order| snapshot.decide(order)).collect();
    let taken: Vec<&Draft> = decided.iter().flatten().collect();
    let bank = open_bank(&mut *conn, &taken).await?;
    let mut inserted = insert(&mut *conn, &taken, &bank).await?.into_iter();
    let holds = snapshot.holds();
    if !holds.is_empty() {
        accounts::change(conn, &holds).await?;
    }
    Ok(decided
        .into_iter()
        .map(|draft| {
            let draft = draft?;
            let (id, created_at) = inserted.next().expect("every draft that is taken is inserted");
            Ok(draft.stored(id, &bank, created_at))
        })
        .collect())
}

/// An order that is taken.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) kind: Kind,
    pub(super) owner: UserId,
    pub(super) source: Party,
    pub(super) destination: Party,
    pub(super) money: Money,
    pub(super) description: Option<String>,
    pub(super) refund_of: Option<OrderId>,
}

/// One side of a draft.
#[derive(Clone, Copy, Debug)]
pub(super) enum Party {
    Wallet(AccountId),
    /// The bank, whose account is made with the first order that is taken in its currency.
    Bank,
}

type BankAccounts = HashMap<Currency, AccountId>;

impl Draft {
    fn account(&self, party: Party, bank: &BankAccounts) -> AccountId {
        match party {
            Party::Wallet(wallet) => wallet,
            Party::Bank => bank[&self.money.currency()],
        }
    }

    fn stored(self, id: OrderId, bank: &BankAccounts, created_at: OffsetDateTime) -> Order {
        Order {
            id,
            kind: self.kind,
            owner: self.owner,
            source: self.account(self.source, bank),
            destination: self.account(self.destination, bank),
            money: self.money,
            description: self.description,
            refund_of: self.refund_of,
            status: Status::Pending,
            failure_reason: None,
            bank_reference: None,
            created_at,
            finished_at: None,
        }
    }
}

/// The bank's accounts for these drafts.
async fn open_bank(
    conn: &mut PgConnection,
    drafts: &[&Draft],
) -> Result<BankAccounts, LedgerError> {
    let is_for_bank = |draft: &&&Draft| matches!(draft.kind, Kind::Deposit | Kind::Withdrawal);
    let currencies: HashSet<Currency> =
        drafts.iter().filter(is_for_bank).map(|draft| draft.money.currency()).collect();
    match currencies.is_empty() {
        true => Ok(HashMap::new()),
        false => accounts::open_bank(conn, &currencies).await,
    }
}

/// Stores these orders, and gives the id and the time of each. Both come from the database's clock,
/// and are in the order of the drafts.
async fn insert(
    conn: &mut PgConnection,
    drafts: &[&Draft],
    bank: &BankAccounts,
) -> Result<Vec<(OrderId, OffsetDateTime)>, LedgerError> {
    if drafts.is_empty() {
        return Ok(Vec::new());
    }
    let kinds: Vec<Kind> = drafts.iter().map(|draft| draft.kind).collect();
    let owners: Vec<Uuid> = drafts.iter().map(|draft| draft.owner.0).collect();
    let sources: Vec<Uuid> =
        drafts.iter().map(|draft| draft.account(draft.source, bank).0).collect();
    let destinations: Vec<Uuid> =
        drafts.iter().map(|draft| draft.account(draft.destination, bank).0).collect();
    let amounts: Vec<Decimal> =
        drafts.iter().map(|draft| draft.money.amount().as_decimal()).collect();
    let currencies: Vec<&str> = drafts.iter().map(|draft| draft.money.currency().code()).collect();
    let descriptions: Vec<Option<&str>> =
        drafts.iter().map(|draft| draft.description.as_deref()).collect();
    let refunds: Vec<Option<Uuid>> =
        drafts.iter().map(|draft| draft.refund_of.map(|id| id.0)).collect();
    let id_suffixes: Vec<String> = (0..drafts.len()).map(id_suffix).collect();
    let rows = sqlx::query!(
        r#"
        with moment as materialized (
          select created_at, payments.order_id_prefix(created_at) as id_prefix
          from (select clock_timestamp() as created_at) as clock
        ),
        inserted as (
          insert into payments.orders (
            id, kind, owner_id, source_account_id, destination_account_id, amount, currency,
            description, refund_of, created_at
          )
          select
            (id_prefix || id_suffix)::uuid, kind, owner_id, source_account_id,
            destination_account_id, amount, currency, description, refund_of, created_at
          from moment,
            unnest(
              $1::payments.order_kind[], $2::uuid[], $3::uuid[], $4::uuid[], $5::numeric[],
              $6::text[], $7::text[], $8::uuid[], $9::text[]
            ) as draft (
              kind, owner_id, source_account_id, destination_account_id, amount, currency,
              description, refund_of, id_suffix
            )
          -- Whoever closes all wallets of a user (payments/wallets.rs) has the lock on the table
          -- until he commits, so that his commit is seen here, where it was not before.
          where not exists (
            select from payments.accounts as payee
            where payee.id = destination_account_id and payee.closed_at is not null
          )
          returning id, created_at
        )
        select id as "id!: OrderId", created_at as "created_at!" from inserted order by id
        "#,
        &kinds as &[Kind],
        &owners,
        &sources,
        &destinations,
        &amounts,
        &currencies as &[&str],
        &descriptions as &[Option<&str>],
        &refunds as &[Option<Uuid>],
        &id_suffixes,
    )
    .fetch_all(conn)
    .await?;
    let inserted: Vec<_> = rows.into_iter().map(|row| (row.id, row.created_at)).collect();
    (inserted.len() == drafts.len()).then_some(inserted).ok_or(LedgerError::ConcurrentChange)
}

/// The last 16 digits of the id of the order at this place in its statement: the variant of UUIDs,
/// 16 bits of the place, and 44 that are random. See `payments.order_id_prefix`.
fn id_suffix(place: usize) -> String {
    let (high, low) = (place >> 14 & 0b11, (place & 0x3fff) << 2);
    format!("{:x}{low:04x}{:011x}", 0b1000 | high, fastrand::u64(..1 << 44))
}
