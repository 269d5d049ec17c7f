//! Connections that are kept for the next delivery to the same place.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::target::TargetUrl;

/// The time that a connection is kept unused.
pub(super) const MAX_IDLE: Duration = Duration::from_secs(15);
/// The most connections that are kept for one place, and for all: each is an open file.
const MAX_PER_PLACE: usize = 128;
const MAX_IN_ALL: usize = 1_024;
/// The time after which those that nobody asked for again are dropped.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Kept connections.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    places: HashMap<Place, Vec<(Connection, Instant)>>,
    count: usize,
    swept_at: Option<Instant>,
}

/// The scheme and the name that a connection was made for: TLS has checked the certificate for that
/// name, and the server may go by it.
#[derive(PartialEq, Eq, Hash, Debug)]
struct Place {
    is_https: bool,
    host: String,
    port: u16,
}

impl Place {
    fn of(target: &TargetUrl) -> Self {
        let (is_https, port) = (target.is_https(), target.port());
        Self { is_https, host: target.host().to_string(), port }
    }
}

impl Pool {
    /// The connection that was used last, of those to one of these addresses.
    pub(super) fn take(&self, target: &TargetUrl, vetted: &[SocketAddr]) -> Option<Connection> {
        let place = Place::of(target);
        let now = Instant::now();
        let mut idle = self.idle();
        let kept = idle.places.get_mut(&place)?;
        let before = kept.len();
        kept.retain(|(connection, since)| is_alive(connection, *since, now));
        let found = kept.iter().rposition(|(connection, _)| vetted.contains(&connection.address));
        let taken = found.map(|position| kept.remove(position).0);
        let (after, is_empty) = (kept.len(), kept.is_empty());
        idle.count -= before - after;
        if is_empty {
            idle.places.remove(&place);
        }
        taken
    }

    /// Keeps a connection whose last answer was read to its end, unless there are too many.
    pub(super) fn put(&self, target: &TargetUrl, connection: Connection) {
        let now = Instant::now();
        let mut idle = self.idle();
        if idle.swept_at.is_none_or(|at| now.duration_since(at) >= SWEEP_EVERY) {
            idle.sweep(now);
        }
        if idle.count >= MAX_IN_ALL || connection.is_closed() {
            return;
        }
        let kept = idle.places.entry(Place::of(target)).or_default();
        if kept.len() < MAX_PER_PLACE {
            kept.push((connection, now));
            idle.count += 1;
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn sweep(&mut self, now: Instant) {
        self.places.retain(|_, kept| {
            kept.retain(|(connection, since)| is_alive(connection, *since, now));
            !kept.is_empty()
        });
        self.count = self.places.values().map(Vec::len).sum();
        self.swept_at = Some(now);
    }
}

fn is_alive(connection: &Connection, since: Instant, now: Instant) -> bool {
    !connection.is_closed() && now.duration_since(since) < MAX_IDLE
}
