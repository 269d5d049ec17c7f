//! Announces outcomes: makes a delivery of each event to each endpoint that wants it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::choosing::parties_of;
use crate::deliveries::{self, Announced, Planned};
use crate::events::{self, Event, EventType};
use crate::jobs::Services;
use crate::jobs::deliver_webhook::DeliverWebhook;
use crate::queue::commits::commit;
use crate::queue::deadline::within;
use crate::queue::telemetry::TraceContext;
use crate::queue::{BatchContext, BatchJob, Committed, JobError, NewJob, QueueError, enqueue_many};

/// The reader of events that all workers announce for.
pub const READER: &str = "announcements";

/// The most events that are announced by one commit, and the most deliveries, as far as that can be
/// known before.
const MAX_EVENTS: u16 = 1000;
const MAX_DELIVERIES: i64 = 20_000;

/// Announces the events that are new, its own among them.
///
/// Enqueued by whoever commits an outcome, in the same database transaction. All jobs of this kind
/// take from one stream, one at a time, so that deliveries are made in the order of the events; one
/// whose events were taken by another has nothing left to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AnnounceOutcomes {
    /// The number of events that were written with it, for those who look at it.
    pub events: usize,
}

impl BatchJob for AnnounceOutcomes {
    const KIND: &'static str = "announce_outcomes";
    const QUEUE: &'static str = "events";
    // Money first.
    const PRIORITY: i16 = 3;
    const MAX_ATTEMPTS: i16 = 100;
    // The events and deliveries say it all.
    const KEEPS_HISTORY: bool = false;
    type State = Services;

    async fn run_batch(
        _jobs: Vec<Self>,
        _state: &Services,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        let waker = cx.waker();
        loop {
            let mut tx = cx.begin().await?;
            let limit = within(most_events(&mut tx)).await?;
            let taken = within(events::take(&mut tx, READER, limit)).await?;
            within(announce(&mut tx, &taken)).await?;
            if taken.len() < usize::from(limit) {
                let committed = cx.complete(tx).await?;
                waker.wake();
                return Ok(committed);
            }
            // What was taken stays taken, even if this job should not come to its end.
            commit(tx).await?;
            waker.wake();
        }
    }
}

/// The most events to take at once, so that a commit stays bounded however many listen.
async fn most_events(conn: &mut PgConnection) -> sqlx::Result<u16> {
    let listening = deliveries::count_listening_to_all(conn).await?;
    let events = MAX_DELIVERIES / listening.max(1);
    Ok(u16::try_from(events.max(1)).unwrap_or(MAX_EVENTS).min(MAX_EVENTS))
}

async fn announce(conn: &mut PgConnection, taken: &[Event]) -> Result<(), JobError> {
    let parties = parties_of(&mut *conn, taken).await?;
    let announced: Vec<Announced<'_>> = taken
        .iter()
        // Whoever tries out an endpoint has planned the delivery.
        .filter(|event| event.event_type != EventType::WebhookTest.as_str())
        .map(|event| Announced { event: event.seq, event_type: &event.event_type })
        .collect();
    if announced.is_empty() {
        return Ok(());
    }
    let planned = deliveries::plan(&mut *conn, &announced, &parties).await?;
    let contexts: HashMap<i64, Option<TraceContext>> =
        taken.iter().map(|event| (event.seq, context_of(event))).collect();
    let jobs: Result<Vec<NewJob>, QueueError> = planned
        .iter()
        .map(|planned: &Planned| {
            let context = contexts.get(&planned.event).cloned().flatten();
            Ok(DeliverWebhook::job(planned)?.trace_context(context))
        })
        .collect();
    enqueue_many(conn, &jobs?).await?;
    Ok(())
}

/// The trace in which the event happened.
fn context_of(event: &Event) -> Option<TraceContext> {
    serde_json::from_value(event.trace_context.clone()?).ok()
}
