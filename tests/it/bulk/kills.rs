//! Workers that are killed, and operations that are cancelled, in the middle of ten thousand jobs.

use surety::operations::bulk::BulkState;

use super::*;
use crate::support::{App, Binary as _, TestDb, eventually_async, wait_for_locks};

const JOBS: i64 = 10_000;
const KILLS: usize = 4;

fn worker_process(url: &str) -> App {
    App::command(["work"])
        .env("DATABASE_URL", url)
        .env("APP_WORKER_LEASE", "3s")
        .env("APP_WORKER_HEARTBEAT", "1s")
        .env("APP_WORKER_POLL", "100ms")
        .spawn()
}

#[tokio::test]
async fn ten_thousand_jobs_are_redriven_once_each_whoever_is_killed() {
    let db = TestDb::new().await;
    give_up(&db.pool, JOBS).await;
    let id = start(&db.pool, JobAction::Retry, in_states(&[JobState::Discarded])).await;

    let mut worker = worker_process(&db.url);
    let mut done = 0;
    for _ in 0..KILLS {
        // In the middle of a chunk, wherever that is.
        eventually_async("no progress", async || find(&db.pool, id).await.done > done).await;
        worker.kill().await;
        done = find(&db.pool, id).await.done;
        worker = worker_process(&db.url);
    }
    eventually_async("not completed", async || {
        find(&db.pool, id).await.state == BulkState::Completed
    })
    .await;
    worker.kill().await;

    let ended = find(&db.pool, id).await;
    assert_eq!((ended.done, ended.failed), (JOBS as u64, 0), "{ended:?}");
    assert_eq!(ended.skipped, []);
    assert_eq!(count(&db.pool, "select count(*) from queue.resolutions").await, JOBS);
    let audited = "select count(distinct subject_id) from audit.entries where action = 'job.retry'";
    assert_eq!(count(&db.pool, audited).await, JOBS);
    let entries = "select count(*) from audit.entries where action = 'job.retry'";
    assert_eq!(count(&db.pool, entries).await, JOBS);
    let left = "select count(*) from queue.finished_jobs where kind = 'other'";
    assert_eq!(count(&db.pool, left).await, 0);
}

#[tokio::test]
async fn a_cancel_takes_hold_between_two_chunks_and_what_was_done_stays() {
    let db = TestDb::new().await;
    give_up(&db.pool, 5_000).await;
    let id = start(&db.pool, JobAction::WriteOff, in_states(&[JobState::Discarded])).await;
    // A job of the second chunk that somebody has locked: the worker waits for it.
    let mut blocker = db.pool.begin().await.unwrap();
    sqlx::query(
        "select from queue.finished_jobs where id = (
           select id from queue.finished_jobs where kind = 'other'
           order by id desc offset 700 limit 1
         ) for update",
    )
    .execute(&mut *blocker)
    .await
    .unwrap();
    let pool = db.pool.clone();
    let working = tokio::spawn(async move { run_jobs(&pool).await });
    wait_for_locks(&db.pool, 1).await;
    let pool = db.pool.clone();
    let cancelling = tokio::spawn(async move {
        bulk::cancel(&mut pool.acquire().await.unwrap(), id, &actor()).await.unwrap()
    });
    wait_for_locks(&db.pool, 2).await;
    blocker.commit().await.unwrap();

    let cancelled = cancelling.await.unwrap();
    working.await.unwrap();

    // It waits for the chunk under way, and another may overtake it.
    let done = cancelled.done;
    assert_eq!(cancelled.state, BulkState::Cancelled);
    assert!(done % 500 == 0 && (1_000..5_000).contains(&done), "{done}");
    assert_eq!(cancelled.cancelled_by.as_deref(), Some("cli:ada"));
    let decided = count(&db.pool, "select count(*) from queue.resolutions").await;
    assert_eq!(u64::try_from(decided), Ok(done));
    let after = find(&db.pool, id).await;
    assert_eq!((after.state, after.done), (BulkState::Cancelled, done));
    let state: String = sqlx::query_scalar("select queue.state_of($1)")
        .bind(after.job_id.unwrap())
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(state, "cancelled");
    let again = bulk::cancel(&mut db.pool.acquire().await.unwrap(), id, &actor()).await;
    assert!(matches!(again, Err(bulk::BulkError::Finished)), "{again:?}");
}

#[tokio::test]
async fn an_operation_whose_job_was_cancelled_says_that_it_stopped() {
    let db = TestDb::new().await;
    give_up(&db.pool, 1).await;
    let id = start(&db.pool, JobAction::Redrive, in_states(&[JobState::Discarded])).await;
    let job = find(&db.pool, id).await.job_id.unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    surety::queue::operate::cancel(&mut conn, job, "eve", "by mistake").await.unwrap();
    drop(conn);
    assert_eq!(find(&db.pool, id).await.state, BulkState::Stopped);
}
