//! `app serve`: the composition root of a process that serves the API.
//!
//! - Here: the command, the listener, and the order of start and end.
//! - `settings`: the options that `app serve` and `app dev` share.
//! - `reloading`: the settings that SIGHUP takes up.
//! - `replica`: the standby that lists, pages and reports read.
//! - `webhook_sources`: the sources of the file that a setting names.
//! - `assembly`: the APIs with their services, and the tasks that run beside them.
//!
//! Guaranteed: after the signal to stop, what was begun is finished within the grace period, and
//! what was handed in for a commit is committed. Deliberately absent: workers, which are
//! `app work`.

mod assembly;
mod reloading;
mod replica;
mod settings;
mod webhook_sources;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args as ClapArgs;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::assembly::assemble;
pub use self::replica::ReadArgs;
pub use self::settings::{ApiArgs, NoSecretGiven, require_signatures};
pub use self::webhook_sources::{OpenSources, check_webhook_sources};
pub use crate::http::edge::audience::Audience;
pub use crate::http::edge::reads::Reads;
pub use crate::pages::Entry;

use crate::arguments::parse_listen_address;
use crate::db::{self, DatabaseArgs};
use crate::deliveries::settings::ReachArgs;
use crate::http::api::openapi::Document;
use crate::http::edge::caller::TransactionReaders;
use crate::http::edge::intake::{Answer, Intake};
use crate::http::edge::open_files;
use crate::http::edge::server::{self, ConnectionLimits};
use crate::jobs;
use crate::metrics::Metrics;
use crate::operations::endpoints::{EndpointSecrets, Guard, Safeguards};
use crate::operations::job_keys::JobKeyArgs;
use crate::probes::Probes;
use crate::service_manager;
use crate::settings::reload::Hangups;
use crate::standard_webhooks::WebhookSecret;
use crate::telemetry;
use crate::traces::TraceStore;

const APPLICATION: &str = "surety serve";

/// Serves the API until told to stop.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "Examples:
  app serve --migrate
  APP_WEBHOOK_SECRETS_FILE=/run/secrets/webhooks app serve --listen 0.0.0.0:8000

The first SIGINT or SIGTERM stops accepting, finishes the requests under way within --serve-grace
and exits 0. The second exits at once; what was answered 202 is in the database either way. SIGHUP
takes up a new log filter, new limits and webhook secrets from files: docs/configuration.md.")]
pub struct Args {
    /// Settings of the database.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The standby that may be read.
    #[command(flatten)]
    pub reads: ReadArgs,

    /// The address and port to listen on.
    #[arg(long, env = "APP_LISTEN", default_value = "127.0.0.1:8000", value_name = "ADDRESS:PORT",
          value_parser = parse_listen_address)]
    pub listen: SocketAddr,

    /// Another address and port for /metrics, /healthz and /readyz; /metrics is then answered there
    /// alone. [default: none]
    #[arg(long, env = "APP_ADMIN_LISTEN", value_name = "ADDRESS:PORT",
          value_parser = parse_listen_address)]
    pub admin_listen: Option<SocketAddr>,

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

    /// The keys that secrets of endpoints are sealed with.
    #[command(flatten)]
    pub job_keys: JobKeyArgs,

    /// Settings of the API.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// The listener, database and settings to serve the API with.
#[derive(Debug)]
pub struct ServeSettings {
    /// The listener, from [`bind`].
    pub listener: TcpListener,
    /// The database, with a current schema, and where lists, pages and reports of operators are
    /// read.
    pub reads: Reads,
    /// Settings of the API.
    pub api: ApiArgs,
    /// The secrets that these settings name, none while signatures are off. Read once, as their
    /// file may change at any time.
    pub webhook_secrets: Vec<WebhookSecret>,
    /// The sources of webhooks that these settings name.
    pub sources: OpenSources,
    /// The callers to answer while no webhook secret is set.
    pub unsigned: Audience,
    /// The guard of new webhook endpoints, and the keys that seal their secrets.
    pub safeguards: Safeguards,
    /// The way into the operator's pages. They are open on a loopback address only, and then to
    /// this machine only.
    pub entry: Entry,
    /// Where this process shows its figures.
    pub metrics: Metrics,
    /// They are shown by a listener of their own, and not by the API.
    pub metrics_elsewhere: bool,
    /// The last traces, where they are kept, for the operator's pages.
    pub traces: Option<TraceStore>,
    /// The wishes to read settings again, where they can come.
    pub hangups: Option<Hangups>,
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
    fn of(intake: &Intake) -> Self {
        Self {
            accepted: intake.total(Answer::Accepted),
            duplicates: intake.total(Answer::Duplicate),
            conflicts: intake.total(Answer::Conflict),
            rejected: intake.total(Answer::Refused),
            unavailable: intake.total(Answer::Unavailable),
        }
    }
}

/// `app serve`.
///
/// # Errors
///
/// When the settings cannot work, the address is taken, the database cannot be reached or its
/// schema is not current.
pub async fn run_command(
    args: Args,
    shutdown: CancellationToken,
    hangups: Hangups,
) -> anyhow::Result<()> {
    let webhook_secrets = args.api.secrets()?;
    args.reads.require_url().context("APP_DATABASE_READ_URL is of no use")?;
    // Before anything else is begun: a mistake in the file is told at once.
    let sources = OpenSources::read(&args.api)?;
    if !args.allow_unsigned {
        require_signatures(&webhook_secrets, args.listen)?;
    }
    let secrets = EndpointSecrets::new(args.job_keys.keyring()?);
    let listener = bind(args.listen).await?;
    let pool = args.database.connect_to_write(args.api.database_connections, APPLICATION).await?;
    if args.migrate {
        db::migrate(&args.database.connect_session(APPLICATION, "--migrate").await?).await?;
    }
    db::require_current_schema(&pool).await?;
    // Before the first job can be shown to anybody, whether a worker runs or not.
    jobs::declare_kinds(&pool).await?;
    let address = listener.local_addr()?;
    let signatures = match webhook_secrets.is_empty() {
        false => "required",
        true => "off: no webhook secret is set",
    };
    tracing::info!(
        "serving http://{address}, documentation at http://{address}/docs, signatures {signatures}"
    );
    let unsigned = match args.allow_unsigned {
        true => Audience::Everybody,
        false => Audience::ThisMachine,
    };
    let safeguards = Safeguards { guard: Guard::new(args.reach.reach()), secrets };
    let metrics = Metrics::new();
    let _export = telemetry::export_metrics(&metrics);
    let _answers = match args.admin_listen {
        Some(address) => {
            let probes = Probes::new(metrics.clone(), shutdown.clone());
            Some(probes.with_database(pool.clone()).listen(address).await?)
        }
        None => None,
    };
    let reads = args.reads.reads(&pool, APPLICATION)?;
    let settings = ServeSettings {
        listener,
        reads,
        api: args.api,
        webhook_secrets,
        sources,
        unsigned,
        safeguards,
        entry: Entry::SignIn,
        metrics,
        metrics_elsewhere: args.admin_listen.is_some(),
        traces: None,
        hangups: Some(hangups),
    };
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
/// When the system does not tell the listener's address.
pub async fn run(
    settings: ServeSettings,
    shutdown: CancellationToken,
) -> anyhow::Result<ServeSummary> {
    let ServeSettings { listener, reads, api, sources, safeguards, .. } = settings;
    let (entry, metrics, traces) = (settings.entry, settings.metrics, settings.traces);
    let hangups = settings.hangups;
    let shown = (!settings.metrics_elsewhere).then(|| metrics.clone());
    let intake = Arc::new(Intake::new(sources.names()));
    let is_loopback = listener.local_addr()?.ip().is_loopback();
    let is_signed = !settings.webhook_secrets.is_empty();
    let openness = Openness::of(is_signed, is_loopback, settings.unsigned);
    let openness = openness.with_pages(entry, is_loopback);
    let (endpoint, replaceable, background) = assemble(
        &api,
        (openness, safeguards, traces),
        reads,
        (&metrics, shown),
        (&intake, sources, settings.webhook_secrets),
        &shutdown,
    );
    let reloading = hangups.map(|hangups| tokio::spawn(replaceable.reloader(&api, hangups).run()));
    let limits = ConnectionLimits {
        max_connections: open_files::affordable_connections(api.max_connections),
        header_timeout: api.header_timeout,
        idle_timeout: api.idle_timeout,
        grace: api.serve_grace,
    };

    let told = service_manager::ready(shutdown.clone());
    server::serve(listener, endpoint, limits, delayed(shutdown, api.drain_delay)).await;
    if let Some(reloading) = reloading {
        reloading.abort();
    }
    // With the endpoint, the last way to what runs beside it is gone.
    background.finish().await;
    drop(told);
    Ok(ServeSummary::of(&intake))
}

/// The rights of strangers.
#[derive(Clone, Copy, Debug)]
struct Openness {
    audience: Audience,
    /// The readers of transactions, unless a setting names them.
    readers: TransactionReaders,
    /// The way into the pages, and who is answered there.
    entry: Entry,
    pages: Audience,
}

impl Openness {
    /// Without a secret nobody can be told from anybody else: on a loopback address that is meant
    /// for trying things out, on this machine.
    fn of(is_signed: bool, is_loopback: bool, unsigned: Audience) -> Self {
        let (audience, readers) = match (is_signed, is_loopback) {
            (true, _) | (false, false) => (Audience::Everybody, TransactionReaders::Operators),
            (false, true) => (unsigned, TransactionReaders::Anybody),
        };
        Self { audience, readers, entry: Entry::SignIn, pages: audience }
    }

    /// Open pages do not know who acts, so they are for programs of this machine: whether webhooks
    /// are signed says nothing of that.
    fn with_pages(self, entry: Entry, is_loopback: bool) -> Self {
        match (entry, is_loopback) {
            (Entry::Open, true) => Self { entry, pages: Audience::ThisMachine, ..self },
            (Entry::Open, false) | (Entry::SignIn, _) => self,
        }
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
