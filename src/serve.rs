//! `app serve`: the composition root of a process that serves the API.

mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args as ClapArgs;
use poem::{Endpoint, Response};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::settings::{ApiArgs, SecretText};

use crate::db::{self, DatabaseArgs};
use crate::http::Edge;
use crate::http::auth::AuthApi;
use crate::http::caller::TransactionReaders;
use crate::http::dead_letters::DeadLettersApi;
use crate::http::deposits::DepositsApi;
use crate::http::docs::DocsApi;
use crate::http::idempotency;
use crate::http::inbound_webhooks::{Counts, InboundWebhooksApi};
use crate::http::metrics::{Metrics, MetricsApi};
use crate::http::open_files;
use crate::http::openapi::Document;
use crate::http::orders::{OrderDesk, PlaceOrders};
use crate::http::rate_limits::RateLimits;
use crate::http::record_transactions::RecordTransactions;
use crate::http::request_body::BodyLimits;
use crate::http::server::{self, ConnectionLimits};
use crate::http::shared_commit::SharedCommit;
use crate::http::sign_ins::SignIns;
use crate::http::signature::Verifier;
use crate::http::system::SystemApi;
use crate::http::transactions::TransactionsApi;
use crate::http::transfers::TransfersApi;
use crate::http::user_money::UserMoneyApi;
use crate::http::users::UsersApi;
use crate::http::wallets::WalletsApi;
use crate::http::withdrawals::WithdrawalsApi;
use crate::identity::passwords::Hasher;
use crate::jobs;
use crate::queue::Notifier;

const APPLICATION: &str = "surety serve";

/// Serves the API until told to stop.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "Examples:
  app serve --migrate
  APP_WEBHOOK_SECRETS_FILE=/run/secrets/webhooks app serve --listen 0.0.0.0:8000

The first SIGINT or SIGTERM stops accepting, finishes the requests under way within --serve-grace
and exits 0. The second exits at once; what was answered 202 is in the database either way.")]
pub struct Args {
    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseArgs,

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
        anyhow::bail!(
            "refusing to listen on {} without a webhook secret, as anybody could post \
             transactions: set APP_WEBHOOK_SECRETS, or say --allow-unsigned",
            args.listen
        );
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
    let is_loopback = listener.local_addr()?.ip().is_loopback();
    let (endpoint, background) = assemble(&api, is_loopback, pool, &counts, &shutdown)?;
    let limits = ConnectionLimits {
        max_connections: open_files::affordable_connections(api.max_connections),
        header_timeout: api.header_timeout,
        idle_timeout: api.idle_timeout,
        grace: api.serve_grace,
    };

    server::serve(listener, endpoint, limits, delayed(shutdown, api.drain_delay)).await;
    // With the endpoint, the last way to what runs beside it is gone.
    background.finish().await?;
    Ok(ServeSummary::of(&counts))
}

/// The API, and what runs beside it.
fn assemble(
    api: &ApiArgs,
    is_loopback: bool,
    pool: PgPool,
    counts: &Arc<Counts>,
    shutdown: &CancellationToken,
) -> anyhow::Result<(impl Endpoint<Output = Response> + 'static, Background)> {
    let metrics = Metrics::new();
    let notifier = Notifier::start(&pool);
    counts.show(&metrics);
    metrics.watch_pool(&pool);
    metrics.watch_bank(&pool);
    let (sign_ins, loader) = SignIns::start(&pool.connect_options());
    let readers_by_place = match is_loopback {
        true => TransactionReaders::Anybody,
        false => TransactionReaders::Operators,
    };
    let edge = Edge {
        readers: api.transaction_readers.unwrap_or(readers_by_place),
        bodies: BodyLimits { max_bytes: api.max_body, timeout: api.body_timeout },
        counts: Arc::clone(counts),
        sign_ins,
        limits: RateLimits::start(&pool.connect_options(), &api.limits, &metrics),
        origins: api.cors_origins.clone(),
        metrics: metrics.clone(),
    };
    let (shared_commit, committers) = SharedCommit::start(
        RecordTransactions { settle_delay: api.settle_delay },
        api.committers,
        &pool.connect_options(),
        &notifier,
    );
    let (order_commit, order_committers) =
        SharedCommit::start(PlaceOrders, api.committers, &pool.connect_options(), &notifier);
    let desk = OrderDesk { shared_commit: order_commit, pool: pool.clone() };
    let pruner = tokio::spawn(idempotency::prune_for_ever(pool.clone()));
    let background = Background { committers, order_committers, loader, pruner };
    let (hasher, rate_limits) = (Hasher::default(), edge.limits.clone());
    let apis = (
        InboundWebhooksApi {
            verifier: Verifier::new(&api.secrets()?),
            shared_commit,
            conflict_answer: api.conflict_answer,
            counts: Arc::clone(counts),
        },
        TransactionsApi { pool: pool.clone() },
        AuthApi { pool: pool.clone(), hasher: hasher.clone(), rate_limits: rate_limits.clone() },
        UsersApi { pool: pool.clone(), hasher, rate_limits },
        UserMoneyApi { desk: desk.clone() },
        WalletsApi { pool: pool.clone() },
        DepositsApi { desk: desk.clone() },
        WithdrawalsApi { desk: desk.clone() },
        TransfersApi { desk },
        DeadLettersApi { pool: pool.clone(), notifier },
        SystemApi::new(pool, shutdown.clone()),
        MetricsApi { metrics },
        DocsApi::new(&Document::new()),
    );
    Ok((crate::http::endpoint(apis, edge), background))
}

/// What runs beside the API.
struct Background {
    committers: JoinSet<()>,
    order_committers: JoinSet<()>,
    loader: JoinHandle<()>,
    pruner: JoinHandle<()>,
}

impl Background {
    /// Waits for the committers, who commit what was handed in and end, and for the loader of
    /// sign-ins. The pruner goes on where it was the next time.
    async fn finish(self) -> anyhow::Result<()> {
        self.committers.join_all().await;
        self.order_committers.join_all().await;
        self.loader.await?;
        self.pruner.abort();
        Ok(())
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
