//! A database per test.

use std::ops::Deref;

use sqlx::PgPool;
use surety::db;
use surety::queue::testing::mark_as_test_database;
use surety_postgres::testing::{Template, TestCluster, TestDatabase};

/// The whole schema, and no rows.
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

/// Makes a database with the current schema on a cluster of one's own, and connects to it.
pub(crate) async fn migrated(cluster: &TestCluster, database: &str) -> PgPool {
    let pool = cluster.database(database).await;
    db::migrate(&pool).await.unwrap();
    pool
}

fn fingerprint() -> String {
    let words: Vec<String> = db::SCHEMAS.iter().map(|schema| schema.fingerprint()).collect();
    words.join("_")
}

async fn migrate(url: String) {
    let pool = PgPool::connect(&url).await.unwrap();
    db::migrate(&pool).await.expect("the migrations apply");
    mark_as_test_database(&pool).await.expect("there are no jobs yet");
    pool.close().await;
}
