//! Partitions, indexes, storage settings, dead rows.

use std::time::Duration;

use super::execute;
use crate::support::{PATIENCE, TestDb};

const RELATIONS: &str = "indexes-and-settings";

/// Everything that must be there is: a list that is stale would find fault with every database.
#[tokio::test]
async fn a_database_that_was_just_migrated_has_all_that_it_should() {
    let db = TestDb::new().await;
    let answer = db.doctor(&[]).await;
    assert_eq!(answer.levels(RELATIONS), ["ok", "ok"], "{:?}", answer.of_check(RELATIONS));
    assert_eq!(answer.levels("partitions"), ["ok"], "{:?}", answer.of_check("partitions"));
    assert!(answer.about(RELATIONS, " of queue are")[1].starts_with("all "));
    assert_eq!(answer.levels("dead-rows"), ["ok", "ok"]);
    assert_eq!(answer.levels("freeze-age"), ["ok", "ok"]);
}

#[tokio::test]
async fn a_lost_index_is_found_and_its_fix_brings_it_back() {
    let db = TestDb::new().await;
    execute(&db.pool, "drop index queue.jobs_waiting; drop index payments.orders_source").await;
    let answer = db.doctor(&[]).await;
    assert_eq!(answer.levels(RELATIONS), ["fail", "fail"]);
    let [_, found, _] = answer.about(RELATIONS, "jobs_waiting");
    assert_eq!(found, "queue.jobs has lost its index jobs_waiting");
    for [_, _, fix] in answer.of_check(RELATIONS) {
        assert!(fix.starts_with("CREATE INDEX "), "{fix}");
        execute(&db.pool, fix).await;
    }
    assert_eq!(db.doctor(&[]).await.levels(RELATIONS), ["ok", "ok"]);
}

#[tokio::test]
async fn an_invalid_index_is_found_and_its_fix_makes_it_valid() {
    let db = TestDb::new().await;
    // As a `create index concurrently` leaves it that was interrupted.
    execute(
        &db.pool,
        "update pg_index set indisvalid = false
         where indexrelid = 'queue.jobs_running'::regclass",
    )
    .await;
    let answer = db.doctor(&[]).await;
    let [level, found, fix] = answer.about(RELATIONS, "jobs_running");
    assert_eq!(level, "fail");
    assert!(found.contains("is invalid"), "{found}");
    execute(&db.pool, fix).await;
    assert_eq!(db.doctor(&[]).await.levels(RELATIONS), ["ok", "ok"]);
}

#[tokio::test]
async fn other_storage_settings_are_found_and_the_fix_sets_them() {
    let db = TestDb::new().await;
    execute(
        &db.pool,
        "alter table queue.jobs reset (fillfactor);
         alter table queue.jobs set (autovacuum_vacuum_threshold = 1000000);
         -- Somebody's own tuning is nobody else's business.
         alter table queue.resolutions set (fillfactor = 90);
         alter table payments.accounts set (fillfactor = 90)",
    )
    .await;
    let answer = db.doctor(&[]).await;
    assert_eq!(answer.levels(RELATIONS), ["warn", "warn", "warn"]);
    answer.about(RELATIONS, "queue.jobs: fillfactor is not set");
    answer.about(RELATIONS, "queue.jobs: autovacuum_vacuum_threshold is 1000000");
    answer.about(RELATIONS, "payments.accounts: fillfactor is 90");
    for [_, _, fix] in answer.of_check(RELATIONS) {
        execute(&db.pool, fix).await;
    }
    assert_eq!(db.doctor(&[]).await.levels(RELATIONS), ["ok", "ok"]);
}

#[tokio::test]
async fn a_missing_partition_is_worse_the_nearer_its_day() {
    let db = TestDb::new().await;
    let drop = |table: &str, days: i32| {
        format!(
            "do $$ begin execute format('drop table queue.{table}_%s',
               to_char((now() at time zone 'utc')::date + {days}, 'YYYYMMDD')); end $$"
        )
    };
    execute(&db.pool, drop("attempts", 3)).await;
    execute(&db.pool, drop("finished_jobs_completed", 6)).await;
    let answer = db.doctor(&[]).await;
    assert_eq!(answer.levels("partitions"), ["warn"]);
    assert!(answer.about("partitions", "queue.attempts")[1].contains("the day in 3 days"));

    execute(&db.pool, drop("finished_jobs_discarded", 1)).await;
    let answer = db.doctor(&[]).await;
    let [level, found, fix] = answer.about("partitions", "finished_jobs_discarded");
    assert_eq!(level, "fail");
    assert!(found.contains("tomorrow"), "{found}");
    let (_, statement) = fix.split_once("or: ").unwrap();
    execute(&db.pool, statement).await;
    assert_eq!(db.doctor(&[]).await.levels("partitions"), ["warn"]);
}

#[tokio::test]
async fn days_that_retention_holds_back_are_told_with_the_clock() {
    let db = TestDb::new().await;
    assert_eq!(db.doctor(&[]).await.levels("retention"), ["ok"]);
    execute(
        &db.pool,
        "do $$ begin
           for n in 20 .. 30 loop
             execute format('create table queue.%I partition of queue.attempts
               for values from (%L) to (%L)',
               'attempts_' || to_char((now() at time zone 'utc')::date - n, 'YYYYMMDD'),
               ((now() at time zone 'utc')::date - n)::timestamp at time zone 'utc',
               ((now() at time zone 'utc')::date - n + 1)::timestamp at time zone 'utc');
           end loop;
         end $$;
         select queue.drop_old_partitions('queue.attempts', 7)",
    )
    .await;
    let answer = db.doctor(&[]).await;
    let [level, found, fix] = answer.about("retention", "queue.attempts has 11 days");
    assert_eq!(level, "warn");
    assert!(found.contains("which says 2"), "{found}");
    assert!(fix.contains("clock is right"), "{fix}");
}

#[tokio::test]
async fn discarded_jobs_that_wait_for_a_decision_are_told() {
    let db = TestDb::new().await;
    let discarded = |id: u32, days: u32| {
        format!(
            "insert into queue.finished_jobs
               (id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at,
                enqueued_at, finished_at, args)
             values ({id}, 'default', 'settle', 2, 1, 1, 0, 'discarded', now(), now(),
                     now() - interval '{days} days', '{{}}')"
        )
    };
    assert_eq!(db.doctor(&[]).await.levels("undecided-jobs"), ["ok"]);
    execute(&db.pool, discarded(8, 5)).await;
    execute(&db.pool, discarded(9, 40)).await;
    let answer = db.doctor(&[]).await;
    let [level, found, fix] = answer.about("undecided-jobs", "");
    assert_eq!(level, "warn");
    assert!(found.contains("decided over: 2, the first for 40 days, job 9"), "{found}");
    assert!(fix.contains("app dead-letters list"), "{fix}");
    execute(
        &db.pool,
        "insert into queue.resolutions (job_id, attempt, resolution, resolved_by, reason)
         values (8, 1, 'dismissed', 'ada', 'x'), (9, 1, 'dismissed', 'ada', 'x')",
    )
    .await;
    assert_eq!(db.doctor(&[]).await.levels("undecided-jobs"), ["ok"]);
}

#[tokio::test]
async fn dead_rows_that_nobody_removes_are_found() {
    let db = TestDb::new().await;
    execute(
        &db.pool,
        // Autovacuum would come within a minute.
        "alter table queue.jobs set (autovacuum_enabled = false);
         insert into queue.jobs (kind, run_at)
           select 'settle', now() + interval '1 day' from generate_series(1, 75000);
         delete from queue.jobs;
         select pg_stat_force_next_flush()",
    )
    .await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let answer = loop {
        let answer = db.doctor(&[]).await;
        // Each session tells the server of its changes when it likes.
        let found = answer.of_check("dead-rows").concat().join(" ");
        if found.contains("75000 dead rows") {
            break answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "{found}");
        execute(&db.pool, "select pg_stat_force_next_flush()").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let [level, _, fix] = answer.about("dead-rows", "queue.jobs is never vacuumed by itself");
    assert_eq!(level, "fail");
    execute(&db.pool, fix).await;
    let answer = db.doctor(&[]).await;
    if let Some([level, _, fix]) =
        answer.of_check("dead-rows").into_iter().find(|finding| finding[0] != "ok")
    {
        assert_eq!(level, "warn");
        let (_, statement) = fix.split_once("then: ").unwrap();
        execute(&db.pool, statement).await;
    }
    assert_eq!(db.doctor(&[]).await.levels("dead-rows"), ["ok", "ok"]);
}
