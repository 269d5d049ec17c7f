//! Delivers again what an endpoint did not get, or lost.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::announcements::{READER, wanted_by};
use super::{DeliverWebhook, Services};
use crate::deliveries::endpoints::{self, Endpoint, Scope};
use crate::deliveries::replaying;
use crate::events;
use crate::ids::EndpointId;
use crate::queue::deadline::within;
use crate::queue::{Committed, Job, JobContext, JobError, NewJob, QueueError, enqueue_many};

/// The most events that are looked at by one commit.
const CHUNK: u16 = 500;

/// Asks for deliveries to an endpoint again: for those that failed, or for everything since a
/// moment.
///
/// It goes through the events in their order, a chunk at a time, and keeps where it is: after a
/// restart it goes on from there. A chunk that was committed and not kept is asked for twice, which
/// changes nothing while its deliveries are pending.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplayDeliveries {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Everything since this moment; none means what failed.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
}

/// Where a replay is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Place {
    /// The number of the last event that was looked at.
    event: i64,
    /// The number of the last one to look at: what was announced when the replay began. What comes
    /// later is delivered by itself.
    until: i64,
    /// The number of deliveries that were asked for.
    asked_for: u64,
}

impl Job for ReplayDeliveries {
    const KIND: &'static str = "replay_deliveries";
    const QUEUE: &'static str = "webhook_replays";
    const PRIORITY: i16 = 4;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    type State = Services;

    async fn run(self, state: &Services, mut cx: JobContext) -> Result<Committed, JobError> {
        let mut conn = state.pool.acquire().await?;
        let mut place = match cx.last_checkpoint::<Place>()? {
            Some(place) => place,
            None => self.first_place(&mut conn).await?,
        };
        drop(conn);
        loop {
            let mut tx = cx.begin().await?;
            cx.require_lease(&mut tx).await?;
            let endpoint = within(endpoints::find(&mut tx, Scope::All, self.endpoint)).await?;
            let Some(endpoint) = endpoint.filter(|endpoint| endpoint.disabled_at.is_none()) else {
                return Err(JobError::Cancel("the endpoint is disabled or deleted".to_owned()));
            };
            let chunk = within(self.chunk(&mut tx, &endpoint, place)).await?;
            let asked_for = within(ask_for(&mut tx, self.endpoint, &chunk.events)).await?;
            tx.commit().await?;
            cx.waker().wake();
            place.asked_for += asked_for;
            let Some(last) = chunk.last else { break };
            place.event = last;
            cx.checkpoint(&place).await?;
            cx.progress(0, &format!("{} deliveries asked for", place.asked_for)).await?;
        }
        let tx = cx.begin().await?;
        let output = serde_json::json!({ "asked_for": place.asked_for });
        cx.with_output(&output)?.complete(tx).await
    }
}

/// A chunk of events.
struct Chunk {
    /// The events to be delivered again.
    events: Vec<i64>,
    /// The last event that was looked at; none when there are no more.
    last: Option<i64>,
}

impl ReplayDeliveries {
    async fn first_place(&self, conn: &mut PgConnection) -> Result<Place, JobError> {
        let until = within(events::last_taken(&mut *conn, READER)).await?;
        let event = match self.since {
            Some(since) => within(events::place_before(conn, since)).await?,
            None => 0,
        };
        Ok(Place { event, until, asked_for: 0 })
    }

    async fn chunk(
        &self,
        conn: &mut PgConnection,
        endpoint: &Endpoint,
        Place { event: after, until, .. }: Place,
    ) -> Result<Chunk, JobError> {
        let span = (after, until);
        let Some(since) = self.since else {
            let events = replaying::failed_after(conn, self.endpoint, span, CHUNK).await?;
            let last = events.last().copied();
            return Ok(Chunk { events, last });
        };
        let found = events::since(&mut *conn, since, span, CHUNK).await?;
        let events = wanted_by(conn, endpoint, &found).await?;
        Ok(Chunk { events, last: found.last().map(|event| event.seq) })
    }
}

/// Makes deliveries of these events pending, with their jobs. Gives their number.
async fn ask_for(
    conn: &mut PgConnection,
    endpoint: EndpointId,
    events: &[i64],
) -> Result<u64, JobError> {
    let planned = replaying::send_again(&mut *conn, endpoint, events).await?;
    let jobs: Result<Vec<NewJob>, QueueError> = planned.iter().map(DeliverWebhook::job).collect();
    enqueue_many(conn, &jobs?).await?;
    Ok(planned.len() as u64)
}
