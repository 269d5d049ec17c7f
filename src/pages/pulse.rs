//! The pulse of the system: the few figures that stand beside every page, and what tells that they
//! have changed. Read once every two seconds at most, however many pages are open.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::refusals::Refusal;
use super::words;
use crate::operations::jobs::JobFilter;
use crate::operations::jobs::reading;
use crate::operations::queues::{self, COUNT_CAP};
use crate::operations::workers::{self, WorkerState};
use crate::operations::{database_now, database_version};

/// The age from which a pulse is read again.
const FRESH_FOR: Duration = Duration::from_secs(2);
/// A page does without, rather than wait for longer.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// The figures of one moment.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    taken_at: Instant,
    /// Database time less this machine's.
    skew: time::Duration,
    /// The time that a question to the database took, in milliseconds.
    pub(super) database_ms: f64,
    /// The version of the database.
    pub(super) database_version: String,
    /// The number of due jobs; counts stop at [`COUNT_CAP`] in each queue.
    waiting: i64,
    working: usize,
    has_lost_workers: bool,
    is_paused: bool,
    /// A value that changes with everything that the lists of jobs, queues and workers show.
    pub(super) fingerprint: u64,
}

/// A figure beside a link of the navigation.
pub(super) struct Badge {
    /// The figure.
    pub(super) text: String,
    /// The figure with its meaning, for those who do not see where it stands.
    pub(super) meaning: String,
    /// True if somebody should look.
    pub(super) is_hot: bool,
}

impl Pulse {
    async fn take(conn: &mut PgConnection) -> Result<Self, Refusal> {
        let asked_at = Instant::now();
        let now = database_now(&mut *conn).await?;
        let database_ms = asked_at.elapsed().as_secs_f64() * 1000.0;
        let queues = queues::list(&mut *conn).await?;
        let workers = workers::list(&mut *conn).await?.workers;
        let newest = reading::list(&mut *conn, &JobFilter::default(), None, 1).await?;
        let mut hasher = DefaultHasher::new();
        newest.jobs.first().map(|job| job.id).hash(&mut hasher);
        for queue in &queues.queues {
            let counts = (queue.running, queue.available, queue.retryable, queue.scheduled);
            (&queue.queue, counts, queue.blocked_keys, queue.pause.is_some()).hash(&mut hasher);
        }
        for worker in &workers {
            (worker.worker.id, worker.worker.running, worker.worker.state as u8).hash(&mut hasher);
        }
        let is = |state: WorkerState| workers.iter().filter(move |it| it.worker.state == state);
        Ok(Self {
            taken_at: asked_at,
            skew: now - OffsetDateTime::now_utc(),
            database_ms,
            database_version: database_version(&mut *conn).await?,
            waiting: queues.queues.iter().map(|queue| queue.available).sum(),
            working: is(WorkerState::Working).count() + is(WorkerState::Draining).count(),
            has_lost_workers: is(WorkerState::Lost).count() > 0,
            is_paused: queues.queues.iter().any(|queue| queue.pause.is_some()),
            fingerprint: hasher.finish(),
        })
    }

    /// The present moment by the database's clock.
    pub(super) fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + self.skew
    }

    /// The figure beside the link to this page, if there is one.
    pub(super) fn badge(&self, path: &str) -> Option<Badge> {
        match path {
            "/ui/jobs" if self.waiting > 0 => Some(Badge {
                text: words::capped(self.waiting, COUNT_CAP),
                meaning: format!("{} due", words::capped(self.waiting, COUNT_CAP)),
                is_hot: false,
            }),
            "/ui/queues" if self.is_paused => Some(Badge {
                text: "paused".to_owned(),
                meaning: "one is paused".to_owned(),
                is_hot: false,
            }),
            "/ui/workers" => Some(Badge {
                text: self.working.to_string(),
                meaning: match self.has_lost_workers {
                    true => format!("{} alive, some lost", self.working),
                    false => format!("{} alive", self.working),
                },
                is_hot: self.working == 0 || self.has_lost_workers,
            }),
            _ => None,
        }
    }
}

/// The latest pulse.
#[derive(Debug, Default)]
pub(super) struct Pulses {
    latest: Mutex<Option<Arc<Pulse>>>,
}

impl Pulses {
    /// The pulse of now, or of two seconds ago; none while the database is away. Whoever comes
    /// while it is read waits for it.
    pub(super) async fn read(&self, pool: &PgPool) -> Option<Arc<Pulse>> {
        let mut latest = self.latest.lock().await;
        if let Some(pulse) = latest.as_ref().filter(|it| it.taken_at.elapsed() < FRESH_FOR) {
            return Some(Arc::clone(pulse));
        }
        let reading = async {
            let mut conn = pool.acquire().await?;
            Pulse::take(&mut conn).await
        };
        *latest = match timeout(READ_WITHIN, reading).await {
            Ok(Ok(pulse)) => Some(Arc::new(pulse)),
            Ok(Err(_)) | Err(_) => None,
        };
        latest.clone()
    }
}
