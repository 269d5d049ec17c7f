//! Jobs that wait for others.

use std::time::Duration;

use sqlx::PgPool;
use surety_queue::groups::{Dependency, IfFailed};
use surety_queue::operate::cancel;
use surety_queue::operate::discarded::{self, Decision, Resolved};
use surety_queue::{JobId, JobState, NewJob, Unique, enqueue_many};
use time::OffsetDateTime;

use super::super::kinds::{
    Act, End, assert_invariants_hold, count, database, effects, enqueue_new, job, state_of,
    wake_with,
};
use super::{act, execute, fleeting, order, run_until_idle, why_cancelled};

const BY_ADA: Decision<'static> = Decision { by: "ada", reason: "the bank is back" };
const DEPENDENCIES: &str = "select count(*) from queue.dependencies";

/// A job that waits for these.
async fn enqueue_after(pool: &PgPool, name: &str, parents: &[JobId], policy: IfFailed) -> JobId {
    let job = act(name, End::Complete).after(parents).after_if_failed(policy);
    enqueue_new(pool, job).await
}

#[tokio::test]
async fn a_job_runs_after_those_that_it_waits_for() {
    let db = database().await;
    let first = enqueue_new(&db.pool, act("first", End::Complete)).await;
    let second = enqueue_new(&db.pool, act("second", End::Complete).priority(4)).await;
    // Would be claimed before the others.
    let last = act("last", End::Complete).priority(1).after(&[first]).after(&[second, first]);
    let last = enqueue_new(&db.pool, last).await;

    let waiting = job(&db.pool, last).await;
    assert_eq!(waiting.state, JobState::Scheduled);
    let available =
        |job| Dependency { job, state: Some(JobState::Available), if_failed: IfFailed::Cancel };
    assert_eq!(waiting.groups.waits_for, [available(first), available(second)]);
    assert_eq!(run_until_idle(&db.pool).await.completed, 3);

    assert_eq!(order(&db.pool).await, ["first", "second", "last"]);
    assert_eq!(job(&db.pool, last).await.groups.waits_for, []);
    assert_eq!(count(&db.pool, DEPENDENCIES).await, 0);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_job_that_is_discarded_or_cancelled_cancels_those_that_wait_for_it() {
    let db = database().await;
    let cases = [
        (End::Discard, "discarded"),
        (End::DiscardInTx, "discarded"),
        (End::Fail, "discarded"),
        (End::Cancel, "cancelled"),
        (End::CancelInTx, "cancelled"),
    ];
    for (end, how) in cases {
        let parent = enqueue_new(&db.pool, act("parent", end)).await;
        let child = enqueue_after(&db.pool, "child", &[parent], IfFailed::Cancel).await;
        run_until_idle(&db.pool).await;
        assert_eq!(state_of(&db.pool, child).await, "cancelled", "{end:?}");
        let why = format!("job {parent}, for which it waited, was {how}");
        assert_eq!(why_cancelled(&db.pool, child).await, [why]);
    }
    assert!(!effects(&db.pool).await.contains(&"child".to_owned()));
    assert_eq!(count(&db.pool, DEPENDENCIES).await, 0);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_job_may_go_on_whatever_became_of_the_one_before() {
    let db = database().await;
    for end in [End::Discard, End::Cancel] {
        let parent = enqueue_new(&db.pool, act("parent", end)).await;
        let child = enqueue_after(&db.pool, "child", &[parent], IfFailed::Run).await;
        run_until_idle(&db.pool).await;
        assert_eq!(state_of(&db.pool, child).await, "completed", "{end:?}");
    }
    assert_eq!(effects(&db.pool).await, ["child", "child"]);
}

#[tokio::test]
async fn a_job_may_wait_for_the_redrive_of_the_one_before() {
    let db = database().await;
    let parent = enqueue_new(&db.pool, act("parent", End::Discard)).await;
    let child = enqueue_after(&db.pool, "child", &[parent], IfFailed::Wait).await;
    // Twice: what waits is left alone by every further look at it.
    for _ in 0..2 {
        run_until_idle(&db.pool).await;
        assert_eq!(state_of(&db.pool, child).await, "scheduled");
        assert_eq!(
            job(&db.pool, child).await.groups.waits_for,
            [Dependency {
                job: parent,
                state: Some(JobState::Discarded),
                if_failed: IfFailed::Wait
            }]
        );
        assert_invariants_hold(&db.pool).await;
    }
    let mut conn = db.pool.acquire().await.unwrap();
    assert_eq!(discarded::redrive(&mut conn, parent, BY_ADA).await.unwrap(), Resolved::Done);
    // Discarded once more, and redriven once more.
    run_until_idle(&db.pool).await;
    assert_eq!(state_of(&db.pool, child).await, "scheduled");
    assert_eq!(discarded::redrive(&mut conn, parent, BY_ADA).await.unwrap(), Resolved::Done);
    wake_with(&db.pool, parent, &Act::new("parent", End::Complete)).await;
    run_until_idle(&db.pool).await;

    assert_eq!(order(&db.pool).await, ["parent", "child"]);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_job_does_not_wait_for_a_redrive_that_will_never_come() {
    let db = database().await;
    let dismissed = enqueue_new(&db.pool, act("dismissed", End::Discard)).await;
    let cancelled = enqueue_new(&db.pool, act("cancelled", End::Cancel)).await;
    let forgotten = enqueue_new(&db.pool, act("forgotten", End::Discard)).await;
    let mut children = Vec::new();
    for parent in [dismissed, cancelled, forgotten] {
        children.push(enqueue_after(&db.pool, "child", &[parent], IfFailed::Wait).await);
    }
    run_until_idle(&db.pool).await;
    assert_eq!(state_of(&db.pool, children[0]).await, "scheduled");
    assert_eq!(state_of(&db.pool, children[1]).await, "cancelled");

    let mut conn = db.pool.acquire().await.unwrap();
    assert_eq!(discarded::dismiss(&mut conn, dismissed, BY_ADA).await.unwrap(), Resolved::Done);
    // As retention does.
    sqlx::query("delete from queue.finished_jobs where id = $1")
        .bind(forgotten)
        .execute(&db.pool)
        .await
        .unwrap();
    run_until_idle(&db.pool).await;

    for (child, why) in children.iter().zip([
        format!("job {dismissed}, for which it waited, was dismissed"),
        format!("job {cancelled}, for which it waited, was cancelled"),
        format!("job {forgotten}, for which it waited, was discarded, and is no longer kept"),
    ]) {
        assert_eq!(state_of(&db.pool, *child).await, "cancelled");
        assert_eq!(why_cancelled(&db.pool, *child).await, [why]);
    }
}

#[tokio::test]
async fn a_cancelled_job_takes_those_behind_it_along() {
    let db = database().await;
    let first = enqueue_new(&db.pool, act("first", End::Discard)).await;
    let other = enqueue_new(&db.pool, act("other", End::Complete)).await;
    let second = enqueue_after(&db.pool, "second", &[first], IfFailed::Cancel).await;
    let third = enqueue_after(&db.pool, "third", &[other, second], IfFailed::Cancel).await;
    let after_all = enqueue_after(&db.pool, "after all", &[third], IfFailed::Run).await;
    run_until_idle(&db.pool).await;

    for id in [second, third] {
        assert_eq!(state_of(&db.pool, id).await, "cancelled");
    }
    let why = format!("job {second}, for which it waited, was cancelled");
    assert_eq!(why_cancelled(&db.pool, third).await, [why]);
    assert_eq!(state_of(&db.pool, after_all).await, "completed");
    assert_eq!(effects(&db.pool).await, ["after all", "other"]);
    assert_eq!(count(&db.pool, DEPENDENCIES).await, 0);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_job_whose_parents_have_ended_before_does_not_wait() {
    let db = database().await;
    let completed = enqueue_new(&db.pool, act("parent", End::Complete)).await;
    let gone = enqueue_new(&db.pool, fleeting()).await;
    let discarded = enqueue_new(&db.pool, act("parent", End::Discard)).await;
    run_until_idle(&db.pool).await;

    let runs = enqueue_after(&db.pool, "runs", &[completed, gone], IfFailed::Cancel).await;
    let is_cancelled =
        enqueue_after(&db.pool, "is cancelled", &[gone, discarded], IfFailed::Cancel).await;
    let runs_anyway = enqueue_after(&db.pool, "runs anyway", &[discarded], IfFailed::Run).await;
    run_until_idle(&db.pool).await;

    assert_eq!(state_of(&db.pool, runs).await, "completed");
    assert_eq!(state_of(&db.pool, is_cancelled).await, "cancelled");
    assert_eq!(state_of(&db.pool, runs_anyway).await, "completed");
}

#[tokio::test]
async fn a_job_of_a_kind_without_history_is_waited_for_as_any_other() {
    let db = database().await;
    let parent = enqueue_new(&db.pool, fleeting()).await;
    let child = enqueue_after(&db.pool, "child", &[parent], IfFailed::Cancel).await;
    run_until_idle(&db.pool).await;
    assert_eq!(state_of(&db.pool, child).await, "completed");
    assert_eq!(
        count(&db.pool, "select count(*) from queue.all_jobs where kind = 'fleeting'").await,
        0
    );
}

#[tokio::test]
async fn a_delay_holds_besides_the_dependencies() {
    let db = database().await;
    let parent = enqueue_new(&db.pool, act("parent", End::Complete)).await;
    let hour = Duration::from_secs(3600);
    let later = enqueue_new(&db.pool, act("later", End::Complete).after(&[parent]).delay(hour));
    let later = later.await;
    let keyed =
        act("keyed", End::Complete).after(&[parent]).run_at(OffsetDateTime::now_utc() + hour);
    let keyed = enqueue_new(&db.pool, keyed.key("tenant")).await;
    run_until_idle(&db.pool).await;

    assert_eq!(effects(&db.pool).await, ["parent"]);
    for (id, hold) in [(later, None), (keyed, Some("until_due"))] {
        let (found, in_an_hour): (Option<String>, bool) = sqlx::query_as(
            "select hold::text, run_at > now() + interval '59 min' from queue.jobs where id = $1",
        )
        .bind(id)
        .fetch_one(&db.pool)
        .await
        .unwrap();
        assert_eq!((found.as_deref(), in_an_hour), (hold, true));
    }
}

#[tokio::test]
async fn an_operator_may_cancel_a_waiting_job_and_those_behind_it_learn_of_it() {
    let db = database().await;
    let parent = act("parent", End::Complete).delay(Duration::from_secs(3600));
    let parent = enqueue_new(&db.pool, parent).await;
    let child = enqueue_after(&db.pool, "child", &[parent], IfFailed::Cancel).await;
    let grandchild = enqueue_after(&db.pool, "grandchild", &[child], IfFailed::Run).await;
    let mut conn = db.pool.acquire().await.unwrap();
    cancel(&mut conn, child, "ada", "not needed").await.unwrap();
    run_until_idle(&db.pool).await;

    assert_eq!(state_of(&db.pool, child).await, "cancelled");
    assert_eq!(state_of(&db.pool, grandchild).await, "completed");
    assert_eq!(count(&db.pool, DEPENDENCIES).await, 0);
}

#[tokio::test]
async fn thousands_may_wait_for_one() {
    let db = database().await;
    let parent = enqueue_new(&db.pool, fleeting()).await;
    let hopeless = enqueue_new(&db.pool, act("hopeless", End::Discard)).await;
    let mut conn = db.pool.acquire().await.unwrap();
    let children = vec![fleeting().after(&[parent]); 2500];
    enqueue_many(&mut conn, &children).await.unwrap();
    let children = vec![fleeting().after(&[hopeless]); 1500];
    enqueue_many(&mut conn, &children).await.unwrap();
    assert_eq!(count(&db.pool, DEPENDENCIES).await, 4000);

    run_until_idle(&db.pool).await;

    assert_eq!(count(&db.pool, DEPENDENCIES).await, 0);
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 0);
    let cancelled = "select count(*) from queue.finished_jobs where state = 'cancelled'";
    assert_eq!(count(&db.pool, cancelled).await, 1500);
}

#[tokio::test]
async fn a_unique_job_that_is_there_already_does_not_begin_to_wait() {
    let db = database().await;
    let parent = enqueue_new(&db.pool, act("parent", End::Complete)).await;
    let unique = act("unique", End::Complete).unique(Unique::by_args());
    let waiting = enqueue_new(&db.pool, unique.clone().after(&[parent])).await;
    assert_eq!(enqueue_new(&db.pool, unique.clone().after(&[parent, waiting])).await, waiting);
    assert_eq!(count(&db.pool, DEPENDENCIES).await, 1);
    run_until_idle(&db.pool).await;
    assert_eq!(order(&db.pool).await, ["parent", "unique"]);
}

#[tokio::test]
async fn jobs_may_wait_for_others_in_sql() {
    let db = database().await;
    let parent = enqueue_new(&db.pool, act("parent", End::Complete)).await;
    let id: i64 = sqlx::query_scalar(
        r#"select job_id
           from queue.enqueue(
             'act', '{"name": "child", "end": "Complete", "gated": false}',
             after => array[$1, $1], if_failed => 'wait'
           )"#,
    )
    .bind(parent.0)
    .fetch_one(&db.pool)
    .await
    .unwrap();
    let waits_for = job(&db.pool, JobId(id)).await.groups.waits_for;
    assert_eq!(waits_for.iter().map(|one| one.if_failed).collect::<Vec<_>>(), [IfFailed::Wait]);
    run_until_idle(&db.pool).await;
    assert_eq!(order(&db.pool).await, ["parent", "child"]);
    assert_eq!(state_of(&db.pool, JobId(id)).await, "completed");
}

#[tokio::test]
async fn the_database_refuses_a_cycle() {
    let db = database().await;
    let a = enqueue_new(&db.pool, act("a", End::Complete)).await;
    let b = enqueue_new(&db.pool, NewJob::raw("act", serde_json::json!({})).after(&[a])).await;
    for (job, depends_on) in [(a, b), (a, a)] {
        let error = sqlx::query("insert into queue.dependencies values ($1, $2)")
            .bind(job)
            .bind(depends_on)
            .execute(&db.pool)
            .await
            .unwrap_err();
        let constraint = error.as_database_error().and_then(|error| error.constraint());
        assert_eq!(constraint, Some("dependencies_have_no_cycle"));
    }
}

#[tokio::test]
async fn a_job_that_is_held_for_nothing_is_released() {
    let db = database().await;
    let id = enqueue_new(&db.pool, act("a", End::Complete)).await;
    // As whoever deletes rows by hand may leave it.
    execute(&db.pool, "update queue.jobs set hold = 'dependencies'").await;
    run_until_idle(&db.pool).await;
    assert_eq!(state_of(&db.pool, id).await, "completed");
}
