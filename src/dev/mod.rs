//! `app dev`: everything in one process, with a PostgreSQL of its own unless `--database-url` names
//! one.
//!
//! Guaranteed: nothing that only the environment or `.env` names is touched. A `DATABASE_URL` that
//! is set there is that of something real as often as not, and the bank simulated here would
//! complete what waits in it. So a database is given by flag only, and is never served by a
//! simulated bank.
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
//!
//! - Here: the order of things, and the API and the workers while they run.
//! - `bank`: the simulated bank, the one that was named, or none.
//! - `mail`: files in the data folder, the mail server that was named, or none.
//! - `fresh`: deletes what was before, if asked to.
//! - `database`: the private cluster, or the database that a flag named.
//! - `show`: the keys, on a terminal.
//! - `own_traces`: the last traces, kept in memory.
//! - `running`: leads commands to this database that are told of none.
//! - `messages`: messages on standard output.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::bank::Bank;
use self::database::Database;
use self::mail::Mail;
use self::messages::{banner, print, summary_text};
pub use self::own_traces::keep_traces;
use self::show::{Show, Stage};
use crate::arguments::{BadSetting, parse_listen_address};
use crate::bank::simulator::SimulatorArgs;
use crate::metrics::{Metrics, show_pool};
use crate::operations::endpoints::{EndpointSecrets, Guard, Safeguards};
use crate::queue::WorkerSummary;
use crate::serve::{ApiArgs, Audience, Entry, OpenSources, Reads, ServeSettings, ServeSummary};
use crate::standard_webhooks::WebhookSecret;
use crate::telemetry::FiguresExport;
use crate::traces::TraceStore;
use crate::work::WorkerArgs;
use crate::{serve, telemetry, terminal, work};

mod bank;
mod database;
mod fresh;
mod mail;
mod messages;
mod own_traces;
mod running;
mod show;

pub use self::running::running_database;

/// Heading of the settings that `app serve` has too. They are left out of our help, which is a
/// newcomer's first.
pub(crate) const SERVE_SETTINGS: &str = "As for app serve";
/// Heading of the settings that `app work` has too.
pub(crate) const WORK_SETTINGS: &str = "As for app work";

/// Heading of the settings that `app bank` has too.
pub(crate) const BANK_SETTINGS: &str = "As for app bank";

const EXAMPLES: &str = "\
Examples:
  app dev
  app dev --listen 127.0.0.1:9000 --workers 4
  app dev --data-dir ./data               keep the data here
  app dev --settle-delay 30s              time to see a transaction PROCESSING
  app dev --fresh                         start again with no data; asks first
  app dev --database-url postgres://me@db/app --bank-url http://127.0.0.1:8100

All settings of 'app serve', 'app work' and 'app bank' hold here too, by flag or environment; see
their --help.

Ctrl-C finishes the jobs in progress, stops PostgreSQL and keeps the data; twice exits at once.";

/// Runs everything in one process, with a PostgreSQL of its own: for trying out and developing.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The API's address; without a webhook secret a loopback address only.
    #[arg(long, env = "APP_LISTEN", default_value = "127.0.0.1:8000", value_name = "ADDRESS:PORT",
          value_parser = parse_listen_address)]
    pub listen: SocketAddr,

    /// Use and migrate this database instead of a private PostgreSQL, without the simulated bank.
    /// By flag only: DATABASE_URL is not read.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,

    /// The same database past a connection pooler, for what needs a session. By flag only.
    #[arg(long, value_name = "URL", requires = "database_url")]
    pub database_direct_url: Option<String>,

    /// The folder of the private PostgreSQL's data; wins over --database-url [default:
    /// ~/.local/share/surety/dev, as root /var/lib/surety/dev]
    #[arg(long, env = "APP_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Delete all data of the private PostgreSQL and of the simulated bank first. Asks, unless with
    /// --yes.
    #[arg(long)]
    pub fresh: bool,

    /// Do not ask.
    #[arg(long, requires = "fresh")]
    pub yes: bool,

    /// The number of workers that run beside the API.
    #[arg(long, env = "APP_DEV_WORKERS", default_value_t = 2, value_name = "N",
          value_parser = clap::value_parser!(u8).range(0..=16))]
    pub workers: u8,

    /// Do not fetch PostgreSQL when this machine has none.
    #[arg(long)]
    pub no_download: bool,

    /// The last traces, where we keep them.
    #[arg(skip)]
    pub traces: Option<TraceStore>,

    /// The settings of the API.
    #[command(flatten, next_help_heading = SERVE_SETTINGS)]
    pub api: ApiArgs,

    /// The settings of each worker.
    #[command(flatten, next_help_heading = WORK_SETTINGS)]
    pub worker: WorkerArgs,

    /// The simulated bank, which runs on a private PostgreSQL unless a bank's URL is given.
    #[command(flatten, next_help_heading = BANK_SETTINGS)]
    pub simulator: SimulatorArgs,
}

/// `app dev`: runs until `shutdown` is cancelled.
///
/// # Errors
///
/// When something that it needs is missing or in the way: the port, PostgreSQL, the data folder.
/// Also when PostgreSQL or the API ends by itself.
pub async fn run_command(mut args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let began = Instant::now();
    // Whoever builds a receiver has it on this machine.
    args.worker.webhooks.reach.webhook_allow_private = true;
    let secrets = args.api.secrets()?;
    let webhooks = Webhooks::of(&secrets);
    webhooks.require_safe(args.listen)?;
    print(concat!("surety ", env!("CARGO_PKG_VERSION"), ", everything in one process\n"));
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
    let bank = Arc::new(Bank::open(&mut args, &database).await?);
    let mail = Mail::open(&mut args, &database)?;
    let sender_secret = secrets.first().cloned();
    let running = Running::start(&args, (listener, secrets), &database, &shutdown)?;
    print(&banner(address, webhooks, &args, &bank, &mail, &database));
    print(&format!(
        "Ready in {:.1} s. Ctrl-C stops everything and keeps the data.\n\n",
        began.elapsed().as_secs_f64()
    ));
    let show = show(&args, (address, sender_secret), &database, &bank, &shutdown);

    let outcome = running.until(&shutdown, &database).await;
    if let Some(show) = show {
        show.end().await;
    }
    if outcome.is_ok() {
        print("\nStopping: jobs in progress finish. Ctrl-C again exits at once.\n");
    }
    let summary = running.stop().await;
    bank.close().await;
    let waiting = database.waiting_jobs().await;
    let place = database.close().await;
    print(&summary_text(&summary?, waiting, began.elapsed(), &place));
    outcome
}

/// Listens to keys, where somebody can press them. What they send is signed with this secret.
fn show(
    args: &Args,
    (address, secret): (SocketAddr, Option<WebhookSecret>),
    database: &Database,
    bank: &Arc<Bank>,
    shutdown: &CancellationToken,
) -> Option<Show> {
    if !terminal::is_interactive() {
        return None;
    }
    let stage = Stage {
        address,
        pool: database.pool.clone(),
        private_url: database.private_url.clone(),
        bank: Arc::clone(bank),
        secret,
        settle_delay: args.api.settle_delay,
        has_traces: args.traces.is_some(),
        customer: OnceLock::new(),
        inbox: OnceLock::new(),
    };
    let begun = Show::begin(stage, shutdown);
    if let Err(error) = &begun {
        tracing::warn!("there are no keys, as the terminal cannot be listened to: {error}");
    }
    begun.ok()
}

/// The webhooks that are accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Webhooks {
    /// Webhooks that are signed with a secret.
    Signed,
    /// All webhooks, of anybody who reaches the port.
    Unsigned,
}

impl Webhooks {
    fn of(secrets: &[WebhookSecret]) -> Self {
        if secrets.is_empty() { Self::Unsigned } else { Self::Signed }
    }

    fn require_safe(self, listen: SocketAddr) -> anyhow::Result<()> {
        if self == Self::Unsigned && !listen.ip().is_loopback() {
            let refusal = format!(
                "without a webhook secret 'app dev' listens on loopback addresses only, and \
                 {listen} is none: use --listen 127.0.0.1:{}, or set APP_WEBHOOK_SECRETS",
                listen.port()
            );
            return Err(BadSetting(refusal).into());
        }
        Ok(())
    }
}

/// The API and the workers, running.
struct Running {
    serving: JoinHandle<anyhow::Result<ServeSummary>>,
    workers: Vec<JoinHandle<WorkerSummary>>,
    audit_keeper: JoinHandle<()>,
    history_keeper: JoinHandle<()>,
    stop: CancellationToken,
    /// Cancelled when the API has ended, asked to or not.
    serving_ended: CancellationToken,
    /// Sends the last figures when all has ended.
    _export: Option<FiguresExport>,
}

/// The totals of this run.
struct Summary {
    served: ServeSummary,
    worked: WorkerSummary,
}

impl Running {
    fn start(
        args: &Args,
        (listener, webhook_secrets): (TcpListener, Vec<WebhookSecret>),
        database: &Database,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let stop = shutdown.child_token();
        let metrics = Metrics::new();
        show_pool(&metrics, "handlers", &database.handler_pool);
        let export = telemetry::export_metrics(&metrics);
        let workers = (0..args.workers)
            .map(|_| {
                let (pool, direct) = (database.handler_pool.clone(), database.direct.clone());
                work::worker(pool, &args.worker, direct, &metrics)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let workers = workers
            .into_iter()
            .map(|worker| {
                let stop = stop.clone();
                tokio::spawn(async move { Arc::clone(&worker).run(stop).await })
            })
            .collect();
        let keeper = work::audit_keeper(database.handler_pool.clone(), &args.worker);
        let audit_keeper = tokio::spawn(keeper.run(stop.clone()));
        let keeper = work::history_keeper(database.handler_pool.clone(), &args.worker);
        let history_keeper = tokio::spawn(keeper.run(stop.clone()));
        let api = args.api.clone();
        let unsigned = Audience::ThisMachine;
        let guard = Guard::new(args.worker.webhooks.reach.reach());
        let secrets = EndpointSecrets::new(args.worker.job_keys.keyring()?);
        let settings = ServeSettings {
            listener,
            reads: Reads::of_primary(database.pool.clone()),
            webhook_secrets,
            sources: OpenSources::read(&api)?,
            api,
            unsigned,
            safeguards: Safeguards { guard, secrets },
            entry: Entry::Open,
            metrics,
            metrics_elsewhere: false,
            traces: args.traces.clone(),
            hangups: None,
        };
        let serving_ended = CancellationToken::new();
        let (serve_stop, ended) = (stop.clone(), serving_ended.clone().drop_guard());
        let serving = tokio::spawn(async move {
            let _ended = ended;
            serve::run(settings, serve_stop).await
        });
        Ok(Self {
            serving,
            workers,
            audit_keeper,
            history_keeper,
            stop,
            serving_ended,
            _export: export,
        })
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
        self.audit_keeper.await.context("the keeper of the audit log panicked")?;
        self.history_keeper.await.context("the keeper of the history panicked")?;
        let served = self.serving.await.context("the API panicked")??;
        Ok(Summary { served, worked })
    }
}
