//! The PostgreSQL server of a benchmark, and databases that live for one measurement.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tokio::sync::Mutex;

use super::configuration::Configuration;
use super::history::{self, History};
use surety::db;
use surety_postgres::embedded::locate::Download;
use surety_postgres::embedded::locate::find_or_fetch;
use surety_postgres::embedded::{Access, Binaries, Cluster, ClusterSettings, Durability, Lifetime};

/// The settings of the private cluster that differ from PostgreSQL as shipped: room enough that no
/// checkpoint falls into a measurement, and a cache that holds the data. Durability is left as it
/// is: on.
const SERVER_SETTINGS: [(&str, &str); 4] = [
    ("shared_buffers", "1GB"),
    ("max_wal_size", "8GB"),
    ("min_wal_size", "2GB"),
    ("checkpoint_timeout", "30min"),
];
pub(crate) const MAX_CONNECTIONS: u32 = 600;

/// Statistics that the server is asked to collect beside its usual ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Counting {
    /// Nothing: it serves HTTP requests beside `pgbench`, and both would pay.
    AsShipped,
    /// Each statement's buffers and time, by `pg_stat_statements`, where the server has it.
    Statements,
}

/// A server, and what was made on it.
pub(crate) struct Server {
    /// Any database of it, for making others.
    admin_url: String,
    /// In front of the names of all databases of this run.
    prefix: String,
    /// The private cluster, when there is one.
    private: Option<PrivateCluster>,
    /// The path of `pgbench`.
    pgbench: PathBuf,
    /// True when `pg_stat_statements` is in every database that is made.
    counts_statements: bool,
    /// The last job that stands in the database full of history, once there is such a one.
    history: Mutex<Option<i64>>,
}

struct PrivateCluster {
    settings: ClusterSettings,
    /// None while it is being started again.
    running: Mutex<Option<Cluster>>,
}

impl Server {
    /// The server at `database_url`, or a private cluster, with a migrated template to copy
    /// databases from.
    pub(crate) async fn start(
        database_url: Option<&str>,
        counting: Counting,
    ) -> anyhow::Result<Self> {
        let prefix = format!("surety_bench_{}_{}", std::process::id(), fastrand::u16(..));
        let mut server = match database_url {
            Some(url) => Self::given(url, prefix).await,
            None => Self::start_private(prefix, counting).await?,
        };
        match server.make_template(counting).await {
            Ok(counts_statements) => {
                server.counts_statements = counts_statements;
                Ok(server)
            }
            Err(error) => {
                server.end().await;
                Err(error)
            }
        }
    }

    async fn given(url: &str, prefix: String) -> Self {
        let binaries = find_or_fetch(&std::env::temp_dir(), Download::Refused, |_| {}).await;
        Self {
            admin_url: url.to_owned(),
            prefix,
            private: None,
            pgbench: pgbench_beside(binaries.ok().as_ref().map(Binaries::dir)),
            counts_statements: false,
            history: Mutex::new(None),
        }
    }

    async fn start_private(prefix: String, counting: Counting) -> anyhow::Result<Self> {
        let data_dir = std::env::temp_dir().join(&prefix);
        let binaries =
            find_or_fetch(&data_dir, Download::Allowed, |line| eprintln!("{line}")).await?;
        let settings = ClusterSettings {
            data_dir,
            binaries,
            durability: Durability::Durable,
            access: Access::SocketAndLoopback,
            lifetime: Lifetime::OfThisProcess,
            max_connections: MAX_CONNECTIONS,
        };
        configure(Cluster::start(settings.clone()).await?, counting).await?;
        let cluster = Cluster::start(settings.clone()).await?;
        Ok(Self {
            // By TCP, as most servers are reached, and the same way for everybody who is measured.
            admin_url: cluster.tcp_url("postgres").context("the cluster has no TCP")?,
            prefix,
            pgbench: pgbench_beside(Some(cluster.binaries().dir())),
            private: Some(PrivateCluster { settings, running: Mutex::new(Some(cluster)) }),
            counts_statements: false,
            history: Mutex::new(None),
        })
    }

    /// Makes the database that all others are copies of. Tells whether it counts statements.
    async fn make_template(&self, counting: Counting) -> anyhow::Result<bool> {
        let name = self.template();
        self.execute(&format!("create database {name}")).await?;
        let pool = db::connect(&self.url_of(&name), 1, "surety-bench").await?;
        db::migrate(&pool).await?;
        let is_loaded: bool = sqlx::query_scalar(
            "select exists (
               select from pg_settings
               where name = 'shared_preload_libraries' and setting like '%pg_stat_statements%'
             )",
        )
        .fetch_one(&pool)
        .await?;
        // On a server of others it may be refused; then buffers are counted another way.
        let counts = counting == Counting::Statements
            && is_loaded
            && sqlx::query("create extension pg_stat_statements").execute(&pool).await.is_ok();
        pool.close().await;
        Ok(counts)
    }

    fn template(&self) -> String {
        format!("{}_template", self.prefix)
    }

    fn url_of(&self, database: &str) -> String {
        with_database(&self.admin_url, database)
    }

    /// The program, whether or not it is there.
    pub(crate) fn pgbench(&self) -> &Path {
        &self.pgbench
    }

    /// Tells whether the databases made here know `pg_stat_statements`.
    pub(crate) fn counts_statements(&self) -> bool {
        self.counts_statements
    }

    /// Tells whether the server may be restarted.
    pub(crate) fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// An empty, migrated database. A checkpoint comes first, so that no measurement pays for the
    /// one before.
    pub(crate) async fn fresh_database(&self) -> anyhow::Result<Database<'_>> {
        self.copy_of(&self.template(), 0).await
    }

    /// A database with a past. The first call fills one that all others are copies of.
    pub(crate) async fn database_with(&self, past: History) -> anyhow::Result<Database<'_>> {
        let template = format!("{}_history", self.prefix);
        let mut history = self.history.lock().await;
        let last_job = match *history {
            Some(last_job) => last_job,
            None => {
                eprintln!("filling a database with {past}");
                self.execute(&format!("create database {template} template {}", self.template()))
                    .await?;
                let mut conn = connect(&self.url_of(&template)).await?;
                let last_job = history::fill(&mut conn, past).await?;
                conn.close().await?;
                *history.insert(last_job)
            }
        };
        self.copy_of(&template, last_job).await
    }

    async fn copy_of(&self, template: &str, last_job: i64) -> anyhow::Result<Database<'_>> {
        let name = format!("{}_{}", self.prefix, fastrand::u32(..));
        // Files are copied, not logged: a large template would fill the log.
        self.execute(&format!("create database {name} template {template} strategy file_copy"))
            .await?;
        self.execute("checkpoint").await?;
        Ok(Database { server: self, url: self.url_of(&name), name, last_job })
    }

    async fn connect(&self) -> anyhow::Result<PgConnection> {
        connect(&self.admin_url).await
    }

    async fn execute(&self, statement: &str) -> anyhow::Result<()> {
        let mut conn = self.connect().await?;
        // Utility statements take no parameters; the names in them are made above.
        let executed = sqlx::query(AssertSqlSafe(statement)).execute(&mut conn).await;
        executed.with_context(|| format!("the server refuses '{statement}'"))?;
        Ok(conn.close().await?)
    }

    /// The machine, server and settings of measurements here.
    pub(crate) async fn configuration(&self) -> anyhow::Result<Configuration> {
        let mut conn = self.connect().await?;
        let name = if self.is_private() { "private cluster, by TCP" } else { "DATABASE_URL" };
        Configuration::read(&mut conn, name).await
    }

    /// Stops the private cluster as a crash would, and starts it again at the same address.
    pub(crate) async fn crash_and_recover(&self) -> anyhow::Result<()> {
        let Some(private) = &self.private else {
            bail!("only the private cluster is ever restarted");
        };
        let mut running = private.running.lock().await;
        if let Some(cluster) = running.take() {
            cluster.stop_immediately().await;
        }
        let cluster = Cluster::start(private.settings.clone()).await?;
        let url = cluster.tcp_url("postgres");
        *running = Some(cluster);
        if url.as_deref() != Some(&self.admin_url) {
            bail!("the private cluster came back at another address: its port was taken");
        }
        Ok(())
    }

    /// Drops every database of this run; stops and deletes the private cluster.
    pub(crate) async fn end(self) {
        if let Some(private) = self.private {
            if let Some(cluster) = private.running.into_inner() {
                cluster.stop().await;
            }
            let data_dir = &private.settings.data_dir;
            if let Err(error) = std::fs::remove_dir_all(data_dir) {
                eprintln!("warning: {} could not be deleted: {error}", data_dir.display());
            }
            return;
        }
        if let Err(error) = self.drop_databases().await {
            eprintln!("warning: databases {}_* could not be dropped: {error:#}", self.prefix);
        }
    }

    async fn drop_databases(&self) -> anyhow::Result<()> {
        let mut conn = self.connect().await?;
        let names: Vec<String> =
            sqlx::query_scalar("select datname from pg_database where starts_with(datname, $1)")
                .bind(&self.prefix)
                .fetch_all(&mut conn)
                .await?;
        for name in names {
            self.drop_database(&name).await?;
        }
        Ok(conn.close().await?)
    }

    async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        self.execute(&format!("drop database if exists {name} with (force)")).await
    }
}

/// `pgbench` of the same PostgreSQL: beside the server's programs, or beside what they are links
/// to, or else whichever the path has.
fn pgbench_beside(dir: Option<&Path>) -> PathBuf {
    let linked = dir.and_then(|dir| dir.join("postgres").canonicalize().ok());
    let dirs = dir.into_iter().chain(linked.as_deref().and_then(Path::parent));
    let mut programs = dirs.map(|dir| dir.join("pgbench"));
    programs.find(|program| program.is_file()).unwrap_or_else(|| PathBuf::from("pgbench"))
}

/// A connection for chores, which may take their time.
pub(crate) async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    let options = PgConnectOptions::from_str(url).context("the database URL cannot be read")?;
    options.disable_statement_logging().connect().await.context("cannot reach PostgreSQL")
}

/// Sets what only a restart makes true, and stops the cluster.
async fn configure(cluster: Cluster, counting: Counting) -> anyhow::Result<()> {
    let mut conn = connect(&cluster.url("postgres")).await?;
    let mut settings = SERVER_SETTINGS.to_vec();
    let has_statements: bool = sqlx::query_scalar(
        "select exists (select from pg_available_extensions where name = 'pg_stat_statements')",
    )
    .fetch_one(&mut conn)
    .await?;
    if has_statements && counting == Counting::Statements {
        settings.push(("shared_preload_libraries", "pg_stat_statements"));
    }
    for (name, value) in settings {
        let statement = format!("alter system set {name} = '{value}'");
        sqlx::query(AssertSqlSafe(statement)).execute(&mut conn).await?;
    }
    conn.close().await?;
    cluster.stop().await;
    Ok(())
}

/// The same URL for another database. By hand, because what sqlx would write has parameters that
/// `pgbench` refuses.
fn with_database(url: &str, database: &str) -> String {
    let (before, parameters) = match url.split_once('?') {
        Some((before, parameters)) => (before, format!("?{parameters}")),
        None => (url, String::new()),
    };
    let authority = before.find("://").map_or(0, |scheme| scheme + 3);
    let end = before[authority..].find('/').map_or(before.len(), |slash| authority + slash);
    format!("{}/{database}{parameters}", &before[..end])
}

/// The same URL at another port of this machine; none where it names no host.
pub(crate) fn at_port(url: &str, port: u16) -> Option<String> {
    let authority = url.find("://")? + 3;
    let end = authority + url[authority..].find(['/', '?']).unwrap_or(url.len() - authority);
    let host = authority + url[authority..end].rfind('@').map_or(0, |at| at + 1);
    (host < end).then(|| format!("{}127.0.0.1:{port}{}", &url[..host], &url[end..]))
}

/// A database for one measurement.
pub(crate) struct Database<'a> {
    server: &'a Server,
    pub(crate) name: String,
    pub(crate) url: String,
    /// The last of the jobs that are there from the start and that nobody runs.
    pub(crate) last_job: i64,
}

impl Database<'_> {
    /// Puts a filled database into a state that is the same for everybody: neither autovacuum nor a
    /// checkpoint starts in the middle of what follows.
    pub(crate) async fn settle_down(&self) -> anyhow::Result<()> {
        let mut conn = connect(&self.url).await?;
        sqlx::query("vacuum (analyze)").execute(&mut conn).await?;
        sqlx::query("checkpoint").execute(&mut conn).await?;
        Ok(conn.close().await?)
    }

    /// Drops it.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.server.drop_database(&self.name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_of_a_url_is_replaced() {
        for (url, expected) in [
            ("postgres://a:b@h:1/db", Some("postgres://a:b@127.0.0.1:7/db")),
            ("postgres://h?a=b", Some("postgres://127.0.0.1:7?a=b")),
            ("postgres:///db?host=/tmp", None),
        ] {
            assert_eq!(at_port(url, 7).as_deref(), expected);
        }
    }

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        for (url, expected) in [
            ("postgres://a:b@h:1/db", "postgres://a:b@h:1/x"),
            ("postgres://h", "postgres://h/x"),
            ("postgres://h/db?host=/tmp/a&b=c", "postgres://h/x?host=/tmp/a&b=c"),
            ("postgres://u@%2Ftmp%2Fs:5432/db", "postgres://u@%2Ftmp%2Fs:5432/x"),
        ] {
            assert_eq!(with_database(url, "x"), expected);
        }
    }
}
