//! The figures of a relay, for Prometheus and for the log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgPool;

use crate::events::reader::{self, Lag};
use crate::metrics::instruments::{RELAY_CONNECTED, RELAY_LAG, RELAY_LAG_EVENTS, RELAY_PUBLISHED};
use crate::metrics::{Family, Metrics};
use crate::queue::deadline::within;

/// Without the end of a round for that long, a relay hangs. No round takes so long: everything in
/// it has a time limit.
const HANGS_AFTER: Duration = Duration::from_secs(300);
/// The time between two looks at the lag.
const LAG_EVERY: Duration = Duration::from_secs(1);

/// The figures of a relay.
#[derive(Debug)]
pub(super) struct Figures {
    pool: PgPool,
    reader: String,
    published: AtomicU64,
    is_connected: AtomicBool,
    last_round: Mutex<Instant>,
    /// `None` while the database does not answer.
    lag: Mutex<Option<Lag>>,
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
            lag: Mutex::new(None),
        }
    }

    /// Shows them among the figures of the process.
    pub(super) fn show(self: &Arc<Self>, metrics: &Metrics) {
        let figures = Arc::clone(self);
        metrics.collect(move || {
            let mut families = vec![
                Family::single(&RELAY_PUBLISHED, figures.published() as f64),
                Family::single(&RELAY_CONNECTED, f64::from(u8::from(figures.is_connected()))),
            ];
            if let Some(lag) = figures.lag() {
                families.push(Family::single(&RELAY_LAG_EVENTS, lag.events as f64));
                families.push(Family::single(&RELAY_LAG, lag.seconds));
            }
            families
        });
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
        *lock(&self.last_round) = Instant::now();
    }

    /// False when the relay hangs, and is to be started again.
    pub(super) fn is_alive(&self) -> bool {
        lock(&self.last_round).elapsed() < HANGS_AFTER
    }

    /// The distance to the last event a second ago; `None` when the database does not answer.
    pub(super) fn lag(&self) -> Option<Lag> {
        *lock(&self.lag)
    }

    /// Looks at the lag once a second, for ever.
    pub(super) async fn watch_lag(self: Arc<Self>) {
        loop {
            let read = async {
                let mut conn = self.pool.acquire().await?;
                reader::lag(&mut conn, &self.reader).await
            };
            let lag = within(read).await.ok();
            *lock(&self.lag) = lag;
            tokio::time::sleep(LAG_EVERY).await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
