//! Migrations of the queue, with jobs in it.

use sqlx::PgPool;
use surety::db::{self, MigrationPatience};

use super::kinds::{
    Act, End, Gates, Pay, assert_invariants_hold, count, database, effects, enqueue_job,
    idle_worker, state_of, unattended, worker,
};

/// Everything that a job is, without the columns that migration 8 adds.
async fn jobs(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select concat_ws(' ', id, queue, kind, priority, state, run_at, attempt, max_attempts,
                          crash_count, fence, lease_expires_at, enqueued_at, finished_at, args)
         from queue.all_jobs order by id",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn migration_8_can_be_undone_and_applied_again_with_jobs_in_every_state() {
    let db = database().await;
    for end in [End::Complete, End::Fail, End::Cancel, End::SnoozeBecause] {
        enqueue_job(&db.pool, &Act::new("a", end)).await;
    }
    enqueue_job(&db.pool, &Pay(Act::new("b", End::Snooze))).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let gates = Gates::new();
    let busy = worker(&db.pool, &gates, unattended());
    let running = enqueue_job(&db.pool, &Act::gated("c", End::Complete)).await;
    let run = tokio::spawn(async move { busy.run_until_idle().await });
    gates.wait_begun().await;
    let before = jobs(&db.pool).await;
    assert_eq!(before.len(), 6);

    db::revert_to(&db.pool, 7, MigrationPatience::default()).await.unwrap();
    assert_eq!(jobs(&db.pool).await, before);
    db::migrate(&db.pool).await.unwrap();
    assert_eq!(jobs(&db.pool).await, before);

    // What was running meanwhile goes on, and what waited runs.
    gates.go_on.add_permits(1);
    assert_eq!(run.await.unwrap().unwrap().completed, 1);
    assert_eq!(state_of(&db.pool, running).await, "completed");
    sqlx::query("update queue.jobs set run_at = clock_timestamp()")
        .execute(&db.pool)
        .await
        .unwrap();
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 2, "snoozed again");
    assert_eq!(effects(&db.pool).await, ["a", "c"]);
    assert_invariants_hold(&db.pool).await;
}
