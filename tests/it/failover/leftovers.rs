//! What one caller leaves on a connection is not handed to the next.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, raw_sql};
use surety::db;

use crate::support::load::count;
use crate::support::prober::RECOVERY;
use crate::support::{Proxy, TestDb};

#[tokio::test]
async fn a_transaction_that_nobody_ended_is_not_handed_to_the_next() {
    let db = TestDb::new().await;
    raw_sql("create table notes (n int)").execute(&db.pool).await.unwrap();
    let pool = db::connect(&db.url, 1, "test").await.unwrap();
    for n in 0..20 {
        // As the driver leaves it, when a caller gives up while it waits for the answer to BEGIN.
        raw_sql("begin").execute(&mut *pool.acquire().await.unwrap()).await.unwrap();
        let note = format!("insert into notes values ({n})");
        raw_sql(AssertSqlSafe(note)).execute(&pool).await.unwrap();
    }
    assert_eq!(count(&db.pool, "select count(*) from notes").await, 20, "lost with a transaction");
}

#[tokio::test]
async fn callers_that_give_up_do_not_use_up_the_pool() {
    let db = TestDb::new().await;
    let network = Proxy::start(&db.url).await;
    let pool = db::connect(&network.url(&db.url), 3, "test").await.unwrap();
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let asked = sqlx::query("select pg_sleep(60)").execute(&pool);
                tokio::time::timeout(Duration::from_millis(500), asked).await.is_err()
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    network.cut_silently();
    for asked in asking {
        assert!(asked.await.unwrap(), "it was answered");
    }
    let began = Instant::now();
    let one: i32 = loop {
        match sqlx::query_scalar("select 1").fetch_one(&pool).await {
            Ok(one) => break one,
            Err(_) => assert!(began.elapsed() < RECOVERY, "no connection is free"),
        }
    };
    assert_eq!(one, 1);
    assert!(began.elapsed() < RECOVERY, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_pool_for_writing_leaves_a_server_that_became_read_only() {
    let db = TestDb::new().await;
    let [reading, writing] = [
        db::connect(&db.url, 1, "test").await.unwrap(),
        db::connect_to_write(&db.url, 1, "test").await.unwrap(),
    ];
    let pid = "select pg_backend_pid()::int8";
    let mut before = Vec::new();
    for pool in [&reading, &writing] {
        let mut conn = pool.acquire().await.unwrap();
        raw_sql("set default_transaction_read_only = on").execute(&mut *conn).await.unwrap();
        before.push(sqlx::query_scalar::<_, i64>(pid).fetch_one(&mut *conn).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;

    assert_eq!(count(&reading, pid).await, before[0], "who reads may stay");
    assert_ne!(count(&writing, pid).await, before[1]);
    raw_sql("create table written (n int)").execute(&writing).await.unwrap();
}
