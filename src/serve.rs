//! `app serve`: the composition root of a process that serves the API.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use clap::Args as ClapArgs;
use humantime::parse_duration;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::db;
use crate::http::docs::DocsApi;
use crate::http::inbound_webhooks::{ConflictAnswer, Counts, InboundWebhooksApi};
use crate::http::openapi::Document;
use crate::http::request_body::BodyLimits;
use crate::http::server::{self, ConnectionLimits};
use crate::http::shared_commit::{SharedCommit, SharedCommitSettings};
use crate::http::signature::{Verifier, WebhookSecret};
use crate::http::system::SystemApi;
use crate::http::transactions::TransactionsApi;
use crate::queue::notifier::Notifier;

/// Beside the connections of clients, a process needs file descriptors for the database, the log
/// and the like.
const RESERVED_FILES: u64 = 64;

/// Serves the API until told to stop.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "Examples:
  app serve --migrate
  APP_WEBHOOK_SECRETS_FILE=/run/secrets/webhooks app serve --listen 0.0.0.0:8000

The first SIGINT or SIGTERM stops accepting, finishes the requests under way within --serve-grace
and exits 0. The second exits at once; what was answered 202 is in the database either way.")]
pub struct Args {
    /// The database: postgres://user@host:port/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,

    /// The address and port to listen on.
    #[arg(long, env = "APP_LISTEN", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,

    /// Apply missing migrations before starting.
    #[arg(long)]
    pub migrate: bool,

    /// Listen beyond this machine without any webhook secret: whoever reaches the port can then
    /// post transactions.
    #[arg(long)]
    pub allow_unsigned: bool,

    /// How the API behaves.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// How the API behaves; shared by `app serve` and `app dev`.
#[derive(ClapArgs, Clone, Debug)]
pub struct ApiArgs {
    /// The secrets that inbound webhooks are signed with, each 'whsec_' and base64, separated by
    /// commas or spaces. Several are valid at once, for rotation.
    #[arg(long, env = "APP_WEBHOOK_SECRETS", hide_env_values = true, value_name = "SECRETS")]
    pub webhook_secrets: Option<SecretText>,

    /// A file that holds the secrets instead.
    #[arg(
        long,
        env = "APP_WEBHOOK_SECRETS_FILE",
        value_name = "FILE",
        conflicts_with = "webhook_secrets"
    )]
    pub webhook_secrets_file: Option<PathBuf>,

    /// What a known transaction id with other content is answered: 409, or a flagged 202. It is
    /// kept either way.
    #[arg(long, env = "APP_CONFLICT_ANSWER", value_enum, default_value_t, value_name = "ANSWER")]
    pub conflict_answer: ConflictAnswer,

    /// How long after its acceptance a transaction is settled.
    #[arg(long, env = "APP_SETTLE_DELAY", default_value = "0s", value_parser = parse_duration)]
    pub settle_delay: Duration,

    /// The most bytes of a request body.
    #[arg(long, env = "APP_MAX_BODY", default_value_t = 1 << 20, value_name = "BYTES")]
    pub max_body: usize,

    /// How long a client may take to send the headers of a request.
    #[arg(long, env = "APP_HEADER_TIMEOUT", default_value = "10s", value_parser = parse_duration)]
    pub header_timeout: Duration,

    /// How long a client may take to send the body of a request.
    #[arg(long, env = "APP_BODY_TIMEOUT", default_value = "15s", value_parser = parse_duration)]
    pub body_timeout: Duration,

    /// How long a connection may be idle between requests.
    #[arg(long, env = "APP_IDLE_TIMEOUT", default_value = "75s", value_parser = parse_duration)]
    pub idle_timeout: Duration,

    /// The most connections at once; more are answered 503.
    #[arg(
        long,
        env = "APP_MAX_CONNECTIONS",
        default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "CONNECTIONS"
    )]
    pub max_connections: u32,

    /// The most connections to the database for reads; webhooks have their own.
    #[arg(
        long,
        env = "APP_DATABASE_CONNECTIONS",
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=1000),
        value_name = "CONNECTIONS"
    )]
    pub database_connections: u32,

    /// How many commits of webhooks may be under way at the same time.
    #[arg(
        long,
        env = "APP_COMMITTERS",
        default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(1..=64),
        value_name = "COMMITS"
    )]
    pub committers: u16,

    /// How long /readyz says 503 before the process stops accepting, so that a balancer notices in
    /// time.
    #[arg(long, env = "APP_DRAIN_DELAY", default_value = "0s", value_parser = parse_duration)]
    pub drain_delay: Duration,

    /// How long requests under way may go on once the process stops accepting.
    #[arg(long, env = "APP_SERVE_GRACE", default_value = "20s", value_parser = parse_duration)]
    pub serve_grace: Duration,
}

/// A text whose `Debug` does not show it.
#[derive(Clone)]
pub struct SecretText(String);

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl Default for ApiArgs {
    /// What holds when nothing is set.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Defaults {
            #[command(flatten)]
            api: ApiArgs,
        }
        <Defaults as clap::Parser>::parse_from(["app"]).api
    }
}

impl ApiArgs {
    /// The secrets, from wherever they are set.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or holds what is no secret.
    pub fn secrets(&self) -> anyhow::Result<Vec<WebhookSecret>> {
        let text = match (&self.webhook_secrets, &self.webhook_secrets_file) {
            (Some(SecretText(text)), _) => text.clone(),
            (None, Some(file)) => read_secrets_file(file)?,
            (None, None) => return Ok(Vec::new()),
        };
        text.split([',', ' ', '\t', '\r', '\n'])
            .filter(|part| !part.is_empty())
            .map(|part| Ok(part.parse()?))
            .collect()
    }
}

fn read_secrets_file(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("the webhook secrets cannot be read from {}", file.display()))?;
    anyhow::ensure!(
        !text.trim().is_empty(),
        "{} holds no webhook secret; make one with: echo whsec_$(openssl rand -base64 32)",
        file.display()
    );
    Ok(text)
}

/// What serving the API needs.
#[derive(Debug)]
pub struct ServeSettings {
    /// From [`bind`].
    pub listener: TcpListener,
    /// The database, with a current schema.
    pub pool: PgPool,
    /// How the API behaves.
    pub api: ApiArgs,
}

/// What was served.
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

/// `app serve`.
///
/// # Errors
///
/// When the settings cannot work, the address is taken, the database cannot be reached or its
/// schema is not current.
pub async fn run_command(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let is_signed = !args.api.secrets()?.is_empty();
    if !is_signed && !args.allow_unsigned && !args.listen.ip().is_loopback() {
        anyhow::bail!(
            "refusing to listen on {} without a webhook secret, as anybody could post \
             transactions: set APP_WEBHOOK_SECRETS, or say --allow-unsigned",
            args.listen
        );
    }
    let listener = bind(args.listen).await?;
    let pool =
        db::connect(&args.database_url, args.api.database_connections, "surety serve").await?;
    if args.migrate {
        db::migrate(&pool).await?;
    }
    db::require_current_schema(&pool).await?;
    let address = listener.local_addr()?;
    let signatures = if is_signed { "required" } else { "off: no webhook secret is set" };
    tracing::info!(
        "serving http://{address}, documentation at http://{address}/docs, signatures {signatures}"
    );
    let summary = run(ServeSettings { listener, pool, api: args.api }, shutdown).await?;
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
    let ServeSettings { listener, pool, api } = settings;
    let counts = Arc::new(Counts::default());
    let (shared_commit, committers) = SharedCommit::start(
        &pool.connect_options(),
        &Notifier::start(&pool),
        SharedCommitSettings { committers: api.committers, settle_delay: api.settle_delay },
    );
    let apis = (
        InboundWebhooksApi {
            verifier: Verifier::new(&api.secrets()?),
            shared_commit,
            conflict_answer: api.conflict_answer,
            counts: Arc::clone(&counts),
        },
        TransactionsApi { pool: pool.clone() },
        SystemApi::new(pool, shutdown.clone()),
        DocsApi::new(&Document::new()),
    );
    let bodies = BodyLimits { max_bytes: api.max_body, timeout: api.body_timeout };
    let endpoint = crate::http::endpoint(apis, bodies, Arc::clone(&counts));
    let limits = ConnectionLimits {
        max_connections: affordable_connections(api.max_connections),
        header_timeout: api.header_timeout,
        idle_timeout: api.idle_timeout,
        grace: api.serve_grace,
    };

    server::serve(listener, endpoint, limits, delayed(shutdown, api.drain_delay)).await;
    // With the endpoint the last way to the committers is gone: they commit what was handed in, and
    // end.
    committers.join_all().await;
    Ok(ServeSummary {
        accepted: counts.accepted.load(Ordering::Relaxed),
        duplicates: counts.duplicates.load(Ordering::Relaxed),
        conflicts: counts.conflicts.load(Ordering::Relaxed),
        rejected: counts.rejected.load(Ordering::Relaxed),
        unavailable: counts.unavailable.load(Ordering::Relaxed),
    })
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

/// As many of the wanted connections as the process may have file descriptors for, after it asked
/// for more of them: without any left, not even the database could be reached again.
fn affordable_connections(wanted: u32) -> usize {
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let files = raise_file_limit();
    let affordable = usize::try_from(files.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX);
    if affordable < wanted {
        tracing::warn!(
            "only {affordable} connections will be served at once, as the process may open \
             {files} files (ulimit -n)"
        );
    }
    wanted.min(affordable)
}

/// Raises the soft limit of open files to the hard one, and gives what then holds.
fn raise_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read and write the struct that they are given.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return u64::MAX;
        }
        let before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
            limit.rlim_cur = before;
        }
    }
    limit.rlim_cur
}
