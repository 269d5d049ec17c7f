//! A program of a stranger's: its tables come by `sqlx::migrate!`, with a migration 1 of its own,
//! and it brings the queue to the same database.

// A test that unwraps wrongly fails, which is what it is for.
#![allow(clippy::unwrap_used)]

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use surety_postgres::testing::TestDatabase;
use surety_queue::{
    Committed, Job, JobContext, JobError, NewJob, Registry, Worker, WorkerSettings, enqueue,
};

static MIGRATOR: Migrator = sqlx::migrate!("tests/stranger/migrations");

#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl Job for Greet {
    const KIND: &'static str = "greet";
    type State = ();

    async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
        let mut tx = cx.begin().await?;
        sqlx::query("insert into greetings (name) values ($1)")
            .bind(&self.name)
            .execute(&mut *tx)
            .await?;
        cx.complete(tx).await
    }
}

/// Enqueues a job, runs it, and looks at what it wrote.
async fn assert_works(pool: &PgPool) {
    let mut tx = pool.begin().await.unwrap();
    enqueue(&mut tx, NewJob::new(&Greet { name: "world".into() }).unwrap()).await.unwrap();
    tx.commit().await.unwrap();
    let registry = Registry::new(()).register::<Greet>();
    let worker = Worker::new(pool.clone(), registry, WorkerSettings::default()).unwrap();
    assert_eq!(worker.run_until_idle().await.unwrap().completed, 1);
    let greeted: Vec<String> =
        sqlx::query_scalar("select name from greetings").fetch_all(pool).await.unwrap();
    assert_eq!(greeted, ["world"]);
}

#[tokio::test]
async fn its_own_migrations_come_first_and_then_those_of_the_queue() {
    let db = TestDatabase::empty().await;
    MIGRATOR.run(&db.pool).await.unwrap();
    assert!(!surety_queue::migrate(&db.pool).await.unwrap().is_empty());
    assert_works(&db.pool).await;
}

#[tokio::test]
async fn the_queue_comes_first_and_then_its_own_migrations() {
    let db = TestDatabase::empty().await;
    assert!(!surety_queue::migrate(&db.pool).await.unwrap().is_empty());
    MIGRATOR.run(&db.pool).await.unwrap();
    assert_works(&db.pool).await;
}

#[tokio::test]
async fn at_every_further_start_neither_minds_the_other() {
    let db = TestDatabase::empty().await;
    for round in 0..2 {
        MIGRATOR.run(&db.pool).await.unwrap();
        let applied = surety_queue::migrate(&db.pool).await.unwrap();
        assert_eq!(applied.is_empty(), round > 0, "{applied:?}");
    }
    let own: Vec<i64> = sqlx::query_scalar("select version from _sqlx_migrations order by 1")
        .fetch_all(&db.pool)
        .await
        .unwrap();
    assert_eq!(own, [1, 2]);
}
