//! A database per test, with the queue's schema and nothing else.

use std::ops::Deref;

use sqlx::PgPool;
use surety_postgres::testing::{Template, TestCluster, TestDatabase};
use surety_queue::schema::QUEUE;
use surety_queue::testing::mark_as_test_database;

pub(crate) use surety_postgres::testing::{PATIENCE, eventually_async, wait_for_locks};

/// The queue's schema, and no rows.
static SCHEMA: Template = Template { fingerprint, make: |url| Box::pin(migrate(url)) };

/// A database that only this test uses; it is dropped with this value.
pub(crate) struct TestDb(TestDatabase);

impl TestDb {
    /// A database with the current schema and no rows.
    pub(crate) async fn new() -> Self {
        Self(TestDatabase::of(&SCHEMA).await)
    }

    /// A database with nothing in it at all.
    pub(crate) async fn without_schema() -> Self {
        Self(TestDatabase::empty().await)
    }
}

impl Deref for TestDb {
    type Target = TestDatabase;

    fn deref(&self) -> &TestDatabase {
        &self.0
    }
}

/// Makes a database with the queue's schema on a cluster of one's own, and connects to it.
pub(crate) async fn migrated(cluster: &TestCluster, database: &str) -> PgPool {
    let pool = cluster.database(database).await;
    surety_queue::migrate(&pool).await.unwrap();
    pool
}

fn fingerprint() -> String {
    format!("queue_{}", QUEUE.fingerprint())
}

async fn migrate(url: String) {
    let pool = PgPool::connect(&url).await.unwrap();
    surety_queue::migrate(&pool).await.expect("the migrations apply");
    mark_as_test_database(&pool).await.expect("there are no jobs yet");
    pool.close().await;
}
