//! The snapshot by which new orders are accepted or refused: the wallets that money is taken from,
//! under their locks, the wallets that it reaches, and the transfers to be refunded.

use std::collections::{HashMap, HashSet};

use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::placement::{Draft, Instruction, NewOrder, Party, PlacementRefusal};
use super::reading::find_many;
use super::{Kind, Order, Status};
use crate::ids::{AccountId, OrderId, UserId};
use crate::money::Money;
use crate::payments::LedgerError;
use crate::payments::accounts::{self, AccountChange, LockedAccount};

/// The wallets and transfers by which new orders are decided.
pub(super) struct PlacementSnapshot {
    /// The transfers that are to be refunded.
    originals: HashMap<OrderId, Original>,
    /// The wallets that money is taken from, locked, with the holds placed so far.
    payers: HashMap<AccountId, Payer>,
    /// The wallets that money will reach.
    payees: HashMap<AccountId, Payee>,
}

struct Original {
    source: AccountId,
    destination: AccountId,
    money: Money,
    status: Status,
    is_refunded: bool,
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

impl PlacementSnapshot {
    /// Locks first and reads then: whatever a transaction wrote that had the locks before is seen
    /// by statements that begin after we got them.
    pub(super) async fn prepare(
        conn: &mut PgConnection,
        orders: &[&NewOrder],
    ) -> Result<Self, LedgerError> {
        let refunds: Vec<Uuid> = orders
            .iter()
            .filter_map(|order| match order.instruction {
                Instruction::Refund { transfer } => Some(transfer.0),
                _ => None,
            })
            .collect();
        let originals = find_originals(&mut *conn, &refunds).await?;
        let (mut payers, mut payees) = (HashSet::new(), HashSet::new());
        for order in orders {
            match order.instruction {
                Instruction::Deposit { wallet, .. } => {
                    payees.insert(wallet);
                }
                Instruction::Withdrawal { wallet, .. } => {
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
        let payers = lock_payers(&mut *conn, &payers).await?;
        let payees = find_payees(&mut *conn, &payees).await?;
        let originals = read_originals(conn, originals).await?;
        Ok(Self { originals, payers, payees })
    }

    pub(super) fn decide(&mut self, order: &NewOrder) -> Result<Draft, PlacementRefusal> {
        let draft = |kind, source, destination, money, refund_of| Draft {
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
                Ok(draft(Kind::Deposit, Party::Bank, Party::Wallet(wallet), money, None))
            }
            Instruction::Withdrawal { wallet, money } => {
                self.hold(order, wallet, money)?;
                Ok(draft(Kind::Withdrawal, Party::Wallet(wallet), Party::Bank, money, None))
            }
            Instruction::Transfer { source, destination, money } => {
                self.payer(order, source)?;
                if source == destination {
                    return Err(PlacementRefusal::SameWallet);
                }
                let payee = self.payees.get(&destination);
                payee.ok_or(PlacementRefusal::DestinationNotFound)?.accepts(money)?;
                self.hold(order, source, money)?;
                let (source, destination) = (Party::Wallet(source), Party::Wallet(destination));
                Ok(draft(Kind::Transfer, source, destination, money, None))
            }
            Instruction::Refund { transfer } => {
                let Original { source, destination, money, status, is_refunded } =
                    *self.originals.get(&transfer).ok_or(PlacementRefusal::TransferNotFound)?;
                let (source, destination) = (destination, source);
                if self.payer(order, source).is_err() {
                    // Who paid may know of the transfer; to anybody else there is none.
                    return Err(match self.payees.get(&destination) {
                        Some(payer) if payer.owner == order.owner => PlacementRefusal::NotRecipient,
                        _ => PlacementRefusal::TransferNotFound,
                    });
                }
                if is_refunded {
                    return Err(PlacementRefusal::AlreadyRefunded);
                }
                match status {
                    Status::Completed => {}
                    Status::Failed => return Err(PlacementRefusal::NotRefundable),
                    Status::Pending | Status::Processing => {
                        return Err(PlacementRefusal::NotRefundableYet);
                    }
                }
                let payee = self.payees.get(&destination);
                payee.ok_or(PlacementRefusal::DestinationNotFound)?.accepts(money)?;
                self.hold(order, source, money)?;
                if let Some(original) = self.originals.get_mut(&transfer) {
                    original.is_refunded = true;
                }
                let (source, destination) = (Party::Wallet(source), Party::Wallet(destination));
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
    pub(super) fn holds(&self) -> Vec<AccountChange> {
        self.payers
            .values()
            .filter(|payer| payer.hold_changes > payer.locked.hold_changes)
            .map(|payer| AccountChange {
                account: payer.locked.id,
                version_before: payer.locked.version,
                entries: 0,
                entries_from: None,
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

/// The transfers among these orders, with their accounts, which never change.
async fn find_originals(
    conn: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<OrderId, Order>, LedgerError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let found = find_many(conn, ids).await?.into_iter();
    Ok(found.filter(|order| order.kind == Kind::Transfer).map(|order| (order.id, order)).collect())
}

/// Reads the status of these transfers. A refund locks the wallet that the transfer reached, so
/// each of several at once sees here what the one before has done.
async fn read_originals(
    conn: &mut PgConnection,
    originals: HashMap<OrderId, Order>,
) -> Result<HashMap<OrderId, Original>, LedgerError> {
    if originals.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = originals.keys().map(|id| id.0).collect();
    let standings = sqlx::query!(
        r#"
        select
          original.id as "id: OrderId",
          original.status as "status: Status",
          exists (select from payments.orders as refund where refund.refund_of = original.id)
            as "is_refunded!"
        from payments.orders as original
        where original.id = any ($1)
        "#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    let mut decided = HashMap::new();
    for row in standings {
        let Order { source, destination, money, .. } = originals[&row.id];
        let (status, is_refunded) = (row.status, row.is_refunded);
        let original = Original { source, destination, money, status, is_refunded };
        decided.insert(row.id, original);
    }
    Ok(decided)
}
