//! `app work`: the composition root of a process that runs jobs.
//!
//! - Here: the process, and a worker with all that it reaches.
//! - `settings`: the settings of a worker, which `app dev` has, too.
//! - `engine_figures`: what a worker does, for `/metrics`.

mod engine_figures;
mod settings;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args as ClapArgs;
use humantime::parse_duration;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

pub use self::settings::{WebhookArgs, WorkerArgs};

use crate::db::{self, DatabaseArgs};
use crate::jobs::audit_keeper::AuditKeeper;
use crate::jobs::history_keeper::HistoryKeeper;
use crate::jobs::{self, Bank, EndpointSecrets, Services};
use crate::metrics::{Metrics, Timings, show_pool};
use crate::operations::figures::Sampler;
use crate::probes::{ProbeArgs, Probes};
use crate::queue::operate::known_names::KnownNames;
use crate::queue::{Worker, WorkerSummary};
use crate::service_manager;
use crate::settings::reload::{Hangups, Reloader};
use crate::telemetry;

/// Connections of the handlers' pool. A handler holds one only while it writes, so few serve many
/// jobs.
const HANDLER_CONNECTIONS: u32 = 10;

const APPLICATION: &str = "surety work";

/// Runs jobs from the queue until it is asked to stop.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "Examples:
  app work
  app work --concurrency 32 --grace 60s

The first SIGINT or SIGTERM stops claiming, lets jobs in progress finish within --grace, hands the
others back and exits 0. The second exits at once; leases then bring the jobs back. 'app workers
drain' does what the first signal does, from anywhere. SIGHUP takes up a new log filter from .env:
docs/configuration.md.")]
pub struct Args {
    /// The database.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// Apply missing migrations before starting.
    #[arg(long)]
    pub migrate: bool,

    /// Where probes are answered.
    #[command(flatten)]
    pub probes: ProbeArgs,

    /// Time between two looks at the database for the figures of /metrics.
    #[arg(long, env = "APP_SAMPLE_INTERVAL", default_value = "10s", value_parser = parse_duration)]
    pub sample_interval: Duration,

    /// The settings of the worker.
    #[command(flatten)]
    pub worker: WorkerArgs,
}

/// `app work`.
///
/// # Errors
///
/// When the database cannot be reached, its schema is not current, or the settings cannot work.
pub async fn run_command(
    args: Args,
    shutdown: CancellationToken,
    hangups: Hangups,
) -> anyhow::Result<()> {
    let database = &args.database;
    let pool = database.connect_to_write(HANDLER_CONNECTIONS, APPLICATION).await?;
    if args.migrate {
        db::migrate(&database.connect_session(APPLICATION, "--migrate").await?).await?;
    }
    db::require_current_schema(&pool).await?;
    let handlers = pool.clone();
    let metrics = Metrics::new();
    show_pool(&metrics, "handlers", &handlers);
    let sampler = Sampler::show(handlers.clone(), args.sample_interval, &metrics);
    let _export = telemetry::export_metrics(&metrics);
    let _answers = match args.probes.probe_listen {
        Some(address) => {
            let probes = Probes::new(metrics.clone(), shutdown.clone());
            Some(probes.with_database(handlers.clone()).listen(address).await?)
        }
        None => None,
    };
    let direct = database.direct_options(APPLICATION)?;
    let worker = worker(pool, &args.worker, direct, &metrics)?;
    worker.require_rights().await?;
    tracing::info!(concurrency = args.worker.concurrency, "working");
    if !args.worker.mail.has_server() {
        tracing::info!(
            "APP_SMTP_URL is not set: this worker sends no mail, and keeps none for later"
        );
    }
    let reloading = Reloader::new(hangups).with(telemetry::FILTERS, telemetry::reload_part());
    let reloading = tokio::spawn(reloading.run());
    warn_of_unknown_queues(&handlers, &args.worker.queues).await;
    // Not that of the worker, which may be told to drain by others.
    let stop = CancellationToken::new();
    let sampling = tokio::spawn(sampler.keep(stop.clone()));
    let history = history_keeper(handlers.clone(), &args.worker);
    let history = tokio::spawn(history.run(stop.clone()));
    let keeper = tokio::spawn(audit_keeper(handlers, &args.worker).run(stop.clone()));
    let telling = tokio::spawn(tell_when_ready(Arc::clone(&worker), shutdown.clone()));
    let summary = worker.run(shutdown).await;
    stop.cancel();
    reloading.abort();
    telling.abort();
    keeper.await.context("the keeper of the audit log panicked")?;
    history.await.context("the keeper of the history panicked")?;
    sampling.await.context("the sampler of figures panicked")?;
    report(summary);
    Ok(())
}

/// Tells the service manager after the first claim, for as long as this runs.
async fn tell_when_ready(worker: Arc<Worker<Services>>, shutdown: CancellationToken) {
    while worker.activity().engine_figures().claims.count() == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _told = service_manager::ready(shutdown);
    pending::<()>().await;
}

/// Says which of the queues nobody knows: a worker of a mistyped one waits for ever.
async fn warn_of_unknown_queues(pool: &PgPool, queues: &[String]) {
    let known = async {
        let mut conn = pool.acquire().await?;
        KnownNames::read(&mut conn).await
    };
    // Whoever cannot be asked now is asked for jobs anyway, and says what is wrong then.
    let Ok(mut known) = known.await else { return };
    known.queues.extend(jobs::kinds().iter().map(|kind| kind.queue().to_owned()));
    for doubt in known.doubts_about_queues(queues.iter().map(String::as_str)) {
        tracing::warn!("--queues: {doubt}");
    }
}

/// A worker of this application's job kinds, whose figures are shown among `metrics`. It listens
/// for new jobs by `direct`, a way past any connection pooler, if there is one.
///
/// # Errors
///
/// When the settings cannot work.
pub fn worker(
    pool: PgPool,
    args: &WorkerArgs,
    direct: Option<PgConnectOptions>,
    metrics: &Metrics,
) -> anyhow::Result<Arc<Worker<Services>>> {
    let bank = Bank::new(&args.bank)?;
    let secrets = EndpointSecrets::new(args.job_keys.keyring()?);
    let webhooks = Some(args.webhooks.start(&pool, secrets)?);
    let mailer = args.mail.mailer()?;
    let services = Services { pool: pool.clone(), bank, webhooks, mailer };
    show_calls(metrics, &services);
    let registry = jobs::registry(services);
    let registry = jobs::with_ledger_batches(registry, args.ledger_batches);
    let worker =
        Worker::new(pool, registry, args.settings()?).context("the worker cannot start")?;
    let worker = Arc::new(match direct {
        Some(direct) => worker.listening_by(direct),
        None => worker,
    });
    engine_figures::show(metrics, &worker);
    Ok(worker)
}

/// Shows the times of calls to others.
fn show_calls(metrics: &Metrics, services: &Services) {
    let timings = [
        services.bank.as_ref().map(|bank| bank.durations().clone()),
        services.webhooks.as_ref().map(|webhooks| webhooks.durations().clone()),
        services.mailer.as_ref().map(|mailer| mailer.durations().clone()),
    ];
    metrics.collect(move || timings.iter().flatten().map(Timings::family).collect());
}

/// The keeper of the audit log that runs beside the workers of a process.
pub fn audit_keeper(pool: PgPool, args: &WorkerArgs) -> AuditKeeper {
    let (export, export_interval) = (args.audit_export.clone(), args.audit_export_interval);
    AuditKeeper { pool, export, export_interval }
}

/// The keeper of the history of what was told, that runs beside the workers of a process.
pub fn history_keeper(pool: PgPool, args: &WorkerArgs) -> HistoryKeeper {
    HistoryKeeper { pool, retention: args.history.retention() }
}

fn report(summary: WorkerSummary) {
    tracing::info!(
        completed = summary.completed,
        failed = summary.failed,
        discarded = summary.discarded,
        lease_lost = summary.lease_lost,
        handed_back = summary.handed_back,
        "stopped working"
    );
}
