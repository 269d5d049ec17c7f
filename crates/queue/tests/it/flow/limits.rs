//! Limits hold over all workers; keys take fair turns.

use std::time::Duration;

use surety_queue::QueueError;
use surety_queue::operate::queues::{Limits, OnPoison, clear_limits, list, set_limits};

use super::{Work, count, database, enqueue_all, limit, order_of, work_off, worker};

/// The most runs that were going on at once, of one key if told so.
const MOST_AT_ONCE: &str = "
    select coalesce(max(at_once), 0) from (
      select count(*) as at_once
      from runs as one
      join runs as other
        on other.began_at <= one.began_at and coalesce(other.ended_at, 'infinity') > one.began_at
      group by one.id
    ) as counted";
const MOST_AT_ONCE_OF_A_KEY: &str = "
    select coalesce(max(at_once), 0) from (
      select count(*) as at_once
      from runs as one
      join runs as other
        on other.key = one.key
          and other.began_at <= one.began_at
          and coalesce(other.ended_at, 'infinity') > one.began_at
      group by one.id
    ) as counted";

#[tokio::test]
async fn no_more_jobs_of_a_queue_run_at_once_than_its_limit_over_all_workers() {
    let db = database().await;
    limit(&db, Limits { max_running: Some(3), ..Limits::default() }).await;
    enqueue_all(&db, &vec![Work::new(10).job(); 60]).await;
    work_off(&db, 3, 20).await;
    assert_eq!(count(&db, "select count(*) from runs").await, 60);
    let most = count(&db, MOST_AT_ONCE).await;
    assert!((2..=3).contains(&most), "{most} at once");
}

#[tokio::test]
async fn no_more_jobs_of_a_key_run_at_once_than_its_limit_and_others_are_not_held_up() {
    let db = database().await;
    limit(&db, Limits { max_running_per_key: Some(2), ..Limits::default() }).await;
    let jobs: Vec<_> = (0..60).map(|n| Work::new(10).job().key(format!("k{}", n % 3))).collect();
    enqueue_all(&db, &jobs).await;
    enqueue_all(&db, &vec![Work::new(10).job(); 20]).await;
    work_off(&db, 3, 20).await;
    assert_eq!(count(&db, "select count(*) from runs").await, 80);
    assert_eq!(count(&db, MOST_AT_ONCE_OF_A_KEY).await, 2);
    assert!(count(&db, MOST_AT_ONCE).await > 4, "the three keys ran side by side");
}

#[tokio::test]
async fn no_more_jobs_start_in_a_period_than_the_rate_over_all_workers() {
    let db = database().await;
    // What starts is counted in twentieths of the period: a machine that stalls for longer between
    // the count and the start would seem to let more through.
    let rate_period = Duration::from_secs(2);
    limit(&db, Limits { rate: Some(20), rate_period, ..Limits::default() }).await;
    enqueue_all(&db, &vec![Work::new(0).job(); 60]).await;
    work_off(&db, 3, 50).await;
    let most = count(
        &db,
        "select max(started) from (
           select count(*) over (
             order by started_at range between interval '2 s' preceding and current row
           ) as started
           from queue.attempts
         ) as counted",
    )
    .await;
    assert_eq!(most, 20);
    // 20 at once, and then 20 more each 2.1 s at the earliest.
    let millis = count(
        &db,
        "select (extract(epoch from max(started_at) - min(started_at)) * 1000)::bigint
         from queue.attempts",
    )
    .await;
    assert!((4000..15_000).contains(&millis), "{millis} ms");
}

#[tokio::test]
async fn a_rate_of_a_key_bounds_that_key_alone() {
    let db = database().await;
    let rate_period = Duration::from_secs(30);
    limit(&db, Limits { rate_per_key: Some(5), rate_period, ..Limits::default() }).await;
    let jobs: Vec<_> = (0..30).map(|n| Work::new(0).job().key(format!("k{}", n % 2))).collect();
    enqueue_all(&db, &jobs).await;
    worker(&db, 50).run_until_idle().await.unwrap();
    assert_eq!(order_of(&db, Some("k0")).await.len(), 5);
    assert_eq!(order_of(&db, Some("k1")).await.len(), 5);
    assert_eq!(count(&db, "select count(*) from queue.jobs").await, 20);
}

#[tokio::test]
async fn one_job_of_another_key_does_not_wait_for_thousands_of_the_first() {
    let db = database().await;
    enqueue_all(&db, &vec![Work::new(0).job().key("crowd"); 2000]).await;
    let alone = enqueue_all(&db, &[Work::new(0).job().key("alone")]).await;
    // One slot at a time is the hardest case.
    worker(&db, 1).run_until_idle().await.unwrap();
    let before = count(
        &db,
        "select count(*) from runs where fence < (select fence from runs where key = 'alone')",
    )
    .await;
    assert_eq!(order_of(&db, Some("alone")).await, alone);
    assert!(before <= 1, "{before} jobs ran before it");
}

#[tokio::test]
async fn jobs_with_and_without_keys_take_turns() {
    let db = database().await;
    enqueue_all(&db, &vec![Work::new(0).job(); 400]).await;
    enqueue_all(&db, &vec![Work::new(0).job().key("k"); 10]).await;
    worker(&db, 10).run_until_idle().await.unwrap();
    let before = count(
        &db,
        "select count(*) from runs
         where key is null and fence < (select max(fence) from runs where key = 'k')",
    )
    .await;
    assert!(before <= 40, "{before} jobs without a key ran before the last with one");
}

#[tokio::test]
async fn a_delayed_job_with_a_key_waits_for_its_time() {
    let db = database().await;
    let later = Work::new(0).job().key("k").delay(Duration::from_secs(3600));
    enqueue_all(&db, &[later]).await;
    let worker = worker(&db, 10);
    assert_eq!(worker.run_until_idle().await.unwrap().completed, 0);
    sqlx::query("update queue.jobs set run_at = clock_timestamp()")
        .execute(&db.pool)
        .await
        .unwrap();
    assert_eq!(worker.run_until_idle().await.unwrap().completed, 1);
}

#[tokio::test]
async fn limits_that_cannot_work_are_refused_and_others_can_be_taken_back() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    for limits in [
        Limits { rate: Some(0), ..Limits::default() },
        Limits { ordered: Some(OnPoison::SkipAfter(0)), ..Limits::default() },
        Limits { rate_period: Duration::from_millis(1), ..Limits::default() },
    ] {
        let refused = set_limits(&mut conn, "default", &limits, "test").await;
        assert!(matches!(refused, Err(QueueError::Settings(_))), "{refused:?}");
    }
    let limits = Limits {
        max_running: Some(7),
        rate_per_key: Some(9),
        ordered: Some(OnPoison::SkipAfter(2)),
        ..Limits::default()
    };
    set_limits(&mut conn, "default", &limits, "test").await.unwrap();
    enqueue_all(&db, &[Work::new(0).job(), Work::new(0).job().key("k")]).await;
    let queues = list(&mut conn).await.unwrap();
    assert_eq!(queues.len(), 1);
    assert_eq!((queues[0].available, queues[0].limits.as_ref()), (2, Some(&limits)));
    assert!(clear_limits(&mut conn, "default").await.unwrap());
    assert!(!clear_limits(&mut conn, "default").await.unwrap());
    assert_eq!(list(&mut conn).await.unwrap()[0].limits, None);
}
