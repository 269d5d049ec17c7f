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
mod event_data;

use sqlx::PgConnection;
use uuid::Uuid;

pub use announce_outcomes::{AnnounceOutcomes, READER};
pub use event_data::Subject;

use crate::events::{self, EventType, NewEvent};
use crate::ids::EventId;
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

fn event_of(outcome: &Outcome, context: Option<TraceContext>) -> Result<NewEvent, QueueError> {
    let args_error = |source| QueueError::Args { kind: "event", source };
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
        trace_context: context.map(serde_json::to_value).transpose().map_err(args_error)?,
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
