//! Batch handlers: how batches are filled, and what becomes of a batch of which only some jobs can
//! be done.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use surety_queue::{
    Backoff, BatchContext, BatchJob, Committed, JobContext, JobError, JobId, Registry, Worker,
    WorkerSettings,
};
use tokio_util::sync::CancellationToken;

use super::kinds::{
    assert_invariants_hold, attempts_of, count, database, effects, enqueue_job, eventually,
    let_lease_run_out, state_of,
};

/// The sizes of the batches that were run, and 1 for a job that ran by itself.
#[derive(Clone, Default)]
struct Sizes(Arc<Mutex<Vec<usize>>>);

impl Sizes {
    fn add(&self, size: usize) {
        self.0.lock().unwrap().push(size);
    }

    fn all(&self) -> Vec<usize> {
        self.0.lock().unwrap().clone()
    }
}

/// What a batch does with one of its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Part {
    Done,
    Fail,
    RetryLater,
    Discard,
    Cancel,
    Snooze,
    /// Its lease runs out while the batch is at work.
    Lost,
}

#[derive(Serialize, Deserialize)]
struct Item {
    name: String,
    part: Part,
}

impl Item {
    async fn write(&self, conn: &mut sqlx::PgConnection) -> Result<(), JobError> {
        sqlx::query("insert into effects (name) values ($1)")
            .bind(&self.name)
            .execute(conn)
            .await?;
        Ok(())
    }

    fn error(&self) -> JobError {
        let error = anyhow!("{} failed", self.name);
        match self.part {
            Part::Done | Part::Lost => unreachable!("not an error"),
            Part::Fail => error.into(),
            Part::RetryLater => JobError::retry_after(Duration::from_secs(3600), error),
            Part::Discard => JobError::discard(error),
            Part::Cancel => JobError::Cancel("not wanted".to_owned()),
            Part::Snooze => JobError::snooze_because(Duration::from_secs(3600), "later"),
        }
    }
}

impl BatchJob for Item {
    const KIND: &'static str = "item";
    const MAX_ATTEMPTS: i16 = 2;
    const BACKOFF: Backoff = Backoff { base: Duration::ZERO, ..Backoff::DEFAULT };
    type State = Sizes;

    async fn run_batch(
        jobs: Vec<Self>,
        sizes: &Sizes,
        mut cx: BatchContext,
    ) -> Result<Committed, JobError> {
        sizes.add(jobs.len());
        let ids: Vec<JobId> = cx.ids().collect();
        let mut tx = cx.begin().await?;
        for (job, id) in jobs.iter().zip(ids) {
            match job.part {
                Part::Done => job.write(&mut tx).await?,
                Part::Lost => {
                    job.write(&mut tx).await?;
                    let mut other = cx.begin().await?;
                    sqlx::query(
                        "update queue.jobs set fence = nextval('queue.fence') where id = $1",
                    )
                    .bind(id)
                    .execute(&mut *other)
                    .await?;
                    other.commit().await?;
                }
                _ => cx.fail(id, job.error()),
            }
        }
        cx.complete(tx).await
    }

    async fn run_alone(self, sizes: &Sizes, cx: JobContext) -> Result<Committed, JobError> {
        sizes.add(1);
        let mut tx = cx.begin().await?;
        self.write(&mut tx).await?;
        match self.part {
            Part::Fail => Err(anyhow!("{} failed", self.name).into()),
            _ => cx.complete(tx).await,
        }
    }
}

/// Waits for company.
#[derive(Serialize, Deserialize)]
struct Patient {}

impl BatchJob for Patient {
    const KIND: &'static str = "patient";
    const MAX_BATCH: usize = 5;
    const MAX_WAIT: Duration = Duration::from_millis(1500);
    type State = Sizes;

    async fn run_batch(
        jobs: Vec<Self>,
        sizes: &Sizes,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        sizes.add(jobs.len());
        let tx = cx.begin().await?;
        cx.complete(tx).await
    }
}

/// Ends as its part says, in company and alone.
#[derive(Serialize, Deserialize)]
struct Plain(Item);

impl BatchJob for Plain {
    const KIND: &'static str = "plain";
    type State = Sizes;

    async fn run_batch(
        jobs: Vec<Self>,
        sizes: &Sizes,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        Item::run_batch(jobs.into_iter().map(|Self(item)| item).collect(), sizes, cx).await
    }
}

fn worker(pool: &PgPool, sizes: &Sizes, settings: WorkerSettings) -> Worker<Sizes> {
    let registry = Registry::new(sizes.clone())
        .register_batch::<Item>()
        .register_batch::<Patient>()
        .register_batch::<Plain>();
    Worker::new(pool.clone(), registry, settings).unwrap()
}

async fn enqueue_items(pool: &PgPool, parts: &[Part]) -> Vec<JobId> {
    let mut ids = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        ids.push(enqueue_job(pool, &Item { name: format!("item {n}"), part: *part }).await);
    }
    ids
}

#[tokio::test]
async fn jobs_that_their_batch_could_not_do_end_as_it_says_and_the_others_are_completed() {
    let db = database().await;
    let sizes = Sizes::default();
    let parts = [
        Part::Done,
        Part::Discard,
        Part::RetryLater,
        Part::Cancel,
        Part::Snooze,
        Part::Done,
        Part::Fail,
    ];
    let ids = enqueue_items(&db.pool, &parts).await;

    let summary =
        worker(&db.pool, &sizes, WorkerSettings::default()).run_until_idle().await.unwrap();

    // The one that failed has another attempt, by itself this time.
    assert_eq!(sizes.all(), [7, 1]);
    assert_eq!(effects(&db.pool).await, ["item 0", "item 5"]);
    let mut states = Vec::new();
    for id in &ids {
        states.push(state_of(&db.pool, *id).await);
    }
    assert_eq!(
        states,
        ["completed", "discarded", "retryable", "cancelled", "scheduled", "completed", "discarded"]
    );
    let ended = |outcome: &str, error: &str| (1, outcome.to_owned(), Some(error.to_owned()));
    assert_eq!(attempts_of(&db.pool, ids[1]).await, [ended("discarded", "item 1 failed")]);
    assert_eq!(attempts_of(&db.pool, ids[2]).await, [ended("failed", "item 2 failed")]);
    assert_eq!(attempts_of(&db.pool, ids[3]).await, [ended("cancelled", "not wanted")]);
    assert_eq!(attempts_of(&db.pool, ids[4]).await, []);
    assert_eq!(attempts_of(&db.pool, ids[6]).await.len(), 2);
    assert_eq!((summary.completed, summary.discarded), (2, 2));
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_batch_of_one_ends_its_job_as_its_handler_says() {
    let db = database().await;
    let sizes = Sizes::default();
    let worker = worker(&db.pool, &sizes, WorkerSettings::default());
    let parts = [Part::Done, Part::Discard, Part::RetryLater, Part::Cancel, Part::Snooze];
    let mut states = Vec::new();
    for part in parts {
        let id = enqueue_job(&db.pool, &Plain(Item { name: format!("{part:?}"), part })).await;
        worker.run_until_idle().await.unwrap();
        states.push(state_of(&db.pool, id).await);
    }

    assert_eq!(states, ["completed", "discarded", "retryable", "cancelled", "scheduled"]);
    assert_eq!(sizes.all(), [1; 5]);
    assert_eq!(effects(&db.pool).await, ["Done"]);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_batch_of_which_nothing_could_be_done_completes_nothing() {
    let db = database().await;
    let sizes = Sizes::default();
    let ids = enqueue_items(&db.pool, &[Part::Discard, Part::Discard]).await;
    worker(&db.pool, &sizes, WorkerSettings::default()).run_until_idle().await.unwrap();
    assert_eq!(sizes.all(), [2]);
    for id in ids {
        assert_eq!(state_of(&db.pool, id).await, "discarded");
    }
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_batch_that_has_lost_a_job_writes_nothing_and_the_others_run_by_themselves() {
    let db = database().await;
    let sizes = Sizes::default();
    let ids = enqueue_items(&db.pool, &[Part::Done, Part::Lost, Part::Done]).await;

    worker(&db.pool, &sizes, WorkerSettings::default()).run_until_idle().await.unwrap();

    assert_eq!(sizes.all(), [3, 1, 1, 1]);
    assert_eq!(effects(&db.pool).await, ["item 0", "item 2"], "each once");
    assert_eq!(state_of(&db.pool, ids[1]).await, "running", "it is another worker's");
    for id in [ids[0], ids[2]] {
        assert_eq!(attempts_of(&db.pool, id).await, [(1, "completed".to_owned(), None)]);
    }
    let_lease_run_out(&db.pool, ids[1]).await;
    worker(&db.pool, &sizes, WorkerSettings::default()).run_until_idle().await.unwrap();
    assert_eq!(effects(&db.pool).await, ["item 0", "item 1", "item 2"]);
}

fn poll(poll: Duration) -> WorkerSettings {
    WorkerSettings { poll, ..WorkerSettings::default() }
}

#[tokio::test]
async fn jobs_of_several_claims_fill_one_batch_which_runs_when_it_is_full() {
    let db = database().await;
    let sizes = Sizes::default();
    let worker = worker(&db.pool, &sizes, poll(Duration::from_millis(20)));
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    for n in 0..5 {
        enqueue_job(&db.pool, &Patient {}).await;
        if n < 4 {
            eventually("it is claimed", async || {
                count(&db.pool, "select count(*) from queue.jobs where running").await == n + 1
            })
            .await;
        }
    }
    let full = Instant::now();
    eventually("the batch is done", async || {
        count(&db.pool, "select count(*) from queue.jobs").await == 0
    })
    .await;
    assert!(full.elapsed() < Duration::from_secs(1), "{:?} though it was full", full.elapsed());
    assert_eq!(sizes.all(), [5]);
    let fences = "select count(distinct fence) from queue.attempts";
    assert_eq!(count(&db.pool, fences).await, 5);

    // The timer of the batch before has nothing to do with the next one.
    enqueue_job(&db.pool, &Patient {}).await;
    enqueue_job(&db.pool, &Patient {}).await;
    let begun = Instant::now();
    eventually("the rest is done", async || {
        count(&db.pool, "select count(*) from queue.jobs").await == 0
    })
    .await;
    assert_eq!(sizes.all(), [5, 2]);
    assert!(begun.elapsed() > Duration::from_millis(1300), "it waited {:?}", begun.elapsed());
    stop.cancel();
    run.await.unwrap();
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn more_jobs_than_a_batch_takes_make_several_of_which_only_the_last_waits() {
    let db = database().await;
    let sizes = Sizes::default();
    for _ in 0..12 {
        enqueue_job(&db.pool, &Patient {}).await;
    }
    let summary =
        worker(&db.pool, &sizes, WorkerSettings::default()).run_until_idle().await.unwrap();
    assert_eq!(summary.completed, 12);
    assert_eq!(sizes.all(), [5, 5, 2]);
}

#[tokio::test]
async fn a_stopping_worker_runs_the_batch_that_it_was_filling() {
    let db = database().await;
    let sizes = Sizes::default();
    let worker = worker(&db.pool, &sizes, poll(Duration::from_millis(20)));
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    for _ in 0..3 {
        enqueue_job(&db.pool, &Patient {}).await;
    }
    eventually("they are claimed", async || {
        count(&db.pool, "select count(*) from queue.jobs where running").await == 3
    })
    .await;
    stop.cancel();
    let summary = run.await.unwrap();
    assert_eq!((summary.completed, summary.handed_back), (3, 0));
    assert_eq!(sizes.all(), [3]);
}

#[tokio::test]
async fn a_batch_that_cannot_be_filled_within_the_grace_is_handed_back() {
    let db = database().await;
    let sizes = Sizes::default();
    let settings =
        WorkerSettings { grace: Duration::from_millis(10), ..poll(Duration::from_millis(20)) };
    let worker = worker(&db.pool, &sizes, settings);
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    let id = enqueue_job(&db.pool, &Patient {}).await;
    eventually("it is claimed", async || state_of(&db.pool, id).await == "running").await;
    stop.cancel();
    run.await.unwrap();
    assert_ne!(state_of(&db.pool, id).await, "running", "nobody would run it for a lease");
}

#[tokio::test]
async fn a_cancel_while_the_batch_is_filled_ends_that_job_alone() {
    let db = database().await;
    let sizes = Sizes::default();
    let worker = worker(&db.pool, &sizes, poll(Duration::from_millis(20)));
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(enqueue_job(&db.pool, &Patient {}).await);
    }
    eventually("they are claimed", async || {
        count(&db.pool, "select count(*) from queue.jobs where running").await == 3
    })
    .await;
    let mut conn = db.pool.acquire().await.unwrap();
    surety_queue::operate::cancel(&mut conn, ids[1], "ada", "not wanted").await.unwrap();
    eventually("all have ended", async || {
        count(&db.pool, "select count(*) from queue.jobs").await == 0
    })
    .await;
    stop.cancel();
    run.await.unwrap();
    assert_eq!(state_of(&db.pool, ids[0]).await, "completed");
    assert_eq!(state_of(&db.pool, ids[2]).await, "completed");
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn jobs_of_a_batch_that_fills_slowly_keep_their_leases() {
    let db = database().await;
    let sizes = Sizes::default();
    // The batch waits for longer than a lease lasts.
    let settings = WorkerSettings {
        lease: Duration::from_millis(900),
        heartbeat: Duration::from_millis(200),
        ..poll(Duration::from_millis(20))
    };
    let worker = worker(&db.pool, &sizes, settings);
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    let ids = [enqueue_job(&db.pool, &Patient {}).await, enqueue_job(&db.pool, &Patient {}).await];
    eventually("all have ended", async || {
        count(&db.pool, "select count(*) from queue.jobs").await == 0
    })
    .await;
    stop.cancel();
    run.await.unwrap();
    for id in ids {
        assert_eq!(attempts_of(&db.pool, id).await, [(1, "completed".to_owned(), None)]);
    }
}
