//! Orders on the wire.

use poem_openapi::{Enum, Object};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::http::api::failure_reasons::FailureReason;
use crate::http::api::transactions::TransactionStatus;
use crate::http::wire::lists;
use crate::http::wire::money::{AmountOut, CurrencyCode};
use crate::payments::orders::{Kind, Order};

/// The type of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Enum)]
#[serde(rename_all = "lowercase")]
#[oai(rename = "OrderType", rename_all = "lowercase")]
pub enum OrderType {
    /// Money comes in through the bank.
    Deposit,
    /// Money goes out through the bank.
    Withdrawal,
    /// Money goes from one wallet to another.
    Transfer,
    /// A transfer is given back.
    Refund,
}

/// A deposit, withdrawal, transfer or refund.
#[derive(Clone, Debug, Serialize, Object)]
#[oai(rename = "Order")]
pub struct OrderOut {
    /// The id of the order.
    id: Uuid,
    /// The type of the order.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    kind: OrderType,
    /// The wallet that a deposit reaches or a withdrawal leaves; null for the others.
    #[oai(nullable)]
    wallet_id: Option<Uuid>,
    /// The wallet that the money leaves; null for a deposit.
    #[oai(nullable)]
    source_wallet_id: Option<Uuid>,
    /// The wallet that the money reaches; null for a withdrawal.
    #[oai(nullable)]
    destination_wallet_id: Option<Uuid>,
    /// The transfer that a refund gives back; null for the others.
    #[oai(nullable)]
    refund_of: Option<Uuid>,
    /// The amount, with exactly the decimals of the currency (ISO 4217).
    amount: AmountOut,
    /// The currency of the amount.
    currency: CurrencyCode,
    /// The payer's own words; null when there are none.
    #[oai(nullable)]
    description: Option<String>,
    /// The status of the order.
    status: TransactionStatus,
    /// The reason of the failure, as a stable code; null unless the order failed.
    #[oai(nullable)]
    failure_reason: Option<FailureReason>,
    /// The bank's reference of the payment; null unless the bank has booked it.
    #[oai(nullable)]
    bank_reference: Option<String>,
    /// The moment at which the order was given.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// The moment at which the order reached its outcome; null until then.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    finished_at: Option<OffsetDateTime>,
}

impl From<Order> for OrderOut {
    fn from(order: Order) -> Self {
        let (source, destination) = (order.source.0, order.destination.0);
        let (kind, wallet_id, source_wallet_id, destination_wallet_id) = match order.kind {
            Kind::Deposit => (OrderType::Deposit, Some(destination), None, Some(destination)),
            Kind::Withdrawal => (OrderType::Withdrawal, Some(source), Some(source), None),
            Kind::Transfer => (OrderType::Transfer, None, Some(source), Some(destination)),
            Kind::Refund => (OrderType::Refund, None, Some(source), Some(destination)),
        };
        Self {
            id: order.id.0,
            kind,
            wallet_id,
            source_wallet_id,
            destination_wallet_id,
            refund_of: order.refund_of.map(|id| id.0),
            amount: AmountOut(order.money),
            currency: CurrencyCode(order.money.currency()),
            description: order.description,
            status: order.status.into(),
            failure_reason: order.failure_reason.map(FailureReason),
            bank_reference: order.bank_reference,
            created_at: order.created_at,
            finished_at: order.finished_at,
        }
    }
}

/// A page of orders, newest first.
#[derive(Debug, Default, Serialize, Object)]
pub struct OrderPage {
    /// The orders of this page.
    orders: Vec<OrderOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl OrderPage {
    /// The page of what was found, which is one more than the page holds if there is another; its
    /// cursor is bound to `list`.
    pub(super) fn new(found: Vec<Order>, limit: u16, list: &str) -> Self {
        let (found, last) = lists::page(found, limit);
        Self {
            orders: found.into_iter().map(OrderOut::from).collect(),
            next_cursor: last.map(|order| lists::cursor_after(*order.id.0.as_bytes(), list)),
        }
    }
}
