//! The worker: claims due jobs in batches, as many as it has free slots, and has the executor run
//! them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::QueueError;
use super::claim_turns::ClaimTurns;
use super::completer::Completer;
use super::context::Engine;
use super::deadline::{ACQUIRE_WITHIN, STATEMENT_TIMEOUT};
use super::dispatch::Dispatcher;
use super::executor::Executor;
use super::leases::{LeaseKeeper, LeaseTimes, Leases};
use super::maintenance::{self, Retention};
use super::outcome::Counts;
use super::registry::Registry;
use super::schedules;
use super::slots::Slots;
use super::{listener, maintenance::rescue_all};

/// The most jobs of one claim.
const MAX_CLAIM: usize = 500;

/// Connections that the engine has beside the handlers' pool: claim, completions, outcomes. The
/// listener, the maintenance and the lease keeper have their own.
const ENGINE_CONNECTIONS: u32 = 4;

/// The longest pause between claims while the database is away.
const MAX_CLAIM_PAUSE: Duration = Duration::from_secs(2);

/// After the grace, so long for the outcomes of stopped runs to be recorded.
const HAND_BACK_TIME: Duration = Duration::from_secs(5);

/// Then, so long for the engine's connections to be closed.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The most jobs in progress at once. At least 1.
    pub concurrency: usize,
    /// How long a claim is valid without a heartbeat. A dead worker's jobs run again after this
    /// long.
    pub lease: Duration,
    /// How often leases are renewed; at most a third of the lease.
    pub heartbeat: Duration,
    /// How often an idle worker looks for due jobs without having been notified.
    pub poll: Duration,
    /// How long jobs in progress may go on after the worker was told to stop.
    pub grace: Duration,
    /// The queues to claim from; empty means all queues of the registered kinds.
    pub queues: Vec<String>,
    /// How long finished jobs are kept.
    pub retention: Retention,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            concurrency: 512,
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            grace: Duration::from_secs(25),
            queues: Vec::new(),
            retention: Retention::default(),
        }
    }
}

/// What a worker did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WorkerSummary {
    /// Jobs completed.
    pub completed: u64,
    /// Attempts that failed, timed-out ones included.
    pub failed: u64,
    /// Jobs discarded: their attempts were used up, or their handler said so.
    pub discarded: u64,
    /// Runs whose job was another worker's in the end.
    pub lease_lost: u64,
    /// Jobs handed back unfinished at shutdown.
    pub handed_back: u64,
}

/// Claims and runs jobs of the registered kinds.
pub struct Worker<S> {
    id: Uuid,
    settings: WorkerSettings,
    kinds: Vec<String>,
    queues: Vec<String>,
    executor: Arc<Executor<S>>,
    dispatcher: Dispatcher<S>,
    engine_pool: PgPool,
    maintenance_pool: PgPool,
    /// The way to a session that can listen.
    session: PgConnectOptions,
    _keeper: LeaseKeeper,
}

impl<S: Clone + Send + Sync + 'static> Worker<S> {
    /// A worker whose handlers use `pool`. Its engine connects to the same database by connections
    /// of its own.
    ///
    /// # Errors
    ///
    /// [`QueueError::Settings`] when the settings cannot work, [`QueueError::Thread`] when the
    /// system refuses a thread. Must be called inside a Tokio runtime.
    pub fn new(
        pool: PgPool,
        registry: Registry<S>,
        settings: WorkerSettings,
    ) -> Result<Self, QueueError> {
        check(&settings)?;
        if registry.kinds().is_empty() {
            return Err(QueueError::Settings("the registry knows no job kind"));
        }
        let options = engine_options(&pool);
        // Whatever watches over the handlers' connections watches over these, too.
        let like_handlers = pool.options().clone().min_connections(0);
        let like_handlers = like_handlers.acquire_timeout(ACQUIRE_WITHIN);
        let engine_pool = like_handlers
            .clone()
            .max_connections(ENGINE_CONNECTIONS)
            .connect_lazy_with(options.clone().options([("statement_timeout", STATEMENT_TIMEOUT)]));
        // It may have to read much, and nobody waits for it.
        let maintenance_pool = like_handlers.max_connections(1).connect_lazy_with(options.clone());
        let times = LeaseTimes { lease: settings.lease, heartbeat: settings.heartbeat };
        let leases = Leases::new(times);
        let id = Uuid::now_v7();
        let keeper = LeaseKeeper::start(Arc::clone(&leases), id, &engine_pool)
            .map_err(QueueError::Thread)?;
        let queues =
            if settings.queues.is_empty() { registry.queues() } else { settings.queues.clone() };
        let completer = Completer::start(engine_pool.clone());
        let kinds = registry.kinds();
        let executor = Arc::new(Executor {
            worker_id: id,
            registry,
            engine: Arc::new(Engine { pool, completer }),
            pool: engine_pool.clone(),
            leases,
            hand_back: CancellationToken::new(),
            wake: Arc::new(Notify::new()),
            counts: Counts::default(),
        });
        Ok(Self {
            id,
            kinds,
            queues,
            dispatcher: Dispatcher::new(Arc::clone(&executor)),
            executor,
            engine_pool,
            maintenance_pool,
            session: options,
            settings,
            _keeper: keeper,
        })
    }

    /// The same worker, told of new jobs by connections of these options: past a connection pooler
    /// that gives no session to listen in. Without it, a worker behind such a pooler polls.
    #[must_use]
    pub fn listening_by(mut self, session: PgConnectOptions) -> Self {
        self.session = session;
        self
    }

    /// Works until `shutdown` is cancelled; then claims nothing more, lets jobs in progress finish
    /// within the grace, and hands the others back to be run by another worker at once. A worker
    /// runs once: afterwards its connections are closed.
    pub async fn run(&self, shutdown: CancellationToken) -> WorkerSummary {
        let slots = Slots::new(self.settings.concurrency);
        let wake = Arc::clone(&self.executor.wake);
        // Before the first claim: after a pause of more than a week there would be no partition
        // that a finished job could go to. While the database is away this takes long, and a
        // signal must end it.
        tokio::select! {
            () = shutdown.cancelled() => return self.summary(),
            () = maintenance::make_partitions(&self.maintenance_pool, self.settings.retention) => {}
        }
        let helpers = self.start_helpers(&wake);
        let tasks = TaskTracker::new();

        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.claim_for_ever(&slots, &wake, &tasks) => {}
        }
        tasks.close();
        self.drain(&tasks).await;
        drop(helpers);
        // So that the database is not stopped under a connection that is still being tidied up.
        let closing = async {
            tokio::join!(self.engine_pool.close(), self.maintenance_pool.close());
        };
        let _closed_or_late = tokio::time::timeout(CLOSE_TIME, closing).await;
        self.summary()
    }

    /// Runs what is due, and what becomes due by that, until nothing is; then returns. For tests:
    /// no sleeping, no polling, and jobs of the future stay where they are.
    ///
    /// # Errors
    ///
    /// [`QueueError::Database`] when a claim fails.
    pub async fn run_until_idle(&self) -> Result<WorkerSummary, QueueError> {
        let before = self.summary();
        rescue_all(&self.maintenance_pool).await?;
        let mut turns = self.turns();
        loop {
            turns.forget_floors(&self.queues);
            let since = Instant::now();
            let claim = turns.claim(self.settings.concurrency.min(MAX_CLAIM)).await?;
            if claim.jobs.is_empty() {
                return Ok(self.summary().since(before));
            }
            let tasks = TaskTracker::new();
            let slots = Slots::new(claim.jobs.len());
            self.dispatcher.dispatch(claim.jobs, since, &slots, &tasks);
            tasks.close();
            tasks.wait().await;
        }
    }

    /// What this worker did so far.
    pub fn summary(&self) -> WorkerSummary {
        let counts = &self.executor.counts;
        WorkerSummary {
            completed: counts.completed.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
            discarded: counts.discarded.load(Ordering::Relaxed),
            lease_lost: counts.lease_lost.load(Ordering::Relaxed),
            handed_back: counts.handed_back.load(Ordering::Relaxed),
        }
    }

    /// The listener, the maintenance and the schedules, until the guard is dropped.
    fn start_helpers(&self, wake: &Arc<Notify>) -> DropGuard {
        let stop = CancellationToken::new();
        let listening = listener::listen(self.session.clone(), Arc::clone(wake));
        let maintaining = maintenance::maintain(
            self.maintenance_pool.clone(),
            self.settings.lease,
            self.settings.retention,
            Arc::clone(wake),
        );
        let scheduling = schedules::run_for_ever(
            self.engine_pool.clone(),
            self.executor.registry.schedules().to_vec(),
            self.settings.retention,
            Arc::clone(wake),
        );
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                ((), (), ()) = async { tokio::join!(listening, maintaining, scheduling) } => {}
            }
        });
        stop.drop_guard()
    }

    async fn claim_for_ever(&self, slots: &Slots, wake: &Notify, tasks: &TaskTracker) {
        let mut turns = self.turns();
        let mut failures = 0u32;
        loop {
            let limit = slots.wait_for_some().await.min(MAX_CLAIM);
            let since = Instant::now();
            match turns.claim(limit).await {
                Ok(claim) => {
                    failures = 0;
                    let found_all = claim.jobs.len() < limit;
                    self.dispatcher.dispatch(claim.jobs, since, slots, tasks);
                    if found_all {
                        self.wait_for_work(wake, claim.again_in).await;
                    }
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        let error = super::chain(&error);
                        tracing::warn!(error, "cannot claim jobs, trying on");
                    }
                    let pause = Duration::from_millis(50) * 2u32.pow(failures.min(6));
                    tokio::time::sleep(pause.min(MAX_CLAIM_PAUSE)).await;
                }
            }
        }
    }

    async fn wait_for_work(&self, wake: &Notify, again_in: Option<Duration>) {
        // Jittered, so that idle workers do not poll in step.
        let poll = self.settings.poll.mul_f64(0.9 + 0.1 * fastrand::f64());
        let poll = poll.min(again_in.unwrap_or(poll));
        let _timeout_or_wake = tokio::time::timeout(poll, wake.notified()).await;
    }

    fn turns(&self) -> ClaimTurns {
        let (queues, kinds) = (&self.queues, self.kinds.clone());
        ClaimTurns::new(self.engine_pool.clone(), self.id, queues, kinds, self.settings.lease)
    }

    /// Waits for jobs in progress; after the grace, stops them and hands them back.
    async fn drain(&self, tasks: &TaskTracker) {
        if tokio::time::timeout(self.settings.grace, tasks.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(jobs = tasks.len(), "the grace is over, jobs in progress are handed back");
        self.executor.hand_back.cancel();
        let _recorded_or_late = tokio::time::timeout(HAND_BACK_TIME, tasks.wait()).await;
    }
}

impl WorkerSummary {
    fn since(self, before: Self) -> Self {
        Self {
            completed: self.completed - before.completed,
            failed: self.failed - before.failed,
            discarded: self.discarded - before.discarded,
            lease_lost: self.lease_lost - before.lease_lost,
            handed_back: self.handed_back - before.handed_back,
        }
    }
}

fn check(settings: &WorkerSettings) -> Result<(), QueueError> {
    let problem = if settings.concurrency == 0 {
        "the concurrency must be at least 1"
    } else if settings.lease < Duration::from_millis(200) {
        "the lease must be at least 200 ms"
    } else if settings.heartbeat.is_zero() || settings.heartbeat > settings.lease / 3 {
        "the heartbeat must be at most a third of the lease"
    } else if settings.poll.is_zero() {
        "the poll interval must be longer than nothing"
    } else {
        return Ok(());
    };
    Err(QueueError::Settings(problem))
}

/// The engine's statements read by index, each of them, and by one plan for the life of the
/// connection: made while the table is small, it must not be tempted to read it from end to end.
/// Nor may each claim be planned anew, which looks for the ends of the indexes and so reads the
/// dead rows there.
fn engine_options(pool: &PgPool) -> PgConnectOptions {
    pool.connect_options().as_ref().clone().options([
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("plan_cache_mode", "force_generic_plan"),
    ])
}
