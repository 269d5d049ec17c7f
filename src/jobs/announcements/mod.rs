//! Announcements: the one place where an outcome becomes something that others hear of.
//!
//! Whoever commits an outcome hands it to [`announce`] in the same database transaction, which
//! writes the event and enqueues the job that announces it:
//!
//! ```text
//!   jobs, operations ─ outcome ─▶ announce ─▶ the event, the audit entry,    ┐
//!                                             an AnnounceOutcomes            │ one database
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

use crate::audit::{self, NewEntry};
use crate::events::{self, EventType, NewEvent};
use crate::ids::{EndpointId, EventId};
use crate::payments::orders::{Kind, Order};
use crate::payments::outcomes::{Outcome, Outcomes};
use crate::payments::transactions::Status;
use crate::queue::telemetry::TraceContext;
use crate::queue::{NewJob, QueueError, enqueue};

/// Events that are still to be written.
#[derive(Debug)]
#[must_use = "an outcome whose event is not written is one that nobody hears of"]
pub struct Announcement(Vec<NewEvent>);

/// Writes all about these outcomes but their events: the entries of the audit log, and the job that
/// announces the events. To be committed with the outcomes. `by` is whoever has brought them about,
/// in the form of the log: `job:settle_transaction`, `cli:ada`. `context_of` tells the trace in
/// which an outcome was reached.
///
/// # Errors
///
/// [`QueueError`]. Nothing may be committed then.
pub async fn prepare(
    conn: &mut PgConnection,
    outcomes: &Outcomes,
    by: &str,
    context_of: impl Fn(&Outcome) -> Option<TraceContext>,
) -> Result<Announcement, QueueError> {
    let (mut new, mut entries) = (Vec::new(), Vec::new());
    for outcome in outcomes.as_slice() {
        let context = context_of(outcome);
        entries.push(entry_of(outcome, by, context.as_ref()).map_err(args_error)?);
        new.push(event_of(outcome, context)?);
    }
    if !new.is_empty() {
        audit::record(&mut *conn, &entries).await?;
        // The deliveries go on in the traces of their events.
        let job = NewJob::new(&AnnounceOutcomes { events: new.len() })?.trace_context(None);
        enqueue(conn, job).await?;
    }
    Ok(Announcement(new))
}

impl Announcement {
    /// Writes the events. The accounts that they are about are locked by now: so those of one
    /// account have the order in which it was changed.
    ///
    /// # Errors
    ///
    /// When the database refuses. Nothing may be committed then.
    pub async fn write(self, conn: &mut PgConnection) -> Result<(), QueueError> {
        if !self.0.is_empty() {
            events::record(conn, &self.0).await?;
        }
        Ok(())
    }
}

/// [`prepare`], and the events at once: where the accounts are locked already.
///
/// # Errors
///
/// As [`prepare`].
pub async fn announce(
    conn: &mut PgConnection,
    outcomes: &Outcomes,
    by: &str,
    context_of: impl Fn(&Outcome) -> Option<TraceContext>,
) -> Result<(), QueueError> {
    let announcement = prepare(&mut *conn, outcomes, by, context_of).await?;
    announcement.write(conn).await
}

/// [`announce`], where all of it was reached in the current trace.
///
/// # Errors
///
/// As [`announce`].
pub async fn announce_here(
    conn: &mut PgConnection,
    outcomes: &Outcomes,
    by: &str,
) -> Result<(), QueueError> {
    announce(conn, outcomes, by, |_| TraceContext::current()).await
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

/// The entry of the audit log, whose data are those of the event.
fn entry_of(
    outcome: &Outcome,
    by: &str,
    context: Option<&TraceContext>,
) -> serde_json::Result<NewEntry> {
    let subject = match outcome {
        Outcome::Transaction(transaction) => {
            audit::Subject::transaction(&transaction.transaction_id)
        }
        Outcome::Order(order) => audit::Subject::new("order", order.id),
    };
    let data = event_data::data(outcome)?;
    Ok(NewEntry::new(by, event_type_of(outcome).as_str(), subject)
        .data(&data)
        .request_id(context.and_then(TraceContext::request_id))
        .trace_id(context.and_then(TraceContext::trace_id).as_deref()))
}

fn event_type_of(outcome: &Outcome) -> EventType {
    match outcome {
        Outcome::Transaction(transaction) => match transaction.status {
            Status::Failed => EventType::TransactionFailed,
            Status::Pending | Status::Processing | Status::Completed => {
                EventType::TransactionCompleted
            }
        },
        Outcome::Order(order) => type_of(order),
    }
}

fn event_of(outcome: &Outcome, context: Option<TraceContext>) -> Result<NewEvent, QueueError> {
    let (subject, occurred_at) = match outcome {
        Outcome::Transaction(transaction) => {
            (Subject::Transaction(transaction.id), transaction.processed_at)
        }
        Outcome::Order(order) => (Subject::Order(order.id), order.finished_at),
    };
    let event_type = event_type_of(outcome);
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
