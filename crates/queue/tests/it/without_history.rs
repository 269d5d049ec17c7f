//! Kinds that keep no history: a completed job leaves nothing behind, everything else does.

use std::time::Duration;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use surety_queue::operate::inspect::find_job;
use surety_queue::operate::{CancelOutcome, cancel};
use surety_queue::{
    Backoff, BatchContext, BatchJob, Committed, Enqueued, JobContext, JobError, JobId, NewJob,
    Registry, Unique, Worker, WorkerSettings, enqueue, enqueue_many,
};

use super::kinds::{
    Gates, assert_invariants_hold, attempts_of, count, database, effects, enqueue_job, job,
    let_lease_run_out, state_of, unattended,
};
use super::lost_commits::{Lost, by_way_that_breaks};

/// Fails so often, then is completed, with an output, in the way told.
#[derive(Serialize, Deserialize)]
pub(super) struct Brief {
    failures: i16,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Way {
    InTx,
    Shared,
    Batch,
    Gated,
}

impl BatchJob for Brief {
    const KIND: &'static str = "brief";
    const KEEPS_HISTORY: bool = false;
    const MAX_ATTEMPTS: i16 = 3;
    const BACKOFF: Backoff = Backoff { base: Duration::ZERO, ..Backoff::DEFAULT };
    type State = Gates;

    async fn run_batch(
        jobs: Vec<Self>,
        _gates: &Gates,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        if jobs.iter().any(|job| job.way != Way::Batch) {
            return Err(anyhow!("one by one").into());
        }
        let mut tx = cx.begin().await?;
        sqlx::query("insert into effects (name) values ('batch')").execute(&mut *tx).await?;
        cx.complete(tx).await
    }

    async fn run_alone(self, gates: &Gates, cx: JobContext) -> Result<Committed, JobError> {
        if cx.attempt() <= self.failures {
            return Err(anyhow!("attempt {} failed", cx.attempt()).into());
        }
        if self.way == Way::Gated {
            gates.begun.add_permits(1);
            gates.go_on.acquire().await?.forget();
        }
        let cx = cx.with_output(&"lost")?;
        if self.way == Way::Shared {
            return cx.complete_without_effects().await;
        }
        let mut tx = cx.begin().await?;
        sqlx::query("insert into effects (name) values ('a')").execute(&mut *tx).await?;
        cx.complete(tx).await
    }
}

fn worker(pool: &PgPool, gates: &Gates, settings: WorkerSettings) -> Worker<Gates> {
    let registry = Registry::new(gates.clone()).register_batch::<Brief>();
    Worker::new(pool.clone(), registry, settings).unwrap()
}

async fn run_all(pool: &PgPool) -> surety_queue::WorkerSummary {
    worker(pool, &Gates::new(), unattended()).run_until_idle().await.unwrap()
}

/// Rows of any kind that the queue has.
const ROWS: &str = "select (select count(*) from queue.all_jobs)
                         + (select count(*) from queue.attempts)";

#[tokio::test]
async fn a_completed_job_leaves_its_effects_and_nothing_else() {
    let db = database().await;
    for way in [Way::InTx, Way::Shared, Way::Batch, Way::Batch] {
        enqueue_job(&db.pool, &Brief { failures: 0, way }).await;
        if way != Way::Batch {
            run_all(&db.pool).await;
        }
    }
    assert_eq!(run_all(&db.pool).await.completed, 2);
    assert_eq!(count(&db.pool, ROWS).await, 0);
    assert_eq!(effects(&db.pool).await, ["a", "batch"]);
    // Enqueued in any way.
    let new = || NewJob::new(&Brief { failures: 0, way: Way::InTx }).unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    enqueue_many(&mut conn, &[new(), new()]).await.unwrap();
    enqueue(&mut conn, new().unique(Unique::by_args())).await.unwrap();
    sqlx::query(
        "select * from queue.enqueue('brief', '{\"failures\": 0, \"way\": \"InTx\"}',
           keeps_history => false)",
    )
    .execute(&mut *conn)
    .await
    .unwrap();
    assert_eq!(run_all(&db.pool).await.completed, 4);
    assert_eq!(count(&db.pool, ROWS).await, 0);
}

#[tokio::test]
async fn failed_attempts_are_kept_though_the_job_is_not() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Brief { failures: 2, way: Way::InTx }).await;
    run_all(&db.pool).await;
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(find_job(&mut conn, id).await.unwrap().is_none());
    let failed = |n| (n, "failed".to_owned(), Some(format!("attempt {n} failed")));
    assert_eq!(attempts_of(&db.pool, id).await, [failed(1), failed(2)]);
    assert_eq!(effects(&db.pool).await, ["a"]);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn discarded_and_cancelled_jobs_are_kept_and_a_redriven_one_keeps_its_history() {
    let db = database().await;
    let discarded = enqueue_job(&db.pool, &Brief { failures: 3, way: Way::InTx }).await;
    run_all(&db.pool).await;
    assert_eq!(state_of(&db.pool, discarded).await, "discarded");
    assert_eq!(attempts_of(&db.pool, discarded).await.len(), 3);
    let cancelled = enqueue_job(&db.pool, &Brief { failures: 0, way: Way::InTx }).await;
    let mut conn = db.pool.acquire().await.unwrap();
    let told = cancel(&mut conn, cancelled, "ada", "not wanted").await.unwrap();
    assert_eq!(told, Some(CancelOutcome::Cancelled));
    assert_eq!(state_of(&db.pool, cancelled).await, "cancelled");

    let by = surety_queue::operate::discarded::Decision { by: "ada", reason: "again" };
    let _done = surety_queue::operate::discarded::redrive(&mut conn, discarded, by).await.unwrap();
    run_all(&db.pool).await;
    assert_eq!(state_of(&db.pool, discarded).await, "completed");
    assert_eq!(job(&db.pool, discarded).await.attempts.len(), 4);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_lost_worker_is_recorded_and_its_late_completion_changes_nothing() {
    let db = database().await;
    let gates = Gates::new();
    let lost = worker(&db.pool, &gates, unattended());
    let id = enqueue_job(&db.pool, &Brief { failures: 0, way: Way::Gated }).await;
    let late_run = tokio::spawn(async move { lost.run_until_idle().await });
    gates.wait_begun().await;
    let_lease_run_out(&db.pool, id).await;
    let other_gates = Gates::new();
    other_gates.go_on.add_permits(1);
    let other = worker(&db.pool, &other_gates, unattended());
    assert_eq!(other.run_until_idle().await.unwrap().completed, 1);

    gates.go_on.add_permits(1);
    let late = late_run.await.unwrap().unwrap();
    assert_eq!((late.completed, late.lease_lost), (0, 1));
    assert_eq!(effects(&db.pool).await, ["a"], "once");
    let outcomes: Vec<_> = attempts_of(&db.pool, id).await.into_iter().map(|it| it.1).collect();
    assert_eq!(outcomes, ["crashed"]);
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_known_by_what_is_not_there() {
    for (lost, failed) in [(Lost::Answer, 0), (Lost::Commit, 1)] {
        for batch in [false, true] {
            let db = database().await;
            let way = if batch { Way::Batch } else { Way::InTx };
            let jobs = if batch { 2 } else { 1 };
            for _ in 0..jobs {
                enqueue_job(&db.pool, &Brief { failures: 0, way }).await;
            }
            let by_way = by_way_that_breaks(&db.pool, lost).await;
            let summary =
                worker(&by_way, &Gates::new(), unattended()).run_until_idle().await.unwrap();
            assert_eq!(summary.completed, jobs, "{failed} {batch}");
            assert_eq!(summary.lease_lost, 0);
            assert_eq!(count(&db.pool, "select count(*) from queue.all_jobs").await, 0);
            if batch && failed == 1 {
                // The batch that was not committed ran again, job by job.
                assert_eq!(summary.failed, 0);
                assert_eq!(effects(&db.pool).await, ["a", "a"]);
            } else {
                assert_eq!(summary.failed, failed);
                let effects = effects(&db.pool).await;
                assert_eq!(effects, [if batch { "batch" } else { "a" }], "once");
            }
            let attempts = if batch { 0 } else { failed as i64 };
            assert_eq!(count(&db.pool, "select count(*) from queue.attempts").await, attempts);
        }
    }
}

#[tokio::test]
async fn within_its_window_a_unique_job_counts_though_nothing_is_left_of_it() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let new = || NewJob::new(&Brief { failures: 0, way: Way::InTx }).unwrap();
    let hour = Duration::from_secs(3600);
    let windowed = || new().unique(Unique::by_value("windowed").lasting(hour));
    let id: JobId = enqueue(&mut conn, windowed()).await.unwrap().id();
    let plain = || new().unique(Unique::by_value("plain"));
    enqueue(&mut conn, plain()).await.unwrap();
    run_all(&db.pool).await;
    assert_eq!(count(&db.pool, ROWS).await, 0);
    assert_eq!(enqueue(&mut conn, windowed()).await.unwrap(), Enqueued::Existing(id));
    assert!(!enqueue(&mut conn, plain()).await.unwrap().is_existing());
}
