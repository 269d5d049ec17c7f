//! The classes of requests that are limited together.

use std::time::Duration;

use poem::http::Method;

/// A class of requests that are limited together: each has one bucket per subject.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LimitClass {
    /// A user's balance.
    Balance,
    /// A user's list of transactions.
    TransactionList,
    /// Any other request of a known caller.
    Api,
    /// Attempts to sign in to one account from one address.
    LoginByAccount,
    /// Attempts to sign in from one address.
    LoginByAddress,
    /// Inbound webhooks from one address.
    InboundWebhook,
    /// Verified webhooks of one source, by the limit of that source.
    WebhookSource,
}

impl LimitClass {
    /// Every class there is.
    pub const ALL: [Self; 7] = [
        Self::Balance,
        Self::TransactionList,
        Self::Api,
        Self::LoginByAccount,
        Self::LoginByAddress,
        Self::InboundWebhook,
        Self::WebhookSource,
    ];

    /// The class of an authenticated request.
    pub fn of(method: &Method, path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').collect();
        match (method, segments.as_slice()) {
            (&Method::GET | &Method::HEAD, ["", "v1", "users", _, "balance"]) => Self::Balance,
            (&Method::GET | &Method::HEAD, ["", "v1", "users", _, "transactions"]) => {
                Self::TransactionList
            }
            _ => Self::Api,
        }
    }

    /// The setting of its limit; none where each subject has a limit of its own.
    pub const fn setting(self) -> Option<&'static str> {
        match self {
            Self::Balance => Some("APP_LIMIT_BALANCE"),
            Self::TransactionList => Some("APP_LIMIT_TRANSACTION_LIST"),
            Self::Api => Some("APP_LIMIT_API"),
            Self::LoginByAccount => Some("APP_LIMIT_LOGIN_ACCOUNT"),
            Self::LoginByAddress => Some("APP_LIMIT_LOGIN_ADDRESS"),
            Self::InboundWebhook => Some("APP_LIMIT_INBOUND_WEBHOOKS"),
            Self::WebhookSource => None,
        }
    }

    /// The name of its policy, in headers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::TransactionList => "transaction-list",
            Self::Api => "api",
            Self::LoginByAccount => "login-account",
            Self::LoginByAddress => "login-address",
            Self::InboundWebhook => "inbound-webhooks",
            Self::WebhookSource => "webhook-source",
        }
    }

    /// Lets requests of this class pass while the database cannot be asked.
    pub(super) const fn fails_open(self) -> bool {
        matches!(self, Self::InboundWebhook | Self::WebhookSource)
    }

    /// The most time that a request waits for the database.
    pub(super) const fn patience(self) -> Duration {
        Duration::from_millis(if self.fails_open() { 250 } else { 1500 })
    }
}
