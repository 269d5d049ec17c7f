//! Pages that follow what happens: a stream that says when something has changed. What it is, the
//! page finds out by asking for itself again.
//!
//! Nothing is told of what changed, so that a stream that missed something has missed nothing: the
//! fingerprint of the [pulse](super::pulse) is compared every two seconds, by one question for
//! all streams. Streams end after ten minutes, and browsers come back by themselves: then it is
//! asked again who that is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use poem::http::header;
use poem::{Body, Request, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::access::Visitor;
use super::refusals::{self, Refusal};
use super::site::Site;
use crate::http::wire::problem::{Code, Problem};

/// The interval at which changes are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The interval at which a stream without news shows that it is alive: proxies cut what is silent.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// The end of each stream.
const ENDS_AFTER: Duration = Duration::from_secs(600);

/// A stream of changes.
struct Stream {
    site: Arc<Site>,
    _place: OwnedSemaphorePermit,
    ends_at: Instant,
    told_at: Instant,
    /// The fingerprint that was told; none before the first.
    told: Option<u64>,
}

/// Answers with a stream.
pub(super) async fn follow(site: Arc<Site>, request: Request) -> Response {
    match admit(&site, &request).await {
        Ok(place) => respond(site, place),
        Err(refusal) => refusals::bare(refusal, request.headers()),
    }
}

async fn admit(site: &Arc<Site>, request: &Request) -> Result<OwnedSemaphorePermit, Refusal> {
    Visitor::admit(site, request).await?;
    let place = Arc::clone(&site.streams).try_acquire_owned();
    Ok(place.map_err(|_| Problem::new(Code::Overloaded))?)
}

fn respond(site: Arc<Site>, place: OwnedSemaphorePermit) -> Response {
    let now = Instant::now();
    let stream =
        Stream { site, _place: place, ends_at: now + ENDS_AFTER, told_at: now, told: None };
    let events = stream::unfold(stream, |mut stream| async {
        let event = stream.next_event().await?;
        Some((Ok::<_, std::io::Error>(event), stream))
    });
    Response::builder()
        .content_type("text/event-stream")
        .header(header::CACHE_CONTROL, "no-store")
        .header("x-accel-buffering", "no")
        .body(Body::from_bytes_stream(events))
}

impl Stream {
    /// The next event; none at the end.
    async fn next_event(&mut self) -> Option<Bytes> {
        loop {
            if self.told.is_some() {
                tokio::select! {
                    biased;
                    () = self.site.shutdown.cancelled() => return None,
                    () = sleep(LOOK_EVERY) => {}
                }
            }
            let now = Instant::now();
            if now >= self.ends_at || self.site.shutdown.is_cancelled() {
                return None;
            }
            let pulse = self.site.pulses.read(&self.site.pool).await;
            // 0 for a database that is away: that, too, is something to be shown.
            let found = pulse.map_or(0, |pulse| pulse.fingerprint);
            let first = self.told.is_none();
            if self.told.replace(found) != Some(found) {
                self.told_at = now;
                let name = if first { "hello" } else { "changed" };
                return Some(format!("event: {name}\ndata: {found:x}\n\n").into());
            }
            if now - self.told_at >= HEARTBEAT_EVERY {
                self.told_at = now;
                return Some(Bytes::from_static(b": still there\n\n"));
            }
        }
    }
}
