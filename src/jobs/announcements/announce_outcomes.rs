//! Announces outcomes: makes a delivery of each event to each endpoint that wants it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::choosing::parties_of;
use super::event_data;
use crate::deliveries::{self, Announced, Planned};
use crate::events::{self, Event, EventType};
use crate::ids::UserId;
use crate::jobs::Services;
use crate::jobs::deliver_webhook::DeliverWebhook;
use crate::jobs::mail_delivery::{self, Recipient};
use crate::jobs::send_transaction_email::EmailStatus;
use crate::payments::orders::Party;
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
    // There is one stream.
    const MAX_AT_ONCE: usize = 1;
    const MAX_AT_ONCE_OVERALL: Option<NonZeroU16> = NonZeroU16::new(1);
    type State = Services;

    async fn run_batch(
        _jobs: Vec<Self>,
        state: &Services,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        let waker = cx.waker();
        let mut most = MAX_EVENTS;
        loop {
            let mut tx = cx.begin().await?;
            let limit = within(most_events(&mut tx)).await?.min(most);
            let taken = within(events::take(&mut tx, READER, limit)).await?;
            if let Err(error) = within(announce(&mut tx, &taken, state)).await {
                if limit == 1 {
                    return Err(error);
                }
                // Too many to be told in time, or one of them cannot be: fewer, then.
                within(tx.rollback()).await?;
                most = limit / 4 + 1;
                continue;
            }
            if taken.len() < usize::from(limit) {
                let committed = cx.complete(tx).await?;
                waker.wake();
                return Ok(committed);
            }
            // What was taken stays taken, even if this job should not come to its end.
            tx.commit().await?;
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

/// Makes all that these events cause, with the jobs that do it, each in the trace of its event.
async fn announce(
    conn: &mut PgConnection,
    taken: &[Event],
    state: &Services,
) -> Result<(), JobError> {
    // Whoever tries out an endpoint has planned the delivery.
    let is_test = |event: &&Event| event.event_type == EventType::WebhookTest.as_str();
    let events: HashMap<i64, &Event> =
        taken.iter().filter(|it| !is_test(it)).map(|event| (event.seq, event)).collect();
    if events.is_empty() {
        return Ok(());
    }
    let parties = parties_of(&mut *conn, taken).await?;
    let mut jobs = deliveries_of(&mut *conn, taken, &events, &parties).await?;
    if state.mailer.is_some() {
        jobs.extend(mails_of(&mut *conn, &events, &parties).await?);
    }
    enqueue_many(conn, &jobs).await?;
    Ok(())
}

/// A delivery to each endpoint that wants an event, in the order of the events.
async fn deliveries_of(
    conn: &mut PgConnection,
    taken: &[Event],
    events: &HashMap<i64, &Event>,
    parties: &[(i64, Party)],
) -> Result<Vec<NewJob>, JobError> {
    let announced: Vec<Announced<'_>> = taken
        .iter()
        .filter(|event| events.contains_key(&event.seq))
        .map(|event| Announced { event: event.seq, event_type: &event.event_type })
        .collect();
    let owners: HashSet<(i64, UserId)> = parties
        .iter()
        .filter(|(_, party)| party.is_owner)
        .map(|(event, party)| (*event, party.user))
        .collect();
    let parties: Vec<(i64, UserId)> =
        parties.iter().map(|(event, party)| (*event, party.user)).collect();
    let planned = deliveries::plan(conn, &announced, &parties).await?;
    let job_of = |planned: &Planned| -> Result<NewJob, QueueError> {
        let context = events.get(&planned.event).and_then(|event| context_of(event));
        // The id of a request is its sender's own: the other side of a transfer does not get it.
        let is_senders = planned.owner.is_none_or(|user| owners.contains(&(planned.event, user)));
        let context =
            if is_senders { context } else { context.map(TraceContext::without_request_id) };
        Ok(DeliverWebhook::job(planned)?.trace_context(context))
    };
    let jobs: Result<Vec<NewJob>, QueueError> = planned.iter().map(job_of).collect();
    Ok(jobs?)
}

/// A mail to each user whom an event concerns and who wants mails. That something failed is told to
/// whoever wanted it, and not to whom it was to reach.
async fn mails_of(
    conn: &mut PgConnection,
    events: &HashMap<i64, &Event>,
    parties: &[(i64, Party)],
) -> Result<Vec<NewJob>, JobError> {
    let users: BTreeSet<UserId> = parties.iter().map(|(_, party)| party.user).collect();
    let users: Vec<UserId> = users.into_iter().collect();
    let recipients: HashMap<UserId, Recipient> = mail_delivery::recipients(conn, &users)
        .await?
        .into_iter()
        .map(|recipient| (recipient.user, recipient))
        .collect();
    let mut jobs = Vec::new();
    for (event, party) in parties {
        let (Some(event), Some(recipient)) = (events.get(event), recipients.get(&party.user))
        else {
            continue;
        };
        let Some(mail) = event_data::mail_about(event, recipient.clone()) else { continue };
        if mail.status == EmailStatus::Completed || party.is_owner {
            jobs.push(NewJob::new(&mail)?.trace_context(context_of(event)));
        }
    }
    Ok(jobs)
}

/// The trace in which the event happened.
fn context_of(event: &Event) -> Option<TraceContext> {
    serde_json::from_value(event.trace_context.clone()?).ok()
}
