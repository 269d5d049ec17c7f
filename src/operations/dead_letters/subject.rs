//! The order or transaction that a dead letter is about, as callers see it.

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use crate::ids::{AccountId, OrderId};
use crate::money::Money;
use crate::payments::orders::{Kind, Order};
use crate::payments::transactions::{Status, Transaction};

/// An order, with amounts and ids as the API gives them.
#[derive(Clone, Debug)]
pub struct OrderView(pub Order);

/// A provider's transaction, with amounts as the API gives them.
#[derive(Clone, Debug)]
pub struct TransactionView(pub Transaction);

impl Serialize for OrderView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a> {
            id: OrderId,
            #[serde(rename = "type")]
            kind: &'static str,
            wallet_id: Option<AccountId>,
            source_wallet_id: Option<AccountId>,
            destination_wallet_id: Option<AccountId>,
            refund_of: Option<OrderId>,
            amount: String,
            currency: &'static str,
            description: Option<&'a str>,
            status: &'static str,
            failure_reason: Option<&'a str>,
            bank_reference: Option<&'a str>,
            #[serde(with = "time::serde::rfc3339")]
            created_at: OffsetDateTime,
            #[serde(with = "time::serde::rfc3339::option")]
            finished_at: Option<OffsetDateTime>,
        }
        let order = &self.0;
        // The bank's side of a deposit or withdrawal is no wallet.
        let (source, destination) = (Some(order.source), Some(order.destination));
        let (wallet_id, source_wallet_id, destination_wallet_id) = match order.kind {
            Kind::Deposit => (destination, None, destination),
            Kind::Withdrawal => (source, source, None),
            Kind::Transfer | Kind::Refund => (None, source, destination),
        };
        let (amount, currency) = money(order.money);
        let json = Json {
            id: order.id,
            kind: order.kind.as_str(),
            wallet_id,
            source_wallet_id,
            destination_wallet_id,
            refund_of: order.refund_of,
            amount,
            currency,
            description: order.description.as_deref(),
            status: status(order.status),
            failure_reason: order.failure_reason.as_deref(),
            bank_reference: order.bank_reference.as_deref(),
            created_at: order.created_at,
            finished_at: order.finished_at,
        };
        json.serialize(serializer)
    }
}

impl Serialize for TransactionView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a> {
            transaction_id: &'a str,
            source_account: &'a str,
            destination_account: &'a str,
            amount: String,
            currency: &'static str,
            status: &'static str,
            failure_reason: Option<&'a str>,
            #[serde(with = "time::serde::rfc3339")]
            created_at: OffsetDateTime,
            #[serde(with = "time::serde::rfc3339::option")]
            processed_at: Option<OffsetDateTime>,
        }
        let transaction = &self.0;
        let (amount, currency) = money(transaction.money);
        let json = Json {
            transaction_id: &transaction.transaction_id,
            source_account: &transaction.source_account,
            destination_account: &transaction.destination_account,
            amount,
            currency,
            status: status(transaction.status),
            failure_reason: transaction.failure_reason.as_deref(),
            created_at: transaction.created_at,
            processed_at: transaction.processed_at,
        };
        json.serialize(serializer)
    }
}

fn money(money: Money) -> (String, &'static str) {
    (money.amount_text(), money.currency().code())
}

const fn status(status: Status) -> &'static str {
    match status {
        Status::Pending => "PENDING",
        Status::Processing => "PROCESSING",
        Status::Completed => "COMPLETED",
        Status::Failed => "FAILED",
    }
}
