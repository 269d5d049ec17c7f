//! Wallets on the wire.

use poem_openapi::Object;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::http::wire::json_body::json_object;
use crate::http::wire::lists;
use crate::http::wire::money::{BalanceOut, CurrencyCode};
use crate::ids::UserId;
use crate::money::Currency;
use crate::payments::statements::BalanceAt;
use crate::payments::wallets::{Entry, Wallet};

json_object! {
    /// A wallet to be opened.
    pub(super) struct NewWallet {
        /// The currency that the wallet is to hold.
        currency: CurrencyCode,
    }

    fn value(fields) -> Currency {
        Some(currency?.0)
    }
}

/// A wallet.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Wallet")]
pub struct WalletOut {
    /// The id of the wallet.
    id: Uuid,
    /// The id of the owner.
    user_id: Uuid,
    /// The currency that the wallet holds.
    currency: CurrencyCode,
    /// The balance of the wallet.
    balance: BalanceOut,
    /// The part of the balance that no unfinished withdrawal or transfer holds.
    available: BalanceOut,
    /// Changes whenever one of the other fields does; the same as in `ETag`.
    version: i64,
    /// The moment at which the wallet was opened.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// The moment since which the wallet accepts no new orders; null while it does.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    closed_at: Option<OffsetDateTime>,
}

impl From<Wallet> for WalletOut {
    fn from(wallet: Wallet) -> Self {
        let UserId(user_id) = wallet.owner;
        Self {
            id: wallet.id.0,
            user_id,
            currency: CurrencyCode(wallet.balance.currency()),
            balance: BalanceOut(wallet.balance),
            available: BalanceOut(wallet.available),
            version: wallet.version,
            created_at: wallet.created_at,
            closed_at: wallet.closed_at,
        }
    }
}

/// A user's wallets.
#[derive(Debug, Serialize, Object)]
pub(super) struct WalletList {
    /// All wallets of the user.
    pub(super) wallets: Vec<WalletOut>,
}

/// The balance of a wallet at a moment.
#[derive(Debug, Serialize, Object)]
pub(super) struct WalletBalance {
    /// The wallet.
    wallet_id: Uuid,
    /// The balance of the wallet.
    balance: BalanceOut,
    /// The currency of that.
    currency: CurrencyCode,
    /// The moment.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

impl WalletBalance {
    pub(super) fn new(wallet: &Wallet, found: BalanceAt) -> Self {
        Self {
            wallet_id: wallet.id.0,
            balance: BalanceOut(found.balance),
            currency: CurrencyCode(found.balance.currency()),
            at: found.at,
        }
    }
}

/// One line in the history of a wallet.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Entry")]
pub(super) struct EntryOut {
    /// The number of the entry within the wallet, from 1 without gaps.
    number: i64,
    /// The amount; negative where money left.
    amount: BalanceOut,
    /// The balance of the wallet after the entry.
    balance_after: BalanceOut,
    /// The deposit, withdrawal, transfer or refund that it belongs to.
    #[oai(nullable)]
    order_id: Option<Uuid>,
    /// The payer's own words; null when there are none.
    #[oai(nullable)]
    description: Option<String>,
    /// The moment at which the entry was written.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

impl From<Entry> for EntryOut {
    fn from(entry: Entry) -> Self {
        Self {
            number: entry.number,
            amount: BalanceOut(entry.amount),
            balance_after: BalanceOut(entry.balance_after),
            order_id: entry.order.map(|id| id.0),
            description: entry.description,
            created_at: entry.created_at,
        }
    }
}

/// A page of entries, newest first.
#[derive(Debug, Serialize, Object)]
pub(super) struct EntryPage {
    /// The entries of this page.
    entries: Vec<EntryOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl EntryPage {
    /// The page of what was found, which is one more than the page holds if there is another; its
    /// cursor is bound to `list`.
    pub(super) fn new(found: Vec<Entry>, limit: u16, list: &str) -> Self {
        let (found, last) = lists::page(found, limit);
        Self {
            entries: found.into_iter().map(EntryOut::from).collect(),
            next_cursor: last.map(|it| lists::cursor_after(it.number.to_be_bytes(), list)),
        }
    }
}
