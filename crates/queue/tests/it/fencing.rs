//! Leases, fences and rescue: what a worker that was stopped for too long can still do, which is
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use surety_queue::WorkerSettings;
use tokio_util::sync::CancellationToken;

use super::kinds::{
    Act, End, Gates, Linger, attempts_of, count, database, effects, enqueue_job, eventually,
    idle_worker, let_lease_run_out, state_of, unattended, wake_with, worker,
};

/// Worker A is stopped in mid-run; its lease runs out, worker B is given the job by a rescue and
/// completes it. Then A goes on and ends its run with `end`: nothing may change.
async fn a_late_end_changes_nothing(end: End) {
    let db = database().await;
    let gates = Gates::new();
    let a = worker(&db.pool, &gates, unattended());
    let id = enqueue_job(&db.pool, &Act::gated("late", end)).await;
    let late_run = tokio::spawn({
        let a = Arc::clone(&a);
        async move { a.run_until_idle().await }
    });
    gates.wait_begun().await;

    let_lease_run_out(&db.pool, id).await;
    sqlx::query("update queue.jobs set args = $2 where id = $1")
        .bind(id)
        .bind(serde_json::to_value(Act::new("second", End::Complete)).unwrap())
        .execute(&db.pool)
        .await
        .unwrap();
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "completed");
    let attempts_before = attempts_of(&db.pool, id).await;
    assert_eq!(
        attempts_before.iter().map(|a| a.1.as_str()).collect::<Vec<_>>(),
        ["crashed", "completed"]
    );

    gates.go_on.add_permits(1);
    let summary = late_run.await.unwrap().unwrap();

    assert_eq!(summary.completed, 0, "{end:?}");
    assert_eq!(effects(&db.pool).await, ["second"], "{end:?}");
    assert_eq!(attempts_of(&db.pool, id).await, attempts_before, "{end:?}");
    assert_eq!(state_of(&db.pool, id).await, "completed", "{end:?}");
}

#[tokio::test]
async fn a_late_completion_changes_nothing() {
    a_late_end_changes_nothing(End::Complete).await;
}

#[tokio::test]
async fn a_late_shared_completion_changes_nothing() {
    a_late_end_changes_nothing(End::CompleteWithoutEffects).await;
}

#[tokio::test]
async fn a_late_failure_changes_nothing() {
    a_late_end_changes_nothing(End::Fail).await;
}

#[tokio::test]
async fn a_late_discard_changes_nothing() {
    a_late_end_changes_nothing(End::Discard).await;
}

#[tokio::test]
async fn a_late_cancel_changes_nothing() {
    a_late_end_changes_nothing(End::Cancel).await;
}

#[tokio::test]
async fn a_late_snooze_changes_nothing() {
    a_late_end_changes_nothing(End::Snooze).await;
}

#[tokio::test]
async fn a_late_snooze_for_a_reason_changes_nothing() {
    a_late_end_changes_nothing(End::SnoozeBecause).await;
}

#[tokio::test]
async fn a_late_discard_in_the_handlers_transaction_changes_nothing() {
    a_late_end_changes_nothing(End::DiscardInTx).await;
}

#[tokio::test]
async fn a_late_cancel_in_the_handlers_transaction_changes_nothing() {
    a_late_end_changes_nothing(End::CancelInTx).await;
}

#[tokio::test]
async fn a_late_end_does_not_touch_the_run_that_another_worker_is_in() {
    // Here nothing but the fence tells the two runs apart.
    for end in [
        End::Complete,
        End::CompleteWithoutEffects,
        End::Fail,
        End::Discard,
        End::DiscardInTx,
        End::Cancel,
        End::CancelInTx,
        End::Snooze,
        End::SnoozeBecause,
    ] {
        let db = database().await;
        let (gates_a, gates_b) = (Gates::new(), Gates::new());
        let a = worker(&db.pool, &gates_a, unattended());
        let b = worker(&db.pool, &gates_b, unattended());
        let id = enqueue_job(&db.pool, &Act::gated("late", end)).await;
        let run_a = tokio::spawn(async move { a.run_until_idle().await });
        gates_a.wait_begun().await;
        let_lease_run_out(&db.pool, id).await;
        wake_with(&db.pool, id, &Act::gated("once", End::Complete)).await;
        let run_b = tokio::spawn(async move { b.run_until_idle().await });
        gates_b.wait_begun().await;

        gates_a.go_on.add_permits(1);
        run_a.await.unwrap().unwrap();
        assert_eq!(state_of(&db.pool, id).await, "running", "b still has it, {end:?}");
        assert!(effects(&db.pool).await.is_empty(), "{end:?}");

        gates_b.go_on.add_permits(1);
        run_b.await.unwrap().unwrap();
        assert_eq!(state_of(&db.pool, id).await, "completed", "{end:?}");
        assert_eq!(effects(&db.pool).await, ["once"], "{end:?}");
    }
}

#[tokio::test]
async fn every_claim_has_a_fence_of_its_own_even_after_a_snooze() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::Snooze)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    sqlx::query("update queue.jobs set run_at = clock_timestamp(), args = $2 where id = $1")
        .bind(id)
        .bind(serde_json::to_value(Act::new("a", End::Complete)).unwrap())
        .execute(&db.pool)
        .await
        .unwrap();
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let (attempt, fence): (i16, i64) =
        sqlx::query_as("select attempt, fence from effects").fetch_one(&db.pool).await.unwrap();
    assert_eq!((attempt, fence), (1, 2), "the attempt was used twice, the fence was not");
}

#[tokio::test]
async fn a_lost_worker_costs_no_attempt_but_a_job_that_kills_workers_is_discarded() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::gated("killer", End::Complete)).await;
    for crash in 1..=5 {
        let gates = Gates::new();
        let lost = worker(&db.pool, &gates, unattended());
        let run = tokio::spawn(async move { lost.run_until_idle().await });
        gates.wait_begun().await;
        run.abort();
        let_lease_run_out(&db.pool, id).await;
        if crash < 5 {
            assert_eq!(state_of(&db.pool, id).await, "running");
        }
    }
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "discarded");
    let attempts = attempts_of(&db.pool, id).await;
    assert_eq!(attempts.iter().map(|a| a.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(attempts.iter().all(|a| a.1 == "crashed" && a.2.as_ref().unwrap().contains("lost")));
}

#[tokio::test]
async fn a_long_run_keeps_its_lease_by_heartbeats() {
    let db = database().await;
    let gates = Gates::new();
    let settings = WorkerSettings {
        lease: Duration::from_secs(2),
        heartbeat: Duration::from_millis(200),
        ..WorkerSettings::default()
    };
    let a = worker(&db.pool, &gates, settings.clone());
    let id = enqueue_job(&db.pool, &Act::gated("long", End::Complete)).await;
    let run = tokio::spawn(async move { a.run_until_idle().await });
    gates.wait_begun().await;

    // Several leases long, a rescuer finds nothing to rescue.
    let rescuer = worker(&db.pool, &Gates::new(), settings);
    for _ in 0..25 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        rescuer.run_until_idle().await.unwrap();
    }
    assert!(attempts_of(&db.pool, id).await.is_empty());
    gates.go_on.add_permits(1);
    assert_eq!(run.await.unwrap().unwrap().completed, 1);
    assert_eq!(attempts_of(&db.pool, id).await.len(), 1);
}

#[tokio::test]
async fn a_run_that_has_completed_its_job_is_not_taken_for_one_that_lost_it() {
    let db = database().await;
    let gates = Gates::new();
    let settings = WorkerSettings {
        lease: Duration::from_secs(6),
        heartbeat: Duration::from_millis(100),
        ..WorkerSettings::default()
    };
    let worker = worker(&db.pool, &gates, settings);
    enqueue_job(&db.pool, &Linger {}).await;
    let run = tokio::spawn(async move { worker.run_until_idle().await });
    gates.wait_begun().await;
    // Renewals find the job gone, while its run has yet to end.
    tokio::time::sleep(Duration::from_secs(1)).await;
    gates.go_on.add_permits(1);
    let summary = run.await.unwrap().unwrap();
    assert_eq!((summary.completed, summary.lease_lost, summary.failed), (1, 0, 0));
}

#[tokio::test]
async fn a_worker_that_cannot_renew_stops_its_handler_before_the_lease_ends() {
    let db = database().await;
    let gates = Gates::new();
    let settings = WorkerSettings {
        lease: Duration::from_millis(1500),
        heartbeat: Duration::from_millis(300),
        ..WorkerSettings::default()
    };
    let a = worker(&db.pool, &gates, settings);
    let id = enqueue_job(&db.pool, &Act::gated("cut off", End::Complete)).await;
    let run = tokio::spawn({
        let a = Arc::clone(&a);
        async move { a.run_until_idle().await }
    });
    gates.wait_begun().await;

    // Whoever holds this lock keeps the heartbeat waiting, as a network that swallows packets
    // would.
    let mut lock = db.pool.begin().await.unwrap();
    sqlx::query("select 1 from queue.jobs where id = $1 for update")
        .bind(id)
        .execute(&mut *lock)
        .await
        .unwrap();
    eventually("the handler is stopped", async || a.summary().lease_lost == 1).await;
    let lease_left: f64 = sqlx::query_scalar(
        "select extract(epoch from lease_expires_at - clock_timestamp())::float8 from queue.jobs",
    )
    .fetch_one(&mut *lock)
    .await
    .unwrap();
    assert!(lease_left > 0.0, "the handler was still running {}s after its lease", -lease_left);
    lock.rollback().await.unwrap();
    run.abort();
}

#[tokio::test]
async fn four_workers_at_once_run_every_job_exactly_once() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let jobs: Vec<_> = (0..2000)
        .map(|n| {
            let job = Act::new(&n.to_string(), End::Complete);
            surety_queue::enqueue::NewJob::new(&job).unwrap()
        })
        .collect();
    surety_queue::enqueue_many(&mut conn, &jobs).await.unwrap();
    drop(conn);

    let stop = CancellationToken::new();
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let settings = WorkerSettings { concurrency: 20, ..WorkerSettings::default() };
            let worker = worker(&db.pool, &Gates::new(), settings);
            let stop = stop.clone();
            tokio::spawn(async move { worker.run(stop).await.completed })
        })
        .collect();
    eventually("all are done", async || {
        count(&db.pool, "select count(*) from queue.jobs").await == 0
    })
    .await;
    stop.cancel();
    let mut completed = 0;
    for run in runs {
        completed += run.await.unwrap();
    }
    assert_eq!(completed, 2000);
    assert_eq!(count(&db.pool, "select count(*) from effects").await, 2000);
    assert_eq!(count(&db.pool, "select count(distinct name) from effects").await, 2000);
    assert_eq!(count(&db.pool, "select count(*) from queue.attempts").await, 2000);
}
