//! A PostgreSQL of one's own.

use crate::connect;
use crate::embedded::{Cluster, ClusterSettings, Lifetime};
use sqlx::PgPool;

use super::shared_cluster::{ScratchDir, scratch_dir, throwaway};

/// A PostgreSQL that only this test uses, to stop, crash and start again. It ends with this value.
pub struct TestCluster {
    settings: ClusterSettings,
    cluster: Option<Cluster>,
    /// With `DATABASE` in place of the database.
    url: String,
    /// After the cluster, which ends first.
    _dir: ScratchDir,
}

impl TestCluster {
    /// Starts a new cluster with no database of ours in it.
    pub async fn start() -> Self {
        let dir = scratch_dir();
        let settings = throwaway(dir.join("c"), Lifetime::OfThisProcess);
        let mut this = Self { settings, cluster: None, url: String::new(), _dir: dir };
        this.start_again().await;
        this
    }

    /// The URL of a database; the same before and after a restart, and while the server is down.
    pub fn url(&self, database: &str) -> String {
        self.url.replace("DATABASE", database)
    }

    /// Makes a database with nothing in it, unless it is there, and connects to it.
    pub async fn database(&self, database: &str) -> PgPool {
        self.running().ensure_database(database).await.unwrap();
        connect(&self.url(database), 10, "test").await.unwrap()
    }

    /// The server's process.
    pub fn pid(&self) -> i32 {
        self.running().pid()
    }

    /// The log of the server since its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.settings.data_dir.join("server.log")).unwrap_or_default()
    }

    /// Stops the server as `pg_ctl stop -m immediate` does: connections are cut, nothing is
    /// written, the next start recovers.
    pub async fn stop_immediate(&mut self) {
        self.cluster.take().expect("it runs").stop_immediately().await;
    }

    /// Stops the server as `pg_ctl stop -m fast` does.
    pub async fn stop_fast(&mut self) {
        self.cluster.take().expect("it runs").stop().await;
    }

    /// Starts the server again, with its data.
    pub async fn start_again(&mut self) {
        assert!(self.cluster.is_none(), "it runs already");
        let cluster = Cluster::start(self.settings.clone()).await.unwrap();
        self.url = cluster.url("DATABASE");
        self.cluster = Some(cluster);
    }

    fn running(&self) -> &Cluster {
        self.cluster.as_ref().expect("it runs")
    }
}
