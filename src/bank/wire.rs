//! The bank's API on the wire, as the client and the simulator agree on it.
//!
//! ```text
//! POST /payments          Idempotency-Key: <effect key>, PaymentRequest
//!                         201 booked, 200 booked before, 402 declined, 202 pending,
//!                         503 not_accepted, 409 the key is taken by another payment
//! GET  /payments/<key>    200 booked, declined or pending, 404 unknown, 503 not_accepted
//! GET  /statement         200 Statement
//! ```
//!
//! Amounts are strings. Any other body, and any other status, is not an answer.

use serde::{Deserialize, Serialize};

use super::{BankInstruction, Direction, EffectKey, Receipt, is_word};
use crate::money::{Amount, Currency, Money};

/// The body of an instruction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PaymentRequest {
    pub(super) direction: Direction,
    pub(super) amount: String,
    pub(super) currency: String,
    pub(super) account: String,
}

/// The bank's answer about a payment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(super) enum Answer {
    Booked(Booking),
    Declined { effect_key: EffectKey, reason: String },
    Pending { effect_key: EffectKey },
    Unknown { effect_key: EffectKey },
    NotAccepted { effect_key: EffectKey },
}

/// Money that the bank moved; also one line of its statement.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Booking {
    pub(super) bank_reference: String,
    pub(super) effect_key: EffectKey,
    pub(super) direction: Direction,
    pub(super) amount: String,
    pub(super) currency: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) booked_at: time::OffsetDateTime,
}

/// A page of all that the bank booked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct StatementAnswer {
    pub(super) bookings: Vec<Booking>,
    /// The value of `after` to get the next page; null on the last.
    pub(super) next: Option<u64>,
}

impl Answer {
    /// The payment that it is about.
    pub(super) fn effect_key(&self) -> &EffectKey {
        match self {
            Self::Booked(booking) => &booking.effect_key,
            Self::Declined { effect_key, .. }
            | Self::Pending { effect_key }
            | Self::Unknown { effect_key }
            | Self::NotAccepted { effect_key } => effect_key,
        }
    }
}

impl Booking {
    /// The receipt that this is; `None` when it names no money, or a reference that cannot be one.
    pub(super) fn receipt(&self) -> Option<Receipt> {
        let money = money(&self.amount, &self.currency)?;
        let bank_reference = is_word(&self.bank_reference).then(|| self.bank_reference.clone())?;
        Some(Receipt { bank_reference, money })
    }
}

impl From<&BankInstruction> for PaymentRequest {
    fn from(instruction: &BankInstruction) -> Self {
        Self {
            direction: instruction.direction,
            amount: instruction.money.amount_text(),
            currency: instruction.money.currency().code().to_owned(),
            account: instruction.account.clone(),
        }
    }
}

impl PaymentRequest {
    /// The instruction under this key; `None` when it names no money.
    pub(super) fn instruction(&self, effect_key: EffectKey) -> Option<BankInstruction> {
        let money = money(&self.amount, &self.currency)?;
        let (direction, account) = (self.direction, self.account.clone());
        Some(BankInstruction { effect_key, direction, money, account })
    }
}

fn money(amount: &str, currency: &str) -> Option<Money> {
    Money::new(Amount::parse(amount).ok()?, Currency::from_stored(currency).ok()?).ok()
}
