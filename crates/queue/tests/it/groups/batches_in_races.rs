//! Batches: several workers at once, crashes, and unlucky moments.

use surety_queue::groups::{Batch, BatchId};
use surety_queue::{NewJob, enqueue};

use super::super::kinds::{End, assert_invariants_hold, count, database, effects, enqueue_new};
use super::{Running, act, complete_and_be_lost, execute, fleeting, run_until_idle, soon, status};
use crate::support::TestDb;

fn callbacks() -> Batch {
    Batch::new()
        .on_done(act("done", End::Complete))
        .on_completed(act("completed", End::Complete))
        .on_failed(act("failed", End::Complete))
}

async fn is_done(db: &TestDb, id: BatchId) -> bool {
    status(&db.pool, id).await.done_at.is_some()
}

async fn enqueue_batch(db: &TestDb, members: Vec<NewJob>) -> surety_queue::groups::NewBatch {
    let mut conn = db.pool.acquire().await.unwrap();
    callbacks().enqueue(&mut conn, members).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_are_enqueued_exactly_once_with_four_workers_and_a_thousand_members() {
    let db = database().await;
    let workers = Running::start(&db.pool, 4);
    let all_completed = enqueue_batch(&db, vec![fleeting(); 1000]).await;
    let mut members = vec![act("member", End::Complete); 997];
    members.push(act("x", End::Discard));
    members.push(act("y", End::Cancel));
    members.push(act("z", End::Discard));
    let some_failed = enqueue_batch(&db, members).await;
    soon("both batches are done", async || {
        is_done(&db, all_completed.id).await && is_done(&db, some_failed.id).await
    })
    .await;
    let callbacks = "select count(*) from effects where name <> 'member'";
    soon("callbacks have run", async || count(&db.pool, callbacks).await == 4).await;
    // Time for one more, which there must not be.
    tokio::time::sleep(std::time::Duration::from_millis(2000)).await;
    workers.stop().await;

    let mut names = effects(&db.pool).await;
    names.retain(|name| name != "member");
    assert_eq!(names, ["completed", "done", "done", "failed"]);
    let members = status(&db.pool, some_failed.id).await.members;
    assert_eq!((members.completed, members.discarded, members.cancelled), (997, 2, 1));
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_batches_end_whoever_ends_last() {
    let db = database().await;
    let workers = Running::start(&db.pool, 4);
    for _ in 0..100 {
        enqueue_batch(&db, vec![act("member", End::Complete); 4]).await;
    }
    let called_back = "select count(*) from effects where name in ('done', 'completed')";
    soon("all batches are done", async || count(&db.pool, called_back).await == 200).await;
    workers.stop().await;
    assert_eq!(count(&db.pool, "select count(*) from effects").await, 600);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_worker_that_is_lost_between_commit_and_resolve_costs_no_callback() {
    let db = database().await;
    let batch = enqueue_batch(&db, vec![act("a", End::Complete), act("b", End::Complete)]).await;
    for member in &batch.members {
        complete_and_be_lost(&db.pool, member.id()).await;
    }
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 0, "no callback yet");

    let workers = Running::start(&db.pool, 2);
    soon("the callbacks have run", async || effects(&db.pool).await == ["completed", "done"]).await;
    workers.stop().await;
}

#[tokio::test]
async fn of_a_redriven_member_too() {
    let db = database().await;
    let batch = enqueue_batch(&db, vec![act("a", End::Discard)]).await;
    run_until_idle(&db.pool).await;
    let id = batch.members[0].id();
    let mut conn = db.pool.acquire().await.unwrap();
    let by_ada = surety_queue::operate::discarded::Decision { by: "ada", reason: "again" };
    let redriven = surety_queue::operate::discarded::redrive(&mut conn, id, by_ada).await.unwrap();
    assert_eq!(redriven, surety_queue::operate::discarded::Resolved::Done);
    complete_and_be_lost(&db.pool, id).await;
    let workers = Running::start(&db.pool, 1);
    soon("the callback has run", async || {
        effects(&db.pool).await == ["completed", "done", "failed"]
    })
    .await;
    workers.stop().await;
}

#[tokio::test]
async fn a_batch_is_not_done_while_somebody_is_adding_to_it() {
    let db = database().await;
    for (round, commits) in [(1, true), (2, false)] {
        let batch = enqueue_batch(&db, vec![act("member", End::Complete)]).await;
        let mut adding = db.pool.begin().await.unwrap();
        enqueue(&mut adding, act("added", End::Complete).batch(batch.id)).await.unwrap();
        // The last member that is to be seen ends, and nobody waits for whoever is adding.
        run_until_idle(&db.pool).await;
        assert!(!is_done(&db, batch.id).await);

        if commits {
            adding.commit().await.unwrap();
        } else {
            adding.rollback().await.unwrap();
        }
        run_until_idle(&db.pool).await;
        assert!(is_done(&db, batch.id).await);
        let added = "select count(*) from effects where name = 'added'";
        assert_eq!(count(&db.pool, added).await, 1);
        let done = "select count(*) from effects where name = 'done'";
        assert_eq!(count(&db.pool, done).await, round);
    }
}

#[tokio::test]
async fn batches_that_were_done_long_ago_are_dropped() {
    let db = database().await;
    let old = enqueue_batch(&db, Vec::new()).await;
    let young = enqueue_batch(&db, Vec::new()).await;
    let open = enqueue_batch(&db, vec![fleeting()]).await;
    enqueue_new(&db.pool, fleeting()).await;
    execute(
        &db.pool,
        "update queue.batches
         set done_at = now() - make_interval(days => case id when 1 then 31 else 29 end)
         where id < 3;
         update queue.jobs set run_at = now() + interval '1 hour'",
    )
    .await;
    assert_eq!(old.id, BatchId(1));
    let workers = Running::start(&db.pool, 1);
    soon("the old one is dropped", async || {
        count(&db.pool, "select count(*) from queue.batches").await == 2
    })
    .await;
    workers.stop().await;
    assert!(is_done(&db, young.id).await && !is_done(&db, open.id).await);
}
