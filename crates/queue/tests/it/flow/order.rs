//! In an ordered queue the jobs of a key run one after another, and a failing one means for those
//! behind it what the queue's rule says.

use std::time::Duration;

use surety_queue::JobId;
use surety_queue::operate::discarded::{self, Decision, Resolved};
use surety_queue::operate::queues::{BlockCause, Limits, OnPoison, blocked_keys, unblock_key};
use surety_queue::operate::{CancelOutcome, cancel};

use super::{Work, count, database, enqueue_all, limit, order_of, work_off, worker};
use crate::support::TestDb;

fn ordered(on_poison: OnPoison) -> Limits {
    Limits { ordered: Some(on_poison), ..Limits::default() }
}

/// A job that fails for ever, two behind it, and one of another key.
async fn poisoned(db: &TestDb, on_poison: OnPoison) -> Vec<JobId> {
    limit(db, ordered(on_poison)).await;
    let jobs = [
        Work::failing(100).job().key("a"),
        Work::new(0).job().key("a"),
        Work::new(0).job().key("a"),
        Work::new(0).job().key("b"),
    ];
    enqueue_all(db, &jobs).await
}

/// Runs all that can run, retries included.
async fn run_out(db: &TestDb) {
    let worker = worker(db, 10);
    for _ in 0..10 {
        worker.run_until_idle().await.unwrap();
        sqlx::query("update queue.jobs set run_at = clock_timestamp() where not running")
            .execute(&db.pool)
            .await
            .unwrap();
    }
}

async fn completed(db: &TestDb) -> Vec<JobId> {
    sqlx::query_scalar(
        "select job_id from queue.attempts where outcome = 'completed' order by fence",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn jobs_of_a_key_complete_in_their_order_with_many_workers_and_failures() {
    let db = database().await;
    limit(&db, ordered(OnPoison::Block)).await;
    let jobs: Vec<_> = (0..60)
        .map(|n| {
            let work = if n % 7 == 0 { Work::failing(1) } else { Work::new(2) };
            work.job().key(format!("k{}", n % 5))
        })
        .collect();
    let ids = enqueue_all(&db, &jobs).await;
    work_off(&db, 3, 10).await;
    for key in 0..5 {
        let expected: Vec<JobId> = ids.iter().copied().skip(key).step_by(5).collect();
        assert_eq!(order_of(&db, Some(&format!("k{key}"))).await, expected);
    }
    let overlaps = count(
        &db,
        "select count(*) from runs as one join runs as other
           on other.key = one.key and other.id > one.id and other.began_at < one.ended_at",
    )
    .await;
    assert_eq!(overlaps, 0);
}

#[tokio::test]
async fn a_poisoned_head_blocks_its_key_until_it_is_dismissed() {
    let db = database().await;
    let ids = poisoned(&db, OnPoison::Block).await;
    run_out(&db).await;
    assert_eq!(completed(&db).await, [ids[3]]);
    let mut conn = db.pool.acquire().await.unwrap();
    let blocked = blocked_keys(&mut conn, Some("default"), 10).await.unwrap();
    assert_eq!(blocked.len(), 1);
    assert_eq!((blocked[0].key.as_str(), blocked[0].job_id), ("a", ids[0]));
    assert_eq!((blocked[0].cause, blocked[0].waiting), (BlockCause::Discarded, 2));

    let decision = Decision { by: "ada", reason: "settled by hand" };
    let dismissed = discarded::dismiss(&mut conn, ids[0], decision).await.unwrap();
    assert_eq!(dismissed, Resolved::Done);
    run_out(&db).await;
    assert_eq!(completed(&db).await, [ids[3], ids[1], ids[2]]);
    assert!(blocked_keys(&mut conn, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_redriven_head_is_the_first_of_its_key_again() {
    let db = database().await;
    let ids = poisoned(&db, OnPoison::Block).await;
    run_out(&db).await;
    sqlx::query("update queue.finished_jobs set args = jsonb_set(args, '{failures}', '0')")
        .execute(&db.pool)
        .await
        .unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    let decision = Decision { by: "ada", reason: "mended" };
    let redriven = discarded::redrive(&mut conn, ids[0], decision).await.unwrap();
    assert_eq!(redriven, Resolved::Done);
    run_out(&db).await;
    assert_eq!(completed(&db).await, [ids[3], ids[0], ids[1], ids[2]]);
}

#[tokio::test]
async fn a_poisoned_head_is_skipped_after_some_attempts() {
    let db = database().await;
    let ids = poisoned(&db, OnPoison::SkipAfter(2)).await;
    run_out(&db).await;
    assert_eq!(completed(&db).await, [ids[3], ids[1], ids[2]]);
    let failed = count(&db, "select count(*) from queue.attempts where outcome = 'failed'").await;
    assert_eq!(failed, 2);
    assert_eq!(count(&db, "select count(*) from queue.blocked_keys").await, 0);
}

#[tokio::test]
async fn a_parked_key_waits_for_somebody_before_its_head_is_tried_again() {
    let db = database().await;
    let ids = poisoned(&db, OnPoison::Park).await;
    run_out(&db).await;
    let tries = "select count(*) from queue.attempts where outcome = 'failed'";
    assert_eq!((completed(&db).await, count(&db, tries).await), (vec![ids[3]], 1));
    let mut conn = db.pool.acquire().await.unwrap();
    assert_eq!(blocked_keys(&mut conn, None, 10).await.unwrap()[0].cause, BlockCause::Parked);

    let head = unblock_key(&mut conn, "default", "a", "ada", "try again").await.unwrap();
    assert_eq!(head, Some(ids[0]));
    run_out(&db).await;
    assert_eq!(count(&db, tries).await, 2, "tried once, and parked again");
    let nobody = unblock_key(&mut conn, "default", "other", "ada", "why").await.unwrap();
    assert_eq!(nobody, None);

    // Without the rule nothing is in its way.
    surety_queue::operate::queues::clear_limits(&mut conn, "default").await.unwrap();
    run_out(&db).await;
    assert_eq!(completed(&db).await, [ids[3], ids[1], ids[2]]);
    let interventions: Vec<(String, String)> =
        sqlx::query_as("select action, made_by from queue.interventions")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(interventions, [("unblock_key".to_owned(), "ada".to_owned())]);
}

#[tokio::test]
async fn a_parked_head_that_is_cancelled_lets_its_key_go_on() {
    let db = database().await;
    let ids = poisoned(&db, OnPoison::Park).await;
    run_out(&db).await;
    let mut conn = db.pool.acquire().await.unwrap();
    let outcome = cancel(&mut conn, ids[0], "ada", "not wanted").await.unwrap();
    assert_eq!(outcome, Some(CancelOutcome::Cancelled));
    run_out(&db).await;
    assert_eq!(completed(&db).await, [ids[3], ids[1], ids[2]]);
}

#[tokio::test]
async fn a_head_that_waits_for_its_retry_holds_up_its_key_but_no_other() {
    let db = database().await;
    limit(&db, ordered(OnPoison::Block)).await;
    let jobs = [
        Work::new(0).job().key("a").delay(Duration::from_secs(3600)),
        Work::new(0).job().key("a"),
        Work::new(0).job().key("b"),
        Work::new(0).job(),
    ];
    let ids = enqueue_all(&db, &jobs).await;
    worker(&db, 10).run_until_idle().await.unwrap();
    let mut done = completed(&db).await;
    done.sort();
    assert_eq!(done, [ids[2], ids[3]]);
}
