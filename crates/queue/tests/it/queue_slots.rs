//! The slots of a worker that serves several queues: no queue keeps the others from all of them
//! (G9), and one that is busy while the others are idle has nearly all.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use surety_queue::{
    BatchContext, BatchJob, Committed, Job, JobContext, JobError, NewJob, Notifier, Registry,
    Worker, WorkerSettings, WorkerSummary, enqueue_many,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::kinds::{Gates, assert_invariants_hold, count, database, eventually};

/// Hangs until the gate is opened for it.
#[derive(Serialize, Deserialize)]
struct Hung {}

impl Job for Hung {
    const KIND: &'static str = "hung";
    type State = Gates;

    async fn run(self, gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
        gates.begun.add_permits(1);
        gates.go_on.acquire().await?.forget();
        cx.complete_without_effects().await
    }
}

#[derive(Serialize, Deserialize)]
struct HungTogether {}

impl BatchJob for HungTogether {
    const KIND: &'static str = "hung_together";
    const MAX_BATCH: usize = 2;
    type State = Gates;

    async fn run_batch(
        _jobs: Vec<Self>,
        gates: &Gates,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        let tx = cx.begin().await?;
        gates.go_on.acquire().await?.forget();
        cx.complete(tx).await
    }
}

#[derive(Serialize, Deserialize)]
struct Quick {}

impl Job for Quick {
    const KIND: &'static str = "quick";
    type State = Gates;

    async fn run(self, _gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
        cx.complete_without_effects().await
    }
}

#[derive(Serialize, Deserialize)]
struct QuickTogether {}

impl BatchJob for QuickTogether {
    const KIND: &'static str = "quick_together";
    type State = Gates;

    async fn run_batch(
        _jobs: Vec<Self>,
        _gates: &Gates,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        let tx = cx.begin().await?;
        cx.complete(tx).await
    }
}

/// A worker at work that looks for jobs by itself so seldom that no test waits for it, and is told
/// of new ones.
struct Running {
    pool: PgPool,
    notifier: Notifier,
    stop: CancellationToken,
    run: JoinHandle<WorkerSummary>,
}

impl Running {
    fn start(pool: &PgPool, gates: &Gates, concurrency: usize, queues: &[&str]) -> Self {
        let registry = Registry::new(gates.clone())
            .register::<Hung>()
            .register::<Quick>()
            .register_batch::<HungTogether>()
            .register_batch::<QuickTogether>();
        let settings = WorkerSettings {
            concurrency,
            queues: queues.iter().map(|&queue| queue.to_owned()).collect(),
            poll: Duration::from_secs(600),
            ..WorkerSettings::default()
        };
        let worker = Worker::new(pool.clone(), registry, settings).unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let run = tokio::spawn(async move { worker.run(stopped).await });
        Self { pool: pool.clone(), notifier: Notifier::start(pool), stop, run }
    }

    async fn enqueue(&self, jobs: impl IntoIterator<Item = NewJob>) {
        let jobs: Vec<NewJob> = jobs.into_iter().collect();
        let mut tx = self.pool.begin().await.unwrap();
        enqueue_many(&mut tx, &jobs).await.unwrap();
        tx.commit().await.unwrap();
        self.notifier.notify();
    }

    async fn stop(self) -> u64 {
        self.stop.cancel();
        self.run.await.unwrap().completed
    }
}

fn job<J: Job>(job: &J, queue: &'static str) -> NewJob {
    NewJob::new(job).unwrap().queue(queue)
}

async fn running_in(pool: &PgPool, queue: &str) -> i64 {
    sqlx::query_scalar("select count(*) from queue.jobs where running and queue = $1")
        .bind(queue)
        .fetch_one(pool)
        .await
        .unwrap()
}

/// So many jobs of the queue get to run, and after a while no more do.
async fn so_many_run(pool: &PgPool, queue: &str, jobs: i64) {
    eventually("they run", async || running_in(pool, queue).await >= jobs).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(running_in(pool, queue).await, jobs);
}

async fn none_is_left_in(pool: &PgPool, queue: &'static str) {
    eventually("all are done", async || {
        let left: i64 = sqlx::query_scalar("select count(*) from queue.jobs where queue = $1")
            .bind(queue)
            .fetch_one(pool)
            .await
            .unwrap();
        left == 0
    })
    .await;
}

/// Of eight slots, all are free to the queue that hangs but the one that is the other's own.
async fn the_other_queue_goes_on(hung: impl Fn(usize) -> NewJob, quick: impl Fn(usize) -> NewJob) {
    let db = database().await;
    let gates = Gates::new();
    let worker = Running::start(&db.pool, &gates, 8, &["hung", "quick"]);
    worker.enqueue((0..30).map(|n| hung(n).queue("hung").priority(1))).await;
    eventually("they run", async || running_in(&db.pool, "hung").await >= 7).await;
    for round in 0..3 {
        worker.enqueue((0..10).map(|n| quick(10 * round + n).queue("quick"))).await;
        none_is_left_in(&db.pool, "quick").await;
    }
    so_many_run(&db.pool, "hung", 7).await;
    gates.go_on.add_permits(30);
    none_is_left_in(&db.pool, "hung").await;
    assert_eq!(worker.stop().await, 60);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_queue_whose_runs_hang_leaves_others_a_slot() {
    let new = |job: &Hung| NewJob::new(job).unwrap();
    the_other_queue_goes_on(|_| new(&Hung {}), |_| NewJob::new(&Quick {}).unwrap()).await;
}

#[tokio::test]
async fn a_queue_whose_batches_hang_leaves_others_a_slot() {
    the_other_queue_goes_on(
        |_| NewJob::new(&HungTogether {}).unwrap(),
        |_| NewJob::new(&QuickTogether {}).unwrap(),
    )
    .await;
}

#[tokio::test]
async fn a_queue_whose_runs_of_keys_hang_leaves_others_a_slot() {
    let key = |n: usize| format!("k{n}");
    the_other_queue_goes_on(
        |n| NewJob::new(&Hung {}).unwrap().key(key(n)),
        |n| NewJob::new(&Quick {}).unwrap().key(key(n)),
    )
    .await;
}

#[tokio::test]
async fn a_queue_goes_on_while_all_the_others_hang() {
    let db = database().await;
    let gates = Gates::new();
    let worker = Running::start(&db.pool, &gates, 12, &["a", "b", "c", "quick"]);
    // At once, so that one claim finds jobs of all three, of each priority.
    let hung =
        ["a", "b", "c"].map(|queue| (0..20).map(move |n| job(&Hung {}, queue).priority(1 + n % 4)));
    worker.enqueue(hung.into_iter().flatten()).await;
    eventually("they run", async || {
        count(&db.pool, "select count(*) from queue.jobs where running").await >= 11
    })
    .await;
    for queue in ["a", "b", "c"] {
        assert!(running_in(&db.pool, queue).await > 0, "{queue}");
    }
    worker.enqueue((0..20).map(|_| job(&Quick {}, "quick"))).await;
    none_is_left_in(&db.pool, "quick").await;
    gates.go_on.add_permits(60);
    for queue in ["a", "b", "c"] {
        none_is_left_in(&db.pool, queue).await;
    }
    assert_eq!(worker.stop().await, 80);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn low_priorities_wait_for_a_common_slot_and_are_found_as_soon_as_there_is_one() {
    let db = database().await;
    let gates = Gates::new();
    let worker = Running::start(&db.pool, &gates, 8, &["busy", "low"]);
    worker.enqueue((0..30).map(|_| job(&Hung {}, "busy"))).await;
    so_many_run(&db.pool, "busy", 7).await;
    worker.enqueue((0..10).map(|n| job(&Quick {}, "low").priority(3 + n % 2))).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let waiting = "select count(*) from queue.jobs where queue = 'low' and not running";
    assert_eq!(count(&db.pool, waiting).await, 10);
    // They are found though claims that had no slot for them have looked at the queue since.
    gates.go_on.add_permits(30);
    none_is_left_in(&db.pool, "low").await;
    none_is_left_in(&db.pool, "busy").await;
    assert_eq!(worker.stop().await, 40);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_queue_that_is_busy_alone_has_all_slots_but_one_of_each_other() {
    let db = database().await;
    let gates = Gates::new();
    let worker = Running::start(&db.pool, &gates, 16, &["a", "b", "c", "d"]);
    // Each by itself: nothing waits for more slots than one.
    for jobs in 1..=13 {
        worker.enqueue([job(&Hung {}, "a")]).await;
        eventually("it runs", async || running_in(&db.pool, "a").await == jobs).await;
    }
    worker.enqueue((0..10).map(|_| job(&Hung {}, "a"))).await;
    so_many_run(&db.pool, "a", 13).await;
    // Each that ends makes room for the next at once.
    for done in 1..=10 {
        gates.go_on.add_permits(1);
        let begun = 13 + done;
        eventually("the next one runs", async || gates.begun.available_permits() == begun).await;
    }
    gates.go_on.add_permits(13);
    none_is_left_in(&db.pool, "a").await;
    assert_eq!(worker.stop().await, 23);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_worker_with_fewer_slots_than_queues_works_off_all_of_them() {
    let db = database().await;
    let worker = Running::start(&db.pool, &Gates::new(), 1, &["a", "b", "c"]);
    for queue in ["a", "b", "c"] {
        let jobs = (0..10).map(|n| match n % 2 {
            0 => job(&Quick {}, queue),
            _ => job(&QuickTogether {}, queue).key(format!("k{n}")),
        });
        worker.enqueue(jobs).await;
    }
    for queue in ["a", "b", "c"] {
        none_is_left_in(&db.pool, queue).await;
    }
    assert_eq!(worker.stop().await, 30);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn jobs_without_a_key_do_not_wait_for_claims_by_key_that_take_long() {
    let db = database().await;
    // As they do where each reads all that is dead of the key, because of an old snapshot.
    sqlx::raw_sql(
        "alter function queue.pick_of_key(text, text, text[], int) rename to pick_of_key_at_once;
         create function queue.pick_of_key(of_queue text, of_key text, kinds text[], max_jobs int)
         returns bigint[] language plpgsql as $$
         begin
           perform pg_sleep(0.4);
           return queue.pick_of_key_at_once(of_queue, of_key, kinds, max_jobs);
         end $$",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let worker = Running::start(&db.pool, &Gates::new(), 4, &["one"]);
    worker.enqueue((0..1_000).map(|_| job(&Quick {}, "one").key("k"))).await;
    worker.enqueue((0..300).map(|_| job(&Quick {}, "one"))).await;
    // By two in each claim that looks for keys, it would take more than a minute.
    eventually("those without a key are done", async || {
        count(&db.pool, "select count(*) from queue.jobs where key is null").await == 0
    })
    .await;
    assert!(count(&db.pool, "select count(*) from queue.jobs where key is not null").await > 500);
    let before = count(&db.pool, "select count(*) from queue.jobs").await;
    eventually("those with a key go on", async || {
        count(&db.pool, "select count(*) from queue.jobs").await < before
    })
    .await;
    worker.stop().await;
}
