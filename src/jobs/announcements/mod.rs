//! Announcements: the one place where an outcome becomes something that others hear of.
//!
//! Whoever commits an outcome hands it to [`announce`] in the same database transaction, which
//! writes the event and enqueues the job that announces it:
//!
//! ```text
//!   jobs, operations ─ outcome ─▶ announce ─▶ the event, an AnnounceOutcomes ┐ one database
//!                                 entries, the state, the end of the job     ┘ transaction
//!
//!   AnnounceOutcomes ─ takes events in their order ─▶ a delivery and its job ┐ one database
//!                      for each endpoint that wants it                       ┘ transaction
//! ```
//!
//! So the commit of the money costs the same however many want to hear of it.

mod announce_outcomes;
mod choosing;
mod event_data;

use sqlx::PgConnection;
use uuid::Uuid;

pub use announce_outcomes::{AnnounceOutcomes, READER};
pub use choosing::wanted_by;
pub use event_data::Subject;

use crate::events::{self, EventType, NewEvent};
use crate::ids::{EndpointId, EventId};
use crate::payments::orders::{Kind, Order};
use crate::payments::outcomes::{Outcome, Outcomes};
use crate::payments::transactions::Status;
use crate::queue::telemetry::TraceContext;
use crate::queue::{NewJob, QueueError, enqueue};

/// Writes the events of these outcomes, and enqueues what announces them. To be committed with the
/// outcomes. `context_of` tells the trace in which an outcome was reached.
///
/// # Errors
///
/// [`QueueError`]. Nothing may be committed then.
pub async fn announce(
    conn: &mut PgConnection,
    outcomes: &Outcomes,
    context_of: impl Fn(&Outcome) -> Option<TraceContext>,
) -> Result<(), QueueError> {
    if outcomes.is_empty() {
        return Ok(());
    }
    let new: Result<Vec<NewEvent>, QueueError> =
        outcomes.as_slice().iter().map(|outcome| event_of(outcome, context_of(outcome))).collect();
    let new = new?;
    events::record(&mut *conn, &new).await?;
    // The deliveries go on in the traces of their events.
    let job = NewJob::new(&AnnounceOutcomes { events: new.len() })?.trace_context(None);
    enqueue(conn, job).await?;
    Ok(())
}

/// [`announce`], where all of it was reached in the current trace.
///
/// # Errors
///
/// As [`announce`].
pub async fn announce_here(conn: &mut PgConnection, outcomes: &Outcomes) -> Result<(), QueueError> {
    announce(conn, outcomes, |_| TraceContext::current()).await
}

/// Writes an event by which somebody tries out an endpoint, and gives its id. Nobody announces it:
/// the caller plans its one delivery.
///
/// # Errors
///
/// [`QueueError`].
pub async fn test_event(
    conn: &mut PgConnection,
    endpoint: EndpointId,
) -> Result<EventId, QueueError> {
    let occurred_at =
        sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(&mut *conn).await?;
    let id = EventId(Uuid::now_v7());
    let event = NewEvent {
        id,
        event_type: EventType::WebhookTest,
        subject: Subject::Endpoint(endpoint).to_string(),
        body: event_data::test_body(endpoint, occurred_at).map_err(args_error)?,
        occurred_at,
        trace_context: stored(TraceContext::current())?,
    };
    events::record(conn, &[event]).await?;
    Ok(id)
}

/// The id by which receivers know an event: `evt_` and 32 hexadecimal digits.
#[must_use]
pub fn webhook_id(id: EventId) -> String {
    format!("evt_{}", id.0.simple())
}

fn args_error(source: serde_json::Error) -> QueueError {
    QueueError::Args { kind: "event", source }
}

fn stored(context: Option<TraceContext>) -> Result<Option<serde_json::Value>, QueueError> {
    context.map(serde_json::to_value).transpose().map_err(args_error)
}

fn event_of(outcome: &Outcome, context: Option<TraceContext>) -> Result<NewEvent, QueueError> {
    let (event_type, subject, occurred_at) = match outcome {
        Outcome::Transaction(transaction) => {
            let event_type = match transaction.status {
                Status::Failed => EventType::TransactionFailed,
                _ => EventType::TransactionCompleted,
            };
            (event_type, Subject::Transaction(transaction.id), transaction.processed_at)
        }
        Outcome::Order(order) => (type_of(order), Subject::Order(order.id), order.finished_at),
    };
    let occurred_at = occurred_at.unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    Ok(NewEvent {
        id: EventId(Uuid::now_v7()),
        event_type,
        subject: subject.to_string(),
        body: event_data::body(event_type, occurred_at, outcome).map_err(args_error)?,
        occurred_at,
        trace_context: stored(context)?,
    })
}

fn type_of(order: &Order) -> EventType {
    let is_failed = order.status == Status::Failed;
    match (order.kind, is_failed) {
        (Kind::Deposit, false) => EventType::DepositCompleted,
        (Kind::Deposit, true) => EventType::DepositFailed,
        (Kind::Withdrawal, false) => EventType::WithdrawalCompleted,
        (Kind::Withdrawal, true) => EventType::WithdrawalFailed,
        (Kind::Transfer, false) => EventType::TransferCompleted,
        (Kind::Transfer, true) => EventType::TransferFailed,
        (Kind::Refund, false) => EventType::RefundCompleted,
        (Kind::Refund, true) => EventType::RefundFailed,
    }
}
