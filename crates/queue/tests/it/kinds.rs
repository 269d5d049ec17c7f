//! The kinds of job that the queue's tests use, and a table for their effects.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use surety_queue::operate::inspect::{JobDetails, find_job};
use surety_queue::{
    Backoff, BatchContext, BatchJob, Committed, FollowUp, Job, JobContext, JobError, JobId, NewJob,
    Registry, Worker, WorkerSettings, enqueue, testing,
};
use tokio::sync::Semaphore;

use crate::support::TestDb;
pub(super) use crate::support::eventually_async as eventually;

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
    SnoozeBecause,
    SnoozeForEver,
    FailUnlessLast,
    DiscardInTx,
    CancelInTx,
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
    const BACKOFF: Backoff = Backoff { base: Duration::ZERO, ..Backoff::DEFAULT };
    type State = Gates;

    async fn run(self, gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
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
            End::FailUnlessLast if cx.is_last_attempt() => cx.complete(tx).await,
            End::Fail | End::FailUnlessLast => {
                Err(anyhow!("inner cause").context(format!("{} failed", self.name)).into())
            }
            End::Discard => Err(JobError::discard(anyhow!("can never succeed"))),
            End::Cancel => Err(JobError::Cancel("no longer wanted".into())),
            End::SnoozeBecause => {
                Err(JobError::snooze_because(Duration::from_secs(3600), "the bank is \0 away"))
            }
            End::DiscardInTx => cx.discard(tx, anyhow!("no money").context("declined")).await,
            End::CancelInTx => cx.cancel(tx, "the order is gone").await,
            End::SnoozeForEver => Err(JobError::snooze(Duration::MAX)),
            End::Snooze => Err(JobError::snooze(Duration::from_secs(3600))),
            End::Panic => panic!("the handler of {} panics", self.name),
        }
    }
}

/// Like [`Act`], of a kind whose discards that no handler saw are followed up by [`Release`].
#[derive(Serialize, Deserialize)]
pub(super) struct Pay(pub(super) Act);

impl Job for Pay {
    const KIND: &'static str = "pay";
    const MAX_ATTEMPTS: i16 = 2;
    const BACKOFF: Backoff = Act::BACKOFF;
    const TIMEOUT: Duration = Duration::from_secs(2);
    const ON_DISCARD: Option<FollowUp> = Some(FollowUp::job::<Release>());
    type State = Gates;

    async fn run(self, gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
        self.0.run(gates, cx).await
    }
}

/// Follows a discarded [`Pay`]: writes what it was given as an effect.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Release {
    job: JobId,
    kind: String,
    args: serde_json::Value,
}

impl Job for Release {
    const KIND: &'static str = "release";
    const QUEUE: &'static str = "releases";
    const PRIORITY: i16 = 1;
    const MAX_ATTEMPTS: i16 = 7;
    type State = Gates;

    async fn run(self, _gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
        let mut tx = cx.begin().await?;
        sqlx::query("insert into effects (name) values ($1)")
            .bind(format!("released {} {} {}", self.kind, self.job, self.args["name"]))
            .execute(&mut *tx)
            .await?;
        cx.complete(tx).await
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

    async fn run(self, _gates: &Gates, _cx: JobContext) -> Result<Committed, JobError> {
        std::future::pending().await
    }
}

/// Completes at once, and does not end before the gate.
#[derive(Serialize, Deserialize)]
pub(super) struct Linger {}

impl Job for Linger {
    const KIND: &'static str = "linger";
    type State = Gates;

    async fn run(self, gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
        let tx = cx.begin().await?;
        let committed = cx.complete(tx).await?;
        gates.begun.add_permits(1);
        gates.go_on.acquire().await?.forget();
        Ok(committed)
    }
}

/// Done in batches; one whose name is `poison` fails, alone and in company.
#[derive(Serialize, Deserialize)]
pub(super) struct Batched {
    pub(super) name: String,
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
    const KIND: &'static str = "batched";
    const MAX_ATTEMPTS: i16 = 1;
    const MAX_BATCH: usize = 50;
    type State = Gates;

    async fn run_batch(
        jobs: Vec<Self>,
        _gates: &Gates,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
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

    async fn run(self, _gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
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
        .register::<Pay>()
        .register::<Release>()
        .register::<Hang>()
        .register::<Linger>()
        .register_batch::<Batched>();
    Arc::new(Worker::new(pool.clone(), registry, settings).expect("the settings work"))
}

/// A worker for `run_until_idle`, with settings of no importance.
pub(super) fn idle_worker(pool: &PgPool) -> Arc<Worker<Gates>> {
    worker(pool, &Gates::new(), WorkerSettings::default())
}

/// A worker without a heartbeat to speak of, so that its lease can be made to run out by hand.
pub(super) fn unattended() -> WorkerSettings {
    WorkerSettings {
        lease: Duration::from_secs(3600),
        heartbeat: Duration::from_secs(1200),
        ..WorkerSettings::default()
    }
}

pub(super) async fn let_lease_run_out(pool: &PgPool, id: JobId) {
    testing::advance(pool, unattended().lease).await.expect("it is a test database");
    assert_eq!(state_of(pool, id).await, "running", "its lease can run out");
}

/// Gives a waiting job other arguments and makes it due.
pub(super) async fn wake_with<J: Job>(pool: &PgPool, id: JobId, args: &J) {
    sqlx::query("update queue.jobs set run_at = clock_timestamp(), args = $2 where id = $1")
        .bind(id)
        .bind(serde_json::to_value(args).expect("it is JSON"))
        .execute(pool)
        .await
        .expect("the database is up");
}

/// `app verify` would find nothing wrong with the queue.
pub(super) async fn assert_invariants_hold(pool: &PgPool) {
    let mut conn = pool.acquire().await.expect("the database is up");
    for invariant in surety_queue::health::verify::INVARIANTS {
        let finding = invariant.check(&mut conn).await.expect("it can be checked");
        assert_eq!(finding.violations, 0, "{}: {:?}", invariant.name, finding.samples);
    }
}

/// All that is known of a job.
pub(super) async fn job(pool: &PgPool, id: JobId) -> JobDetails {
    let mut conn = pool.acquire().await.expect("the database is up");
    find_job(&mut conn, id).await.expect("it can be read").expect("the job exists")
}

pub(super) async fn enqueue_job<J: Job>(pool: &PgPool, job: &J) -> JobId {
    enqueue_new(pool, NewJob::new(job).expect("it is JSON")).await
}

pub(super) async fn enqueue_new(pool: &PgPool, job: NewJob) -> JobId {
    let mut conn = pool.acquire().await.expect("the database is up");
    enqueue(&mut conn, job).await.expect("it can be enqueued").id()
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
