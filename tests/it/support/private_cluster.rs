//! A PostgreSQL of one's own.

use sqlx::PgPool;
use surety::db;
use surety::embedded_postgres::{Cluster, ClusterSettings, Lifetime};

use super::shared_cluster::{ScratchDir, scratch_dir, throwaway};

/// A PostgreSQL that only this test uses, to stop, crash and start again. It ends with this value.
pub(crate) struct TestCluster {
    settings: ClusterSettings,
    cluster: Option<Cluster>,
    /// With `DATABASE` in place of the database.
    url: String,
    /// After the cluster, which ends first.
    _dir: ScratchDir,
}

impl TestCluster {
    /// Starts a new cluster with no database of ours in it.
    pub(crate) async fn start() -> Self {
        let dir = scratch_dir();
        let settings = throwaway(dir.join("c"), Lifetime::OfThisProcess);
        let mut this = Self { settings, cluster: None, url: String::new(), _dir: dir };
        this.start_again().await;
        this
    }

    /// The URL of a database; the same before and after a restart, and while the server is down.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url.replace("DATABASE", database)
    }

    /// Makes a database with the current schema and connects to it.
    pub(crate) async fn migrated(&self, database: &str) -> PgPool {
        self.running().ensure_database(database).await.unwrap();
        let pool = db::connect(&self.url(database), 10, "test").await.unwrap();
        db::migrate(&pool).await.unwrap();
        pool
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> i32 {
        self.running().pid()
    }

    /// What the server said since its last start.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.settings.data_dir.join("server.log")).unwrap_or_default()
    }

    /// Stops the server as `pg_ctl stop -m immediate` does: connections are cut, nothing is
    /// written, the next start recovers.
    pub(crate) async fn stop_immediate(&mut self) {
        self.cluster.take().expect("it runs").stop_immediately().await;
    }

    /// Stops the server as `pg_ctl stop -m fast` does.
    pub(crate) async fn stop_fast(&mut self) {
        self.cluster.take().expect("it runs").stop().await;
    }

    /// Starts the server again, with its data.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.cluster.is_none(), "it runs already");
        let cluster = Cluster::start(self.settings.clone()).await.unwrap();
        self.url = cluster.url("DATABASE");
        self.cluster = Some(cluster);
    }

    fn running(&self) -> &Cluster {
        self.cluster.as_ref().expect("it runs")
    }
}
