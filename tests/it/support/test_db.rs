//! A database per test.

use std::ops::Deref;

use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection, PgPool};
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
    let mut hash = Sha256::new();
    for migration in db::MIGRATOR.iter() {
        hash.update(migration.version.to_be_bytes());
        hash.update(&migration.checksum);
    }
    hex::encode(&hash.finalize()[..8])
}

async fn migrate(url: String) {
    let mut inside = PgConnection::connect(&url).await.unwrap();
    db::MIGRATOR.run(&mut inside).await.expect("the migrations apply");
    inside.close().await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    mark_as_test_database(&pool).await.expect("there are no jobs yet");
    pool.close().await;
}
