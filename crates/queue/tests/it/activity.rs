//! Stored activity: what charts are drawn from.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use surety_queue::activity::{self, Bucket, Outcome, Step};
use surety_queue::health::figures;
use surety_queue::{NewJob, WorkerSettings, enqueue};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::kinds::{Act, End, Gates, database, enqueue_job, enqueue_new, idle_worker, worker};
use super::support::eventually_async;

/// The last ten steps added up, so that a step that ends meanwhile changes nothing.
async fn of_last(pool: &PgPool, step: Step, queue: Option<&str>, kind: Option<&str>) -> [i64; 6] {
    let mut sums = [0; 6];
    for bucket in buckets(pool, step, queue, kind).await {
        for (sum, jobs) in sums.iter_mut().zip(bucket.jobs) {
            *sum += jobs;
        }
    }
    sums
}

async fn buckets(
    pool: &PgPool,
    step: Step,
    queue: Option<&str>,
    kind: Option<&str>,
) -> Vec<Bucket> {
    let mut conn = pool.acquire().await.unwrap();
    activity::jobs(&mut conn, (step, 10), queue, kind).await.unwrap()
}

#[tokio::test]
async fn ended_attempts_are_counted_by_outcome_with_their_times() {
    let db = database().await;
    enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    enqueue_job(&db.pool, &Act::new("b", End::Complete)).await;
    // Three attempts.
    enqueue_job(&db.pool, &Act::new("c", End::Fail)).await;
    let worker = idle_worker(&db.pool);
    worker.run_until_idle().await.unwrap();
    worker.record_activity().await.unwrap();

    // completed, retried, discarded, cancelled, snoozed, lost
    let expected = [2, 2, 1, 0, 0, 0];
    for step in Step::ALL {
        assert_eq!(of_last(&db.pool, step, None, None).await, expected, "{step:?}");
    }
    let of_minutes = buckets(&db.pool, Step::Minute, None, None).await;
    assert_eq!(of_minutes.len(), 10);
    assert!(of_minutes.is_sorted_by_key(|bucket| bucket.at));
    let waits: u64 = of_minutes.iter().map(|bucket| bucket.wait.count()).sum();
    let runs: u64 = of_minutes.iter().map(|bucket| bucket.run.count()).sum();
    assert_eq!((waits, runs), (5, 5));
}

#[tokio::test]
async fn a_queue_and_a_kind_can_be_asked_for() {
    let db = database().await;
    let other = NewJob::new(&Act::new("a", End::Complete)).unwrap().queue("other");
    enqueue_new(&db.pool, other).await;
    enqueue_job(&db.pool, &Act::new("b", End::Complete)).await;
    let queues = vec!["default".to_owned(), "other".to_owned()];
    let settings = WorkerSettings { queues, ..WorkerSettings::default() };
    let worker = worker(&db.pool, &Gates::new(), settings);
    worker.run_until_idle().await.unwrap();
    worker.record_activity().await.unwrap();

    let completed = async |queue, kind| of_last(&db.pool, Step::Minute, queue, kind).await[0];
    assert_eq!(completed(None, None).await, 2);
    assert_eq!(completed(Some("other"), None).await, 1);
    assert_eq!(completed(None, Some("act")).await, 2);
    assert_eq!(completed(Some("other"), Some("act")).await, 1);
    assert_eq!(completed(Some("nowhere"), None).await, 0);
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_added_once() {
    let db = database().await;
    let worker = Uuid::now_v7();
    let counts = json!([{
        "step": "day", "at_secs": 86_400, "queue": "default", "kind": "act",
        "outcome": "completed", "jobs": 2, "wait": [0, 1, 1], "run": [2],
    }]);
    let record = async |number: i64| -> bool {
        sqlx::query_scalar("select queue.record_activity($1, $2, $3)")
            .bind(worker)
            .bind(number)
            .bind(&counts)
            .fetch_one(&db.pool)
            .await
            .unwrap()
    };
    assert!(record(1).await);
    assert!(!record(1).await);
    assert!(record(2).await);

    let (jobs, wait, run): (i64, Vec<i64>, Vec<i64>) =
        sqlx::query_as("select jobs, wait, run from queue.activity")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!((jobs, wait, run), (4, vec![0, 2, 2], vec![4]));
}

#[tokio::test]
async fn attempts_of_a_lost_worker_are_counted_by_who_takes_them_back() {
    let db = database().await;
    enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    sqlx::query(
        "update queue.jobs set running = true, attempt = 1, fence = nextval('queue.fence'),
           worker_id = gen_random_uuid(), started_at = now(),
           lease_expires_at = now() - interval '1 s'",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let worker = idle_worker(&db.pool);
    worker.run_until_idle().await.unwrap();
    worker.record_activity().await.unwrap();

    assert_eq!(of_last(&db.pool, Step::Minute, None, None).await, [1, 0, 0, 0, 0, 1]);
    assert_eq!(worker.activity().engine_figures().rescued, 1);
}

#[tokio::test]
async fn what_a_worker_counted_is_stored_when_it_ends() {
    let db = database().await;
    enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    let worker = idle_worker(&db.pool);
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (worker, stop) = (Arc::clone(&worker), stop.clone());
        async move { worker.run(stop).await }
    });
    eventually_async("it is completed", async || worker.summary().completed == 1).await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(of_last(&db.pool, Step::Minute, None, None).await[Outcome::Completed as usize], 1);
}

#[tokio::test]
async fn due_jobs_are_counted_once_a_minute_and_scheduled_ones_are_not() {
    let db = database().await;
    let due = NewJob::new(&Act::new("a", End::Complete)).unwrap();
    let keyed = NewJob::new(&Act::new("b", End::Complete)).unwrap().key("k");
    let later =
        NewJob::new(&Act::new("c", End::Complete)).unwrap().delay(Duration::from_secs(3600));
    for job in [due, keyed, later] {
        enqueue_new(&db.pool, job).await;
    }
    let sample = async || -> bool {
        sqlx::query_scalar("select queue.sample_depths(100)").fetch_one(&db.pool).await.unwrap()
    };
    assert!(sample().await);

    let mut conn = db.pool.acquire().await.unwrap();
    for queue in [None, Some("default")] {
        let depths = activity::depths(&mut conn, (Step::Minute, 2), queue).await.unwrap();
        let most = depths.iter().map(|depth| depth.waiting).max();
        assert_eq!((depths.len(), most), (2, Some(2)), "{queue:?}");
        assert!(depths.iter().any(|depth| depth.oldest_secs.is_some()));
    }
    let rows: i64 = sqlx::query_scalar("select count(*) from queue.depths where step = 'minute'")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    // Again in the next minute, if that has come.
    if sample().await {
        return;
    }
    let after: i64 = sqlx::query_scalar("select count(*) from queue.depths where step = 'minute'")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!((rows, after), (2, 2), "one row of the queue and one of all");
}

#[tokio::test]
async fn activity_is_dropped_at_the_age_of_its_step() {
    let db = database().await;
    sqlx::query(
        "insert into queue.activity (step, at, queue, kind, outcome, jobs, wait, run)
         select step, now() - age, '', '', 'completed', 1, '{}', '{}'
         from unnest(enum_range(null::queue.activity_step)) as step
         cross join (values (interval '1 day'), ('3 days'), ('20 days'), ('70 days'), ('800 days'))
           as ages (age)",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    sqlx::query("select queue.prune_activity(1000)").execute(&db.pool).await.unwrap();

    let kept: Vec<(String, i64)> = sqlx::query_as(
        "select step::text, count(*) from queue.activity
         group by step order by queue.activity.step",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    let kept: Vec<_> = kept.iter().map(|(step, rows)| (step.as_str(), *rows)).collect();
    assert_eq!(kept, [("minute", 1), ("quarter", 2), ("hour", 3), ("day", 4)]);
}

#[tokio::test]
async fn a_queue_is_told_in_numbers() {
    let db = database().await;
    let mut tx = db.pool.begin().await.unwrap();
    for name in ["a", "b"] {
        enqueue(&mut tx, NewJob::new(&Act::new(name, End::Complete)).unwrap()).await.unwrap();
    }
    let later = Duration::from_secs(3600);
    let scheduled = NewJob::new(&Act::new("c", End::Complete)).unwrap();
    enqueue(&mut tx, scheduled.delay(later)).await.unwrap();
    let keyed = NewJob::new(&Act::new("d", End::Complete)).unwrap().key("k");
    enqueue(&mut tx, keyed.delay(later)).await.unwrap();
    tx.commit().await.unwrap();
    sqlx::query("insert into queue.pauses (queue, paused_by, reason) values ('x', 'ada', 'y')")
        .execute(&db.pool)
        .await
        .unwrap();

    let mut conn = db.pool.acquire().await.unwrap();
    let waiting = figures::waiting(&mut conn).await.unwrap();
    let [queue] = waiting.as_slice() else { panic!("{waiting:?}") };
    assert_eq!((queue.available, queue.scheduled, queue.running, queue.retryable), (2, 2, 0, 0));
    assert!(queue.oldest_secs.is_some_and(|secs| secs >= 0.0));
    let standing = figures::standing(&mut conn).await.unwrap();
    assert_eq!((standing.paused, standing.undecided, standing.working), (1, 0, 0));
}
