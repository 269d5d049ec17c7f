//! The figures of a relay, for Prometheus and for the log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sqlx::PgPool;

use crate::events::reader::{self, Lag};
use crate::queue::deadline::within;

/// Without the end of a round for that long, a relay hangs. No round takes so long: everything in
/// it has a time limit.
const HANGS_AFTER: Duration = Duration::from_secs(300);

/// The figures of a relay.
#[derive(Debug)]
pub(super) struct Figures {
    pool: PgPool,
    reader: String,
    published: AtomicU64,
    is_connected: AtomicBool,
    last_round: Mutex<Instant>,
}

impl Figures {
    /// The figures of the relay that is this reader.
    #[must_use]
    pub(super) fn new(pool: PgPool, reader: String) -> Self {
        Self {
            pool,
            reader,
            published: AtomicU64::new(0),
            is_connected: AtomicBool::new(false),
            last_round: Mutex::new(Instant::now()),
        }
    }

    /// Counts events that the broker has confirmed, repeats among them.
    pub(super) fn count_published(&self, events: usize) {
        self.published.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Events that the broker has confirmed since the start.
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Notes that there is a connection to the broker.
    pub(super) fn connected(&self) {
        self.is_connected.store(true, Ordering::Relaxed);
    }

    /// Notes that there is none any more.
    pub(super) fn disconnected(&self) {
        self.is_connected.store(false, Ordering::Relaxed);
    }

    /// True while there is a connection to the broker.
    pub(super) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    /// Notes that a round came to its end, whether a good one or not.
    pub(super) fn end_round(&self) {
        *self.last_round.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// False when the relay hangs, and is to be started again.
    pub(super) fn is_alive(&self) -> bool {
        let last = *self.last_round.lock().unwrap_or_else(PoisonError::into_inner);
        last.elapsed() < HANGS_AFTER
    }

    /// The distance to the last event; `None` when the database does not answer.
    pub(super) async fn lag(&self) -> Option<Lag> {
        let read = async {
            let mut conn = self.pool.acquire().await?;
            reader::lag(&mut conn, &self.reader).await
        };
        within(read).await.ok()
    }

    /// All of them in the text format of OpenMetrics. The lag is missing when the database does not
    /// answer.
    pub(super) async fn scrape(&self) -> String {
        let lag = self.lag().await;
        let mut registry = Registry::with_prefix("surety_relay");
        if let Some(lag) = lag {
            let (events, seconds) = (Gauge::<i64>::default(), Gauge::<f64, AtomicU64>::default());
            events.set(lag.events);
            seconds.set(lag.seconds);
            registry.register("lag_events", "Events that are not relayed yet", events);
            registry.register("lag_seconds", "Age of the first of them", seconds);
        }
        let published = Counter::<u64>::default();
        published.inc_by(self.published());
        registry.register("published", "Events that the broker has confirmed", published);
        let connected = Gauge::<i64>::default();
        connected.set(i64::from(self.is_connected()));
        registry.register("connected", "1 with a connection to the broker", connected);
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &registry);
        out
    }
}
