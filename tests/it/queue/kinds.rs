//! The kinds of job that the queue's tests use, and a table for their effects.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use surety::queue::backoff::Backoff;
use surety::queue::context::{BatchContext, Completed, JobContext};
use surety::queue::enqueue::{NewJob, enqueue};
use surety::queue::job::{BatchJob, Job, JobError, JobId};
use surety::queue::registry::Registry;
use surety::queue::worker::{Worker, WorkerSettings};
use tokio::sync::Semaphore;

use crate::support::TestDb;

/// What every test kind gets: gates, to stop a handler at a chosen place.
#[derive(Clone)]
pub(super) struct Gates {
    /// Gets a permit when a [`Gated`] handler has begun.
    pub(super) begun: Arc<Semaphore>,
    /// A [`Gated`] handler takes a permit before it goes on.
    pub(super) go_on: Arc<Semaphore>,
}

impl Gates {
    pub(super) fn new() -> Self {
        Self { begun: Arc::new(Semaphore::new(0)), go_on: Arc::new(Semaphore::new(0)) }
    }

    /// Waits until a gated handler has begun.
    pub(super) async fn wait_begun(&self) {
        let begun = tokio::time::timeout(Duration::from_secs(10), self.begun.acquire()).await;
        begun.expect("a gated handler began within 10 s").expect("the gate is open").forget();
    }
}

/// What a run of [`Gated`] does at its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum End {
    Complete,
    CompleteWithoutEffects,
    Fail,
    Discard,
    Cancel,
    Snooze,
    Panic,
}

/// Writes its name as an effect and ends as told. Waits at the gate first if told so.
#[derive(Serialize, Deserialize)]
pub(super) struct Act {
    pub(super) name: String,
    pub(super) end: End,
    pub(super) gated: bool,
}

impl Act {
    pub(super) fn new(name: &str, end: End) -> Self {
        Self { name: name.into(), end, gated: false }
    }

    pub(super) fn gated(name: &str, end: End) -> Self {
        Self { name: name.into(), end, gated: true }
    }
}

impl Job for Act {
    const KIND: &'static str = "act";
    const MAX_ATTEMPTS: i16 = 3;
    const BACKOFF: Backoff = Backoff { base: Duration::ZERO, factor: 1, max: Duration::ZERO };
    type State = Gates;

    async fn run(self, gates: &Gates, cx: JobContext) -> Result<Completed, JobError> {
        if self.gated {
            gates.begun.add_permits(1);
            gates.go_on.acquire().await?.forget();
        }
        if self.end == End::CompleteWithoutEffects {
            return cx.complete_without_effects().await;
        }
        let mut tx = cx.begin().await?;
        sqlx::query("insert into effects (name, attempt, fence) values ($1, $2, $3)")
            .bind(&self.name)
            .bind(cx.attempt())
            .bind(cx.fence())
            .execute(&mut *tx)
            .await?;
        match self.end {
            End::Complete => cx.complete(tx).await,
            End::CompleteWithoutEffects => unreachable!("returned above"),
            End::Fail => {
                Err(anyhow!("inner cause").context(format!("{} failed", self.name)).into())
            }
            End::Discard => Err(JobError::discard(anyhow!("can never succeed"))),
            End::Cancel => Err(JobError::Cancel("no longer wanted".into())),
            End::Snooze => Err(JobError::Snooze(Duration::from_secs(3600))),
            End::Panic => panic!("the handler of {} panics", self.name),
        }
    }
}

/// Never ends by itself.
#[derive(Serialize, Deserialize)]
pub(super) struct Hang {}

impl Job for Hang {
    const KIND: &'static str = "hang";
    const TIMEOUT: Duration = Duration::from_millis(100);
    const MAX_ATTEMPTS: i16 = 1;
    type State = Gates;

    async fn run(self, _gates: &Gates, _cx: JobContext) -> Result<Completed, JobError> {
        std::future::pending().await
    }
}

/// Done in batches; one whose name is `poison` fails, alone and in company.
#[derive(Serialize, Deserialize)]
pub(super) struct Batched {
    pub(super) name: String,
}

impl Job for Batched {
    const KIND: &'static str = "batched";
    const MAX_ATTEMPTS: i16 = 1;
    type State = Gates;

    async fn run(self, _gates: &Gates, cx: JobContext) -> Result<Completed, JobError> {
        let mut tx = cx.begin().await?;
        self.write(&mut tx).await?;
        cx.complete(tx).await
    }
}

impl Batched {
    async fn write(&self, conn: &mut sqlx::PgConnection) -> Result<(), JobError> {
        sqlx::query(
            "insert into effects (name, xid) values ($1, pg_current_xact_id()::text::bigint)",
        )
        .bind(&self.name)
        .execute(conn)
        .await?;
        if self.name == "poison" { Err(anyhow!("poison").into()) } else { Ok(()) }
    }
}

impl BatchJob for Batched {
    const MAX_BATCH: usize = 50;

    async fn run_batch(
        jobs: Vec<Self>,
        _gates: &Gates,
        cx: BatchContext,
    ) -> Result<Completed, JobError> {
        let mut tx = cx.begin().await?;
        for job in &jobs {
            job.write(&mut tx).await?;
        }
        cx.complete(tx).await
    }
}

/// A kind that no test worker knows.
#[derive(Serialize, Deserialize)]
pub(super) struct Unknown {}

impl Job for Unknown {
    const KIND: &'static str = "unknown";
    type State = Gates;

    async fn run(self, _gates: &Gates, cx: JobContext) -> Result<Completed, JobError> {
        cx.complete_without_effects().await
    }
}

/// A database with a table for effects.
pub(super) async fn database() -> TestDb {
    let db = TestDb::new().await;
    make_effects_table(&db.pool).await;
    db
}

pub(super) async fn make_effects_table(pool: &PgPool) {
    sqlx::query(
        "create table effects (name text not null, attempt smallint, fence bigint, xid bigint)",
    )
    .execute(pool)
    .await
    .expect("the table is new");
}

pub(super) fn worker(pool: &PgPool, gates: &Gates, settings: WorkerSettings) -> Arc<Worker<Gates>> {
    let registry = Registry::new(gates.clone())
        .register::<Act>()
        .register::<Hang>()
        .register_batch::<Batched>();
    Arc::new(Worker::new(pool.clone(), registry, settings).expect("the settings work"))
}

/// A worker for `run_until_idle`, with settings of no importance.
pub(super) fn idle_worker(pool: &PgPool) -> Arc<Worker<Gates>> {
    worker(pool, &Gates::new(), WorkerSettings::default())
}

pub(super) async fn enqueue_job<J: Job>(pool: &PgPool, job: &J) -> JobId {
    enqueue_new(pool, NewJob::new(job).expect("it is JSON")).await
}

pub(super) async fn enqueue_new(pool: &PgPool, job: NewJob) -> JobId {
    let mut conn = pool.acquire().await.expect("the database is up");
    enqueue(&mut conn, job).await.expect("it can be enqueued")
}

/// The public state of a job.
pub(super) async fn state_of(pool: &PgPool, id: JobId) -> String {
    sqlx::query_scalar("select state from queue.all_jobs where id = $1")
        .bind(id)
        .fetch_one(pool)
        .await
        .expect("the job exists, once")
}

/// Outcome and error of each attempt, in order.
pub(super) async fn attempts_of(pool: &PgPool, id: JobId) -> Vec<(i16, String, Option<String>)> {
    sqlx::query_as(
        "select attempt, outcome::text, error from queue.attempts
         where job_id = $1 order by attempt",
    )
    .bind(id)
    .fetch_all(pool)
    .await
    .expect("the database is up")
}

pub(super) async fn effects(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select name from effects order by name")
        .fetch_all(pool)
        .await
        .expect("the database is up")
}

pub(super) async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.expect("the database is up")
}

/// Asks until the answer is yes, for 10 s at most.
pub(super) async fn eventually(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !ask().await {
        assert!(tokio::time::Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
