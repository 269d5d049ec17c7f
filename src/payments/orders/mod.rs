//! Orders of users: deposits, withdrawals, transfers and refunds. A deposit and a withdrawal go
//! through the bank; a transfer and a refund stay in the ledger.
//!
//! ```text
//!                 ┌──────────────── a transfer or refund ───────────────┐
//!   place_many ▶ PENDING ── begin ▶ PROCESSING ── execute_many ▶ COMPLETED
//!                 │                     │    or fail ▶ FAILED
//!                 └──── fail ▶ FAILED   └─ the bank may know of it from here on
//! ```
//!
//! - [`place_many`]: judges new orders under the lock of the wallets they take money from, and
//!   holds their amounts there.
//! - [`begin`], [`execute_many`], [`fail`]: what jobs do with them.
//! - [`find`], [`list`]: orders as users see them.
//! - [`drop_bank_calls`]: what was said to the bank for them ends, long after them.
//!
//! `COMPLETED` and `FAILED` are final, for operators too, and the database holds everybody to it:
//! who was told that nothing was paid may have paid another way. Each change of state is one
//! statement guarded by the state it leaves, so of two that want to finish an order one does, and
//! the hold is released with it, once.

mod bank_calls;
mod execution;
mod placement;
mod placement_snapshot;
mod reading;
pub mod verify;

use time::OffsetDateTime;

pub use self::bank_calls::drop_bank_calls;
pub use self::execution::{
    Executed, Execution, begin, execute_many, fail, find_locked, find_many_locked,
};
pub use self::placement::{Instruction, NewOrder, PlacementRefusal, place_many};
pub use self::reading::{
    Filter, Party, Side, find, has_unfinished, list, parties, unfinished_among,
};

pub(super) use self::reading::Row;
pub use super::transactions::Status;

use crate::ids::{AccountId, OrderId, UserId};
use crate::money::Money;

/// The most characters of an order's description.
pub const MAX_DESCRIPTION_CHARS: usize = 140;

/// The kind of an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, sqlx::Type)]
#[sqlx(type_name = "payments.order_kind", rename_all = "snake_case")]
pub enum Kind {
    /// Money comes in through the bank.
    Deposit,
    /// Money goes out through the bank.
    Withdrawal,
    /// Money goes to another wallet.
    Transfer,
    /// A transfer is given back.
    Refund,
}

impl Kind {
    /// The name of the kind, as clients and logs have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
            Self::Transfer => "transfer",
            Self::Refund => "refund",
        }
    }

    /// Tells if the amount is held on the source account until the order is finished.
    pub(super) const fn holds(self) -> bool {
        !matches!(self, Self::Deposit)
    }
}

/// A stored order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// The id of the order.
    pub id: OrderId,
    /// The kind of the order.
    pub kind: Kind,
    /// The user who gave the order.
    pub owner: UserId,
    /// The account that the money leaves: a wallet, or the bank for a deposit.
    pub source: AccountId,
    /// The account that the money reaches: a wallet, or the bank for a withdrawal.
    pub destination: AccountId,
    /// The amount and its currency.
    pub money: Money,
    /// The payer's own words.
    pub description: Option<String>,
    /// The transfer that a refund gives back.
    pub refund_of: Option<OrderId>,
    /// The status of the order.
    pub status: Status,
    /// The reason of the failure, as a stable code; none unless the order failed.
    pub failure_reason: Option<String>,
    /// The bank's reference of the payment, once it has booked it.
    pub bank_reference: Option<String>,
    /// The moment at which the order was given.
    pub created_at: OffsetDateTime,
    /// The moment at which the order reached its outcome; none until then.
    pub finished_at: Option<OffsetDateTime>,
}

impl Order {
    /// Tells if the order has its outcome.
    pub fn is_finished(&self) -> bool {
        matches!(self.status, Status::Completed | Status::Failed)
    }
}
