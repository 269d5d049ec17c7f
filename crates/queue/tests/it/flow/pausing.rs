//! Paused queues start nothing, and hold up nobody else.

use std::time::Duration;

use surety_queue::operate::queues::{Limits, Which, list, pause, resume};

use super::{Work, count, database, enqueue_all, limit, order_of, worker};

#[tokio::test]
async fn a_paused_queue_starts_nothing_and_holds_up_no_other() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let jobs = [
        Work::new(0).job().queue("default"),
        Work::new(0).job().queue("default").key("k"),
        Work::new(0).job().queue("other"),
    ];
    enqueue_all(&db, &jobs).await;
    assert!(pause(&mut conn, Which::One("default"), "ada", "the bank is down").await.unwrap());
    assert!(!pause(&mut conn, Which::One("default"), "bob", "again").await.unwrap());
    let settings = surety_queue::WorkerSettings {
        queues: vec!["default".into(), "other".into()],
        ..Default::default()
    };
    let registry = surety_queue::Registry::new(db.pool.clone()).register::<Work>();
    let worker = surety_queue::Worker::new(db.pool.clone(), registry, settings).unwrap();
    assert_eq!(worker.run_until_idle().await.unwrap().completed, 1);

    let queues = list(&mut conn).await.unwrap();
    let told = queues.iter().find(|queue| queue.queue == "default").unwrap();
    let told = told.pause.as_ref().unwrap();
    assert_eq!((told.paused_by.as_str(), told.reason.as_str()), ("ada", "the bank is down"));

    assert!(resume(&mut conn, Which::One("default")).await.unwrap());
    assert!(!resume(&mut conn, Which::One("default")).await.unwrap());
    assert_eq!(worker.run_until_idle().await.unwrap().completed, 2);
}

#[tokio::test]
async fn a_live_worker_obeys_a_pause_at_once_and_goes_on_after_it() {
    let db = database().await;
    limit(&db, Limits { max_running_per_key: Some(1), ..Limits::default() }).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let stopped = stop.clone();
    let busy = worker(&db, 10);
    let run = tokio::spawn(async move { busy.run(stopped).await });
    let mut conn = db.pool.acquire().await.unwrap();
    enqueue_all(&db, &[Work::new(0).job()]).await;
    until(&db, "select count(*) from runs", 1).await;

    pause(&mut conn, Which::All, "ada", "upgrade").await.unwrap();
    enqueue_all(&db, &[Work::new(0).job(), Work::new(0).job().key("k")]).await;
    // Five times as long as its poll.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(count(&db, "select count(*) from runs").await, 1);

    resume(&mut conn, Which::All).await.unwrap();
    until(&db, "select count(*) from runs", 3).await;
    assert_eq!(order_of(&db, Some("k")).await.len(), 1);
    stop.cancel();
    run.await.unwrap();
}

async fn until(db: &crate::support::TestDb, sql: &'static str, expected: i64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while count(db, sql).await != expected {
        assert!(tokio::time::Instant::now() < deadline, "not within 10 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
