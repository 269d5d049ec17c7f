//! Batches and their callbacks.

use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use surety_queue::groups::{Batch, BatchId, BatchStatus, Members, NewBatch};
use surety_queue::operate::discarded::{self, Decision, Resolved};
use surety_queue::{InvalidJob, JobId, NewJob, QueueError, Unique, enqueue, enqueue_many};

use super::super::kinds::{
    Act, Batched, End, Pay, assert_invariants_hold, count, database, effects, enqueue_new, job,
    state_of, wake_with,
};
use super::{Grow, act, execute, fleeting, order, run_until_idle, status};

const BY_ADA: Decision<'static> = Decision { by: "ada", reason: "the bank is back" };

/// A batch with all callbacks, which are effects: `done`, `completed` and `failed`.
fn batch() -> Batch {
    Batch::new()
        .description("a test")
        .on_done(act("done", End::Complete))
        .on_completed(act("completed", End::Complete))
        .on_failed(act("failed", End::Complete))
}

async fn enqueue_batch(pool: &PgPool, batch: Batch, members: Vec<NewJob>) -> NewBatch {
    let mut conn = pool.acquire().await.unwrap();
    batch.enqueue(&mut conn, members).await.unwrap()
}

async fn redrive(pool: &PgPool, id: JobId, end: End) {
    let mut conn = pool.acquire().await.unwrap();
    assert_eq!(discarded::redrive(&mut conn, id, BY_ADA).await.unwrap(), Resolved::Done);
    wake_with(pool, id, &Act::new("redriven", end)).await;
}

/// What happened to the batch: failed, done, completed.
fn ends(status: &BatchStatus) -> (bool, bool, bool) {
    (status.failed_at.is_some(), status.done_at.is_some(), status.completed_at.is_some())
}

#[tokio::test]
async fn a_batch_calls_back_when_all_its_members_are_completed() {
    let db = database().await;
    let members = vec![act("a", End::Complete), act("b", End::CompleteWithoutEffects), fleeting()];
    let batch = enqueue_batch(&db.pool, batch(), members).await;
    assert_eq!(batch.members.len(), 3);
    let before = status(&db.pool, batch.id).await;
    assert_eq!(before.members, Members { waiting: 3, ..Members::default() });
    assert_eq!(before.description.as_deref(), Some("a test"));
    assert_eq!(job(&db.pool, batch.members[0].id()).await.groups.batch, Some(batch.id));

    run_until_idle(&db.pool).await;

    assert_eq!(effects(&db.pool).await, ["a", "completed", "done"]);
    let after = status(&db.pool, batch.id).await;
    assert_eq!(ends(&after), (false, true, true));
    assert_eq!(after.members, Members { completed: 3, ..Members::default() });
    assert_eq!(job(&db.pool, batch.members[2].id()).await.groups.batch, Some(batch.id));
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn the_first_failure_calls_back_once_while_the_others_go_on() {
    let db = database().await;
    let later = act("later", End::Complete).delay(Duration::from_secs(3600));
    let members = vec![
        act("x", End::Discard),
        act("y", End::Cancel),
        act("z", End::Fail),
        act("a", End::Complete),
        later,
    ];
    let batch = enqueue_batch(&db.pool, batch(), members).await;
    run_until_idle(&db.pool).await;
    assert_eq!(effects(&db.pool).await, ["a", "failed"]);
    assert_eq!(ends(&status(&db.pool, batch.id).await), (true, false, false));

    execute(&db.pool, "update queue.jobs set run_at = clock_timestamp()").await;
    run_until_idle(&db.pool).await;

    assert_eq!(effects(&db.pool).await, ["a", "done", "failed", "later"]);
    let after = status(&db.pool, batch.id).await;
    assert_eq!(ends(&after), (true, true, false));
    let expected = Members { completed: 2, discarded: 2, cancelled: 1, ..Members::default() };
    assert_eq!(after.members, expected);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_batch_is_completed_once_its_failures_were_redriven() {
    let db = database().await;
    let members = vec![act("x", End::Discard), act("y", End::Discard), act("a", End::Complete)];
    let batch = enqueue_batch(&db.pool, batch(), members).await;
    let (x, y) = (batch.members[0].id(), batch.members[1].id());
    run_until_idle(&db.pool).await;
    assert_eq!(effects(&db.pool).await, ["a", "done", "failed"]);

    redrive(&db.pool, x, End::Complete).await;
    assert_invariants_hold(&db.pool).await;
    run_until_idle(&db.pool).await;
    assert_eq!(ends(&status(&db.pool, batch.id).await), (true, true, false), "y is discarded");
    // Fails again: no callback is enqueued twice.
    redrive(&db.pool, y, End::Discard).await;
    run_until_idle(&db.pool).await;
    assert_eq!(effects(&db.pool).await, ["a", "done", "failed", "redriven"]);
    redrive(&db.pool, y, End::Complete).await;
    run_until_idle(&db.pool).await;

    assert_eq!(
        effects(&db.pool).await,
        ["a", "completed", "done", "failed", "redriven", "redriven"]
    );
    assert_eq!(ends(&status(&db.pool, batch.id).await), (true, true, true));
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_member_that_is_redriven_before_the_batch_is_done_counts_as_it_ends() {
    let db = database().await;
    let later = act("later", End::Complete).delay(Duration::from_secs(3600));
    let batch = enqueue_batch(&db.pool, batch(), vec![act("x", End::Discard), later]).await;
    run_until_idle(&db.pool).await;
    redrive(&db.pool, batch.members[0].id(), End::Complete).await;
    execute(&db.pool, "update queue.jobs set run_at = clock_timestamp()").await;
    run_until_idle(&db.pool).await;
    assert_eq!(effects(&db.pool).await, ["completed", "done", "failed", "later", "redriven"]);
}

#[tokio::test]
async fn failures_that_retention_has_dropped_are_failures_still() {
    let db = database().await;
    let batch = enqueue_batch(&db.pool, batch(), vec![act("x", End::Discard)]).await;
    run_until_idle(&db.pool).await;
    // As if a month had passed.
    execute(
        &db.pool,
        "delete from queue.finished_jobs where state = 'discarded';
         update queue.batches set failed_at = now() - interval '31 days'",
    )
    .await;
    run_until_idle(&db.pool).await;
    assert_eq!(ends(&status(&db.pool, batch.id).await), (true, true, false));
}

#[tokio::test]
async fn members_may_add_members() {
    let db = database().await;
    let mut tx = db.pool.begin().await.unwrap();
    let (id, batch) = Batch::reserve(&mut tx).await.unwrap();
    let report = NewJob::new(&Act::new(&format!("batch {id} is done"), End::Complete)).unwrap();
    let seed = NewJob::new(&Grow { batch: id, generations: 20 }).unwrap();
    let batch = batch.on_done(report).enqueue(&mut tx, vec![seed]).await.unwrap();
    assert_eq!(batch.id, id);
    // Whoever makes it adds to it, too.
    enqueue(&mut tx, act("added", End::Complete).batch(id)).await.unwrap();
    let two = [act("two", End::Complete).batch(id), fleeting().batch(id)];
    enqueue_many(&mut tx, &two).await.unwrap();
    tx.commit().await.unwrap();
    run_until_idle(&db.pool).await;

    let names = order(&db.pool).await;
    assert_eq!(names.last(), Some(&format!("batch {id} is done")));
    assert_eq!(names.len(), 3);
    assert_eq!(status(&db.pool, id).await.members.completed, 21 + 3);
}

#[tokio::test]
async fn a_batch_that_is_done_takes_no_more() {
    let db = database().await;
    let batch = enqueue_batch(&db.pool, batch(), vec![act("a", End::Complete)]).await;
    run_until_idle(&db.pool).await;
    let before = effects(&db.pool).await;
    for id in [batch.id, BatchId(4711)] {
        let mut tx = db.pool.begin().await.unwrap();
        enqueue(&mut tx, act("beside", End::Complete)).await.unwrap();
        let plain = enqueue(&mut tx, act("b", End::Complete).batch(id)).await;
        assert!(matches!(plain, Err(QueueError::NoOpenBatch(closed)) if closed == id));
        let unique = act("b", End::Complete).batch(id).unique(Unique::by_args());
        assert!(matches!(enqueue(&mut tx, unique).await, Err(QueueError::NoOpenBatch(_))));
        let two = [act("b", End::Complete), act("b", End::Complete).batch(id)];
        assert!(matches!(enqueue_many(&mut tx, &two).await, Err(QueueError::NoOpenBatch(_))));
        // The caller's transaction goes on.
        tx.commit().await.unwrap();
        let error = sqlx::query("select from queue.enqueue('act', batch_id => $1)")
            .bind(id.0)
            .execute(&db.pool)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("is done, or there is none"), "{error}");
    }
    run_until_idle(&db.pool).await;
    assert_eq!(effects(&db.pool).await.len(), before.len() + 2);
}

#[tokio::test]
async fn a_batch_without_members_is_done_at_once() {
    let db = database().await;
    let batch = enqueue_batch(&db.pool, batch(), Vec::new()).await;
    run_until_idle(&db.pool).await;
    assert_eq!(effects(&db.pool).await, ["completed", "done"]);
    assert_eq!(ends(&status(&db.pool, batch.id).await), (false, true, true));
}

#[tokio::test]
async fn jobs_that_are_done_many_at_once_are_members_as_any() {
    let db = database().await;
    let member = |name: &str| NewJob::new(&Batched { name: name.into() }).unwrap();
    let mut members: Vec<NewJob> = (0..120).map(|n| member(&format!("m{n}"))).collect();
    enqueue_batch(&db.pool, batch(), members.clone()).await;
    run_until_idle(&db.pool).await;
    assert_eq!(count(&db.pool, "select count(*) from effects").await, 122, "done and completed");

    members.push(member("poison"));
    enqueue_batch(&db.pool, batch(), members).await;
    run_until_idle(&db.pool).await;
    assert_eq!(count(&db.pool, "select count(*) from effects").await, 122 + 122);
    assert_eq!(count(&db.pool, "select count(*) from effects where name = 'failed'").await, 1);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_callback_is_enqueued_as_it_was_given() {
    let db = database().await;
    let callback = NewJob::new(&Pay(Act::new("a", End::Complete)))
        .unwrap()
        .queue("elsewhere")
        .priority(4)
        .max_attempts(7)
        .key("tenant")
        .tag("one")
        .tag("two \"quoted\"")
        .delay(Duration::from_secs(3600));
    enqueue_batch(&db.pool, Batch::new().on_done(callback.clone()), Vec::new()).await;
    run_until_idle(&db.pool).await;
    let expected = enqueue_new(&db.pool, callback).await;
    let differences: i64 = sqlx::query_scalar(
        "select count(*)
         from queue.jobs as one
         join queue.jobs as other on other.id <> one.id
         where one.id = $1
           and (
             (to_jsonb(one) - array['id', 'run_at', 'enqueued_at'])
               <> (to_jsonb(other) - array['id', 'run_at', 'enqueued_at'])
             or abs(extract(epoch from one.run_at - other.run_at)) > 60
           )",
    )
    .bind(expected)
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(differences, 0);
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 2);
}

#[tokio::test]
async fn a_callback_that_could_not_be_enqueued_is_refused_with_its_batch() {
    let db = database().await;
    let parent = enqueue_new(&db.pool, act("parent", End::Complete)).await;
    let cases = [
        (act("u", End::Complete).unique(Unique::by_args()), "is unique"),
        (act("w", End::Complete).after(&[parent]), "waits for other jobs"),
        (act("b", End::Complete).batch(BatchId(1)), "is in a batch itself"),
    ];
    let mut conn = db.pool.acquire().await.unwrap();
    for (callback, why) in cases {
        let error = Batch::new().on_failed(callback).enqueue(&mut conn, Vec::new()).await;
        assert!(matches!(error, Err(QueueError::Callback(found)) if found == why), "{why}");
    }
    let impossible = [
        (NewJob::raw("x", json!({})).priority(9), InvalidJob::Priority),
        (NewJob::raw("x", json!({})).max_attempts(0), InvalidJob::MaxAttempts),
        (NewJob::raw("", json!({})), InvalidJob::Kind),
        (NewJob::raw("x", json!({})).queue(""), InvalidJob::Queue),
        (NewJob::raw("x", json!({})).key("k".repeat(201)), InvalidJob::Key),
    ];
    for (callback, expected) in impossible {
        let batch = Batch::new().on_completed(callback.clone());
        let error = batch.enqueue(&mut conn, Vec::new()).await.unwrap_err();
        let QueueError::InvalidJob(told) = error else { panic!("{error}") };
        assert_eq!(told, expected, "{callback:?}");
    }
    assert_eq!(count(&db.pool, "select count(*) from queue.batches").await, 0);
}

#[tokio::test]
async fn a_waiting_member_that_is_cancelled_with_its_parent_ends_the_batch() {
    let db = database().await;
    let parent = enqueue_new(&db.pool, act("parent", End::Discard)).await;
    let batch =
        enqueue_batch(&db.pool, batch(), vec![act("child", End::Complete).after(&[parent])]).await;
    run_until_idle(&db.pool).await;
    assert_eq!(state_of(&db.pool, batch.members[0].id()).await, "cancelled");
    assert_eq!(effects(&db.pool).await, ["done", "failed"]);
}
