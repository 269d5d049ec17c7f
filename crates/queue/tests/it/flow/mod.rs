//! Flow control: pauses, limits, fair turns and order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use surety_queue::operate::queues::{Limits, set_limits};
use surety_queue::{
    Backoff, Committed, Job, JobContext, JobError, JobId, NewJob, Registry, Worker, WorkerSettings,
    enqueue_many,
};
use tokio_util::sync::CancellationToken;

use crate::support::TestDb;

mod limits;
mod order;
mod pausing;

/// Takes some time, and fails at first if told so. Its runs are what is looked at.
#[derive(Clone, Serialize, Deserialize)]
struct Work {
    millis: u64,
    /// Fails in attempts up to this one.
    failures: i16,
}

impl Work {
    fn new(millis: u64) -> Self {
        Self { millis, failures: 0 }
    }

    fn failing(failures: i16) -> Self {
        Self { millis: 0, failures }
    }

    fn job(&self) -> NewJob {
        NewJob::new(self).unwrap()
    }
}

impl Job for Work {
    const KIND: &'static str = "work";
    const MAX_ATTEMPTS: i16 = 3;
    const BACKOFF: Backoff =
        Backoff { base: Duration::from_millis(20), jitter: 0.0, ..Backoff::DEFAULT };
    type State = PgPool;

    async fn run(self, pool: &PgPool, cx: JobContext) -> Result<Committed, JobError> {
        let begun: i64 = sqlx::query_scalar(
            "insert into runs (job_id, key, fence) values ($1, $2, $3) returning id",
        )
        .bind(cx.id())
        .bind(cx.key())
        .bind(cx.fence())
        .fetch_one(pool)
        .await?;
        tokio::time::sleep(Duration::from_millis(self.millis)).await;
        // Before the completion, so that a run that is counted as over is never running any more.
        sqlx::query("update runs set ended_at = clock_timestamp() where id = $1")
            .bind(begun)
            .execute(pool)
            .await?;
        if cx.attempt() <= self.failures {
            return Err(anyhow!("attempt {} fails", cx.attempt()).into());
        }
        let tx = cx.begin().await?;
        cx.complete(tx).await
    }
}

async fn database() -> TestDb {
    let db = TestDb::new().await;
    sqlx::query(
        "create table runs (
           id bigint generated always as identity primary key,
           job_id bigint not null,
           key text,
           fence bigint not null,
           began_at timestamptz not null default clock_timestamp(),
           ended_at timestamptz
         )",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    db
}

fn worker(db: &TestDb, concurrency: usize) -> Arc<Worker<PgPool>> {
    let settings = WorkerSettings {
        concurrency,
        poll: Duration::from_millis(100),
        ..WorkerSettings::default()
    };
    let registry = Registry::new(db.pool.clone()).register::<Work>();
    Arc::new(Worker::new(db.pool.clone(), registry, settings).unwrap())
}

/// Lets so many workers run until nothing is left, for 60 s at most.
async fn work_off(db: &TestDb, workers: usize, concurrency: usize) {
    let stop = CancellationToken::new();
    let running: Vec<_> = (0..workers)
        .map(|_| {
            let (worker, stop) = (worker(db, concurrency), stop.clone());
            tokio::spawn(async move { worker.run(stop).await })
        })
        .collect();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while count(db, "select count(*) from queue.jobs").await > 0 {
        assert!(tokio::time::Instant::now() < deadline, "not within 60 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    for worker in running {
        worker.await.unwrap();
    }
}

async fn enqueue_all(db: &TestDb, jobs: &[NewJob]) -> Vec<JobId> {
    let mut tx = db.pool.begin().await.unwrap();
    let enqueued = enqueue_many(&mut tx, jobs).await.unwrap();
    tx.commit().await.unwrap();
    enqueued.into_iter().map(|enqueued| enqueued.id()).collect()
}

async fn limit(db: &TestDb, limits: Limits) {
    let mut conn = db.pool.acquire().await.unwrap();
    set_limits(&mut conn, "default", &limits, "test").await.unwrap();
}

async fn count(db: &TestDb, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&db.pool).await.unwrap()
}

/// The jobs of a key, or of none, in the order in which their last runs began.
async fn order_of(db: &TestDb, key: Option<&str>) -> Vec<JobId> {
    sqlx::query_scalar(
        "select job_id from runs where key is not distinct from $1 group by job_id
         order by max(fence)",
    )
    .bind(key)
    .fetch_all(&db.pool)
    .await
    .unwrap()
}
