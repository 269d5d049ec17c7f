//! Retention drops history by the day, but nothing that nobody has decided over, and not because a
//! clock is wrong.

use sqlx::PgPool;
use surety_queue::operate::discarded::{self, Decision, Filter, redrive};
use surety_queue::{NewJob, Worker, WorkerSettings};
use tokio_util::sync::CancellationToken;

use super::kinds::{
    Act, End, Gates, Pay, assert_invariants_hold, attempts_of, count, database, enqueue_job,
    enqueue_new, eventually, idle_worker, state_of, worker,
};

const BY_ADA: Decision<'_> = Decision { by: "ada", reason: "decided" };

/// Lets all history be so many days older: the partitions and what is in them.
async fn age(pool: &PgPool, days: i32) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "do $$
         declare
           parent text;
           moment text;
           child record;
         begin
           foreach parent in array array[
             'finished_jobs_completed', 'finished_jobs_cancelled', 'finished_jobs_discarded',
             'attempts'
           ] loop
             moment := case parent when 'attempts' then 'ended_at' else 'finished_at' end;
             execute format('create temp table old on commit drop as table queue.%I', parent);
             execute format('delete from queue.%I', parent);
             execute format('update old set %1$I = %1$I - make_interval(days => {days})', moment);
             for child in
               select distinct (execute_day)::date as day from (
                 select ((now() at time zone 'utc')::date - n) as execute_day
                 from generate_series(1, {days}) as n
               ) as days
             loop
               execute format(
                 'create table if not exists queue.%I partition of queue.%I
                  for values from (%L) to (%L)',
                 parent || '_' || to_char(child.day, 'YYYYMMDD'), parent,
                 child.day::timestamp at time zone 'utc',
                 (child.day + 1)::timestamp at time zone 'utc');
             end loop;
             execute format('insert into queue.%I select * from old', parent);
             drop table old;
           end loop;
         end $$"
    )))
    .execute(pool)
    .await
    .unwrap();
}

/// One look of retention at everything, as a worker's.
async fn look(pool: &PgPool, keep_days: i32) {
    for table in [
        "finished_jobs_completed",
        "finished_jobs_cancelled",
        "finished_jobs_discarded",
        "attempts",
    ] {
        sqlx::query("select queue.drop_old_partitions(('queue.' || $1)::regclass, $2)")
            .bind(table)
            .bind(keep_days)
            .execute(pool)
            .await
            .unwrap();
    }
}

/// Looks as often as it takes until retention believes the clock: a quarter of a day lies between
/// the looks.
async fn look_for_days(pool: &PgPool, keep_days: i32) {
    for _ in 0..14 {
        look(pool, keep_days).await;
        sqlx::query(
            "update queue.retention
             set held_back_since = held_back_since - interval '6 hours',
                 looked_at = looked_at - interval '6 hours'",
        )
        .execute(pool)
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_discarded_job_is_kept_until_somebody_has_decided_over_it() {
    let db = database().await;
    let discarded = enqueue_job(&db.pool, &Act::new("a", End::Discard)).await;
    let failed = NewJob::new(&Act::new("b", End::Fail)).unwrap().max_attempts(2);
    let failed = enqueue_new(&db.pool, failed.key("k")).await;
    let followed_up = enqueue_job(&db.pool, &Pay(Act::new("c", End::Discard))).await;
    let decided = enqueue_job(&db.pool, &Act::new("d", End::Discard)).await;
    let done = enqueue_job(&db.pool, &Act::new("e", End::Complete)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    let _done = discarded::dismiss(&mut conn, decided, BY_ADA).await.unwrap();

    age(&db.pool, 40).await;
    look_for_days(&db.pool, 30).await;

    let left = "select count(*) from queue.all_jobs";
    assert_eq!(count(&db.pool, left).await, 3, "the decided, the completed, and a follow-up go");
    for id in [discarded, failed, followed_up] {
        assert_eq!(state_of(&db.pool, id).await, "discarded");
        let attempts = attempts_of(&db.pool, id).await;
        assert!(attempts.iter().all(|attempt| attempt.2.is_some()), "and its errors: {attempts:?}");
    }
    assert_eq!(attempts_of(&db.pool, failed).await.len(), 2);
    assert!(attempts_of(&db.pool, done).await.is_empty());
    let listed = discarded::list(&mut conn, &Filter::default(), None, 10).await.unwrap();
    assert!(listed.iter().all(|job| job.error.is_some()), "{listed:?}");
    assert_eq!(listed.len(), 3);
    assert_invariants_hold(&db.pool).await;

    // What is decided goes the next time, and what is redriven runs again.
    let _done = discarded::dismiss(&mut conn, discarded, BY_ADA).await.unwrap();
    let _done = redrive(&mut conn, failed, BY_ADA).await.unwrap();
    look(&db.pool, 30).await;
    assert_eq!(state_of(&db.pool, failed).await, "available");
    assert_eq!(state_of(&db.pool, followed_up).await, "discarded");
    assert_eq!(count(&db.pool, left).await, 2);
    assert!(attempts_of(&db.pool, discarded).await.is_empty());
}

#[tokio::test]
async fn keeping_an_undecided_job_does_not_block_its_key_anew() {
    let db = database().await;
    sqlx::query(
        "insert into queue.limits (queue, ordered, set_by) values ('default', true, 'ada')",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let job = NewJob::new(&Act::new("a", End::Discard)).unwrap().key("k");
    enqueue_new(&db.pool, job).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    let blocked = "select count(*) from queue.blocked_keys";
    assert_eq!(count(&db.pool, blocked).await, 1);
    sqlx::query("delete from queue.blocked_keys").execute(&db.pool).await.unwrap();
    sqlx::raw_sql("alter table queue.finished_jobs_discarded disable trigger block_key")
        .execute(&db.pool)
        .await
        .unwrap();
    age(&db.pool, 40).await;
    sqlx::raw_sql("alter table queue.finished_jobs_discarded enable trigger block_key")
        .execute(&db.pool)
        .await
        .unwrap();
    look_for_days(&db.pool, 30).await;
    assert_eq!(
        count(&db.pool, "select count(*) from queue.finished_jobs_discarded_other").await,
        1
    );
    assert_eq!(count(&db.pool, blocked).await, 0);
}

#[tokio::test]
async fn a_worker_whose_databases_clock_is_weeks_ahead_drops_no_history() {
    let db = database().await;
    enqueue_job(&db.pool, &Act::new("a", End::Complete)).await;
    idle_worker(&db.pool).run_until_idle().await.unwrap();
    // To the database it is now forty days later than it was.
    age(&db.pool, 40).await;
    let days = "select count(*) from pg_class where relkind = 'r' and relname ~ 'completed_2'";
    let before = count(&db.pool, days).await;
    let (stop, worker): (_, std::sync::Arc<Worker<Gates>>) =
        (CancellationToken::new(), worker(&db.pool, &Gates::new(), WorkerSettings::default()));
    let run = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    eventually("it is at work", async || {
        count(&db.pool, "select count(*) from queue.workers").await == 1
    })
    .await;
    stop.cancel();
    run.await.unwrap();
    assert_eq!(count(&db.pool, days).await, before);
    assert_eq!(count(&db.pool, "select count(*) from queue.finished_jobs").await, 1);
    let held_back = "select held_back::bigint from queue.retention
                     where history = 'queue.finished_jobs_completed'";
    assert_eq!(count(&db.pool, held_back).await, 33);

    // A clock that jumps on is not a clock that was seen to go on.
    sqlx::query(
        "update queue.retention set held_back_since = held_back_since - interval '9 days',
                   looked_at = looked_at - interval '9 days'",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    look(&db.pool, 7).await;
    assert_eq!(count(&db.pool, days).await, before);
    look_for_days(&db.pool, 7).await;
    assert_eq!(count(&db.pool, days).await, before - 33);
    // Days as they come are dropped as they come.
    look(&db.pool, 5).await;
    assert_eq!(count(&db.pool, days).await, before - 35);
}

#[tokio::test]
async fn nothing_is_old_by_a_clock_that_went_on_for_a_day_while_nobody_looked() {
    let db = database().await;
    let is_old = async || -> bool {
        let is_old = "select queue.old_before(10) is not null";
        sqlx::query_scalar(is_old).fetch_one(&db.pool).await.unwrap()
    };
    look(&db.pool, 7).await;
    assert!(is_old().await);
    // What a clock that jumps ahead does to it.
    let jump = "update queue.retention set looked_at = looked_at - interval '25 hours'";
    sqlx::query(jump).execute(&db.pool).await.unwrap();
    assert!(!is_old().await);
    look(&db.pool, 7).await;
    assert!(is_old().await);
}

#[tokio::test]
async fn what_finishes_on_a_day_without_a_partition_is_kept_and_moved_into_its_day() {
    let db = database().await;
    sqlx::raw_sql(
        "do $$ declare day regclass; begin
           for day in
             select inhrelid from pg_inherits where inhrelid::regclass::text ~ '_2[0-9]{7}$'
           loop execute format('drop table %s', day); end loop;
         end $$",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    for end in [End::Complete, End::Discard, End::Cancel, End::CompleteWithoutEffects, End::Fail] {
        enqueue_job(&db.pool, &Act::new("a", end)).await;
    }
    let summary = idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!((summary.completed, summary.discarded, summary.lease_lost), (2, 2, 0));
    assert_eq!(count(&db.pool, "select count(*) from queue.finished_jobs").await, 5);
    assert_eq!(count(&db.pool, "select count(*) from queue.attempts_other").await, 7);
    assert_invariants_hold(&db.pool).await;

    for table in ["finished_jobs_completed", "finished_jobs_discarded", "attempts"] {
        let made: i32 =
            sqlx::query_scalar("select queue.ensure_partitions(('queue.' || $1)::regclass, 7)")
                .bind(table)
                .fetch_one(&db.pool)
                .await
                .unwrap();
        assert_eq!(made, 8);
    }
    assert_eq!(count(&db.pool, "select count(*) from queue.attempts_other").await, 0);
    assert_eq!(
        count(&db.pool, "select count(*) from queue.finished_jobs_completed_other").await,
        0
    );
    assert_eq!(count(&db.pool, "select count(*) from queue.attempts").await, 7);
    assert_eq!(count(&db.pool, "select count(*) from queue.finished_jobs").await, 5);
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_role_that_may_not_make_partitions_is_told_so_before_it_works() {
    let db = database().await;
    idle_worker(&db.pool).require_rights().await.unwrap();
    let role = format!("clerk_{}", std::process::id());
    let make = format!(
        "create role {role} login;
         grant usage on schema queue to {role};
         grant all on all tables in schema queue to {role};
         grant all on all sequences in schema queue to {role}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&db.pool).await.unwrap();
    let options = db.pool.connect_options().as_ref().clone().username(&role);
    let pool = sqlx::postgres::PgPoolOptions::new().connect_with(options).await.unwrap();
    let refused = idle_worker(&pool).require_rights().await.unwrap_err();
    assert!(refused.to_string().contains(&role), "{refused}");
    assert!(matches!(refused, surety_queue::QueueError::Rights { .. }), "{refused:?}");
    // It completes jobs all the same.
    enqueue_job(&db.pool, &Act::new("a", End::CompleteWithoutEffects)).await;
    assert_eq!(idle_worker(&pool).run_until_idle().await.unwrap().completed, 1);
    pool.close().await;
    let drop = format!("drop owned by {role}; drop role {role}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&db.pool).await.unwrap();
}
