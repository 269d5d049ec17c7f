//! The types of events: the catalogue of what others can be told.

use std::fmt;
use std::str::FromStr;

macro_rules! event_types {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// The type of an event.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum EventType {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl EventType {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name, as it is stored and sent.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// One sentence on what has happened.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

event_types! {
    /// A provider's transaction was settled: its transfer is in the ledger.
    TransactionCompleted = "transaction.completed",
    /// A provider's transaction broke a rule or was given up, and moved no money.
    TransactionFailed = "transaction.failed",
    /// A transfer between two wallets was executed.
    TransferCompleted = "transfer.completed",
    /// A transfer between two wallets failed, and moved no money.
    TransferFailed = "transfer.failed",
    /// A refund gave a transfer back.
    RefundCompleted = "refund.completed",
    /// A refund failed, and moved no money.
    RefundFailed = "refund.failed",
    /// A deposit has reached its wallet.
    DepositCompleted = "deposit.completed",
    /// A deposit failed, and moved no money.
    DepositFailed = "deposit.failed",
    /// A withdrawal was paid out.
    WithdrawalCompleted = "withdrawal.completed",
    /// A withdrawal failed: its money is available again.
    WithdrawalFailed = "withdrawal.failed",
    /// Somebody tries out an endpoint. Sent to that endpoint alone, whatever it wants.
    WebhookTest = "webhook.test",
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is none of an event type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no such event type")]
pub struct UnknownEventType;

impl FromStr for EventType {
    type Err = UnknownEventType;

    fn from_str(name: &str) -> Result<Self, UnknownEventType> {
        Self::ALL.iter().copied().find(|it| it.as_str() == name).ok_or(UnknownEventType)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_name_and_described() {
        for event_type in EventType::ALL {
            assert_eq!(event_type.as_str().parse(), Ok(*event_type));
            assert!(event_type.description().ends_with('.'), "{event_type}");
        }
        assert_eq!("transfer.*".parse::<EventType>(), Err(UnknownEventType));
    }
}
