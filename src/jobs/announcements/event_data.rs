//! The JSON of an event: `{type, timestamp, data}`, as Standard Webhooks has it. The data of an
//! event is what the API answers to those who read its subject at that moment.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::events::{Event, EventType};
use crate::ids::{EndpointId, OrderId, TransactionId};
use crate::jobs::SendTransactionEmail;
use crate::jobs::mail_delivery::Recipient;
use crate::jobs::send_transaction_email::EmailStatus;
use crate::notices::{self, SubjectKind};
use crate::payments::orders::{Kind, Order};
use crate::payments::outcomes::Outcome;
use crate::payments::transactions::{Status, Transaction};

/// The subject of an event, in the form in which it is stored: `transaction:812`, `order:<uuid>` or
/// `endpoint:<uuid>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Subject {
    /// A provider's transaction, by our number of it.
    Transaction(TransactionId),
    /// A user's order.
    Order(OrderId),
    /// An endpoint that somebody tries out.
    Endpoint(EndpointId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction(id) => write!(f, "transaction:{id}"),
            Self::Order(id) => write!(f, "order:{id}"),
            Self::Endpoint(id) => write!(f, "endpoint:{id}"),
        }
    }
}

/// The text is none of a subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this is the name of no subject")]
pub struct UnknownSubject;

impl FromStr for Subject {
    type Err = UnknownSubject;

    fn from_str(text: &str) -> Result<Self, UnknownSubject> {
        let parsed = match text.split_once(':') {
            Some(("transaction", id)) => {
                id.parse().ok().map(|id| Self::Transaction(TransactionId(id)))
            }
            Some(("order", id)) => id.parse().ok().map(|id| Self::Order(OrderId(id))),
            Some(("endpoint", id)) => id.parse().ok().map(|id| Self::Endpoint(EndpointId(id))),
            _ => None,
        };
        parsed.ok_or(UnknownSubject)
    }
}

/// The body of a test event.
pub(super) fn test_body(
    endpoint: EndpointId,
    occurred_at: OffsetDateTime,
) -> serde_json::Result<String> {
    let data = Data::Test(TestData { endpoint_id: endpoint.0, message: "This is a test." });
    let event_type = EventType::WebhookTest.as_str();
    serde_json::to_string(&Body { event_type, timestamp: occurred_at, data })
}

/// The body of the event.
pub(super) fn body(
    event_type: EventType,
    occurred_at: OffsetDateTime,
    outcome: &Outcome,
) -> serde_json::Result<String> {
    let (event_type, data) = (event_type.as_str(), Data::of(outcome));
    serde_json::to_string(&Body { event_type, timestamp: occurred_at, data })
}

/// The data of the event alone.
pub(super) fn data(outcome: &Outcome) -> serde_json::Result<serde_json::Value> {
    serde_json::to_value(Data::of(outcome))
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    event_type: &'static str,
    #[serde(with = "time::serde::rfc3339")]
    timestamp: OffsetDateTime,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Transaction(TransactionData<'a>),
    Order(OrderData<'a>),
    Test(TestData),
}

impl<'a> Data<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        match outcome {
            Outcome::Transaction(transaction) => {
                Self::Transaction(TransactionData::of(transaction))
            }
            Outcome::Order(order) => Self::Order(OrderData::of(order)),
        }
    }
}

#[derive(Serialize)]
struct TestData {
    endpoint_id: Uuid,
    message: &'static str,
}

#[derive(Serialize)]
struct TransactionData<'a> {
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

impl<'a> TransactionData<'a> {
    fn of(transaction: &'a Transaction) -> Self {
        Self {
            transaction_id: &transaction.transaction_id,
            source_account: &transaction.source_account,
            destination_account: &transaction.destination_account,
            amount: transaction.money.amount_text(),
            currency: transaction.money.currency().code(),
            status: status(transaction.status),
            failure_reason: transaction.failure_reason.as_deref(),
            created_at: transaction.created_at,
            processed_at: transaction.processed_at,
        }
    }
}

#[derive(Serialize)]
struct OrderData<'a> {
    id: Uuid,
    #[serde(rename = "type")]
    kind: &'static str,
    wallet_id: Option<Uuid>,
    source_wallet_id: Option<Uuid>,
    destination_wallet_id: Option<Uuid>,
    refund_of: Option<Uuid>,
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

impl<'a> OrderData<'a> {
    fn of(order: &'a Order) -> Self {
        let (source, destination) = (Some(order.source.0), Some(order.destination.0));
        let (wallet_id, source_wallet_id, destination_wallet_id) = match order.kind {
            Kind::Deposit => (destination, None, destination),
            Kind::Withdrawal => (source, source, None),
            Kind::Transfer | Kind::Refund => (None, source, destination),
        };
        Self {
            id: order.id.0,
            kind: order.kind.as_str(),
            wallet_id,
            source_wallet_id,
            destination_wallet_id,
            refund_of: order.refund_of.map(|id| id.0),
            amount: order.money.amount_text(),
            currency: order.money.currency().code(),
            description: order.description.as_deref(),
            status: status(order.status),
            failure_reason: order.failure_reason.as_deref(),
            bank_reference: order.bank_reference.as_deref(),
            created_at: order.created_at,
            finished_at: order.finished_at,
        }
    }
}

const fn status(status: Status) -> &'static str {
    match status {
        Status::Pending => "PENDING",
        Status::Processing => "PROCESSING",
        Status::Completed => "COMPLETED",
        Status::Failed => "FAILED",
    }
}

/// The mail that tells a user of an order's event; none where the body is not one of ours.
pub(super) fn mail_about(event: &Event, recipient: Recipient) -> Option<SendTransactionEmail> {
    /// The part of the data that mails tell.
    #[derive(Deserialize)]
    struct Told {
        id: Uuid,
        #[serde(rename = "type")]
        kind: SubjectKind,
        amount: String,
        currency: String,
        status: EmailStatus,
        failure_reason: Option<String>,
    }
    #[derive(Deserialize)]
    struct Body {
        data: Told,
    }
    let Body { data } = serde_json::from_str(&event.body).ok()?;
    Some(SendTransactionEmail {
        email: recipient.email,
        amount: data.amount,
        currency: data.currency,
        status: data.status,
        reason: data.failure_reason,
        about: notices::Subject { kind: data.kind, id: data.id.to_string() },
        event: event.id,
        user: recipient.user,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_survives_the_way_through_text() {
        let order = Subject::Order(OrderId(Uuid::from_u128(7)));
        let endpoint = Subject::Endpoint(EndpointId(Uuid::from_u128(7)));
        for subject in [Subject::Transaction(TransactionId(812)), order, endpoint] {
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
        for text in ["", "transaction", "transaction:", "order:7", "user:7"] {
            assert_eq!(text.parse::<Subject>(), Err(UnknownSubject), "{text}");
        }
    }
}
