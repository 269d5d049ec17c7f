//! Timeline of a transaction or an order: whatever is known of it, from all sources, in order.
//!
//! Each source is a function of its room that returns events of its own; here they are given one
//! form and put in order. A source more is one more line in [`of_transaction`] and [`of_order`].

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::audit::reading::{self, Filter};
use crate::audit::{Entry, Subject};
use crate::bank::EffectKey;
use crate::bank::call_history::{self, BankCall};
use crate::deliveries::reading::{self as deliveries, DeliveryOverview, StoredAttempt};
use crate::events;
use crate::ids::OrderId;
use crate::jobs::announcements;
use crate::notices::{self, SubjectKind};
use crate::operations::jobs::about;
use crate::payments::history::{self, MoneyEvent};
use crate::payments::transactions::{self, TransactionError};
use crate::payments::{LedgerError, orders};
use crate::queue::operate::inspect::{self, JobDetails, JobTraces};
use crate::queue::operate::list::JobSummary;
use crate::queue::telemetry::TraceContext;
use crate::queue::{JobId, QueueError};

/// The most entries of the audit log about one thing that are shown.
const MAX_AUDITED: u16 = 200;
/// The most deliveries of one event, attempts of one delivery, and mails about one thing.
const MAX_DELIVERIES: u16 = 100;
const MAX_ATTEMPTS: u16 = 50;
const MAX_MAILS: u16 = 50;

/// All sources tell of one moment.
pub(super) const SNAPSHOT: &str = "begin isolation level repeatable read read only";

/// A timeline that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// The queue's error.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// With an order.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// With a transaction.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct TimelineEvent {
    /// The moment.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The source: `money`, `job`, `bank`, `event`, `delivery`, `mail` or `audit`.
    pub source: &'static str,
    /// The event, as a stable word of its source: `accepted`, `attempt`, `call`, `queue.pause`.
    pub event: String,
    /// The trace that it is part of, as 32 hexadecimal digits; null where none is known.
    pub trace_id: Option<String>,
    /// More about it; fields depend on the event.
    pub details: Value,
}

/// The events about a provider's transaction, by its provider's id, in order; none if there is no
/// such transaction. To be called in one snapshot.
///
/// # Errors
///
/// [`TimelineError`].
pub async fn of_transaction(
    conn: &mut PgConnection,
    transaction_id: &str,
) -> Result<Option<Vec<TimelineEvent>>, TimelineError> {
    let Some(transaction) = transactions::find(&mut *conn, transaction_id).await? else {
        return Ok(None);
    };
    let (events, _) = of_known_transaction(conn, &transaction).await?;
    Ok(Some(events))
}

/// The events about this transaction, in order, and the jobs that settle it. To be called in the
/// snapshot that it was read in.
pub(super) async fn of_known_transaction(
    conn: &mut PgConnection,
    transaction: &transactions::Transaction,
) -> Result<(Vec<TimelineEvent>, Vec<JobSummary>), TimelineError> {
    let money = history::of_transaction(&mut *conn, transaction).await?;
    let mut events: Vec<TimelineEvent> = money.into_iter().map(of_money).collect();
    let settling = about::of_transaction(&mut *conn, transaction).await?;
    let jobs = ids(&settling);
    events.extend(of_jobs(&mut *conn, &jobs).await?);
    let told = announcements::Subject::Transaction(transaction.id).to_string();
    events.extend(of_deliveries(&mut *conn, &told).await?);
    let mut subjects = vec![Subject::transaction(&transaction.transaction_id)];
    subjects.extend(jobs.iter().map(|job| Subject::new("job", job)));
    events.extend(of_audit(conn, &subjects).await?);
    Ok((in_order(events), settling))
}

/// The events about a deposit, withdrawal, transfer or refund, in order; none if there is no such
/// order. To be called in one snapshot.
///
/// # Errors
///
/// [`TimelineError`].
pub async fn of_order(
    conn: &mut PgConnection,
    id: OrderId,
) -> Result<Option<Vec<TimelineEvent>>, TimelineError> {
    let Some(order) = orders::find(&mut *conn, id).await? else { return Ok(None) };
    let (events, _) = of_known_order(conn, &order).await?;
    Ok(Some(events))
}

/// The events about this order, in order, and the jobs that execute it. To be called in the
/// snapshot that it was read in.
pub(super) async fn of_known_order(
    conn: &mut PgConnection,
    order: &orders::Order,
) -> Result<(Vec<TimelineEvent>, Vec<JobSummary>), TimelineError> {
    let money = history::of_order(&mut *conn, order).await?;
    let mut events: Vec<TimelineEvent> = money.into_iter().map(of_money).collect();
    let executing = about::of_order(&mut *conn, order).await?;
    let mut jobs = ids(&executing);
    for job in jobs.clone() {
        jobs.extend(ids(&about::after_discard_of(&mut *conn, job).await?));
    }
    events.extend(of_jobs(&mut *conn, &jobs).await?);
    let calls = call_history::of_key(&mut *conn, &EffectKey::of_order(order.id)).await?;
    events.extend(calls.into_iter().map(of_call));
    let told = announcements::Subject::Order(order.id).to_string();
    events.extend(of_deliveries(&mut *conn, &told).await?);
    events.extend(of_mails(&mut *conn, order).await?);
    let mut subjects = vec![Subject::new("order", order.id)];
    subjects.extend(jobs.iter().map(|job| Subject::new("job", job)));
    events.extend(of_audit(conn, &subjects).await?);
    Ok((in_order(events), executing))
}

fn in_order(mut events: Vec<TimelineEvent>) -> Vec<TimelineEvent> {
    // Stable: what a source says happened first stays first, to the microsecond.
    events.sort_by_key(|event| event.at);
    events
}

fn of_money(MoneyEvent { at, what }: MoneyEvent) -> TimelineEvent {
    tagged(at, "money", json!(what), None)
}

fn of_call(call: BankCall) -> TimelineEvent {
    let (at, details) = (call.started_at, json!(call));
    TimelineEvent { at, source: "bank", event: "call".to_owned(), trace_id: None, details }
}

/// The event that says in its field `event` which it is.
fn tagged(
    at: OffsetDateTime,
    source: &'static str,
    mut details: Value,
    trace_id: Option<String>,
) -> TimelineEvent {
    let event = details.as_object_mut().and_then(|fields| fields.remove("event"));
    let event = event.and_then(|event| event.as_str().map(str::to_owned)).unwrap_or_default();
    TimelineEvent { at, source, event, trace_id, details }
}

fn ids(jobs: &[JobSummary]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

async fn of_jobs(
    conn: &mut PgConnection,
    jobs: &[JobId],
) -> Result<Vec<TimelineEvent>, QueueError> {
    let mut events = Vec::new();
    for job in jobs {
        if let Some(details) = inspect::find_job(&mut *conn, *job).await? {
            let traces = inspect::traces(&mut *conn, *job).await?;
            events.extend(of_job(&details, &traces));
        }
    }
    Ok(events)
}

fn of_job(job: &JobDetails, traces: &JobTraces) -> Vec<TimelineEvent> {
    let of = json!({ "job_id": job.id, "kind": job.kind, "queue": job.queue });
    let event = |at, event: &str, trace: Option<&String>, more: Value| {
        let mut details = of.clone();
        if let (Some(details), Value::Object(more)) = (details.as_object_mut(), more) {
            details.extend(more);
        }
        let trace_id = trace.and_then(|traceparent| trace_id(traceparent));
        TimelineEvent { at, source: "job", event: event.to_owned(), trace_id, details }
    };
    let mut events = vec![event(
        job.enqueued_at,
        "enqueued",
        traces.enqueued.as_ref(),
        json!({ "state": job.state.name() }),
    )];
    for attempt in &job.attempts {
        let found = traces.attempts.iter().find(|(fence, _)| *fence == attempt.fence);
        let trace = found.and_then(|(_, trace)| trace.as_ref());
        events.push(event(attempt.started_at, "attempt", trace, json!(attempt)));
    }
    events
}

/// The trace in a W3C `traceparent`: `00-<trace>-<span>-<flags>`.
fn trace_id(traceparent: &str) -> Option<String> {
    let trace = traceparent.split('-').nth(1)?;
    (trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| trace.to_owned())
}

/// The events that others were told of, each with its deliveries and their attempts.
async fn of_deliveries(
    conn: &mut PgConnection,
    subject: &str,
) -> Result<Vec<TimelineEvent>, sqlx::Error> {
    let mut found = Vec::new();
    for event in events::of_subject(&mut *conn, subject).await? {
        let context: Option<TraceContext> =
            event.trace_context.clone().and_then(|context| serde_json::from_value(context).ok());
        let trace_id = context.as_ref().and_then(TraceContext::trace_id);
        let request_id = context.as_ref().and_then(TraceContext::request_id);
        let id = announcements::webhook_id(event.id);
        found.push(TimelineEvent {
            at: event.occurred_at,
            source: "event",
            event: event.event_type.clone(),
            trace_id: trace_id.clone(),
            details: json!({ "event_id": id, "request_id": request_id }),
        });
        for delivery in deliveries::of_event(&mut *conn, event.seq, MAX_DELIVERIES).await? {
            let attempts = deliveries::attempts(&mut *conn, delivery.key(), MAX_ATTEMPTS).await?;
            found.extend(of_delivery(&delivery, attempts, trace_id.as_ref()));
        }
    }
    Ok(found)
}

/// The attempts of a delivery, and its end.
fn of_delivery(
    delivery: &DeliveryOverview,
    attempts: Vec<StoredAttempt>,
    trace_id: Option<&String>,
) -> Vec<TimelineEvent> {
    let of = json!({
        "event_id": announcements::webhook_id(delivery.event_id),
        "endpoint_id": delivery.endpoint,
    });
    let event = |event: &str, at: OffsetDateTime, more: Value| {
        let mut details = of.clone();
        if let (Some(details), Value::Object(more)) = (details.as_object_mut(), more) {
            details.extend(more);
        }
        let (event, trace_id) = (event.to_owned(), trace_id.cloned());
        TimelineEvent { at, source: "delivery", event, trace_id, details }
    };
    let tried = attempts.into_iter().map(|attempt| {
        let StoredAttempt { at, status, error, duration_ms, .. } = attempt;
        let details = json!({ "status": status, "error": error, "duration_ms": duration_ms });
        event("attempt", at, details)
    });
    let ended = delivery
        .finished_at
        .map(|at| event(delivery.state.as_str(), at, json!({ "reason": delivery.reason })));
    tried.chain(ended).collect()
}

async fn of_mails(
    conn: &mut PgConnection,
    order: &orders::Order,
) -> Result<Vec<TimelineEvent>, sqlx::Error> {
    let kind = match order.kind {
        orders::Kind::Deposit => SubjectKind::Deposit,
        orders::Kind::Withdrawal => SubjectKind::Withdrawal,
        orders::Kind::Transfer => SubjectKind::Transfer,
        orders::Kind::Refund => SubjectKind::Refund,
    };
    let about = notices::Subject { kind, id: order.id.to_string() };
    let mails = notices::of_subject(conn, &about, MAX_MAILS).await?;
    Ok(mails
        .into_iter()
        .map(|mail| TimelineEvent {
            at: mail.ended_at,
            source: "mail",
            event: mail.status.as_str().to_owned(),
            trace_id: None,
            details: json!({
                "event_id": announcements::webhook_id(mail.event),
                "user_id": mail.user,
                "message_id": mail.message_id,
                "reason": mail.reason,
                "attempts": mail.attempts,
            }),
        })
        .collect())
}

async fn of_audit(
    conn: &mut PgConnection,
    subjects: &[Subject],
) -> Result<Vec<TimelineEvent>, sqlx::Error> {
    let mut events = Vec::new();
    for Subject { kind, id } in subjects {
        let filter = Filter {
            subject_kind: Some(kind.clone()),
            subject_id: Some(id.clone()),
            ..Filter::default()
        };
        let entries = reading::list(&mut *conn, &filter, None, MAX_AUDITED).await?;
        events.extend(entries.into_iter().rev().filter_map(of_entry));
    }
    Ok(events)
}

/// The event of an entry; none for one whose time somebody has spoilt.
fn of_entry(entry: Entry) -> Option<TimelineEvent> {
    let at = OffsetDateTime::parse(&entry.at, &Rfc3339).ok()?;
    let (event, trace_id) = (entry.action.clone(), entry.trace_id.clone());
    let details = json!(super::audit::EntryView::from(entry));
    Some(TimelineEvent { at, source: "audit", event, trace_id, details })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_traceparent_has_a_trace() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        assert_eq!(trace_id(&parent).as_deref(), Some(trace));
        for wrong in ["", "00", "00-xyz-1-01", "00-4bf92f3577b34da6a3ce929d0e0e473-1-01"] {
            assert_eq!(trace_id(wrong), None, "{wrong}");
        }
    }
}
