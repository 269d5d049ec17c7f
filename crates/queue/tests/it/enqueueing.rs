//! The ways in: one by one, many by one statement, and the SQL function, which give the same jobs.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::PgPool;
use surety_queue::telemetry::TraceContext;
use surety_queue::{
    Enqueued, InvalidJob, JobId, NewJob, QueueError, Unique, WorkerSettings, enqueue_many,
};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::kinds::{
    Act, Batched, End, Gates, Pay, assert_invariants_hold, count, database, effects, enqueue_new,
    eventually, idle_worker, state_of, worker,
};

const JOBS: &str = "select count(*) from queue.jobs";

/// Everything that whoever enqueues decides, without what differs from job to job by itself.
async fn decided(pool: &PgPool, id: JobId) -> String {
    sqlx::query_scalar(
        "select concat_ws(' | ', queue, kind, priority, max_attempts, args, key, hold, tags,
                          keeps_history, batch_id, args_key, on_discard, trace_context,
                          round(extract(epoch from run_at - enqueued_at)))
         from queue.jobs where id = $1",
    )
    .bind(id)
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Text with everything that arrays and JSON treat in a way of their own.
const ODD: &str = "tab\t newline\n return\r backslash\\ \\N \\. quote\" 'single' {brace, comma} \
                   null NULL \u{8} \u{c} \u{7f} é ✉ \u{1F600} end\\";

/// The same without control characters, which names may not have.
const ODD_NAME: &str =
    "backslash\\ \\N \\. quote\" 'single' {brace, comma} null NULL é ✉ \u{1F600} \\";

fn of_every_sort() -> Vec<NewJob> {
    let act = || NewJob::new(&Act::new(ODD, End::Complete)).unwrap();
    let context =
        TraceContext::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    vec![
        act(),
        act().queue(ODD_NAME).key(ODD_NAME).tag(ODD_NAME).tag("").tag("NULL").tag("{}"),
        NewJob::raw(ODD_NAME, json!({ODD: [ODD, 1.5, null, {"\u{1}": "\\u0001"}]})),
        NewJob::raw("k", json!("text")).trace_context(Some(context)),
        NewJob::raw("k", json!(null)).trace_context(None),
        act().delay(Duration::from_millis(90_200)),
        act().delay(Duration::from_secs(60)).key("later"),
        act().priority(1).max_attempts(1000),
        NewJob::new(&Pay(Act::new("a", End::Fail))).unwrap(),
        act().run_at(OffsetDateTime::now_utc() + Duration::from_secs(7200)).key("at"),
        act().run_at(OffsetDateTime::UNIX_EPOCH).key("long ago"),
    ]
}

#[tokio::test]
async fn many_jobs_by_one_statement_are_those_one_by_one_whatever_is_in_them() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let jobs = of_every_sort();
    let together = enqueue_many(&mut conn, &jobs).await.unwrap();
    assert_eq!(together.len(), jobs.len());
    for (job, together) in jobs.iter().zip(together) {
        let alone = enqueue_new(&db.pool, job.clone()).await;
        let (together, alone) =
            (decided(&db.pool, together.id()).await, decided(&db.pool, alone).await);
        assert_eq!(together, alone, "{job:?}");
    }
    let held = "select count(*) from queue.jobs where hold = 'until_due'";
    assert_eq!(count(&db.pool, held).await, 4, "those with a key that are due later");
    let tags: Vec<String> =
        sqlx::query_scalar("select unnest(tags) from queue.jobs where key = $1 and queue = $1")
            .bind(ODD_NAME)
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(tags, [ODD_NAME, "", "NULL", "{}", ODD_NAME, "", "NULL", "{}"]);
}

#[tokio::test]
async fn ten_thousand_jobs_are_there_at_the_commit_and_not_without_it() {
    let db = database().await;
    let jobs: Vec<NewJob> = (0..10_000)
        .map(|n| NewJob::new(&Batched { name: format!("{n} {ODD}") }).unwrap())
        .collect();
    let mut tx = db.pool.begin().await.unwrap();
    enqueue_many(&mut tx, &jobs).await.unwrap();
    assert_eq!(count(&db.pool, JOBS).await, 0, "not before the commit");
    tx.rollback().await.unwrap();
    assert_eq!(count(&db.pool, JOBS).await, 0);

    let mut tx = db.pool.begin().await.unwrap();
    let ids: Vec<JobId> =
        enqueue_many(&mut tx, &jobs).await.unwrap().into_iter().map(Enqueued::id).collect();
    tx.commit().await.unwrap();
    assert!(ids.is_sorted() && ids.len() == 10_000);
    let stored: Vec<(i64, String)> =
        sqlx::query_as("select id, args ->> 'name' from queue.jobs order by id")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    for (n, (id, name)) in stored.into_iter().enumerate() {
        assert_eq!((id, name), (ids[n].0, format!("{n} {ODD}")));
    }
    assert_eq!(idle_worker(&db.pool).run_until_idle().await.unwrap().completed, 10_000);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_running_worker_finds_many_jobs_at_its_next_poll_even_if_they_commit_late() {
    let db = database().await;
    let poll = Duration::from_millis(100);
    let settings = WorkerSettings { poll, ..WorkerSettings::default() };
    let worker = worker(&db.pool, &Gates::new(), settings);
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    for round in 0..3 {
        let jobs: Vec<NewJob> = (0..100)
            .map(|n| NewJob::new(&Batched { name: format!("{round} {n}") }).unwrap())
            .collect();
        let mut tx = db.pool.begin().await.unwrap();
        enqueue_many(&mut tx, &jobs).await.unwrap();
        // Claims pass, and others' jobs are done meanwhile: the floors rise, but not above these.
        for n in 0..15 {
            let name = format!("early {round} {n}");
            let job = NewJob::new(&Act::new(&name, End::Complete)).unwrap();
            let id = enqueue_new(&db.pool, job).await;
            eventually("the early job is done", async || {
                state_of(&db.pool, id).await == "completed"
            })
            .await;
        }
        tx.commit().await.unwrap();
        let committed = Instant::now();
        eventually("the late jobs are done", async || count(&db.pool, JOBS).await == 0).await;
        // A sweep would have found them after up to 10 s.
        assert!(committed.elapsed() < Duration::from_secs(3), "{:?}", committed.elapsed());
    }
    stop.cancel();
    run.await.unwrap();
    assert_eq!(effects(&db.pool).await.len(), 345);
}

#[tokio::test]
async fn no_jobs_are_enqueued_by_no_statement() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    assert_eq!(enqueue_many(&mut conn, &[]).await.unwrap(), []);
    assert_eq!(count(&db.pool, JOBS).await, 0);
}

#[tokio::test]
async fn what_the_schema_refuses_is_refused_one_by_one_and_together() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let job = || NewJob::raw("k", json!({}));
    for (bad, problem) in [
        (job().queue(""), InvalidJob::Queue),
        (job().priority(5), InvalidJob::Priority),
        (job().max_attempts(0), InvalidJob::MaxAttempts),
        (job().key("k".repeat(201)), InvalidJob::Key),
    ] {
        let jobs = [job(), bad];
        for refused in [
            enqueue_many(&mut conn, &jobs[1..]).await.unwrap_err(),
            enqueue_many(&mut conn, &jobs).await.unwrap_err(),
        ] {
            let QueueError::InvalidJob(told) = refused else { panic!("{refused:?}") };
            assert_eq!(told, problem);
        }
    }
    for nul in [NewJob::raw("k", json!("\0")), job().tag("\0"), job().key("\0")] {
        assert!(enqueue_many(&mut conn, std::slice::from_ref(&nul)).await.is_err());
        assert!(enqueue_many(&mut conn, &[job(), nul]).await.is_err());
    }
    let far = job().delay(Duration::MAX);
    assert!(enqueue_many(&mut conn, std::slice::from_ref(&far)).await.is_err());
    assert!(enqueue_many(&mut conn, &[job(), far]).await.is_err());
    // The connection is as good as before.
    enqueue_many(&mut conn, &[job()]).await.unwrap();
    assert_eq!(count(&db.pool, JOBS).await, 1);
}

#[tokio::test]
async fn a_job_by_the_sql_function_is_that_of_an_insert() {
    let db = database().await;
    let act = json!({"name": "a", "end": "Complete", "gated": false});
    let id: JobId = sqlx::query_scalar("select job_id from queue.enqueue('act', $1)")
        .bind(&act)
        .fetch_one(&db.pool)
        .await
        .unwrap();
    let job = NewJob::raw("act", act.clone());
    let inserted = enqueue_new(&db.pool, job.clone()).await;
    assert_eq!(decided(&db.pool, id).await, decided(&db.pool, inserted).await);

    let id: JobId = sqlx::query_scalar(
        "select job_id from queue.enqueue(
           'act', $1, queue => 'q', priority => 3, run_at => clock_timestamp() + interval '1 hour',
           max_attempts => 4, key => 'k', tags => '{one,two}')",
    )
    .bind(&act)
    .fetch_one(&db.pool)
    .await
    .unwrap();
    let job = job.queue("q").priority(3).max_attempts(4).key("k").tag("one").tag("two");
    let inserted = enqueue_new(&db.pool, job.delay(Duration::from_secs(3600))).await;
    assert_eq!(decided(&db.pool, id).await, decided(&db.pool, inserted).await);
    // With nothing but a kind, in a transaction that is rolled back, and with what is refused.
    sqlx::query("select * from queue.enqueue('k')").execute(&db.pool).await.unwrap();
    let mut tx = db.pool.begin().await.unwrap();
    sqlx::query("select * from queue.enqueue('k')").execute(&mut *tx).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs where kind = 'k'").await, 1);
    let refused = sqlx::query("select * from queue.enqueue('')").execute(&db.pool).await;
    let refused = refused.unwrap_err();
    let constraint = refused.as_database_error().and_then(|error| error.constraint());
    assert_eq!(constraint, Some("kind_is_named"));
    assert_eq!(idle_worker(&db.pool).run_until_idle().await.unwrap().completed, 2);
}

#[tokio::test]
async fn a_job_that_was_due_long_ago_is_due_now() {
    let db = database().await;
    let long_ago = OffsetDateTime::UNIX_EPOCH;
    let by_rust = NewJob::raw("k", json!({})).run_at(long_ago);
    let mut conn = db.pool.acquire().await.unwrap();
    enqueue_many(&mut conn, std::slice::from_ref(&by_rust)).await.unwrap();
    enqueue_many(&mut conn, &[by_rust.clone().unique(Unique::by_args())]).await.unwrap();
    enqueue_many(&mut conn, &[by_rust, NewJob::raw("k", json!({}))]).await.unwrap();
    sqlx::query("select * from queue.enqueue('k', run_at => $1)")
        .bind(long_ago)
        .execute(&mut *conn)
        .await
        .unwrap();
    // A claim that has passed the moment of the enqueue would never look there again.
    let now = "select count(*) from queue.jobs where run_at > now() - interval '10 s'";
    assert_eq!(count(&db.pool, now).await, 5);
}

#[tokio::test]
async fn a_trigger_enqueues_in_the_transaction_that_fires_it() {
    let db = database().await;
    sqlx::raw_sql(
        "create table orders (id bigint primary key);
         create function enqueue_act() returns trigger language plpgsql as $$
         begin
           perform queue.enqueue(
             'act', jsonb_build_object('name', new.id::text, 'end', 'Complete', 'gated', false),
             unique_by => to_jsonb(new.id), tags => array['order']
           );
           return null;
         end $$;
         create trigger enqueue_act after insert or update on orders
           for each row execute function enqueue_act()",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    sqlx::query("insert into orders select generate_series(1, 50)")
        .execute(&db.pool)
        .await
        .unwrap();
    let mut tx = db.pool.begin().await.unwrap();
    sqlx::query("insert into orders values (51)").execute(&mut *tx).await.unwrap();
    tx.rollback().await.unwrap();
    // Their jobs wait, so these add none.
    sqlx::query("update orders set id = id").execute(&db.pool).await.unwrap();

    assert_eq!(idle_worker(&db.pool).run_until_idle().await.unwrap().completed, 50);
    assert_eq!(effects(&db.pool).await.len(), 50);
    let tagged = "select count(*) from queue.finished_jobs where tags = '{order}'";
    assert_eq!(count(&db.pool, tagged).await, 50, "tags are kept in the history");
}

#[tokio::test]
async fn a_running_worker_finds_jobs_by_sql_at_its_next_poll_without_any_notification() {
    let db = database().await;
    let settings = WorkerSettings { poll: Duration::from_millis(200), ..WorkerSettings::default() };
    let worker = worker(&db.pool, &Gates::new(), settings);
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    for round in 0..5 {
        let args = json!({"name": format!("{round}"), "end": "Complete", "gated": false});
        let id: JobId = sqlx::query_scalar("select job_id from queue.enqueue('act', $1)")
            .bind(args)
            .fetch_one(&db.pool)
            .await
            .unwrap();
        let enqueued = Instant::now();
        eventually("the job is done", async || state_of(&db.pool, id).await == "completed").await;
        assert!(enqueued.elapsed() < Duration::from_secs(3), "{:?}", enqueued.elapsed());
    }
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn a_job_in_another_queue_is_for_workers_of_that_queue() {
    let db = database().await;
    let job = NewJob::new(&Act::new("a", End::Complete)).unwrap().queue("aside");
    let id = enqueue_new(&db.pool, job).await;
    assert_eq!(idle_worker(&db.pool).run_until_idle().await.unwrap().completed, 0);
    let queues = vec!["aside".to_owned()];
    let settings = WorkerSettings { queues, ..WorkerSettings::default() };
    let aside = worker(&db.pool, &Gates::new(), settings);
    assert_eq!(aside.run_until_idle().await.unwrap().completed, 1);
    assert_eq!(state_of(&db.pool, id).await, "completed");
}

#[tokio::test]
async fn max_attempts_of_a_job_go_before_those_of_its_kind() {
    let db = database().await;
    let job = NewJob::new(&Act::new("a", End::Fail)).unwrap().max_attempts(1);
    let id = enqueue_new(&db.pool, job).await;
    let summary = idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!((summary.failed, summary.discarded), (1, 1));
    assert_eq!(state_of(&db.pool, id).await, "discarded");
}

#[tokio::test]
async fn the_last_word_on_when_a_job_is_due_counts() {
    let db = database().await;
    let hour = Duration::from_secs(3600);
    let job = || NewJob::raw("k", json!({}));
    let later = OffsetDateTime::now_utc() + 2 * hour;
    for (job, hours) in [
        (job().run_at(later).delay(hour), 1.0),
        (job().delay(hour).run_at(later), 2.0),
        (job().delay(hour).delay(Duration::ZERO), 0.0),
    ] {
        let id = enqueue_new(&db.pool, job).await;
        let due_in: f64 = sqlx::query_scalar(
            "select extract(epoch from run_at - clock_timestamp())::float8 / 3600
             from queue.jobs where id = $1",
        )
        .bind(id)
        .fetch_one(&db.pool)
        .await
        .unwrap();
        assert!((due_in - hours).abs() < 0.05, "due in {due_in} h instead of {hours} h");
    }
}
