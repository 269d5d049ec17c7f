//! The private PostgreSQL.

use crate::support::{TestCluster, TestDb};

#[tokio::test]
async fn a_test_database_has_the_schema_and_no_rows() {
    let db = TestDb::new().await;
    let transactions: i64 = sqlx::query_scalar("select count(*) from _sqlx_migrations")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert!(transactions > 0);
}

#[tokio::test]
async fn test_databases_do_not_see_each_other() {
    let (one, other) = tokio::join!(TestDb::new(), TestDb::new());
    sqlx::query("create table here ()").execute(&one.pool).await.unwrap();
    sqlx::query("create table here ()").execute(&other.pool).await.unwrap();
}

#[tokio::test]
async fn a_cluster_keeps_what_was_committed_over_an_immediate_stop() {
    let mut cluster = TestCluster::start().await;
    let pool = cluster.migrated("app").await;
    sqlx::query("create table kept as select 42 as answer").execute(&pool).await.unwrap();
    cluster.stop_immediate().await;
    sqlx::query("select 1").execute(&pool).await.expect_err("the server is gone");
    cluster.start_again().await;
    let answer: i32 = sqlx::query_scalar("select answer from kept").fetch_one(&pool).await.unwrap();
    assert_eq!(answer, 42);
}
