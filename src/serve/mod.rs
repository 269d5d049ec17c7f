//! `app serve`: the composition root of a process that serves the API.
//!
//! - Here: the command, the listener, and the order of start and end.
//! - `settings`: the options that `app serve` and `app dev` share.
//! - `assembly`: the APIs with their services, and the tasks that run beside them.
//!
//! Guaranteed: after the signal to stop, what was begun is finished within the grace period, and
//! what was handed in for a commit is committed. Deliberately absent: workers, which are
//! `app work`.

mod assembly;
mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args as ClapArgs;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::assembly::assemble;
pub use self::settings::{ApiArgs, NoSecretGiven, SecretText};
pub use crate::http::edge::audience::Audience;

use crate::arguments::{BadSetting, parse_listen_address};
use crate::db::{self, DatabaseArgs};
use crate::deliveries::Reach;
use crate::deliveries::settings::ReachArgs;
use crate::http::api::inbound_webhooks::Counts;
use crate::http::api::openapi::Document;
use crate::http::edge::caller::TransactionReaders;
use crate::http::edge::open_files;
use crate::http::edge::server::{self, ConnectionLimits};
use crate::jobs;

const APPLICATION: &str = "surety serve";

/// Serves the API until told to stop.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "Examples:
  app serve --migrate
  APP_WEBHOOK_SECRETS_FILE=/run/secrets/webhooks app serve --listen 0.0.0.0:8000

The first SIGINT, SIGTERM or SIGHUP stops accepting, finishes the requests under way within
--serve-grace and exits 0. The second exits at once; what was answered 202 is in the database either
way.")]
pub struct Args {
    /// Settings of the database.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The address and port to listen on.
    #[arg(long, env = "APP_LISTEN", default_value = "127.0.0.1:8000", value_name = "ADDRESS:PORT",
          value_parser = parse_listen_address)]
    pub listen: SocketAddr,

    /// Apply missing migrations before starting.
    #[arg(long)]
    pub migrate: bool,

    /// Answer more than this machine without any webhook secret, by listening beyond it or through
    /// a proxy: whoever reaches the port can then post transactions.
    #[arg(long)]
    pub allow_unsigned: bool,

    /// Where webhooks may be sent: new endpoints must be among it.
    #[command(flatten)]
    pub reach: ReachArgs,

    /// Settings of the API.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// The listener, database and settings to serve the API with.
#[derive(Debug)]
pub struct ServeSettings {
    /// The listener, from [`bind`].
    pub listener: TcpListener,
    /// The database, with a current schema.
    pub pool: PgPool,
    /// Settings of the API.
    pub api: ApiArgs,
    /// The callers to answer while no webhook secret is set.
    pub unsigned: Audience,
    /// The addresses that new webhook endpoints may have.
    pub reach: Reach,
}

/// The numbers of webhooks by their answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServeSummary {
    /// Webhooks that brought a new transaction.
    pub accepted: u64,
    /// Webhooks whose transaction was known already, answered just like the first.
    pub duplicates: u64,
    /// Webhooks with a known id and other content.
    pub conflicts: u64,
    /// Webhooks refused with another 4xx.
    pub rejected: u64,
    /// Webhooks answered 503.
    pub unavailable: u64,
}

impl ServeSummary {
    fn of(counts: &Counts) -> Self {
        Self {
            accepted: counts.accepted.load(Ordering::Relaxed),
            duplicates: counts.duplicates.load(Ordering::Relaxed),
            conflicts: counts.conflicts.load(Ordering::Relaxed),
            rejected: counts.rejected.load(Ordering::Relaxed),
            unavailable: counts.unavailable.load(Ordering::Relaxed),
        }
    }
}

/// `app serve`.
///
/// # Errors
///
/// When the settings cannot work, the address is taken, the database cannot be reached or its
/// schema is not current.
pub async fn run_command(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let is_signed = !args.api.secrets()?.is_empty();
    if !is_signed && !args.allow_unsigned && !args.listen.ip().is_loopback() {
        let refusal = format!(
            "refusing to listen on {} without a webhook secret, as anybody could post \
             transactions: set APP_WEBHOOK_SECRETS, or say --allow-unsigned",
            args.listen
        );
        return Err(BadSetting(refusal).into());
    }
    let listener = bind(args.listen).await?;
    let pool = args.database.connect_to_write(args.api.database_connections, APPLICATION).await?;
    if args.migrate {
        db::migrate(&args.database.connect_session(APPLICATION, "--migrate").await?).await?;
    }
    db::require_current_schema(&pool).await?;
    // Before the first job can be shown to anybody, whether a worker runs or not.
    jobs::declare_kinds(&pool).await?;
    let address = listener.local_addr()?;
    let signatures = if is_signed { "required" } else { "off: no webhook secret is set" };
    tracing::info!(
        "serving http://{address}, documentation at http://{address}/docs, signatures {signatures}"
    );
    let unsigned = match args.allow_unsigned {
        true => Audience::Everybody,
        false => Audience::ThisMachine,
    };
    let reach = args.reach.reach();
    let settings = ServeSettings { listener, pool, api: args.api, unsigned, reach };
    let summary = run(settings, shutdown).await?;
    report(summary);
    Ok(())
}

fn report(summary: ServeSummary) {
    let ServeSummary { accepted, duplicates, conflicts, rejected, unavailable } = summary;
    tracing::info!(
        accepted,
        duplicates,
        conflicts,
        rejected,
        unavailable,
        "stopped: {accepted} webhooks accepted, {duplicates} duplicates, {conflicts} conflicts, \
         {rejected} rejected, {unavailable} answered 503"
    );
}

/// The OpenAPI document of the API that is served, as files: `openapi.json`, `openapi.yaml`, and a
/// collection of requests for editors.
pub fn openapi_files() -> [(&'static str, String); 3] {
    let document = Document::new();
    [
        ("openapi.json", document.to_json()),
        ("openapi.yaml", document.to_yaml()),
        ("surety.http", document.to_http_collection()),
    ]
}

/// Takes the address, so that a busy port is reported before anything else is done.
///
/// # Errors
///
/// When the address is taken, or not ours to take.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|error| {
        let fix = match error.kind() {
            std::io::ErrorKind::AddrInUse => "stop what uses it, or choose another with --listen",
            std::io::ErrorKind::PermissionDenied => "choose a port above 1023 with --listen",
            _ => "choose an address of this machine with --listen",
        };
        anyhow::Error::new(error).context(format!("cannot listen on {listen}: {fix}"))
    })
}

/// Serves the API until told to stop, then finishes what was begun.
///
/// The database may go away and come back meanwhile: requests that need it are answered 503, and
/// nothing needs to be started again.
///
/// # Errors
///
/// When the webhook secrets cannot be read.
pub async fn run(
    settings: ServeSettings,
    shutdown: CancellationToken,
) -> anyhow::Result<ServeSummary> {
    let ServeSettings { listener, pool, api, unsigned, reach } = settings;
    let counts = Arc::new(Counts::default());
    let is_loopback = listener.local_addr()?.ip().is_loopback();
    let openness = Openness::of(&api, is_loopback, unsigned)?;
    let (endpoint, background) = assemble(&api, (openness, reach), pool, &counts, &shutdown)?;
    let limits = ConnectionLimits {
        max_connections: open_files::affordable_connections(api.max_connections),
        header_timeout: api.header_timeout,
        idle_timeout: api.idle_timeout,
        grace: api.serve_grace,
    };

    server::serve(listener, endpoint, limits, delayed(shutdown, api.drain_delay)).await;
    // With the endpoint, the last way to what runs beside it is gone.
    background.finish().await;
    Ok(ServeSummary::of(&counts))
}

/// The rights of strangers.
#[derive(Clone, Copy, Debug)]
struct Openness {
    audience: Audience,
    /// The readers of transactions, unless a setting names them.
    readers: TransactionReaders,
}

impl Openness {
    /// Without a secret nobody can be told from anybody else: on a loopback address that is meant
    /// for trying things out, on this machine.
    fn of(api: &ApiArgs, is_loopback: bool, unsigned: Audience) -> anyhow::Result<Self> {
        let is_signed = !api.secrets()?.is_empty();
        Ok(match (is_signed, is_loopback) {
            (true, _) => {
                Self { audience: Audience::Everybody, readers: TransactionReaders::Operators }
            }
            (false, true) => Self { audience: unsigned, readers: TransactionReaders::Anybody },
            (false, false) => {
                Self { audience: Audience::Everybody, readers: TransactionReaders::Operators }
            }
        })
    }
}

/// Cancelled so long after `shutdown`.
fn delayed(shutdown: CancellationToken, delay: Duration) -> CancellationToken {
    if delay.is_zero() {
        return shutdown;
    }
    let later = CancellationToken::new();
    let token = later.clone();
    tokio::spawn(async move {
        shutdown.cancelled().await;
        tokio::time::sleep(delay).await;
        later.cancel();
    });
    token
}
