//! Who keeps vacuum from cleaning up.

use std::time::Duration;

use sqlx::Row as _;

use super::{Answer, execute, patient_session};
use crate::support::{TestCluster, TestDb, migrated};

const OLDEST: &str = "oldest-transaction";

/// So much older than `--max-transaction-age 100ms` that it is a warning at least.
async fn grow_older() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}

#[tokio::test]
async fn a_session_that_holds_the_horizon_is_named_and_the_fix_ends_it() {
    let db = TestDb::new().await;
    let mut holder = patient_session(&db.url).await;
    let began = sqlx::query("begin isolation level repeatable read").execute(&mut holder).await;
    began.unwrap();
    let pid: i32 = sqlx::query("select pg_backend_pid(),\n  42 as what_it_last_asked")
        .fetch_one(&mut holder)
        .await
        .unwrap()
        .get(0);
    assert_eq!(db.doctor(&[]).await.levels(OLDEST), ["ok"]);
    grow_older().await;

    let answer = db.doctor(&["--max-transaction-age", "100ms"]).await;
    assert_eq!(answer.code, Some(1));
    let [level, found, fix] = answer.about(OLDEST, &format!("pid {pid} (role postgres"));
    assert!(["warn", "fail"].contains(&level), "{level}");
    assert!(found.contains(": idle in transaction for "), "{found}");
    assert!(found.contains("select pg_backend_pid(), 42 as what_it_last_asked"), "{found}");
    assert_eq!(fix, format!("select pg_terminate_backend({pid})"));

    execute(&db.pool, fix).await;
    let answer = db.doctor(&["--max-transaction-age", "100ms"]).await;
    assert_eq!(answer.levels(OLDEST), ["ok"], "{:?}", answer.of_check(OLDEST));
}

/// One that has only written holds it, too, though it has no snapshot.
#[tokio::test]
async fn a_transaction_that_wrote_is_named_and_one_of_another_database_is_not() {
    let (db, other) = (TestDb::new().await, TestDb::new().await);
    for url in [&db.url, &other.url] {
        let mut holder = patient_session(url).await;
        for statement in ["begin", "create table t ()", "select 'mine'"] {
            sqlx::query(statement).execute(&mut holder).await.unwrap();
        }
        std::mem::forget(holder);
    }
    grow_older().await;
    let answer = db.doctor(&["--max-transaction-age", "100ms"]).await;
    assert_eq!(answer.of_check(OLDEST).len(), 1, "{:?}", answer.of_check(OLDEST));
    assert!(answer.about(OLDEST, "select 'mine'")[0] != "ok");
}

#[tokio::test]
async fn a_forgotten_prepared_transaction_and_an_idle_slot_are_named_and_the_fixes_end_them() {
    let mut cluster = TestCluster::start().await;
    let pool = migrated(&cluster, "app").await;
    sqlx::query("alter system set max_prepared_transactions = 2").execute(&pool).await.unwrap();
    pool.close().await;
    cluster.stop_fast().await;
    cluster.start_again().await;
    let url = cluster.url("app");
    let mut session = patient_session(&url).await;
    for statement in [
        "begin",
        "create table t ()",
        "prepare transaction 'it''s mine'",
        "select pg_create_physical_replication_slot('gone', true)",
    ] {
        sqlx::query(statement).execute(&mut session).await.unwrap();
    }
    grow_older().await;

    let answer = Answer::of(&url, &["--max-transaction-age", "100ms"]).await;
    let [level, found, fix] = answer.about("prepared-transactions", "it's mine");
    assert!(level != "ok" && found.contains("of role postgres has been prepared for"), "{found}");
    let statement = fix.split(" (or").next().unwrap().to_owned();
    assert_eq!(statement, "rollback prepared 'it''s mine'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut session).await.unwrap();

    let [level, found, fix] = answer.about("replication-slots", "gone");
    assert_eq!(level, "warn");
    assert!(found.contains("used by nobody"), "{found}");
    let (_, statement) = fix.split_once("or: ").unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut session).await.unwrap();

    let answer = Answer::of(&url, &["--max-transaction-age", "100ms"]).await;
    assert_eq!(answer.levels("prepared-transactions"), ["ok"]);
    assert_eq!(answer.levels("replication-slots"), ["ok"]);
}
