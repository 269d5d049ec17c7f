//! Orders: what users want done with their money. A deposit and a withdrawal go through the bank; a
//! transfer and a refund stay in the ledger.
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
//! - [`begin`], [`execute_many`], [`fail`]: what jobs do with them; [`reopen`]: what an operator
//!   may, with one that was given up.
//! - [`find`], [`list`]: what users are shown.
//!
//! Each change of state is one statement guarded by the state it leaves, so of two that want to
//! finish an order one does, and the hold is released with it, once.

mod execution;
mod placement;
mod placement_snapshot;
mod reading;
pub mod verify;

use time::OffsetDateTime;

pub use self::execution::{
    Executed, Execution, ReopenRefusal, begin, execute_many, fail, find_locked, reopen,
};
pub use self::placement::{Instruction, NewOrder, PlacementRefusal, place_many};
pub use self::reading::{Filter, Side, find, has_unfinished, list};

pub use super::transactions::Status;

use crate::ids::{AccountId, OrderId, UserId};
use crate::money::Money;

/// The most characters of an order's description.
pub const MAX_DESCRIPTION_CHARS: usize = 140;

/// What an order does.
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
    /// Its name, as clients and logs have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
            Self::Transfer => "transfer",
            Self::Refund => "refund",
        }
    }

    /// Whether the amount is held on the source account until the order is finished.
    pub(super) const fn holds(self) -> bool {
        !matches!(self, Self::Deposit)
    }
}

/// A stored order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// What it does.
    pub kind: Kind,
    /// Who gave it.
    pub owner: UserId,
    /// The account that the money leaves: a wallet, or the bank for a deposit.
    pub source: AccountId,
    /// The account that the money reaches: a wallet, or the bank for a withdrawal.
    pub destination: AccountId,
    /// How much.
    pub money: Money,
    /// The payer's own words.
    pub description: Option<String>,
    /// The transfer that a refund gives back.
    pub refund_of: Option<OrderId>,
    /// Where it stands.
    pub status: Status,
    /// Why it failed, as a stable code; none unless it did.
    pub failure_reason: Option<String>,
    /// What the bank calls the payment, once it has booked it.
    pub bank_reference: Option<String>,
    /// When it was given.
    pub created_at: OffsetDateTime,
    /// When it reached its outcome; none until then.
    pub finished_at: Option<OffsetDateTime>,
}

impl Order {
    /// Whether it has its outcome.
    pub fn is_finished(&self) -> bool {
        matches!(self.status, Status::Completed | Status::Failed)
    }
}
