//! Which jobs a claim takes, in which order, and how much it reads for them (G8, G9, G10).

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use surety_queue::{NewJob, Notifier, Registry, Worker, WorkerSettings, enqueue, enqueue_many};
use tokio_util::sync::CancellationToken;

use surety_postgres::testing::{TestCluster, eventually_async};

use super::kinds::{
    Act, Batched, End, Gates, Unknown, count, database, effects, enqueue_job, enqueue_new,
    eventually, idle_worker, make_effects_table, state_of, worker,
};

#[tokio::test]
async fn higher_priorities_run_first_and_equal_ones_in_order_of_time() {
    let db = database().await;
    for (name, priority) in [("d", 4), ("c", 2), ("a", 1), ("c2", 2)] {
        let job = NewJob::new(&Act::new(name, End::Complete)).unwrap().priority(priority);
        enqueue_new(&db.pool, job).await;
    }
    // One at a time, so that the order of the effects is the order of the claims.
    let settings = WorkerSettings { concurrency: 1, ..WorkerSettings::default() };
    worker(&db.pool, &Gates::new(), settings).run_until_idle().await.unwrap();
    let order: Vec<String> = sqlx::query_scalar("select name from effects order by fence")
        .fetch_all(&db.pool)
        .await
        .unwrap();
    assert_eq!(order, ["a", "c", "c2", "d"]);
}

#[tokio::test]
async fn an_unknown_kind_is_left_alone_and_blocks_nobody() {
    let db = database().await;
    let unknown = enqueue_job(&db.pool, &Unknown {}).await;
    enqueue_job(&db.pool, &Act::new("known", End::Complete)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(effects(&db.pool).await, ["known"]);
    assert_eq!(state_of(&db.pool, unknown).await, "available");
    assert_eq!(
        count(&db.pool, "select attempt::bigint from queue.jobs where kind = 'unknown'").await,
        0
    );
}

/// A worker that looks for jobs by itself so seldom that no test waits for it.
fn sleepy() -> WorkerSettings {
    WorkerSettings { poll: Duration::from_secs(600), ..WorkerSettings::default() }
}

#[tokio::test]
async fn a_worker_is_told_of_jobs_in_its_own_process_without_a_way_through_the_database() {
    let db = database().await;
    let registry = Registry::new(Gates::new()).register::<Act>();
    let nowhere = PgConnectOptions::new().host("127.0.0.1").port(1);
    let worker = Worker::new(db.pool.clone(), registry, sleepy()).unwrap().listening_by(nowhere);
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    let notifier = Notifier::start(&db.pool);
    for name in ["first", "second", "third"] {
        enqueue_job(&db.pool, &Act::new(name, End::Complete)).await;
        notifier.notify();
        let done = async || effects(&db.pool).await.contains(&name.to_owned());
        eventually_async(name, done).await;
    }
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn a_retry_that_is_due_before_the_next_poll_does_not_wait_for_it() {
    let db = database().await;
    let id = enqueue_job(&db.pool, &Act::new("a", End::FailUnlessLast)).await;
    let worker = worker(&db.pool, &Gates::new(), sleepy());
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    let done = async || state_of(&db.pool, id).await == "completed";
    eventually_async("it is tried three times", done).await;
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn a_job_of_a_transaction_that_commits_late_is_not_passed_over() {
    let db = database().await;
    let settings = WorkerSettings { poll: Duration::from_millis(20), ..WorkerSettings::default() };
    let worker = worker(&db.pool, &Gates::new(), settings);
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });

    for round in 0..5 {
        let mut late = db.pool.begin().await.unwrap();
        let job = NewJob::new(&Act::new(&format!("late {round}"), End::Complete)).unwrap();
        enqueue(&mut late, job).await.unwrap();
        // Many claims pass while the transaction is open.
        for n in 0..20 {
            let name = format!("early {round} {n}");
            let id = enqueue_job(&db.pool, &Act::new(&name, End::Complete)).await;
            eventually("the early job is done", async || {
                state_of(&db.pool, id).await == "completed"
            })
            .await;
        }
        late.commit().await.unwrap();
        let committed = Instant::now();
        eventually("the late job is done", async || {
            effects(&db.pool).await.contains(&format!("late {round}"))
        })
        .await;
        // A sweep would have found it after up to 5 s.
        assert!(committed.elapsed() < Duration::from_secs(2), "{:?}", committed.elapsed());
    }
    stop.cancel();
    run.await.unwrap();
}

/// Buffers that PostgreSQL has read for the jobs table and its indexes so far.
async fn buffers(pool: &sqlx::PgPool) -> i64 {
    // A session that has become idle adds its counters to everybody's within 10 s.
    tokio::time::sleep(Duration::from_secs(11)).await;
    sqlx::query_scalar(
        "select (heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read)::bigint
         from pg_statio_user_tables where schemaname = 'queue' and relname = 'jobs'",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

async fn enqueue_batched(pool: &sqlx::PgPool, count: usize) {
    let job = NewJob::new(&Batched { name: "x".into() }).unwrap();
    let mut conn = pool.acquire().await.unwrap();
    for _ in 0..count.div_ceil(1000) {
        enqueue_many(&mut conn, &vec![job.clone(); count.min(1000)]).await.unwrap();
    }
}

#[tokio::test]
async fn a_held_xmin_horizon_does_not_make_claims_read_more() {
    // Of its own, because transactions of other tests count as well.
    let cluster = TestCluster::start().await;
    let pool = crate::support::migrated(&cluster, "surety").await;
    make_effects_table(&pool).await;
    sqlx::query("alter table queue.jobs set (autovacuum_enabled = false)")
        .execute(&pool)
        .await
        .unwrap();
    // One transaction that only reads, and one that has written and idles for ever.
    let mut holders = Vec::new();
    for statement in ["select count(*) from queue.jobs", "insert into effects values ('held')"] {
        let mut holder = pool.begin().await.unwrap();
        sqlx::query("set local idle_in_transaction_session_timeout = 0")
            .execute(&mut *holder)
            .await
            .unwrap();
        sqlx::query("set transaction isolation level repeatable read")
            .execute(&mut *holder)
            .await
            .unwrap();
        sqlx::query(statement).execute(&mut *holder).await.unwrap();
        holders.push(holder);
    }

    let worker = worker(&pool, &Gates::new(), WorkerSettings::default());
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let (worker, stop) = (Arc::clone(&worker), stop.clone());
        async move { worker.run(stop).await }
    });
    let notifier = Notifier::start(&pool);
    let mut enqueued = 0;
    let mut enqueue_and_wait = async |count: usize| {
        enqueue_batched(&pool, count).await;
        enqueued += count as u64;
        notifier.notify();
        // Asks the worker and not the database, whose buffers are being counted.
        let deadline = Instant::now() + Duration::from_secs(20);
        while worker.summary().completed < enqueued {
            assert!(Instant::now() < deadline, "not done within 20 s");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    for _ in 0..20 {
        enqueue_and_wait(1000).await;
    }

    // 20,000 dead rows are in the way now, and may not be vacuumed. The writer has been waited for
    // long enough.
    tokio::time::sleep(Duration::from_secs(10)).await;
    enqueue_and_wait(1).await;
    let begun = Instant::now();
    let before = buffers(&pool).await;
    for _ in 0..1000 {
        enqueue_and_wait(1).await;
    }
    let read = buffers(&pool).await - before;
    let elapsed_secs = begun.elapsed().as_secs() as i64;
    stop.cancel();
    run.await.unwrap();
    drop(holders);

    // By time and not by job, a sweep and a rescue read all of them once: every 10 s and 7.5 s.
    let by_time = (elapsed_secs / 10 + elapsed_secs / 7 + 2) * 22_000;
    let per_job = (read - by_time) / 1000;
    assert!(per_job <= 50, "{per_job} buffers per job, enqueue and completion included");
}

#[tokio::test]
async fn a_claim_reads_no_scheduled_jobs() {
    let db = database().await;
    // What vacuum reads is counted as well, so it runs once, and not by itself.
    sqlx::query("alter table queue.jobs set (autovacuum_enabled = false)")
        .execute(&db.pool)
        .await
        .unwrap();
    sqlx::query(
        "insert into queue.jobs (kind, priority, run_at)
         select 'batched', 1 + n % 4, now() + interval '1 day' from generate_series(1, 100000) n",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    sqlx::query("vacuum (analyze) queue.jobs").execute(&db.pool).await.unwrap();
    // One queue, so four lanes.
    let settings = WorkerSettings { queues: vec!["default".into()], ..WorkerSettings::default() };
    let worker = worker(&db.pool, &Gates::new(), settings);
    worker.run_until_idle().await.unwrap();
    let before = buffers(&db.pool).await;
    for _ in 0..50 {
        worker.run_until_idle().await.unwrap();
    }
    let per_claim = (buffers(&db.pool).await - before) / 50;
    // Each lane is a descent of the index; and a look at the running ones, and at what waits for
    // others: jobs, dependencies, and batches of two sorts.
    assert!(per_claim <= 24, "{per_claim} buffers per empty claim");
}
