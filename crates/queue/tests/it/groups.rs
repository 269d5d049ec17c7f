//! What the tests of jobs that belong together share.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use surety_queue::groups::{BatchId, BatchStatus, batch_status};
use surety_queue::{
    Committed, Job, JobContext, JobError, JobId, NewJob, Registry, Worker, WorkerSettings,
    WorkerSummary, enqueue,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::kinds::{Act, Batched, End, Gates};

mod batches;
mod batches_in_races;
mod dependencies;
mod dependencies_in_races;
mod graphs;

/// Leaves nothing behind.
#[derive(Serialize, Deserialize)]
struct Fleeting {}

impl Job for Fleeting {
    const KIND: &'static str = "fleeting";
    const KEEPS_HISTORY: bool = false;
    type State = Gates;

    async fn run(self, _gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
        cx.complete_without_effects().await
    }
}

/// Adds a member to its own batch, and that one adds one, so many times.
#[derive(Serialize, Deserialize)]
struct Grow {
    batch: BatchId,
    generations: u32,
}

impl Job for Grow {
    const KIND: &'static str = "grow";
    type State = Gates;

    async fn run(self, _gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
        let mut tx = cx.begin().await?;
        if self.generations > 0 {
            let next = Grow { batch: self.batch, generations: self.generations - 1 };
            enqueue(&mut tx, NewJob::new(&next)?.batch(self.batch)).await?;
        }
        cx.complete(tx).await
    }
}

/// Knows the kinds of here besides [`Act`] and [`Batched`].
fn worker_with(pool: &PgPool, settings: WorkerSettings) -> Arc<Worker<Gates>> {
    let registry = Registry::new(Gates::new())
        .register::<Act>()
        .register::<Fleeting>()
        .register::<Grow>()
        .register_batch::<Batched>();
    Arc::new(Worker::new(pool.clone(), registry, settings).expect("the settings work"))
}

async fn run_until_idle(pool: &PgPool) -> WorkerSummary {
    let worker = worker_with(pool, WorkerSettings::default());
    worker.run_until_idle().await.expect("the database is up")
}

/// Workers that run until they are stopped.
struct Running {
    stop: CancellationToken,
    workers: Vec<JoinHandle<WorkerSummary>>,
}

impl Running {
    fn start(pool: &PgPool, workers: usize) -> Self {
        let stop = CancellationToken::new();
        let settings = WorkerSettings { concurrency: 16, ..WorkerSettings::default() };
        let workers = (0..workers).map(|_| {
            let (worker, stop) = (worker_with(pool, settings.clone()), stop.clone());
            tokio::spawn(async move { worker.run(stop).await })
        });
        Self { workers: workers.collect(), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        for worker in self.workers {
            worker.await.expect("it did not panic");
        }
    }
}

fn act(name: &str, end: End) -> NewJob {
    NewJob::new(&Act::new(name, end)).expect("it is JSON")
}

fn fleeting() -> NewJob {
    NewJob::new(&Fleeting {}).expect("it is JSON")
}

/// Claims and completes a job as a worker does that is lost before it can do anything more.
async fn complete_and_be_lost(pool: &PgPool, id: JobId) {
    let mut tx = pool.begin().await.unwrap();
    sqlx::query(
        "update queue.jobs
         set running = true, attempt = attempt + 1, fence = nextval('queue.fence'),
           worker_id = gen_random_uuid(), started_at = clock_timestamp(),
           lease_expires_at = clock_timestamp() + interval '1 hour'
         where id = $1 and hold is null",
    )
    .bind(id)
    .execute(&mut *tx)
    .await
    .unwrap();
    let wakes: Vec<bool> = sqlx::query_scalar(
        "select wakes
         from queue.end_jobs(
           array[$1], array[(select fence from queue.jobs where id = $1)], 'completed', 'completed'
         )",
    )
    .bind(id.0)
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    assert_eq!(wakes, [true], "job {id} was completed, and others wait for that");
    tx.commit().await.unwrap();
}

async fn status(pool: &PgPool, id: BatchId) -> BatchStatus {
    let mut conn = pool.acquire().await.unwrap();
    batch_status(&mut conn, id).await.unwrap().expect("there is such a batch")
}

/// The names of the jobs that had effects, in the order in which they were claimed.
async fn order(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select name from effects order by fence").fetch_all(pool).await.unwrap()
}

async fn execute(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

/// Why the engine cancelled a job.
async fn why_cancelled(pool: &PgPool, id: JobId) -> Vec<String> {
    sqlx::query_scalar(
        "select reason from queue.interventions
         where job_id = $1 and action = 'cancel' and made_by = 'queue'",
    )
    .bind(id)
    .fetch_all(pool)
    .await
    .unwrap()
}

/// Asks until the answer is yes. A minute is much even for a busy machine, and less than a chain or
/// a thousand members would take if each of them had to wait for a claim from the very start.
async fn soon(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !ask().await {
        assert!(tokio::time::Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
