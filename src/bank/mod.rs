//! The bank that deposits come from and withdrawals go to: another company's service, which fails
//! in every way that such services do.
//!
//! The cast:
//!
//! - [`client`]: one call, with limits on everything, and an answer that was checked before it is
//!   believed.
//! - [`error`]: what a call can come to, and what that means: [may the bank have
//!   acted](BankError::may_have_acted)?
//! - [`call_log`]: every call, written down before it is made.
//! - [`breaker`]: the circuit breaker that all workers share.
//! - [`settings`]: the settings of all of this.
//! - [`simulator`]: a bank of our own, `app bank`, that fails on demand.
//!
//! What a caller does, in this order: ask the [breaker](breaker::Breaker::permit); look into the
//! [log](call_log::may_have_acted) whether the bank may have acted already; write the intent with
//! [`call_log::begin`] and commit it; call, with no transaction open; write what came of it with
//! [`call_log::finish`] and tell the breaker. Sending is only for what the bank cannot have acted
//! on: anything else is settled by an enquiry.
//!
//! Guarantees: G6 (every call for one order carries the same [`EffectKey`]) and, of
//! G8, that the breaker goes by the database's clock.
//!
//! Deliberately absent: retries (a job's attempts are) and anything that knows of orders, wallets
//! or the queue.

pub mod breaker;
pub mod call_history;
pub mod call_log;
mod call_span;
pub mod client;
pub mod error;
pub mod settings;
pub mod simulator;
mod transport;
mod wire;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::client::BankClient;
pub use self::error::{BankError, InvalidAnswer, Unavailable};
pub use self::settings::BankArgs;
use crate::ids::OrderId;
use crate::money::Money;

/// The most characters of an effect key, a reference or a reason.
pub const MAX_WORD_CHARS: usize = 100;

/// The key under which the bank acts at most once, however often it is told to (G6).
///
/// Letters, digits, `-` and `_`: it is a header, a part of a path, and a word in log lines.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EffectKey(String);

/// The text is not an [`EffectKey`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an effect key has 1 to {MAX_WORD_CHARS} letters, digits, '-' or '_'")]
pub struct NotAnEffectKey;

impl EffectKey {
    /// The key of an order: the same for all of its attempts, and after a redrive.
    pub fn of_order(order: OrderId) -> Self {
        Self(format!("surety-{order}"))
    }

    /// Reads a key.
    ///
    /// # Errors
    ///
    /// [`NotAnEffectKey`].
    pub fn parse(text: &str) -> Result<Self, NotAnEffectKey> {
        Self::try_from(text.to_owned())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EffectKey {
    type Error = NotAnEffectKey;

    fn try_from(text: String) -> Result<Self, NotAnEffectKey> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_key = is_word(&text) && text.bytes().all(is_plain);
        if is_key { Ok(Self(text)) } else { Err(NotAnEffectKey) }
    }
}

impl From<EffectKey> for String {
    fn from(key: EffectKey) -> Self {
        key.0
    }
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells a text that is one word, which can be stored, logged and shown as it is, whoever wrote it.
fn is_word(text: &str) -> bool {
    (1..=MAX_WORD_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The direction of a payment, as our user sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "bank.direction", rename_all = "snake_case")]
pub enum Direction {
    /// Money comes from the bank to us.
    Deposit,
    /// Money goes from us to the bank.
    Withdrawal,
}

/// An instruction to the bank.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BankInstruction {
    /// The key under which the bank acts at most once.
    pub effect_key: EffectKey,
    /// The direction of the payment.
    pub direction: Direction,
    /// The amount and its currency.
    pub money: Money,
    /// The account at the bank that it comes from or goes to.
    pub account: String,
}

/// The bank's statement of what it moved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The bank's own name for it, which its statement shows.
    pub bank_reference: String,
    /// The amount that was moved.
    pub money: Money,
}

/// A booking in the bank's statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatementLine {
    /// The key that it was sent with.
    pub effect_key: EffectKey,
    /// The direction of the payment.
    pub direction: Direction,
    /// The bank's reference, and how much it moved.
    pub receipt: Receipt,
    /// The moment of the booking, by the bank's clock.
    pub booked_at: time::OffsetDateTime,
}

/// A part of the bank's statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatementPage {
    /// Bookings in the bank's order.
    pub lines: Vec<StatementLine>,
    /// The position of the next page; `None` on the last.
    pub next: Option<u64>,
}

/// The status of the payment under an effect key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PaymentStatus {
    /// The bank has moved this. The caller compares it with the instruction: an enquiry names the
    /// key alone.
    Booked(Receipt),
    /// The bank has moved nothing under this key, and never will.
    Declined {
        /// The reason, as a code.
        reason: String,
    },
    /// The bank has not decided yet.
    Pending,
    /// The bank has never heard of the key. To send is safe: should an earlier call still be on its
    /// way, the bank takes both for one.
    Unknown,
}
