//! Placement: whether an order is taken, judged under the lock of the wallet that it takes money
//! from.

use std::collections::{HashMap, HashSet};

use rust_decimal::Decimal;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::reading::find_many;
use super::{Kind, Order, Status};
use crate::ids::{AccountId, OrderId, UserId};
use crate::money::{Currency, Money};
use crate::payments::LedgerError;
use crate::payments::accounts::{self, AccountChange, LockedAccount};

/// What a user wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Instruction {
    /// Bring this much in through the bank.
    Deposit {
        /// Where to.
        wallet: AccountId,
        /// How much.
        money: Money,
    },
    /// Take this much out through the bank.
    Withdrawal {
        /// Where from.
        wallet: AccountId,
        /// How much.
        money: Money,
    },
    /// Give this much to somebody.
    Transfer {
        /// Where from.
        source: AccountId,
        /// Where to; anybody's.
        destination: AccountId,
        /// How much.
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
    /// Who gives it.
    pub owner: UserId,
    /// What it is to do.
    pub instruction: Instruction,
    /// The giver's own words.
    pub description: Option<String>,
    /// The version that the wallet which is paid from must have, if that matters to the giver.
    pub if_version: Option<i64>,
}

/// Why an order was not taken. It then left no row and changed nothing.
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
    /// Only a completed transfer can be given back.
    #[error("the transfer is not completed")]
    NotRefundable,
    /// It was given back before.
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
    orders: &[NewOrder],
) -> Result<Vec<Result<Order, PlacementRefusal>>, LedgerError> {
    let mut bench = Bench::prepare(&mut *conn, orders).await?;
    let judged: Vec<Result<Draft, PlacementRefusal>> =
        orders.iter().map(|order| bench.judge(order)).collect();
    let taken: Vec<&Draft> = judged.iter().flatten().collect();
    let created_at = insert(&mut *conn, &taken).await?;
    let holds = bench.holds();
    if !holds.is_empty() {
        accounts::change(conn, &holds).await?;
    }
    Ok(judged
        .into_iter()
        .map(|draft| {
            let draft = draft?;
            let at = created_at.get(&draft.id).copied();
            Ok(draft.stored(at.expect("every draft that is taken was inserted")))
        })
        .collect())
}

/// An order that is taken.
#[derive(Debug)]
struct Draft {
    id: OrderId,
    kind: Kind,
    owner: UserId,
    source: AccountId,
    destination: AccountId,
    money: Money,
    description: Option<String>,
    refund_of: Option<OrderId>,
}

impl Draft {
    fn stored(self, created_at: OffsetDateTime) -> Order {
        Order {
            id: self.id,
            kind: self.kind,
            owner: self.owner,
            source: self.source,
            destination: self.destination,
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

/// All that orders are judged by.
struct Bench {
    /// The transfers that are to be refunded, and which of them were.
    originals: HashMap<OrderId, Order>,
    refunded: HashSet<OrderId>,
    bank: HashMap<Currency, AccountId>,
    /// The wallets that money is taken from, locked, with the holds placed so far.
    payers: HashMap<AccountId, Payer>,
    /// The wallets that money will reach.
    payees: HashMap<AccountId, Payee>,
}

struct Payer {
    locked: LockedAccount,
    held: Decimal,
    hold_changes: i64,
}

/// Read without a lock: it need not be there for ever, and nothing is taken from it.
struct Payee {
    id: AccountId,
    currency: String,
    owner: UserId,
    is_closed: bool,
}

impl Bench {
    async fn prepare(conn: &mut PgConnection, orders: &[NewOrder]) -> Result<Self, LedgerError> {
        let refunds: Vec<Uuid> = orders
            .iter()
            .filter_map(|order| match order.instruction {
                Instruction::Refund { transfer } => Some(transfer.0),
                _ => None,
            })
            .collect();
        let (originals, refunded) = match refunds.is_empty() {
            true => (HashMap::new(), HashSet::new()),
            false => find_originals(&mut *conn, &refunds).await?,
        };
        let mut currencies = HashSet::new();
        let (mut payers, mut payees) = (HashSet::new(), HashSet::new());
        for order in orders {
            match order.instruction {
                Instruction::Deposit { wallet, money } => {
                    currencies.insert(money.currency());
                    payees.insert(wallet);
                }
                Instruction::Withdrawal { wallet, money } => {
                    currencies.insert(money.currency());
                    payers.insert(wallet);
                }
                Instruction::Transfer { source, destination, .. } => {
                    payers.insert(source);
                    payees.insert(destination);
                }
                Instruction::Refund { transfer } => {
                    if let Some(original) = originals.get(&transfer) {
                        payers.insert(original.destination);
                        payees.insert(original.source);
                    }
                }
            }
        }
        let bank = match currencies.is_empty() {
            true => HashMap::new(),
            false => accounts::open_bank(&mut *conn, &currencies).await?,
        };
        Ok(Self {
            originals,
            refunded,
            bank,
            payees: find_payees(&mut *conn, &payees).await?,
            payers: lock_payers(conn, &payers).await?,
        })
    }

    fn judge(&mut self, order: &NewOrder) -> Result<Draft, PlacementRefusal> {
        let draft = |kind, source, destination, money, refund_of| Draft {
            id: OrderId(Uuid::now_v7()),
            kind,
            owner: order.owner,
            source,
            destination,
            money,
            description: order.description.clone(),
            refund_of,
        };
        match order.instruction {
            Instruction::Deposit { wallet, money } => {
                let payee = self.payees.get(&wallet).filter(|payee| payee.owner == order.owner);
                payee.ok_or(PlacementRefusal::WalletNotFound)?.accepts(money)?;
                let bank = self.bank[&money.currency()];
                Ok(draft(Kind::Deposit, bank, wallet, money, None))
            }
            Instruction::Withdrawal { wallet, money } => {
                self.hold(order, wallet, money)?;
                let bank = self.bank[&money.currency()];
                Ok(draft(Kind::Withdrawal, wallet, bank, money, None))
            }
            Instruction::Transfer { source, destination, money } => {
                self.payer(order, source)?;
                if source == destination {
                    return Err(PlacementRefusal::SameWallet);
                }
                let payee = self.payees.get(&destination);
                payee.ok_or(PlacementRefusal::DestinationNotFound)?.accepts(money)?;
                self.hold(order, source, money)?;
                Ok(draft(Kind::Transfer, source, destination, money, None))
            }
            Instruction::Refund { transfer } => {
                let original =
                    self.originals.get(&transfer).ok_or(PlacementRefusal::TransferNotFound)?;
                let (source, destination) = (original.destination, original.source);
                let (money, is_completed) = (original.money, original.status == Status::Completed);
                if self.payer(order, source).is_err() {
                    // Who paid may know of the transfer; to anybody else there is none.
                    return Err(match self.payees.get(&destination) {
                        Some(payer) if payer.owner == order.owner => PlacementRefusal::NotRecipient,
                        _ => PlacementRefusal::TransferNotFound,
                    });
                }
                if self.refunded.contains(&transfer) {
                    return Err(PlacementRefusal::AlreadyRefunded);
                }
                if !is_completed {
                    return Err(PlacementRefusal::NotRefundable);
                }
                let payee = self.payees.get(&destination);
                payee.ok_or(PlacementRefusal::DestinationNotFound)?.accepts(money)?;
                self.hold(order, source, money)?;
                self.refunded.insert(transfer);
                Ok(draft(Kind::Refund, source, destination, money, Some(transfer)))
            }
        }
    }

    /// The wallet that the giver pays from, if it is his.
    fn payer(
        &mut self,
        order: &NewOrder,
        wallet: AccountId,
    ) -> Result<&mut Payer, PlacementRefusal> {
        self.payers
            .get_mut(&wallet)
            .filter(|payer| payer.locked.owner == Some(order.owner))
            .ok_or(PlacementRefusal::WalletNotFound)
    }

    /// Holds the money on the wallet, if it may be taken from there.
    fn hold(
        &mut self,
        order: &NewOrder,
        wallet: AccountId,
        money: Money,
    ) -> Result<(), PlacementRefusal> {
        let payer = self.payer(order, wallet)?;
        if payer.locked.is_closed {
            return Err(PlacementRefusal::WalletClosed);
        }
        if payer.locked.currency != money.currency().code() {
            return Err(PlacementRefusal::CurrencyMismatch);
        }
        let version = payer.locked.version + payer.hold_changes;
        if order.if_version.is_some_and(|expected| expected != version) {
            return Err(PlacementRefusal::VersionMismatch);
        }
        let held = payer.held + money.amount().as_decimal();
        if !payer.locked.affords(payer.locked.balance, held) {
            return Err(PlacementRefusal::InsufficientFunds);
        }
        payer.held = held;
        payer.hold_changes += 1;
        Ok(())
    }

    /// One change per wallet that has new holds.
    fn holds(&self) -> Vec<AccountChange> {
        self.payers
            .values()
            .filter(|payer| payer.hold_changes > payer.locked.hold_changes)
            .map(|payer| AccountChange {
                account: payer.locked.id,
                version_before: payer.locked.version,
                entries: 0,
                balance_delta: Decimal::ZERO,
                hold_changes: payer.hold_changes - payer.locked.hold_changes,
                held_delta: payer.held - payer.locked.held,
            })
            .collect()
    }
}

impl Payee {
    fn accepts(&self, money: Money) -> Result<(), PlacementRefusal> {
        if self.is_closed {
            return Err(PlacementRefusal::WalletClosed);
        }
        if self.currency != money.currency().code() {
            return Err(PlacementRefusal::CurrencyMismatch);
        }
        Ok(())
    }
}

async fn lock_payers(
    conn: &mut PgConnection,
    wallets: &HashSet<AccountId>,
) -> Result<HashMap<AccountId, Payer>, LedgerError> {
    if wallets.is_empty() {
        return Ok(HashMap::new());
    }
    let payer = |locked: LockedAccount| {
        let (held, hold_changes) = (locked.held, locked.hold_changes);
        (locked.id, Payer { locked, held, hold_changes })
    };
    Ok(accounts::lock(conn, wallets).await?.into_iter().map(payer).collect())
}

async fn find_payees(
    conn: &mut PgConnection,
    wallets: &HashSet<AccountId>,
) -> Result<HashMap<AccountId, Payee>, LedgerError> {
    if wallets.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = wallets.iter().map(|wallet| wallet.0).collect();
    let payees = sqlx::query_as!(
        Payee,
        r#"
        select
          id as "id: AccountId", currency, owner_id as "owner!: UserId",
          closed_at is not null as "is_closed!"
        from payments.accounts
        where id = any ($1) and kind = 'wallet'
        "#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(payees.into_iter().map(|payee| (payee.id, payee)).collect())
}

/// The transfers among these orders, and which of them have a refund.
async fn find_originals(
    conn: &mut PgConnection,
    ids: &[Uuid],
) -> Result<(HashMap<OrderId, Order>, HashSet<OrderId>), LedgerError> {
    let found = find_many(&mut *conn, ids).await?;
    let originals = found
        .into_iter()
        .filter(|order| order.kind == Kind::Transfer)
        .map(|order| (order.id, order))
        .collect();
    let refunded = sqlx::query_scalar!(
        r#"
        select refund_of as "refund_of!: OrderId"
        from payments.orders
        where refund_of = any ($1)
        "#,
        ids,
    )
    .fetch_all(conn)
    .await?;
    Ok((originals, refunded.into_iter().collect()))
}

/// Stores these orders, and gives the time of each.
async fn insert(
    conn: &mut PgConnection,
    drafts: &[&Draft],
) -> Result<HashMap<OrderId, OffsetDateTime>, LedgerError> {
    if drafts.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = drafts.iter().map(|draft| draft.id.0).collect();
    let kinds: Vec<Kind> = drafts.iter().map(|draft| draft.kind).collect();
    let owners: Vec<Uuid> = drafts.iter().map(|draft| draft.owner.0).collect();
    let sources: Vec<Uuid> = drafts.iter().map(|draft| draft.source.0).collect();
    let destinations: Vec<Uuid> = drafts.iter().map(|draft| draft.destination.0).collect();
    let amounts: Vec<Decimal> =
        drafts.iter().map(|draft| draft.money.amount().as_decimal()).collect();
    let currencies: Vec<&str> = drafts.iter().map(|draft| draft.money.currency().code()).collect();
    let descriptions: Vec<Option<&str>> =
        drafts.iter().map(|draft| draft.description.as_deref()).collect();
    let refunds: Vec<Option<Uuid>> =
        drafts.iter().map(|draft| draft.refund_of.map(|id| id.0)).collect();
    let rows = sqlx::query!(
        r#"
        insert into payments.orders (
          id, kind, owner_id, source_account_id, destination_account_id, amount, currency,
          description, refund_of
        )
        select *
        from unnest(
          $1::uuid[], $2::payments.order_kind[], $3::uuid[], $4::uuid[], $5::uuid[],
          $6::numeric[], $7::text[], $8::text[], $9::uuid[]
        )
        returning id as "id: OrderId", created_at
        "#,
        &ids,
        &kinds as &[Kind],
        &owners,
        &sources,
        &destinations,
        &amounts,
        &currencies as &[&str],
        &descriptions as &[Option<&str>],
        &refunds as &[Option<Uuid>],
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.created_at)).collect())
}
