//! The database of `app dev`: in a private cluster, or the one that `--database-url` names.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use super::messages::{print, print_step};
use super::running::RunningFile;
use super::{Args, fresh};
use crate::db::{self, DatabaseArgs};
use surety_postgres::embedded::locate::{self, Download};
use surety_postgres::embedded::{
    Access, Cluster, ClusterSettings, Durability, Lifetime, default_data_dir,
};

/// The database in the private cluster.
const DATABASE: &str = "surety";
/// Connections of the handlers of all workers together.
const HANDLER_CONNECTIONS: u32 = 20;
/// Connections of the private cluster: the API, the most workers with an engine each, and room for
/// people.
const MAX_CONNECTIONS: u32 = 250;

/// The most waiting jobs that are counted at the end.
const WAITING_JOBS_MAX: i64 = 100_000;

/// The database, ready to be used, and the cluster below it if it is ours.
pub(super) struct Database {
    pub(super) pool: PgPool,
    pub(super) handler_pool: PgPool,
    /// A way past a connection pooler.
    pub(super) direct: Option<PgConnectOptions>,
    /// A shell command that opens the database, or words for one that is somebody else's.
    pub(super) psql: String,
    /// The place of the data, for people.
    pub(super) place: String,
    /// The way of other processes of ours; none if it is somebody else's.
    pub(super) private_url: Option<String>,
    cluster: Option<Cluster>,
    /// Leads commands here that are told of no database.
    _running: Option<RunningFile>,
}

impl Database {
    pub(super) async fn open(args: &Args) -> anyhow::Result<Self> {
        tell_what_is_not_used(args);
        let given = args.database_url.as_deref().filter(|_| args.data_dir.is_none());
        let (cluster, url) = match given {
            Some(_) if args.fresh => bail!(
                "--fresh deletes the data of the private PostgreSQL only: leave out --database-url"
            ),
            Some(url) => (None, url.to_owned()),
            None => {
                let cluster = start_cluster(args).await?;
                let url = cluster.url(DATABASE);
                (Some(cluster), url)
            }
        };
        let began = Instant::now();
        let direct_url = args.database_direct_url.clone().filter(|_| given.is_some());
        let ways =
            DatabaseArgs { database_url: Some(url.clone()), database_direct_url: direct_url };
        let pool = ways.connect_to_write(args.api.database_connections, "surety dev api").await?;
        let session = ways.connect_session("surety dev", "migrations").await?;
        let applied = db::migrate(&session).await?;
        let migrations = applied.iter().filter(|name| !name.ends_with(".sql")).count();
        print_step(&format!("schema current, {migrations} migrations applied"), began);
        let handler_pool = ways.connect_to_write(HANDLER_CONNECTIONS, "surety dev worker").await?;
        let direct = ways.direct_options("surety dev worker")?;
        let mut running = None;
        let (psql, place) = match &cluster {
            Some(cluster) => {
                let url = cluster.tcp_url(DATABASE).expect("start_cluster asks for TCP");
                running = Some(RunningFile::tell(cluster.data_dir(), &url)?);
                (format!("psql {url}"), cluster.data_dir().display().to_string())
            }
            // Its URL may hold a password that is not ours to show.
            None => {
                ("that of --database-url".to_owned(), "the database of --database-url".to_owned())
            }
        };
        let private_url = cluster.is_some().then_some(url);
        let _running = running;
        Ok(Self { pool, handler_pool, direct, psql, place, private_url, cluster, _running })
    }

    /// Our own data folder, unless the database is somebody else's.
    pub(super) fn data_dir(&self) -> Option<&Path> {
        self.cluster.as_ref().map(Cluster::data_dir)
    }

    /// Returns when a private cluster has ended by itself.
    pub(super) async fn lost(&self) -> anyhow::Error {
        let Some(cluster) = &self.cluster else { return std::future::pending().await };
        cluster.exited().await;
        anyhow::anyhow!(
            "the private PostgreSQL ended by itself: see {}, and start again",
            cluster.log().display()
        )
    }

    /// The number of jobs left for the next start, counted up to [`WAITING_JOBS_MAX`]; 0 when the
    /// database is gone.
    pub(super) async fn waiting_jobs(&self) -> u64 {
        let counted = sqlx::query_scalar!(
            r#"
            select count(*) as "count!"
            from (select from queue.jobs limit $1) waiting
            "#,
            WAITING_JOBS_MAX,
        )
        .fetch_one(&self.pool)
        .await;
        counted.ok().and_then(|count| count.try_into().ok()).unwrap_or(0)
    }

    /// Closes the connections, stops a private cluster, and says where the data is.
    pub(super) async fn close(self) -> String {
        self.pool.close().await;
        self.handler_pool.close().await;
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
        self.place
    }
}

/// Says which database is named and left alone.
fn tell_what_is_not_used(args: &Args) {
    if args.database_url.is_some() && args.data_dir.is_some() {
        print("  ..  --database-url is not used, as --data-dir says where the data is\n");
    }
    if std::env::var_os("DATABASE_URL").is_some_and(|url| !url.is_empty()) {
        print("  ..  DATABASE_URL is not used by 'app dev'; --database-url would name another\n");
    }
}

async fn start_cluster(args: &Args) -> anyhow::Result<Cluster> {
    let began = Instant::now();
    let data_dir = match &args.data_dir {
        Some(dir) => dir.clone(),
        None => default_data_dir()?,
    };
    let download = if args.no_download { Download::Refused } else { Download::Allowed };
    let binaries =
        locate::find_or_fetch(&data_dir, download, |line| print(&format!("  ..  {line}\n")))
            .await?;
    let settings = ClusterSettings {
        data_dir,
        binaries,
        durability: Durability::Durable,
        access: Access::SocketAndLoopback,
        lifetime: Lifetime::OfThisProcess,
        max_connections: MAX_CONNECTIONS,
    };
    let cluster = Cluster::start(settings).await?;
    if args.fresh {
        fresh::delete_data(&cluster, DATABASE, args.yes).await?;
    }
    cluster.ensure_database(DATABASE).await?;
    let binaries = cluster.binaries();
    print_step(
        &format!("PostgreSQL {} of {}", binaries.version(), binaries.dir().display()),
        began,
    );
    Ok(cluster)
}
