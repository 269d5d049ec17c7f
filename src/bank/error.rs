//! Results of a call to the bank other than a booking.

use std::fmt;

use super::Receipt;

/// The statuses that refuse one request for what is in it: bad request, conflict, too large,
/// unprocessable.
const REFUSALS: [u16; 4] = [400, 409, 413, 422];

/// The reason that there is no receipt, or no status.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BankError {
    /// The bank said no, and will say so again.
    #[error("the bank declined: {reason}")]
    Declined {
        /// The reason, as a code.
        reason: String,
    },
    /// The bank did not take the instruction.
    #[error("the bank is unavailable: {0}")]
    Unavailable(Unavailable),
    /// The bank did not answer in time.
    #[error("the bank did not answer in time")]
    TimedOut,
    /// The bank has the instruction and has not decided yet.
    #[error("the bank has not decided yet")]
    Pending,
    /// Something came back that is not an answer to the question.
    #[error("the bank's answer cannot be relied on: {0}")]
    Malformed(InvalidAnswer),
}

/// The evidence that the bank did not take an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unavailable {
    /// There was no connection to send anything on.
    NotConnected,
    /// The bank said so.
    NotAccepted,
}

/// The reason that an answer is not believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InvalidAnswer {
    /// The connection broke before the whole answer was there.
    Cut,
    /// The answer is larger than any may be.
    TooLarge,
    /// The answer is not JSON, or not of the shape that was agreed.
    Unreadable,
    /// The answer came with this HTTP status, which does not go with it, or with any answer.
    Status(u16),
    /// The answer is about another effect key.
    OtherKey,
    /// The answer is about money in the other direction.
    OtherDirection,
    /// The answer names another amount or currency.
    OtherMoney(Receipt),
}

impl BankError {
    /// Tells if the bank may have moved the money although this call failed. Then only an enquiry
    /// can tell, and to send again without one would be blind.
    ///
    /// This is about the one call; [`call_log::may_have_acted`](super::call_log::may_have_acted)
    /// is about all calls for an effect key.
    pub fn may_have_acted(&self) -> bool {
        match self {
            Self::Declined { .. } | Self::Unavailable(_) => false,
            Self::TimedOut | Self::Pending | Self::Malformed(_) => true,
        }
    }

    /// Tells failures of the bank's, such as open the circuit breaker. A refusal, a delay, or a
    /// complaint about this one instruction is an answer: an order that is refused for what is in
    /// it must not keep others from the bank (G9).
    pub fn counts_against_breaker(&self) -> bool {
        match self {
            Self::Declined { .. } | Self::Pending => false,
            Self::Malformed(InvalidAnswer::Status(status)) => !REFUSALS.contains(status),
            Self::Unavailable(_) | Self::TimedOut | Self::Malformed(_) => true,
        }
    }

    /// The reason as a code, for the log of calls; `None` where the outcome says it all.
    pub(super) fn reason(&self) -> Option<String> {
        match self {
            Self::Declined { reason } => Some(reason.clone()),
            Self::Unavailable(Unavailable::NotConnected) => Some("not_connected".to_owned()),
            Self::Unavailable(Unavailable::NotAccepted) => Some("not_accepted".to_owned()),
            Self::TimedOut | Self::Pending => None,
            Self::Malformed(mistrust) => Some(mistrust.code()),
        }
    }
}

impl InvalidAnswer {
    fn code(&self) -> String {
        match self {
            Self::Cut => "cut".to_owned(),
            Self::TooLarge => "too_large".to_owned(),
            Self::Unreadable => "unreadable".to_owned(),
            Self::Status(status) => format!("status_{status}"),
            Self::OtherKey => "other_key".to_owned(),
            Self::OtherDirection => "other_direction".to_owned(),
            Self::OtherMoney(_) => "other_money".to_owned(),
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "there is no connection to it",
            Self::NotAccepted => "it did not accept the request",
        })
    }
}

impl fmt::Display for InvalidAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("the connection broke before the whole answer was there"),
            Self::TooLarge => f.write_str("it is too large"),
            Self::Unreadable => f.write_str("it is not JSON of the agreed shape"),
            Self::Status(status) => write!(f, "it came with the HTTP status {status}"),
            Self::OtherKey => f.write_str("it is about another effect key"),
            Self::OtherDirection => f.write_str("it is about money in the other direction"),
            Self::OtherMoney(receipt) => write!(f, "it is about {}", receipt.money),
        }
    }
}
