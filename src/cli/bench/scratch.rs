//! The PostgreSQL server of a benchmark, and databases that live for one measurement.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::db;
use crate::embedded_postgres::locate::Download;
use crate::embedded_postgres::locate::find_or_fetch;
use crate::embedded_postgres::{Access, Binaries, Cluster, ClusterSettings, Durability, Lifetime};

/// How the private cluster differs from PostgreSQL as shipped: room enough that no checkpoint falls
/// into a measurement, and a cache that holds the data. Durability is left as it is: on.
const SERVER_SETTINGS: [(&str, &str); 4] = [
    ("shared_buffers", "1GB"),
    ("max_wal_size", "8GB"),
    ("min_wal_size", "2GB"),
    ("checkpoint_timeout", "30min"),
];
const MAX_CONNECTIONS: u32 = 200;

/// A server, and what was made on it.
pub(super) struct Server {
    /// Any database of it, for making others.
    admin_url: String,
    /// In front of the names of all databases of this run.
    prefix: String,
    /// The private cluster and its folder, when there is one.
    private: Option<(Cluster, PathBuf)>,
    /// Where `pgbench` is.
    pgbench: PathBuf,
}

impl Server {
    /// The server at `database_url`, or a private cluster, with a migrated template to copy
    /// databases from.
    pub(super) async fn start(database_url: Option<&str>) -> anyhow::Result<Self> {
        let prefix = format!("surety_bench_{}_{}", std::process::id(), fastrand::u16(..));
        let server = match database_url {
            Some(url) => {
                let binaries =
                    find_or_fetch(&std::env::temp_dir(), Download::Refused, |_| {}).await;
                Self {
                    admin_url: url.to_owned(),
                    prefix,
                    private: None,
                    pgbench: pgbench_beside(binaries.ok().as_ref().map(Binaries::dir)),
                }
            }
            None => Self::start_private(prefix).await?,
        };
        if let Err(error) = server.make_template().await {
            server.end().await;
            return Err(error);
        }
        Ok(server)
    }

    async fn start_private(prefix: String) -> anyhow::Result<Self> {
        let data_dir = std::env::temp_dir().join(&prefix);
        let binaries =
            find_or_fetch(&data_dir, Download::Allowed, |line| eprintln!("{line}")).await?;
        let settings = ClusterSettings {
            data_dir: data_dir.clone(),
            binaries,
            durability: Durability::Durable,
            access: Access::SocketAndLoopback,
            lifetime: Lifetime::OfThisProcess,
            max_connections: MAX_CONNECTIONS,
        };
        configure(Cluster::start(settings.clone()).await?).await?;
        let cluster = Cluster::start(settings).await?;
        // By TCP, as most servers are reached, and the same way for everybody who is measured.
        let url = cluster.tcp_url("postgres").context("the cluster has no TCP")?;
        Ok(Self {
            admin_url: url,
            prefix,
            pgbench: pgbench_beside(Some(cluster.binaries().dir())),
            private: Some((cluster, data_dir)),
        })
    }

    async fn make_template(&self) -> anyhow::Result<()> {
        let name = self.template();
        self.execute(&format!("create database {name}")).await?;
        let pool = db::connect(&self.url_of(&name), 1, "surety-bench").await?;
        db::migrate(&pool).await?;
        pool.close().await;
        Ok(())
    }

    fn template(&self) -> String {
        format!("{}_template", self.prefix)
    }

    fn url_of(&self, database: &str) -> String {
        with_database(&self.admin_url, database)
    }

    /// The program, whether or not it is there.
    pub(super) fn pgbench(&self) -> &Path {
        &self.pgbench
    }

    /// An empty, migrated database. A checkpoint comes first, so that no measurement pays for the
    /// one before.
    pub(super) async fn fresh_database(&self) -> anyhow::Result<Database<'_>> {
        let name = format!("{}_{}", self.prefix, fastrand::u32(..));
        self.execute(&format!("create database {name} template {}", self.template())).await?;
        self.execute("checkpoint").await?;
        Ok(Database { server: self, url: self.url_of(&name), name })
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

    /// What was measured on.
    pub(super) async fn configuration(&self) -> anyhow::Result<Configuration> {
        let mut conn = self.connect().await?;
        let mut settings = BTreeMap::new();
        for name in
            ["server_version", "fsync", "synchronous_commit", "shared_buffers", "max_wal_size"]
        {
            let value: String = sqlx::query_scalar("select current_setting($1)")
                .bind(name)
                .fetch_one(&mut conn)
                .await?;
            settings.insert(name, value);
        }
        Ok(Configuration {
            app: concat!("app ", env!("CARGO_PKG_VERSION")),
            optimised: !cfg!(debug_assertions),
            log_filter: super::log_filter(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: cpu_model(),
            server: if self.private.is_some() { "private cluster, by TCP" } else { "DATABASE_URL" },
            environment: environment(),
            postgres: settings,
        })
    }

    /// Drops every database of this run; stops and deletes the private cluster.
    pub(super) async fn end(self) {
        if let Some((cluster, data_dir)) = self.private {
            cluster.stop().await;
            if let Err(error) = std::fs::remove_dir_all(&data_dir) {
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
async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    let options = PgConnectOptions::from_str(url).context("the database URL cannot be read")?;
    options.disable_statement_logging().connect().await.context("cannot reach PostgreSQL")
}

/// Sets what only a restart makes true, and stops the cluster.
async fn configure(cluster: Cluster) -> anyhow::Result<()> {
    let mut conn = connect(&cluster.url("postgres")).await?;
    for (name, value) in SERVER_SETTINGS {
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

/// What the environment changes of how the API and the workers behave, without secrets.
fn environment() -> Vec<String> {
    let ours = |name: &String| name.starts_with("APP_") && !name.contains("SECRET");
    let mut set: Vec<_> = std::env::vars()
        .filter(|(name, _)| ours(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    set.sort();
    set
}

/// The model of the first core, where the system tells.
fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// A database for one measurement.
pub(super) struct Database<'a> {
    server: &'a Server,
    pub(super) name: String,
    pub(super) url: String,
}

impl Database<'_> {
    /// Puts a filled database into a state that is the same for everybody: neither autovacuum nor a
    /// checkpoint starts in the middle of what follows.
    pub(super) async fn settle_down(&self) -> anyhow::Result<()> {
        let mut conn = connect(&self.url).await?;
        sqlx::query("vacuum (analyze)").execute(&mut conn).await?;
        sqlx::query("checkpoint").execute(&mut conn).await?;
        Ok(conn.close().await?)
    }

    /// Drops it.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.server.drop_database(&self.name).await
    }
}

/// What was measured on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Configuration {
    app: &'static str,
    optimised: bool,
    log_filter: String,
    cores: usize,
    cpu: Option<String>,
    server: &'static str,
    /// Settings of ours that the environment changes.
    environment: Vec<String>,
    postgres: BTreeMap<&'static str, String>,
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = if self.optimised { "optimised" } else { "NOT optimised" };
        writeln!(f, "{} ({build}), log filter {}", self.app, self.log_filter)?;
        let cpu = self.cpu.as_deref().unwrap_or("unknown CPU");
        writeln!(f, "machine: {} cores, {cpu}", self.cores)?;
        let settings: Vec<_> =
            self.postgres.iter().map(|(name, value)| format!("{name} {value}")).collect();
        write!(f, "PostgreSQL ({}): {}", self.server, settings.join(", "))?;
        if !self.environment.is_empty() {
            write!(f, "\nenvironment: {}", self.environment.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
