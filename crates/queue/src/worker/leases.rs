//! The leases that this worker holds, and the thread that keeps them.
//!
//! A lease is renewed by the database's clock (G8), but whether it may still be trusted is judged
//! by this process's monotonic clock, counted from *before* the renewal was sent: whatever the
//! network did, the lease cannot have begun earlier. A handler whose lease was not renewed in time
//! is stopped [a margin](LeaseTimes::margin) before the lease can expire (G5), so another worker
//! never starts while this one still works.
//!
//! The keeper has an operating system thread and a connection of its own: neither a handler that
//! blocks the runtime nor a pool that handlers have drained can cost a lease.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgExecutor, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::QueueError;
use crate::activity::Activity;
use crate::deadline::{ANSWER_WITHIN, within};
use crate::handler::{AttemptOutcome, transitions};
use crate::ids::{Fence, JobId};

/// The time between two questions for jobs that are to be cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(500);

/// After a renewal that was not answered, the next comes so soon.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The length of a lease and the time between renewals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseTimes {
    pub(crate) lease: Duration,
    pub(crate) heartbeat: Duration,
}

impl LeaseTimes {
    /// The time before the end of a lease at which a handler is stopped: enough to commit or to be
    /// dropped.
    pub(crate) fn margin(&self) -> Duration {
        (self.lease / 6).min(Duration::from_secs(5))
    }

    /// The time between two looks at the deadlines.
    fn tick(&self) -> Duration {
        (self.margin() / 4).clamp(Duration::from_millis(5), Duration::from_millis(500))
    }
}

#[derive(Debug)]
struct Lease {
    fence: Fence,
    /// The moment by which the handler must have stopped.
    deadline: Instant,
    signals: Signals,
    /// Stops the batch that the job is run in, if it is.
    batch_lost: Option<CancellationToken>,
}

/// The keeper's messages to a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    /// The handler must stop, because the lease is lost or cannot be trusted for much longer.
    pub(crate) lost: CancellationToken,
    /// The job is to be cancelled.
    pub(crate) cancelled: CancellationToken,
    /// The reason of the cancellation.
    reason: Arc<OnceLock<String>>,
}

impl Signals {
    /// Of a batch: it is stopped as a whole, and each of its jobs has signals of its own.
    pub(crate) fn of_batch(lost: CancellationToken) -> Self {
        Self { lost, ..Self::default() }
    }

    fn are_given(&self) -> bool {
        self.lost.is_cancelled() || self.cancelled.is_cancelled()
    }

    pub(crate) fn cancel_reason(&self) -> String {
        self.reason.get().cloned().unwrap_or_default()
    }
}

impl Lease {
    fn give_up(&self) {
        self.signals.lost.cancel();
        self.stop_batch();
    }

    fn cancel(&self, reason: String) {
        // Told again by each poll until the run has ended.
        let _already_told = self.signals.reason.set(reason);
        self.signals.cancelled.cancel();
        self.stop_batch();
    }

    /// The jobs of the batch then run one by one, each under its own signals.
    fn stop_batch(&self) {
        if let Some(batch) = &self.batch_lost {
            batch.cancel();
        }
    }
}

/// All leases that this worker holds.
#[derive(Debug)]
pub(crate) struct Leases {
    times: LeaseTimes,
    activity: Arc<Activity>,
    held: Mutex<HashMap<JobId, Lease>>,
}

impl Leases {
    pub(crate) fn new(times: LeaseTimes, activity: Arc<Activity>) -> Arc<Self> {
        Arc::new(Self { times, activity, held: Mutex::new(HashMap::new()) })
    }

    /// Takes charge of a lease that was claimed not earlier than `since`. It is kept until the
    /// guard is dropped.
    pub(crate) fn hold(self: &Arc<Self>, id: JobId, fence: Fence, since: Instant) -> HeldLease {
        let signals = Signals::default();
        let lease = Lease {
            fence,
            deadline: self.deadline(since),
            signals: signals.clone(),
            batch_lost: None,
        };
        self.lock().insert(id, lease);
        HeldLease { leases: Arc::clone(self), id, fence, signals }
    }

    fn deadline(&self, since: Instant) -> Instant {
        since + self.times.lease - self.times.margin()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Lease>> {
        self.held.lock().expect("no code panics while it holds this lock")
    }

    /// The number of jobs in progress.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn claims(&self) -> Vec<(JobId, Fence)> {
        let mut claims: Vec<_> = self.lock().iter().map(|(id, lease)| (*id, lease.fence)).collect();
        // In id order, as every statement that locks several jobs.
        claims.sort_unstable();
        claims
    }

    fn stop_those_past_their_deadline(&self) {
        let now = Instant::now();
        self.lock().values().filter(|lease| lease.deadline <= now).for_each(Lease::give_up);
    }

    /// Tells the runs of jobs that are to be cancelled.
    async fn pass_on_cancel_requests(&self, pool: &PgPool, worker_id: Uuid) {
        if self.lock().is_empty() {
            return;
        }
        let asking = cancel_requests(pool, worker_id);
        let Ok(asked) = tokio::time::timeout(self.patience(), asking).await else { return };
        match asked {
            Ok(requests) => {
                let held = self.lock();
                for (id, fence, reason) in requests {
                    if let Some(lease) = held.get(&id).filter(|lease| lease.fence == fence) {
                        lease.cancel(reason);
                    }
                }
            }
            Err(error) => {
                let error = crate::chain(&error);
                tracing::debug!(error, "cannot ask which jobs are to be cancelled");
            }
        }
    }

    /// Renews all leases once. Those that are another worker's by now are given up. False when the
    /// database did not answer.
    async fn renew(&self, pool: &PgPool) -> bool {
        let claims = self.claims();
        if claims.is_empty() {
            return true;
        }
        let since = Instant::now();
        let renewal = heartbeat(pool, &claims, self.times.lease);
        let renewed = match tokio::time::timeout(self.patience(), renewal).await {
            Ok(Ok(renewed)) => renewed,
            Ok(Err(error)) => {
                self.activity.engine().failed_renewals.add(1);
                let error = crate::chain(&error);
                tracing::warn!(error, leases = claims.len(), "leases could not be renewed");
                return false;
            }
            Err(_elapsed) => {
                self.activity.engine().failed_renewals.add(1);
                tracing::warn!(leases = claims.len(), "renewing the leases timed out");
                return false;
            }
        };
        let renewed: HashSet<JobId> = renewed.into_iter().collect();
        let (renewed, others): (Vec<_>, Vec<_>) =
            claims.into_iter().partition(|(id, _fence)| renewed.contains(id));
        let deadline = self.deadline(since);
        self.with_held(&renewed, |lease| lease.deadline = deadline);
        for (id, fence) in others {
            if !self.is_held(id, fence) || has_ended_by_itself(pool, id, fence).await {
                continue;
            }
            self.with_held(&[(id, fence)], |lease| lease.give_up());
        }
        true
    }

    /// The job of a claim may have been finished, and even claimed again, while a statement ran.
    fn with_held(&self, claims: &[(JobId, Fence)], mut change: impl FnMut(&mut Lease)) {
        let mut held = self.lock();
        for (id, fence) in claims {
            if let Some(lease) = held.get_mut(id).filter(|lease| lease.fence == *fence) {
                change(lease);
            }
        }
    }

    fn is_held(&self, id: JobId, fence: Fence) -> bool {
        self.lock().get(&id).is_some_and(|lease| lease.fence == fence)
    }

    /// The longest wait for an answer: less than a heartbeat, so that there is time for another
    /// try.
    fn patience(&self) -> Duration {
        self.times.heartbeat.min(ANSWER_WITHIN)
    }
}

/// Tells whether the job is gone because its own run has just ended it, and only has not heard of
/// that yet: that run must not be stopped as one that has lost its lease.
async fn has_ended_by_itself(pool: &PgPool, id: JobId, fence: Fence) -> bool {
    let outcome = within(transitions::attempt_outcome(pool, id, fence)).await;
    matches!(outcome, Ok(Some(outcome)) if outcome != AttemptOutcome::Crashed)
}

/// A lease in the keeper's charge.
#[derive(Debug)]
pub(crate) struct HeldLease {
    leases: Arc<Leases>,
    id: JobId,
    fence: Fence,
    pub(crate) signals: Signals,
}

impl HeldLease {
    /// From now on `batch_lost` is cancelled as soon as the job must stop. False, and nothing is,
    /// if it must already.
    pub(crate) fn run_in(&self, batch_lost: &CancellationToken) -> bool {
        // Signals are given under this lock.
        let mut held = self.leases.lock();
        if self.signals.are_given() {
            return false;
        }
        if let Some(lease) = held.get_mut(&self.id).filter(|lease| lease.fence == self.fence) {
            lease.batch_lost = Some(batch_lost.clone());
        }
        true
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        let mut held = self.leases.lock();
        if held.get(&self.id).is_some_and(|lease| lease.fence == self.fence) {
            held.remove(&self.id);
        }
    }
}

/// Keeps the leases on a thread of its own until dropped.
#[derive(Debug)]
pub(crate) struct LeaseKeeper {
    stop: CancellationToken,
}

impl LeaseKeeper {
    pub(crate) fn start(
        leases: Arc<Leases>,
        worker_id: Uuid,
        engine_pool: &PgPool,
    ) -> std::io::Result<Self> {
        // Connections are bound to the runtime that they are made in.
        let pool_options = engine_pool.options().clone();
        let options = engine_pool.connect_options().as_ref().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("lease-keeper".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = keep(&leases, worker_id, pool_options, options) => {}
                }
            });
        })?;
        Ok(Self { stop })
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn keep(
    leases: &Leases,
    worker_id: Uuid,
    pool_options: PgPoolOptions,
    options: PgConnectOptions,
) {
    // One to renew the leases, whatever else is slow.
    let pool = pool_options.max_connections(2).connect_lazy_with(options);
    let watch = async {
        loop {
            tokio::time::sleep(leases.times.tick()).await;
            leases.stop_those_past_their_deadline();
        }
    };
    let renew = async {
        let mut pause = leases.times.heartbeat;
        loop {
            tokio::time::sleep(pause).await;
            pause = match leases.renew(&pool).await {
                true => leases.times.heartbeat,
                false => leases.times.heartbeat.min(RETRY_PAUSE),
            };
        }
    };
    let cancel = async {
        loop {
            tokio::time::sleep(CANCEL_POLL).await;
            leases.pass_on_cancel_requests(&pool, worker_id).await;
        }
    };
    tokio::join!(watch, renew, cancel);
}

/// The worker's jobs that are to be stopped, with the reasons.
async fn cancel_requests(
    executor: impl PgExecutor<'_>,
    worker_id: Uuid,
) -> Result<Vec<(JobId, Fence, String)>, QueueError> {
    let rows =
        sqlx::query_file!("src/sql/cancel_requests.sql", worker_id).fetch_all(executor).await?;
    let requests = rows.into_iter().map(|row| (JobId(row.id), Fence(row.fence), row.reason));
    Ok(requests.collect())
}

/// Renews leases. Returns the jobs that are still this worker's.
async fn heartbeat(
    executor: impl PgExecutor<'_>,
    claims: &[(JobId, Fence)],
    lease: Duration,
) -> Result<Vec<JobId>, QueueError> {
    let (ids, fences) = unzip(claims);
    let renewed =
        sqlx::query_file_scalar!("src/sql/heartbeat.sql", &ids, &fences, lease.as_secs_f64())
            .fetch_all(executor)
            .await?;
    Ok(renewed.into_iter().map(JobId).collect())
}

fn unzip(claims: &[(JobId, Fence)]) -> (Vec<i64>, Vec<i64>) {
    claims.iter().map(|(id, fence)| (id.0, fence.0)).unzip()
}
