//! What needs a session: refused through a pooler, or done past it.

use sqlx::AssertSqlSafe;
use surety::db::{self, DatabaseArgs};
use surety_postgres::ConnectError;

use crate::support::{App, Binary as _, PgBouncer, PgBouncerSettings, TestDb};

#[tokio::test(flavor = "multi_thread")]
async fn what_would_stay_behind_in_a_session_is_refused_with_the_way_out() {
    let db = TestDb::new().await;
    let bouncer = PgBouncer::start(&db.url, PgBouncerSettings::default()).await;
    let pool = db::connect(&bouncer.url, 1, "test").await.unwrap();
    for statement in [
        "listen surety_queue",
        "select pg_try_advisory_lock(1)",
        "SELECT  pg_advisory_lock(1)",
        "create temporary table t (i int)",
        "Create Temp Table t (i int)",
        "set enable_seqscan = on",
        "prepare p as select 1",
    ] {
        let prepared = sqlx::query(AssertSqlSafe(statement)).execute(&pool).await;
        let simple = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&pool).await;
        for refused in [prepared, simple] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("APP_DATABASE_DIRECT_URL"), "{statement}: {error}");
        }
        // The connection is as good as before.
        let one: i32 = sqlx::query_scalar("select 1").fetch_one(&pool).await.unwrap();
        assert_eq!(one, 1);
    }
    // Within a transaction nothing stays behind.
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("set local enable_seqscan = on").execute(&mut *tx).await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(1)").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_refused_through_a_pooler_and_run_past_it() {
    let db = TestDb::without_schema().await;
    let bouncer = PgBouncer::start(&db.url, PgBouncerSettings::default()).await;

    for args in [&["migrate", "run"][..], &["serve", "--migrate", "--listen", "127.0.0.1:0"]] {
        let (status, said) = App::command(args).env("DATABASE_URL", &bouncer.url).run().await;
        assert_eq!(status.code(), Some(78), "{args:?}: {said}");
        assert!(said.contains("APP_DATABASE_DIRECT_URL"), "{said}");
        assert!(!said.contains("surety-pooler"), "{said}");
    }
    let (status, said) = App::command(["migrate", "run"])
        .env("DATABASE_URL", &bouncer.url)
        .env("APP_DATABASE_DIRECT_URL", &db.url)
        .run()
        .await;
    assert!(status.success(), "{said}");
    let (status, said) = App::command(["verify"]).env("DATABASE_URL", &bouncer.url).run().await;
    assert!(status.success(), "{said}");
}

#[tokio::test]
async fn a_direct_url_that_leads_through_a_pooler_is_told_so() {
    let db = TestDb::new().await;
    let bouncer = PgBouncer::start(&db.url, PgBouncerSettings::default()).await;
    let ways = DatabaseArgs {
        database_url: Some(bouncer.url.clone()),
        database_direct_url: Some(bouncer.url.clone()),
    };
    let error = ways.connect_session("test", "migrations").await.unwrap_err();
    assert!(matches!(error, ConnectError::NeedsSession { .. }), "{error}");
}

#[tokio::test]
async fn the_direct_url_can_come_from_a_file() {
    let db = TestDb::without_schema().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    std::fs::write(&file, format!("{}\n", db.url)).unwrap();
    // Nobody is at the other address.
    let (status, said) = App::command(["migrate", "run"])
        .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
        .env("APP_DATABASE_DIRECT_URL_FILE", file.to_str().unwrap())
        .run()
        .await;
    assert!(status.success(), "{said}");
}
