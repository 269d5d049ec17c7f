//! `app dev`: everything in one process, with a PostgreSQL of its own unless `DATABASE_URL` names
//! one.
//!
//! In this order: take the port (a busy one is then reported before anything is made), database,
//! schema, API and workers. And out: stop taking webhooks and jobs, finish what is in progress,
//! then end PostgreSQL.
//!
//! The private cluster keeps fsync on. It can be reached in two ways: we ourselves use its unix
//! socket, which needs no password, because the folder of the socket is closed; for psql and other
//! tools it listens on a loopback port as well, since a URL that is pasted should work for any user
//! and in any program. A port on the loopback address is open to every user of the machine, hence
//! the generated password in that URL; it is kept in the data folder, readable by us only.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::embedded_postgres::locate::{self, Download};
use crate::embedded_postgres::{
    Access, Cluster, ClusterSettings, Durability, Lifetime, default_data_dir,
};
use crate::queue::worker::WorkerSummary;
use crate::serve::{ApiArgs, ServeSettings, ServeSummary};
use crate::work::WorkerArgs;
use crate::{db, serve, work};

/// The database in the private cluster.
const DATABASE: &str = "surety";
/// Connections of the handlers of all workers together.
const HANDLER_CONNECTIONS: u32 = 20;
/// What the private cluster allows: the API, the most workers with an engine each, and room for
/// people.
const MAX_CONNECTIONS: u32 = 250;

/// More than so many waiting jobs are not counted at the end.
const WAITING_JOBS_MAX: i64 = 100_000;

/// Heading of the settings that `app serve` has too. They are left out of our help, which is a
/// newcomer's first.
pub(crate) const SERVE_SETTINGS: &str = "As for app serve";
/// Heading of the settings that `app work` has too.
pub(crate) const WORK_SETTINGS: &str = "As for app work";

const EXAMPLES: &str = "\
Examples:
  app dev
  app dev --listen 127.0.0.1:9000 --workers 4
  app dev --data-dir ./data               keep the data here
  app dev --settle-delay 30s              time to see a transaction PROCESSING
  DATABASE_URL=postgres://me@db/app app dev

All settings of 'app serve' and 'app work' hold here too, by flag or environment; see their --help.

Ctrl-C finishes the jobs in progress, stops PostgreSQL and keeps the data; twice exits at once.";

/// Runs everything in one process, with a PostgreSQL of its own: for trying out and developing.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the API listens; without a webhook secret on a loopback address only.
    #[arg(long, env = "APP_LISTEN", default_value = "127.0.0.1:8000", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,

    /// Use this database instead of a private PostgreSQL.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,

    /// Where the private PostgreSQL keeps its data [default: ~/.local/share/surety/dev, as root
    /// /var/lib/surety/dev]
    #[arg(long, env = "APP_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// How many workers run beside the API.
    #[arg(long, env = "APP_DEV_WORKERS", default_value_t = 2, value_name = "N",
          value_parser = clap::value_parser!(u8).range(0..=16))]
    pub workers: u8,

    /// Do not fetch PostgreSQL when this machine has none.
    #[arg(long)]
    pub no_download: bool,

    /// How the API behaves.
    #[command(flatten, next_help_heading = SERVE_SETTINGS)]
    pub api: ApiArgs,

    /// How each worker runs jobs.
    #[command(flatten, next_help_heading = WORK_SETTINGS)]
    pub worker: WorkerArgs,
}

/// `app dev`: runs until `shutdown` is cancelled.
///
/// # Errors
///
/// When something that it needs is missing or in the way: the port, PostgreSQL, the data folder.
/// Also when PostgreSQL or the API ends by itself.
pub async fn run_command(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let began = Instant::now();
    let webhooks = Webhooks::of(&args.api)?;
    webhooks.require_safe(args.listen)?;
    say(concat!("surety ", env!("CARGO_PKG_VERSION"), ", everything in one process\n"));
    let listener = serve::bind(args.listen).await?;
    // Port 0 is whichever was free.
    let address = listener.local_addr().context("the address of the API is unknown")?;
    // A signal may come while PostgreSQL is being made; dropping the future then undoes what was
    // begun.
    let database = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        database = Database::open(&args) => database?,
    };
    let running = Running::start(&args, listener, &database, &shutdown)?;
    say(&banner(address, webhooks, args.workers, &database));
    say(&format!(
        "Ready in {:.1} s. Ctrl-C stops everything and keeps the data.\n\n",
        began.elapsed().as_secs_f64()
    ));

    let outcome = running.until(&shutdown, &database).await;
    if outcome.is_ok() {
        say("\nStopping: jobs in progress finish. Ctrl-C again exits at once.\n");
    }
    let summary = running.stop().await;
    let waiting = database.waiting_jobs().await;
    let place = database.close().await;
    say(&farewell(&summary?, waiting, began.elapsed(), &place));
    outcome
}

/// Whose webhooks are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Webhooks {
    /// Those signed with a secret.
    Signed,
    /// Those of whoever can reach the port.
    Unsigned,
}

impl Webhooks {
    fn of(api: &ApiArgs) -> anyhow::Result<Self> {
        Ok(if api.secrets()?.is_empty() { Self::Unsigned } else { Self::Signed })
    }

    fn require_safe(self, listen: SocketAddr) -> anyhow::Result<()> {
        if self == Self::Unsigned && !listen.ip().is_loopback() {
            bail!(
                "without a webhook secret 'app dev' listens on loopback addresses only, and \
                 {listen} is none: use --listen 127.0.0.1:{}, or set APP_WEBHOOK_SECRETS",
                listen.port()
            );
        }
        Ok(())
    }
}

/// The database, ready to be used, and the cluster below it if it is ours.
struct Database {
    pool: PgPool,
    handler_pool: PgPool,
    /// What to paste into a shell to look into it.
    psql: String,
    /// Where the data is, for people.
    place: String,
    cluster: Option<Cluster>,
}

impl Database {
    async fn open(args: &Args) -> anyhow::Result<Self> {
        let given = args.database_url.as_deref().filter(|url| !url.is_empty());
        let (cluster, url) = match given {
            Some(url) => (None, url.to_owned()),
            None => {
                let cluster = start_cluster(args).await?;
                let url = cluster.url(DATABASE);
                (Some(cluster), url)
            }
        };
        let began = Instant::now();
        let pool = db::connect(&url, args.api.database_connections, "surety dev api").await?;
        let applied = db::migrate(&pool).await?;
        step(&format!("schema current, {} migrations applied", applied.len()), began);
        let handler_pool = db::connect(&url, HANDLER_CONNECTIONS, "surety dev worker").await?;
        let (psql, place) = match &cluster {
            Some(cluster) => {
                let url = cluster.tcp_url(DATABASE).expect("start_cluster asks for TCP");
                (format!("psql {url}"), cluster.data_dir().display().to_string())
            }
            // Its URL may hold a password that is not ours to show.
            None => {
                ("psql \"$DATABASE_URL\"".to_owned(), "the database of DATABASE_URL".to_owned())
            }
        };
        Ok(Self { pool, handler_pool, psql, place, cluster })
    }

    /// Returns when a private cluster has ended by itself.
    async fn lost(&self) -> anyhow::Error {
        let Some(cluster) = &self.cluster else { return std::future::pending().await };
        cluster.exited().await;
        anyhow::anyhow!(
            "the private PostgreSQL ended by itself: see {}, and start again",
            cluster.log().display()
        )
    }

    /// How many jobs are left for the next start, counted up to [`WAITING_JOBS_MAX`]; none that we
    /// know of when the database is gone.
    async fn waiting_jobs(&self) -> u64 {
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
    async fn close(self) -> String {
        self.pool.close().await;
        self.handler_pool.close().await;
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
        self.place
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
        locate::find_or_fetch(&data_dir, download, |line| say(&format!("  ..  {line}\n"))).await?;
    let settings = ClusterSettings {
        data_dir,
        binaries,
        durability: Durability::Durable,
        access: Access::SocketAndLoopback,
        lifetime: Lifetime::OfThisProcess,
        max_connections: MAX_CONNECTIONS,
    };
    let cluster = Cluster::start(settings).await?;
    cluster.ensure_database(DATABASE).await?;
    let binaries = cluster.binaries();
    step(&format!("PostgreSQL {} of {}", binaries.version(), binaries.dir().display()), began);
    Ok(cluster)
}

/// The API and the workers, running.
struct Running {
    serving: JoinHandle<anyhow::Result<ServeSummary>>,
    workers: Vec<JoinHandle<WorkerSummary>>,
    stop: CancellationToken,
    /// Cancelled when the API has ended, asked to or not.
    serving_ended: CancellationToken,
}

/// What was done in this run.
struct Summary {
    served: ServeSummary,
    worked: WorkerSummary,
}

impl Running {
    fn start(
        args: &Args,
        listener: TcpListener,
        database: &Database,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let stop = shutdown.child_token();
        let workers = (0..args.workers)
            .map(|_| work::worker(database.handler_pool.clone(), &args.worker))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let workers = workers
            .into_iter()
            .map(|worker| {
                let stop = stop.clone();
                tokio::spawn(async move { Arc::clone(&worker).run(stop).await })
            })
            .collect();
        let api = args.api.clone();
        let settings = ServeSettings { listener, pool: database.pool.clone(), api };
        let serving_ended = CancellationToken::new();
        let (serve_stop, ended) = (stop.clone(), serving_ended.clone().drop_guard());
        let serving = tokio::spawn(async move {
            let _ended = ended;
            serve::run(settings, serve_stop).await
        });
        Ok(Self { serving, workers, stop, serving_ended })
    }

    /// Waits for the reason to stop; an error when it was not the user's wish.
    async fn until(&self, shutdown: &CancellationToken, database: &Database) -> anyhow::Result<()> {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(()),
            error = database.lost() => Err(error),
            () = self.serving_ended.cancelled() => bail!("the API ended by itself: start again"),
        }
    }

    /// Takes no more webhooks and jobs, and finishes what is in progress.
    async fn stop(self) -> anyhow::Result<Summary> {
        self.stop.cancel();
        let mut worked = WorkerSummary::default();
        for worker in self.workers {
            let one = worker.await.context("a worker panicked")?;
            worked.completed += one.completed;
            worked.failed += one.failed;
            worked.discarded += one.discarded;
            worked.lease_lost += one.lease_lost;
            worked.handed_back += one.handed_back;
        }
        let served = self.serving.await.context("the API panicked")??;
        Ok(Summary { served, worked })
    }
}

/// For people, on standard output; nobody is left to tell when that is closed.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn step(done: &str, began: Instant) {
    say(&format!("  ok  {done:<60} {:>5.1} s\n", began.elapsed().as_secs_f64()));
}

fn banner(address: SocketAddr, webhooks: Webhooks, workers: u8, database: &Database) -> String {
    let api = format!("http://{address}");
    let signatures = match webhooks {
        Webhooks::Signed => "signatures required, as a webhook secret is set",
        Webhooks::Unsigned => "taken unsigned, as no webhook secret is set; loopback only",
    };
    // An unsigned webhook would be refused: then only 'app send' can show one.
    let by_hand = match webhooks {
        Webhooks::Signed => String::new(),
        Webhooks::Unsigned => format!(
            "  curl -i {api}/v1/webhooks/transactions -H 'content-type: application/json' -d '{{
    \"transaction_id\": \"txn_1\", \"amount\": \"15.00\", \"currency\": \"EUR\",
    \"source_account\": \"acc_anna\", \"destination_account\": \"acc_ben\"}}'
  curl {api}/v1/transactions/txn_1
"
        ),
    };
    format!(
        "
  API         {api}/v1/webhooks/transactions
  Swagger UI  {api}/docs
  Webhooks    {signatures}
  Workers     {workers}
  Database    {database_url}
  Data        {place}

Try it, in another terminal:

{by_hand}  app send --url {api} --count 100

",
        database_url = database.psql,
        place = database.place,
    )
}

fn farewell(summary: &Summary, waiting: u64, took: Duration, place: &str) -> String {
    // What was handed back is among those that wait.
    let WorkerSummary { completed, failed, discarded, lease_lost: _, handed_back: _ } =
        summary.worked;
    let mut text = format!(
        "Stopped after {} s: {} webhooks accepted, {completed} jobs done",
        took.as_secs(),
        summary.served.accepted
    );
    let ServeSummary { accepted: _, duplicates, conflicts, rejected, unavailable } = summary.served;
    for (count, what) in [
        (duplicates, "duplicates"),
        (conflicts, "conflicts"),
        (rejected, "webhooks rejected"),
        (unavailable, "requests answered 503"),
        (failed, "attempts failed"),
        (discarded, "jobs discarded"),
        (waiting, "jobs waiting for the next start"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    let _ = writeln!(text, ". The data stays in {place}.");
    text
}
