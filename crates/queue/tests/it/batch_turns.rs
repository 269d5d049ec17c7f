//! Batches that wait for their turn: in one worker, and for a seat among all of them.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use surety_postgres::connect_to_write;
use surety_postgres::testing::Proxy;
use surety_queue::{
    BatchContext, BatchJob, Committed, Job, JobError, Registry, Worker, WorkerSettings,
    WorkerSummary,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::kinds::{
    Gates, assert_invariants_hold, attempts_of, count, database, enqueue_job, eventually, state_of,
};

/// The sizes of the batches that have begun their transaction, and gates behind that.
#[derive(Clone)]
struct Turns {
    sizes: Arc<Mutex<Vec<usize>>>,
    gates: Gates,
}

impl Turns {
    fn new() -> Self {
        Self { sizes: Arc::default(), gates: Gates::new() }
    }

    fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().unwrap().clone()
    }

    async fn run(&self, jobs: usize, cx: BatchContext) -> Result<Committed, JobError> {
        let tx = cx.begin().await?;
        self.sizes.lock().unwrap().push(jobs);
        self.gates.begun.add_permits(1);
        self.gates.go_on.acquire().await?.forget();
        cx.complete(tx).await
    }
}

/// For many times as long as the pause between two looks for a seat; and no statement waits, as its
/// snapshot would keep vacuum from its work.
async fn nobody_else_begins(pool: &PgPool, turns: &Turns) {
    let waits = "
        select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    for _ in 0..25 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(turns.sizes(), [1]);
        assert_eq!(count(pool, waits).await, 0);
    }
}

/// One batch at once in each worker.
#[derive(Serialize, Deserialize)]
struct InTurn {}

impl BatchJob for InTurn {
    const KIND: &'static str = "in_turn";
    const MAX_BATCH: usize = 5;
    const MAX_AT_ONCE: usize = 1;
    type State = Turns;

    async fn run_batch(
        jobs: Vec<Self>,
        turns: &Turns,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        turns.run(jobs.len(), cx).await
    }
}

/// One batch at once in all workers.
#[derive(Serialize, Deserialize)]
struct Seated {}

impl BatchJob for Seated {
    const KIND: &'static str = "seated";
    const MAX_AT_ONCE_OVERALL: Option<NonZeroU16> = NonZeroU16::new(1);
    type State = Turns;

    async fn run_batch(
        jobs: Vec<Self>,
        turns: &Turns,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        turns.run(jobs.len(), cx).await
    }
}

/// One batch at once in each worker, which fails if it is of several jobs.
#[derive(Serialize, Deserialize)]
struct Divided {}

impl BatchJob for Divided {
    const KIND: &'static str = "divided";
    const MAX_AT_ONCE: usize = 1;
    type State = Turns;

    async fn run_batch(
        jobs: Vec<Self>,
        turns: &Turns,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        match jobs.len() {
            1 => turns.run(1, cx).await,
            several => Err(JobError::from(anyhow::anyhow!("{several} at once"))),
        }
    }
}

/// The grace of a worker that is to do what it has.
const PATIENT: Duration = Duration::from_secs(25);

fn registry(turns: &Turns) -> Registry<Turns> {
    Registry::new(turns.clone())
        .register_batch::<InTurn>()
        .register_batch::<Seated>()
        .register_batch::<Divided>()
}

/// A worker at work.
struct Running {
    stop: CancellationToken,
    run: JoinHandle<WorkerSummary>,
}

impl Running {
    fn start(pool: &PgPool, turns: &Turns, grace: Duration) -> Self {
        Self::with(registry(turns), pool, grace)
    }

    fn with(registry: Registry<Turns>, pool: &PgPool, grace: Duration) -> Self {
        let poll = Duration::from_millis(20);
        let settings = WorkerSettings { poll, grace, ..WorkerSettings::default() };
        let worker = Worker::new(pool.clone(), registry, settings).unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        Self { stop, run: tokio::spawn(async move { worker.run(stopped).await }) }
    }

    /// A worker whose batch of this job alone has begun.
    async fn with_one_begun(pool: &PgPool, turns: &Turns, job: &impl Job) -> Self {
        let worker = Self::start(pool, turns, PATIENT);
        enqueue_job(pool, job).await;
        turns.gates.wait_begun().await;
        worker
    }

    async fn stop(self) -> WorkerSummary {
        self.stop.cancel();
        self.run.await.unwrap()
    }
}

async fn all_are_claimed(pool: &PgPool, jobs: i64) {
    eventually("all are claimed", async || {
        count(pool, "select count(*) from queue.jobs where running").await == jobs
    })
    .await;
}

/// Enqueues one job after the other, each when all before it are claimed, until so many are.
async fn claim_one_by_one(pool: &PgPool, job: &impl Job, claimed: RangeInclusive<i64>) {
    for jobs in claimed {
        enqueue_job(pool, job).await;
        all_are_claimed(pool, jobs).await;
    }
}

async fn all_are_done(pool: &PgPool) {
    eventually("all are done", async || count(pool, "select count(*) from queue.jobs").await == 0)
        .await;
}

#[tokio::test]
async fn what_is_claimed_while_a_batch_runs_fills_those_that_wait_for_their_turn() {
    let db = database().await;
    let turns = Turns::new();
    let worker = Running::with_one_begun(&db.pool, &turns, &InTurn {}).await;
    claim_one_by_one(&db.pool, &InTurn {}, 2..=8).await;
    assert_eq!(turns.sizes(), [1]);
    turns.gates.go_on.add_permits(3);
    all_are_done(&db.pool).await;
    assert_eq!(turns.sizes(), [1, 5, 2]);
    worker.stop().await;
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn of_a_kind_with_one_seat_one_batch_is_at_work_in_all_workers_and_the_next_is_made_up_then()
{
    let db = database().await;
    let turns = Turns::new();
    let first = Running::with_one_begun(&db.pool, &turns, &Seated {}).await;
    claim_one_by_one(&db.pool, &Seated {}, 2..=4).await;
    // Which claims no more: the next one is another worker's.
    first.stop.cancel();
    let second = Running::start(&db.pool, &turns, PATIENT);
    claim_one_by_one(&db.pool, &Seated {}, 5..=5).await;
    nobody_else_begins(&db.pool, &turns).await;

    turns.gates.go_on.add_permits(3);
    all_are_done(&db.pool).await;
    // Either worker may have found the seat first.
    let mut sizes = turns.sizes();
    sizes[1..].sort_unstable();
    assert_eq!(sizes, [1, 1, 3]);
    assert_eq!((first.run.await.unwrap().completed, second.stop().await.completed), (4, 1));
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_its_batch_waits_for_a_turn_ends_alone() {
    let db = database().await;
    let turns = Turns::new();
    let worker = Running::with_one_begun(&db.pool, &turns, &InTurn {}).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(enqueue_job(&db.pool, &InTurn {}).await);
    }
    all_are_claimed(&db.pool, 4).await;
    let mut conn = db.pool.acquire().await.unwrap();
    surety_queue::operate::cancel(&mut conn, ids[1], "ada", "not wanted").await.unwrap();
    // The worker asks twice a second which of its jobs are to be cancelled.
    tokio::time::sleep(Duration::from_secs(2)).await;
    turns.gates.go_on.add_permits(2);
    all_are_done(&db.pool).await;
    assert_eq!(turns.sizes(), [1, 2], "the others are a batch all the same");
    let mut states = Vec::new();
    for id in ids {
        states.push(state_of(&db.pool, id).await);
    }
    assert_eq!(states, ["completed", "cancelled", "completed"]);
    worker.stop().await;
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn jobs_that_wait_for_a_seat_are_handed_back_by_a_worker_that_stops() {
    let db = database().await;
    let turns = Turns::new();
    let holder = Running::with_one_begun(&db.pool, &turns, &Seated {}).await;
    holder.stop.cancel();
    let waiting = Running::start(&db.pool, &turns, Duration::from_millis(10));
    let id = enqueue_job(&db.pool, &Seated {}).await;
    all_are_claimed(&db.pool, 2).await;
    nobody_else_begins(&db.pool, &turns).await;
    assert_eq!(waiting.stop().await.handed_back, 1);
    assert_eq!(state_of(&db.pool, id).await, "available");
    assert_eq!(attempts_of(&db.pool, id).await, []);

    turns.gates.go_on.add_permits(2);
    let last = Running::start(&db.pool, &turns, PATIENT);
    all_are_done(&db.pool).await;
    assert_eq!(turns.sizes(), [1, 1]);
    holder.run.await.unwrap();
    last.stop().await;
}

#[tokio::test]
async fn who_held_a_seat_and_is_gone_holds_it_no_longer() {
    let db = database().await;
    let turns = Turns::new();
    let worker = Running::with_one_begun(&db.pool, &turns, &Seated {}).await;
    claim_one_by_one(&db.pool, &Seated {}, 2..=2).await;
    let cut = "
        select count(pg_terminate_backend(pid)) from pg_locks
        where locktype = 'advisory' and granted and database =
          (select oid from pg_database where datname = current_database())";
    assert_eq!(count(&db.pool, cut).await, 1);
    turns.gates.wait_begun().await;
    // The first one finds its transaction gone, and runs again.
    turns.gates.go_on.add_permits(3);
    all_are_done(&db.pool).await;
    assert_eq!(worker.stop().await.completed, 2);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn jobs_of_a_batch_that_failed_take_nobodys_turn() {
    let db = database().await;
    let turns = Turns::new();
    let worker = Running::with_one_begun(&db.pool, &turns, &Divided {}).await;
    claim_one_by_one(&db.pool, &Divided {}, 2..=3).await;
    turns.gates.go_on.add_permits(1);
    // One of the two that failed together.
    turns.gates.wait_begun().await;
    enqueue_job(&db.pool, &Divided {}).await;
    turns.gates.wait_begun().await;
    turns.gates.go_on.add_permits(3);
    all_are_done(&db.pool).await;
    assert_eq!(worker.stop().await.completed, 4);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn as_many_batches_of_a_kind_are_at_work_as_the_workers_are_told() {
    let db = database().await;
    let turns = Turns::new();
    let two = registry(&turns).at_once_overall::<Seated>(NonZeroU16::new(2).unwrap());
    let worker = Running::with(two, &db.pool, PATIENT);
    for begun in 1..=2 {
        claim_one_by_one(&db.pool, &Seated {}, begun..=begun).await;
        turns.gates.wait_begun().await;
    }
    claim_one_by_one(&db.pool, &Seated {}, 3..=4).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(turns.sizes(), [1, 1]);
    turns.gates.go_on.add_permits(4);
    all_are_done(&db.pool).await;
    worker.stop().await;
}

/// A job is done although the next transaction that anybody begins is never answered.
async fn is_done_without_an_answer(pool: &PgPool, network: &Proxy, job: &impl Job) {
    network.swallow("BEGIN");
    enqueue_job(pool, job).await;
    all_are_done(pool).await;
    assert!(network.has_swallowed());
}

#[tokio::test]
async fn a_transaction_whose_begin_is_never_answered_holds_nobody_up_for_long() {
    let db = database().await;
    let turns = Turns::new();
    turns.gates.go_on.add_permits(3);
    let network = Proxy::start(&db.url).await;
    let cut_off = connect_to_write(&network.url(&db.url), 4, "test").await.unwrap();
    let worker = Running::start(&cut_off, &turns, PATIENT);
    is_done_without_an_answer(&db.pool, &network, &Seated {}).await;
    is_done_without_an_answer(&db.pool, &network, &InTurn {}).await;
    is_done_without_an_answer(&db.pool, &network, &Seated {}).await;
    worker.stop().await;
    assert_invariants_hold(&db.pool).await;
}
