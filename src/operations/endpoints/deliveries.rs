//! Deliveries to an endpoint: looking at them, asking for one again, and for many again.

use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

pub use super::Scope;
pub use super::delivery_views::{AttemptView, DeliveryView};
use super::subject;
use crate::audit;
use crate::deliveries::endpoints;
pub use crate::deliveries::outgoing::{DeliveryKey, DeliveryState};
pub use crate::deliveries::reading::Filter as DeliveryFilter;
pub use crate::ids::EventId;

use crate::deliveries::reading::{self, DeliveryOverview};
use crate::deliveries::replaying;
use crate::events;
use crate::ids::EndpointId;
use crate::jobs::announcements;
use crate::jobs::{DeliverWebhook, ReplayDeliveries};
use crate::operations::Identity;
use crate::payments::LedgerError;
use crate::queue::commits::commit;
use crate::queue::operate::{self, inspect};
use crate::queue::{JobId, NewJob, QueueError, enqueue};

/// Where counting stops.
const MAX_COUNT: i64 = 10_000;
const MAX_COUNTED_EVENTS: u32 = 100_000;
const COUNT_CHUNK: u16 = 1_000;
/// The most attempts that are shown of a delivery.
const MAX_ATTEMPTS: u16 = 100;

/// An error of an operation on deliveries.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// There is no such endpoint within the caller's scope.
    #[error("there is no such endpoint")]
    NoSuchEndpoint,
    /// The event was not for the endpoint, or there is no such event.
    #[error("there is no such delivery to this endpoint")]
    NotFound,
    /// The endpoint is disabled, so that nothing can be sent to it.
    #[error("the endpoint is disabled: enable it first")]
    Disabled,
    /// The delivery is on its way already.
    #[error("the delivery is on its way already")]
    Pending,
    /// The ledger refuses.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The queue refuses.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The database refuses.
    #[error("the database refuses")]
    Database(#[from] sqlx::Error),
}

/// The public form of an event's id: `evt_` and 32 hexadecimal digits.
#[must_use]
pub fn event_id_text(id: EventId) -> String {
    announcements::webhook_id(id)
}

/// Reads the public form of an event's id.
#[must_use]
pub fn parse_event_id(text: &str) -> Option<EventId> {
    let hex = text.strip_prefix("evt_")?;
    let is_hex = hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| Uuid::try_parse(hex).ok().map(EventId)).flatten()
}

/// The newest `limit` deliveries to an endpoint, newest first; with `before`, only those behind
/// that [position](DeliveryView::position).
///
/// # Errors
///
/// [`DeliveryError`].
pub async fn list(
    conn: &mut PgConnection,
    scope: Scope,
    endpoint: EndpointId,
    state: Option<DeliveryState>,
    before: Option<i64>,
    limit: u16,
) -> Result<Vec<DeliveryView>, DeliveryError> {
    require(&mut *conn, scope, endpoint).await?;
    let found = reading::list(conn, endpoint, state, before, limit).await?;
    Ok(found.into_iter().map(DeliveryView::from).collect())
}

/// The newest deliveries to all endpoints, or to one; newest first, at most `limit` of those behind
/// `before`.
///
/// # Errors
///
/// When the database refuses.
pub async fn browse(
    conn: &mut PgConnection,
    filter: DeliveryFilter,
    before: Option<DeliveryKey>,
    limit: u16,
) -> sqlx::Result<(Vec<DeliveryView>, Option<DeliveryKey>)> {
    let page = reading::browse(conn, filter, before, limit).await?;
    Ok((page.deliveries.into_iter().map(DeliveryView::from).collect(), page.next))
}

/// A delivery with its last attempts, the first of them first.
///
/// # Errors
///
/// [`DeliveryError`].
pub async fn find(
    conn: &mut PgConnection,
    scope: Scope,
    endpoint: EndpointId,
    event: EventId,
) -> Result<(DeliveryView, Vec<AttemptView>), DeliveryError> {
    require(&mut *conn, scope, endpoint).await?;
    let found = find_delivery(&mut *conn, endpoint, event).await?;
    let attempts = reading::attempts(conn, found.key(), MAX_ATTEMPTS).await?;
    Ok((found.into(), attempts.into_iter().map(AttemptView::from).collect()))
}

/// Sends a delivery that is done with once more, whatever came of it, by the whole schedule.
///
/// # Errors
///
/// [`DeliveryError`].
pub async fn retry(
    pool: &PgPool,
    scope: Scope,
    endpoint: EndpointId,
    event: EventId,
    by: &Identity,
) -> Result<DeliveryView, DeliveryError> {
    let mut tx = pool.begin().await?;
    require_enabled(&mut tx, scope, endpoint).await?;
    let found = find_delivery(&mut tx, endpoint, event).await?;
    let planned = replaying::send_again(&mut tx, endpoint, &[found.event]).await?;
    let Some(planned) = planned.first() else { return Err(DeliveryError::Pending) };
    enqueue(&mut tx, DeliverWebhook::job(planned)?).await?;
    let entry = by.entry("delivery.retry", subject(endpoint));
    let entry = entry.data(&json!({ "event_id": event_id_text(event) }));
    audit::record(&mut tx, &[entry]).await?;
    let found = find_delivery(&mut tx, endpoint, event).await?;
    commit(tx).await?;
    Ok(found.into())
}

/// Sends a test event to an endpoint, and to nobody else, whatever types it wants. Gives the id of
/// the event.
///
/// # Errors
///
/// [`DeliveryError`].
pub async fn send_test(
    pool: &PgPool,
    scope: Scope,
    endpoint: EndpointId,
) -> Result<String, DeliveryError> {
    let mut tx = pool.begin().await?;
    require_enabled(&mut tx, scope, endpoint).await?;
    let event = announcements::test_event(&mut tx, endpoint).await?;
    let found = events::find(&mut tx, event).await?.ok_or(DeliveryError::NotFound)?;
    let planned = replaying::send_again(&mut tx, endpoint, &[found.seq]).await?;
    for planned in &planned {
        enqueue(&mut tx, DeliverWebhook::job(planned)?).await?;
    }
    commit(tx).await?;
    Ok(event_id_text(event))
}

/// The deliveries that a replay sends again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replay {
    /// Those that failed.
    Failed,
    /// Everything that the endpoint wants of what has happened since this moment, delivered before
    /// or not.
    Since(OffsetDateTime),
}

/// The number of deliveries that a replay would send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ReplayCount {
    /// The number.
    pub count: i64,
    /// There may be more: counting stopped here.
    pub is_capped: bool,
}

/// Counts what a replay would send at this moment, up to 10,000 deliveries or as many as are among
/// 100,000 events.
///
/// # Errors
///
/// [`DeliveryError`].
pub async fn count_replay(
    conn: &mut PgConnection,
    scope: Scope,
    id: EndpointId,
    replay: Replay,
) -> Result<ReplayCount, DeliveryError> {
    let endpoint = require(&mut *conn, scope, id).await?;
    let since = match replay {
        Replay::Failed => {
            let count = replaying::count_failed(conn, id, MAX_COUNT).await?;
            return Ok(ReplayCount { count, is_capped: count == MAX_COUNT });
        }
        Replay::Since(since) => since,
    };
    let mut after = events::place_before(&mut *conn, since).await?;
    let until = events::last_taken(&mut *conn, announcements::READER).await?;
    let mut count = 0;
    for _ in 0..MAX_COUNTED_EVENTS / u32::from(COUNT_CHUNK) {
        let found = events::since(&mut *conn, since, (after, until), COUNT_CHUNK).await?;
        let Some(last) = found.last() else { return Ok(ReplayCount { count, is_capped: false }) };
        after = last.seq;
        count += announcements::wanted_by(&mut *conn, &endpoint, &found).await?.len() as i64;
        if count >= MAX_COUNT {
            break;
        }
    }
    Ok(ReplayCount { count: count.min(MAX_COUNT), is_capped: true })
}

/// Begins a replay: a job that goes on where it was after a restart, tells its progress, and can be
/// cancelled. Gives its number.
///
/// # Errors
///
/// [`DeliveryError`].
pub async fn replay(
    pool: &PgPool,
    scope: Scope,
    endpoint: EndpointId,
    replay: Replay,
    by: &Identity,
) -> Result<JobId, DeliveryError> {
    let mut tx = pool.begin().await?;
    require_enabled(&mut tx, scope, endpoint).await?;
    let since = match replay {
        Replay::Failed => None,
        Replay::Since(since) => Some(since),
    };
    let job = NewJob::new(&ReplayDeliveries { endpoint, since })?.key(endpoint.to_string());
    let id = enqueue(&mut tx, job).await?.id();
    let since = since.and_then(|since| since.format(&Rfc3339).ok());
    let entry = by.entry("delivery.replay", subject(endpoint));
    let entry = entry.data(&json!({ "replay": id, "since": since }));
    audit::record(&mut tx, &[entry]).await?;
    commit(tx).await?;
    Ok(id)
}

/// The progress of a replay.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayView {
    /// The number of its job.
    pub job_id: i64,
    /// The state of its job.
    pub state: &'static str,
    /// Its progress, in words.
    pub progress_text: Option<String>,
}

/// A replay of an endpoint's deliveries.
///
/// # Errors
///
/// [`DeliveryError`].
pub async fn find_replay(
    conn: &mut PgConnection,
    scope: Scope,
    endpoint: EndpointId,
    id: JobId,
) -> Result<ReplayView, DeliveryError> {
    require(&mut *conn, scope, endpoint).await?;
    let job = inspect::find_job(conn, id).await?.ok_or(DeliveryError::NotFound)?;
    let args = job.stored_args.parse::<ReplayDeliveries>();
    let is_its = job.kind == <ReplayDeliveries as crate::queue::Job>::KIND
        && args.is_some_and(|args| args.endpoint == endpoint);
    if !is_its {
        return Err(DeliveryError::NotFound);
    }
    Ok(ReplayView { job_id: id.0, state: job.state.name(), progress_text: job.progress_text })
}

/// Stops a replay. What it has asked for is sent.
///
/// # Errors
///
/// [`DeliveryError`].
pub async fn cancel_replay(
    pool: &PgPool,
    scope: Scope,
    endpoint: EndpointId,
    id: JobId,
    by: &Identity,
) -> Result<ReplayView, DeliveryError> {
    let mut tx = pool.begin().await?;
    find_replay(&mut tx, scope, endpoint, id).await?;
    operate::cancel(&mut tx, id, by.as_str(), "the replay is no longer wanted").await?;
    let cancelled = find_replay(&mut tx, scope, endpoint, id).await?;
    let entry = by.entry("delivery.cancel_replay", subject(endpoint));
    audit::record(&mut tx, &[entry.data(&json!({ "replay": id }))]).await?;
    commit(tx).await?;
    Ok(cancelled)
}

async fn require(
    conn: &mut PgConnection,
    scope: Scope,
    endpoint: EndpointId,
) -> Result<endpoints::Endpoint, DeliveryError> {
    let found = endpoints::find(conn, scope, endpoint).await?;
    found.ok_or(DeliveryError::NoSuchEndpoint)
}

async fn require_enabled(
    conn: &mut PgConnection,
    scope: Scope,
    endpoint: EndpointId,
) -> Result<(), DeliveryError> {
    match require(conn, scope, endpoint).await?.disabled_at {
        None => Ok(()),
        Some(_) => Err(DeliveryError::Disabled),
    }
}

async fn find_delivery(
    conn: &mut PgConnection,
    endpoint: EndpointId,
    event: EventId,
) -> Result<DeliveryOverview, DeliveryError> {
    let event = events::find(&mut *conn, event).await?.ok_or(DeliveryError::NotFound)?;
    let key = DeliveryKey { event: event.seq, endpoint };
    reading::find(conn, key).await?.ok_or(DeliveryError::NotFound)
}
