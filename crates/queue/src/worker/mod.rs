//! The worker: claims due jobs in batches, as many as it has free slots for, and has the executor
//! run them.

mod batches;
mod claim;
mod claim_loop;
mod dispatcher;
mod executor;
mod hooks;
mod leases;
mod listener;
mod maintenance;
mod pace;
mod registration;
mod registry;
mod run_outcome;
mod settings;
mod settling;
mod slots;
mod summary;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use hooks::RunHooks;
pub use maintenance::MAX_CRASHES;
pub use registry::Registry;
pub use settings::WorkerSettings;
pub use summary::WorkerSummary;

use claim::ClaimTurns;
use dispatcher::Dispatcher;
use executor::Executor;
use leases::{LeaseKeeper, LeaseTimes, Leases};
use maintenance::rescue_all;
use registration::Registration;
use run_outcome::Counts;
pub(crate) use slots::Slots;

use crate::QueueError;
use crate::activity::{self, Activity};
use crate::deadline::{ACQUIRE_WITHIN, STATEMENT_TIMEOUT};
use crate::enqueue::SameProcess;
use crate::enqueue::kinds::{Declarations, KindDeclaration};
use crate::groups::Resolver;
use crate::handler::{Completer, Engine};

/// Connections that the engine has beside the handlers' pool: claim, completions, outcomes,
/// registry. The listener, the maintenance and the lease keeper have their own.
const ENGINE_CONNECTIONS: u32 = 5;

/// The time for outcomes of stopped runs to be recorded, and then for the row to be removed.
const HAND_BACK_TIME: Duration = Duration::from_secs(5);

/// Then, so long for the engine's connections to be closed.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Claims and runs jobs of the registered kinds.
pub struct Worker<S> {
    id: Uuid,
    settings: WorkerSettings,
    kinds: Vec<String>,
    declarations: Declarations,
    queues: Vec<String>,
    executor: Arc<Executor<S>>,
    dispatcher: Dispatcher<S>,
    resolver: Arc<Resolver>,
    batches: Arc<activity::Unsent>,
    engine_pool: PgPool,
    maintenance_pool: PgPool,
    /// The way to a session that can listen.
    same_process: Arc<SameProcess>,
    session: PgConnectOptions,
    _keeper: LeaseKeeper,
}

impl<S: Clone + Send + Sync + 'static> Worker<S> {
    /// A worker whose handlers use `pool`. Connections go from run to run for a quarter of a second
    /// at most: what the pool does when it hands one out is not done for each transaction. The
    /// engine connects to the same database by connections of its own.
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
        settings.check()?;
        if registry.kinds().is_empty() {
            return Err(QueueError::Settings("the registry knows no job kind"));
        }
        let declarations = registry.declarations();
        if settings.keyring().is_none() && declarations.iter().any(KindDeclaration::is_sealed) {
            return Err(QueueError::Settings(
                "a job kind is sealed and there are no keys to open it",
            ));
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
        let activity = Arc::new(Activity::default());
        let leases = Leases::new(times, Arc::clone(&activity));
        let id = Uuid::now_v7();
        let keeper = LeaseKeeper::start(Arc::clone(&leases), id, &engine_pool)
            .map_err(QueueError::Thread)?;
        let queues =
            if settings.queues.is_empty() { registry.queues() } else { settings.queues.clone() };
        let completer = Completer::start(engine_pool.clone(), Arc::clone(&activity));
        let resolver = Resolver::new(engine_pool.clone());
        let wake = Arc::new(Notify::new());
        let (woken, counted) = (Arc::clone(&wake), Arc::clone(&activity));
        let engine = Engine::new(pool, completer, woken, counted);
        let executor = Arc::new(Executor {
            worker_id: id,
            registry,
            engine: Arc::new(engine),
            pool: engine_pool.clone(),
            leases,
            resolver: Arc::clone(&resolver),
            hand_back: CancellationToken::new(),
            wake,
            next_of_key: Notify::new(),
            poll: settings.poll,
            counts: Counts::default(),
            activity,
            keyring: settings.keyring(),
        });
        Ok(Self {
            id,
            kinds: executor.registry.kinds(),
            declarations: Declarations::new(declarations),
            queues,
            dispatcher: Dispatcher::new(Arc::clone(&executor)),
            executor,
            resolver,
            batches: Arc::default(),
            engine_pool,
            maintenance_pool,
            same_process: SameProcess::at(&options),
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

    /// Makes sure that the role of the worker may do all that workers do: they make the partitions
    /// of the history. A worker that may not works on, and leaves that to others; what finishes on
    /// a day that nobody made a partition for is kept apart until somebody does.
    ///
    /// # Errors
    ///
    /// [`QueueError::Rights`], [`QueueError::Database`].
    pub async fn require_rights(&self) -> Result<(), QueueError> {
        maintenance::require_rights(&self.engine_pool).await
    }

    /// Works until `shutdown` is cancelled, or the worker is [asked to drain][request_drain]; then
    /// claims nothing more, lets jobs in progress finish within the grace, and hands the others
    /// back to be run by another worker at once. A worker runs once: afterwards its connections are
    /// closed.
    ///
    /// [request_drain]: crate::operate::workers::request_drain
    pub async fn run(&self, shutdown: CancellationToken) -> WorkerSummary {
        let slots = Slots::new(self.settings.concurrency, &self.queues);
        let wake = Arc::clone(&self.executor.wake);
        // Before the first claim: after a pause of more than a week there would be no partition
        // that a finished job could go to, and what its kind hides must be known before anybody
        // asks. While the database is away this takes long, and a signal must end it.
        let prepare = async {
            maintenance::make_partitions(&self.maintenance_pool, self.settings.retention).await;
            self.declarations.make_at_last(&self.engine_pool).await;
        };
        tokio::select! {
            () = shutdown.cancelled() => return self.summary(),
            () = prepare => {}
        }
        let helpers = self.start_helpers(&wake);
        // Cancelled as well when the worker is asked to drain.
        let stop = shutdown.child_token();
        let registered = self.registration().start(self.engine_pool.clone(), stop.clone());
        let tasks = TaskTracker::new();

        let mut turns = self.turns(&self.queues);
        self.claim_until(&mut turns, &stop, &slots, &wake, &tasks).await;
        tasks.close();
        self.drain(&tasks).await;
        // Of the last claim, if it was given up.
        turns.hand_back_unheard().await;
        drop(helpers);
        let _removed_or_late = tokio::time::timeout(HAND_BACK_TIME, registered.end()).await;
        let _stored_or_late = tokio::time::timeout(CLOSE_TIME, self.record_activity()).await;
        // What cannot be resolved now, another worker's sweep finds.
        let _resolved_or_late = tokio::time::timeout(CLOSE_TIME, self.resolver.resolve_all()).await;
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
        self.declare_kinds().await?;
        rescue_all(&self.maintenance_pool, &self.resolver, self.activity()).await?;
        let mut turns = self.turns(&self.queues);
        loop {
            turns.forget_floors(&self.queues);
            let slots = Slots::new(self.settings.concurrency, &self.queues);
            let is_idle = self.run_one_claim(&mut turns, &slots).await? == 0;
            if is_idle && self.resolver.catch_up().await? == 0 {
                return Ok(self.summary().since(before));
            }
        }
    }

    /// Gives how many jobs were run.
    pub(super) async fn run_one_claim(
        &self,
        turns: &mut ClaimTurns,
        slots: &Slots,
    ) -> Result<usize, QueueError> {
        let since = Instant::now();
        let jobs = turns.claim(slots.rooms()).await?.jobs;
        let claimed = jobs.len();
        let tasks = TaskTracker::new();
        self.dispatcher.dispatch(jobs, since, slots, &tasks);
        tasks.close();
        tasks.wait().await;
        Ok(claimed)
    }

    /// Makes its kinds known, unless it has done so before.
    pub(super) async fn declare_kinds(&self) -> Result<(), QueueError> {
        self.declarations.make(&self.engine_pool).await
    }

    /// The connections that its handlers use.
    #[cfg(feature = "testing")]
    pub(super) fn pool(&self) -> &PgPool {
        &self.executor.engine.pool
    }

    /// The counts of this worker so far.
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

    /// The attempts that this worker has ended, and figures of its engine.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.executor.activity
    }

    /// The jobs that this worker may have in progress at once.
    pub fn slots(&self) -> usize {
        self.settings.concurrency
    }

    /// The jobs that this worker has in progress.
    pub fn jobs_in_progress(&self) -> usize {
        self.executor.leases.count()
    }

    /// Stores the activity that is not stored yet. A worker does so by itself, every ten seconds
    /// and when it ends; for those that only [run until idle](Self::run_until_idle).
    ///
    /// # Errors
    ///
    /// [`QueueError::Database`].
    pub async fn record_activity(&self) -> Result<(), QueueError> {
        activity::record(&self.engine_pool, self.id, self.activity(), &self.batches).await
    }

    fn registration(&self) -> Registration {
        Registration {
            id: self.id,
            version: self.settings.version.clone(),
            queues: self.queues.clone(),
            kinds: self.kinds.clone(),
            slots: self.settings.concurrency,
            times: LeaseTimes { lease: self.settings.lease, heartbeat: self.settings.heartbeat },
            leases: Arc::clone(&self.executor.leases),
        }
    }

    /// The listener, the maintenance, the schedules, the resolver and the storing of activity,
    /// until the guard is dropped.
    fn start_helpers(&self, wake: &Arc<Notify>) -> DropGuard {
        let stop = CancellationToken::new();
        self.same_process.add(wake);
        let (session, same_process) = (self.session.clone(), Arc::clone(&self.same_process));
        let listening = listener::listen(session, same_process, Arc::clone(wake));
        let maintaining = maintenance::maintain(
            self.maintenance_pool.clone(),
            self.settings.lease,
            self.settings.retention,
            Arc::clone(wake),
            Arc::clone(&self.resolver),
            Arc::clone(self.activity()),
        );
        let scheduling = self.keep_schedules();
        let (resolver, wake) = (Arc::clone(&self.resolver), Arc::clone(wake));
        let (pool, activity, batches) =
            (self.engine_pool.clone(), Arc::clone(self.activity()), Arc::clone(&self.batches));
        let worker_id = self.id;
        let helping = async move {
            let storing = activity::keep(pool, worker_id, &activity, &batches);
            tokio::join!(listening, maintaining, scheduling, resolver.run(&wake), storing)
        };
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                ((), (), (), (), ()) = helping => {}
            }
        });
        stop.drop_guard()
    }

    #[cfg(feature = "schedules")]
    fn keep_schedules(&self) -> impl Future<Output = ()> + use<S> {
        crate::schedules::run_for_ever(
            self.engine_pool.clone(),
            self.executor.registry.schedules().to_vec(),
            self.settings.retention,
        )
    }

    #[cfg(not(feature = "schedules"))]
    fn keep_schedules(&self) -> impl Future<Output = ()> + use<S> {
        std::future::ready(())
    }

    pub(super) fn turns(&self, queues: &[String]) -> ClaimTurns {
        let (pool, kinds) = (self.engine_pool.clone(), self.kinds.clone());
        ClaimTurns::new(pool, self.id, queues, kinds, self.settings.lease)
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
