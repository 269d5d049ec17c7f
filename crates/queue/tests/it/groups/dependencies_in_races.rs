//! Jobs that wait for others: several at once, crashes, and unlucky moments.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use surety_queue::JobId;
use surety_queue::groups::IfFailed;

use super::super::kinds::{
    End, assert_invariants_hold, count, database, effects, enqueue_new, let_lease_run_out, state_of,
};
use super::{Running, act, complete_and_be_lost, fleeting, run_until_idle, soon};

const HELD: &str = "select count(*) from queue.jobs where hold = 'dependencies'";

async fn resolve(conn: &mut PgConnection, id: JobId) -> i32 {
    sqlx::query_scalar("select woken from queue.resolve(array[$1::bigint], 1000)")
        .bind(id.0)
        .fetch_one(conn)
        .await
        .unwrap()
}

#[tokio::test]
async fn of_the_last_two_to_end_one_releases_the_job_that_waits_for_both() {
    let db = database().await;
    let first = enqueue_new(&db.pool, act("first", End::Complete)).await;
    let second = enqueue_new(&db.pool, act("second", End::Complete)).await;
    let child = enqueue_new(&db.pool, act("child", End::Complete).after(&[first, second])).await;
    complete_and_be_lost(&db.pool, first).await;
    complete_and_be_lost(&db.pool, second).await;

    // The first has deleted its dependency and sees that of the second; neither has committed.
    let mut one = db.pool.begin().await.unwrap();
    assert_eq!(resolve(&mut one, first).await, 0);
    let url = db.url.clone();
    let other = tokio::spawn(async move {
        let mut conn = PgConnection::connect(&url).await.unwrap();
        resolve(&mut conn, second).await
    });
    let waits = "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'";
    soon("one waits for the other", async || count(&db.pool, waits).await == 1).await;
    one.commit().await.unwrap();

    assert_eq!(other.await.unwrap(), 1, "the one that waited sees what the other did");
    assert_eq!(state_of(&db.pool, child).await, "available");
    // Once more changes nothing.
    let mut conn = db.pool.acquire().await.unwrap();
    assert_eq!(resolve(&mut conn, first).await + resolve(&mut conn, second).await, 0);
}

#[tokio::test]
async fn a_worker_that_is_lost_between_commit_and_resolve_keeps_nobody_waiting() {
    let db = database().await;
    let parent = enqueue_new(&db.pool, fleeting()).await;
    let child = enqueue_new(&db.pool, act("child", End::Complete).after(&[parent])).await;
    complete_and_be_lost(&db.pool, parent).await;
    assert_eq!(state_of(&db.pool, child).await, "scheduled");

    let workers = Running::start(&db.pool, 1);
    soon("the child has run", async || effects(&db.pool).await == ["child"]).await;
    workers.stop().await;
}

#[tokio::test]
async fn a_row_that_somebody_keeps_locked_holds_up_nobody_else() {
    let db = database().await;
    let parent = enqueue_new(&db.pool, act("parent", End::Complete)).await;
    let locked = enqueue_new(&db.pool, act("locked", End::Complete).after(&[parent])).await;
    let free = enqueue_new(&db.pool, act("free", End::Complete).after(&[parent])).await;
    let mut tx = db.pool.begin().await.unwrap();
    sqlx::query("select from queue.jobs where id = $1 for update")
        .bind(locked)
        .execute(&mut *tx)
        .await
        .unwrap();
    run_until_idle(&db.pool).await;
    assert_eq!(state_of(&db.pool, free).await, "completed");
    assert_eq!(state_of(&db.pool, locked).await, "scheduled");
    tx.rollback().await.unwrap();
    run_until_idle(&db.pool).await;
    assert_eq!(effects(&db.pool).await, ["free", "locked", "parent"]);
}

#[tokio::test]
async fn a_job_that_took_its_workers_down_has_ended_like_any_other() {
    let db = database().await;
    let parent = enqueue_new(&db.pool, act("parent", End::Complete)).await;
    let child = enqueue_new(&db.pool, act("child", End::Complete).after(&[parent])).await;
    sqlx::query(
        "update queue.jobs
         set running = true, attempt = 5, crash_count = 4, fence = 1, started_at = now(),
           worker_id = gen_random_uuid(), lease_expires_at = now()
         where id = $1",
    )
    .bind(parent)
    .execute(&db.pool)
    .await
    .unwrap();
    let_lease_run_out(&db.pool, parent).await;
    run_until_idle(&db.pool).await;
    assert_eq!(state_of(&db.pool, parent).await, "discarded");
    assert_eq!(state_of(&db.pool, child).await, "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_enqueued_while_the_one_before_ends_is_not_forgotten() {
    let db = database().await;
    let workers = Running::start(&db.pool, 2);
    for round in 0..300u64 {
        // Kinds with and without a history, and every moment from before the claim to long after.
        let parent = if round % 2 == 0 { fleeting() } else { act("parent", End::Complete) };
        let parent = enqueue_new(&db.pool, parent).await;
        tokio::time::sleep(Duration::from_micros(round * 20)).await;
        enqueue_new(&db.pool, act("child", End::Complete).after(&[parent])).await;
    }
    soon("every child has run", async || {
        count(&db.pool, "select count(*) from effects where name = 'child'").await == 300
    })
    .await;
    assert_eq!(count(&db.pool, HELD).await, 0);
    workers.stop().await;
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_wait_for_many_all_run_once() {
    let db = database().await;
    let mut layer: Vec<JobId> = Vec::new();
    for number in 0..6 {
        let mut next = Vec::new();
        for member in 0..20 {
            let job = act(&format!("{number}-{member:02}"), End::Complete);
            let job = job.after(&layer).after_if_failed(IfFailed::Wait);
            next.push(enqueue_new(&db.pool, job).await);
        }
        layer = next;
    }
    let workers = Running::start(&db.pool, 4);
    soon("all have run", async || effects(&db.pool).await.len() == 120).await;
    workers.stop().await;
    // Each layer was begun after the one before had ended.
    let out_of_order: i64 = count(
        &db.pool,
        "select count(*)
         from effects as earlier
         join effects as later on left(later.name, 1) > left(earlier.name, 1)
         where later.fence < earlier.fence",
    )
    .await;
    assert_eq!(out_of_order, 0);
    assert_eq!(count(&db.pool, "select count(distinct name) from effects").await, 120);
    assert_invariants_hold(&db.pool).await;
}
