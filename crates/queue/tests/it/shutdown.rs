//! How a worker stops.

use std::time::{Duration, Instant};

use surety_queue::WorkerSettings;
use tokio_util::sync::CancellationToken;

use super::kinds::{
    Act, End, Gates, attempts_of, database, effects, enqueue_job, eventually, idle_worker,
    state_of, worker,
};
use crate::support::wait_for_locks;

#[tokio::test]
async fn a_stopping_worker_finishes_what_it_runs_and_claims_nothing_more() {
    let db = database().await;
    let gates = Gates::new();
    let settings = WorkerSettings {
        concurrency: 1,
        poll: Duration::from_millis(10),
        ..WorkerSettings::default()
    };
    let worker = worker(&db.pool, &gates, settings);
    let first = enqueue_job(&db.pool, &Act::gated("first", End::Complete)).await;
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    gates.wait_begun().await;
    stop.cancel();
    let second = enqueue_job(&db.pool, &Act::gated("second", End::Complete)).await;
    gates.go_on.add_permits(1);

    let summary = run.await.unwrap();

    assert_eq!((summary.completed, summary.handed_back), (1, 0));
    assert_eq!(state_of(&db.pool, first).await, "completed");
    assert_eq!(state_of(&db.pool, second).await, "available");
}

#[tokio::test]
async fn what_is_not_done_within_the_grace_is_handed_back_at_once_and_uncounted() {
    let db = database().await;
    let gates = Gates::new();
    let settings = WorkerSettings { grace: Duration::from_millis(50), ..WorkerSettings::default() };
    let worker = worker(&db.pool, &gates, settings);
    let id = enqueue_job(&db.pool, &Act::gated("a", End::Complete)).await;
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    gates.wait_begun().await;
    let stopped_at = Instant::now();
    stop.cancel();

    let summary = run.await.unwrap();

    assert_eq!(summary.handed_back, 1);
    assert!(stopped_at.elapsed() < Duration::from_secs(5));
    assert_eq!(state_of(&db.pool, id).await, "available");
    gates.go_on.add_permits(1);
    let other = super::kinds::worker(&db.pool, &gates, WorkerSettings::default());
    assert_eq!(other.run_until_idle().await.unwrap().completed, 1);
    assert_eq!(attempts_of(&db.pool, id).await, [(1, "completed".into(), None)]);
}

#[tokio::test]
async fn a_worker_notices_new_jobs_without_waiting_for_its_poll() {
    let db = database().await;
    let settings = WorkerSettings { poll: Duration::from_secs(60), ..WorkerSettings::default() };
    let worker = worker(&db.pool, &Gates::new(), settings);
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    let notifier = surety_queue::Notifier::start(&db.pool);
    // The first one may come before the worker listens; it is found when listening begins, or by
    // the second.
    for name in ["a", "b"] {
        enqueue_job(&db.pool, &Act::new(name, End::Complete)).await;
        eventually("the job is done", async || {
            notifier.notify();
            effects(&db.pool).await.contains(&name.to_owned())
        })
        .await;
    }
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn a_worker_survives_the_loss_of_all_its_connections() {
    let db = database().await;
    let settings = WorkerSettings { poll: Duration::from_millis(50), ..WorkerSettings::default() };
    let worker = worker(&db.pool, &Gates::new(), settings);
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    for round in 0..3 {
        let name = format!("after loss {round}");
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()",
        )
        .execute(&db.pool)
        .await
        .unwrap();
        // The test's own pool has lost its connections as well.
        eventually("the test is connected again", async || {
            sqlx::query("select 1").execute(&db.pool).await.is_ok()
        })
        .await;
        enqueue_job(&db.pool, &Act::new(&name, End::Complete)).await;
        eventually("the job is done", async || effects(&db.pool).await.contains(&name)).await;
    }
    stop.cancel();
    run.await.unwrap();
    assert_eq!(idle_worker(&db.pool).run_until_idle().await.unwrap().completed, 0);
}

#[tokio::test]
async fn a_worker_that_knows_no_kind_is_refused() {
    let db = database().await;
    let registry = surety_queue::Registry::new(());
    let worker = surety_queue::Worker::new(db.pool.clone(), registry, WorkerSettings::default());
    assert_eq!(worker.err().unwrap().to_string(), "the registry knows no job kind");
}

#[tokio::test]
async fn a_claim_that_is_under_way_when_the_worker_is_stopped_leaves_no_job_behind() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    let mut tx = db.pool.begin().await.unwrap();
    sqlx::query("lock table queue.jobs in exclusive mode").execute(&mut *tx).await.unwrap();
    let worker = worker(&db.pool, &Gates::new(), WorkerSettings::default());
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    // The claim and the rescue of the start.
    wait_for_locks(&db.pool, 2).await;
    stop.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    tx.rollback().await.unwrap();

    assert_eq!(run.await.unwrap().completed, 1);
    assert_eq!(state_of(&db.pool, id).await, "completed");
}
