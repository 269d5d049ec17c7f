//! `app work`: the composition root of a process that runs jobs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::arguments::{parse_duration, read_value};
use anyhow::Context;
use clap::Args as ClapArgs;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use crate::audit::export::ExportTarget;
use crate::bank::BankArgs;
use crate::db::{self, DatabaseArgs};
use crate::deliveries::settings::ReachArgs;
use crate::deliveries::{Client, Guard, Limits, RetrySchedule, Transport};
use crate::jobs::audit_keeper::AuditKeeper;
use crate::jobs::{self, Bank, Services, Webhooks};
use crate::notices::MailArgs;
use crate::queue::Retention;
use crate::queue::operate::known_names::KnownNames;
use crate::queue::sealing::Keyring;
use crate::queue::{Worker, WorkerSettings, WorkerSummary};

/// Connections of the handlers' pool. A handler holds one only while it writes, so few serve many
/// jobs.
const HANDLER_CONNECTIONS: u32 = 10;

const APPLICATION: &str = "surety work";

/// Runs jobs from the queue until it is asked to stop.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "Examples:
  app work
  app work --concurrency 32 --grace 60s

The first SIGINT, SIGTERM or SIGHUP stops claiming, lets jobs in progress finish within --grace,
hands the others back and exits 0. The second exits at once; leases then bring the jobs back. 'app
workers drain' does what the first signal does, from anywhere.")]
pub struct Args {
    /// The database.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// Apply missing migrations before starting.
    #[arg(long)]
    pub migrate: bool,

    /// The settings of the worker.
    #[command(flatten)]
    pub worker: WorkerArgs,
}

/// Settings of a worker, shared by `app work` and `app dev`.
#[derive(ClapArgs, Clone, Debug)]
pub struct WorkerArgs {
    /// The most jobs in progress at once.
    #[arg(long, env = "APP_WORKER_CONCURRENCY", default_value_t = 1024, value_name = "JOBS")]
    pub concurrency: usize,

    /// The time for which a claim is valid without a heartbeat: a dead worker's jobs run again
    /// after it.
    #[arg(long, env = "APP_WORKER_LEASE", default_value = "30s", value_parser = parse_duration)]
    pub lease: Duration,

    /// The interval at which leases are renewed; at most a third of the lease.
    #[arg(long, env = "APP_WORKER_HEARTBEAT", default_value = "10s", value_parser = parse_duration)]
    pub heartbeat: Duration,

    /// The interval at which an idle worker looks for due jobs without a notification.
    #[arg(long, env = "APP_WORKER_POLL", default_value = "1s", value_parser = parse_duration)]
    pub poll: Duration,

    /// The time for which jobs in progress may go on after the first signal to stop.
    #[arg(long, env = "APP_WORKER_GRACE", default_value = "25s", value_parser = parse_duration)]
    pub grace: Duration,

    /// The bank.
    #[command(flatten)]
    pub bank: BankArgs,

    /// Webhooks that we send.
    #[command(flatten)]
    pub webhooks: WebhookArgs,

    /// Mail.
    #[command(flatten)]
    pub mail: MailArgs,

    /// The keys of sealed jobs.
    #[command(flatten)]
    pub job_keys: JobKeyArgs,

    /// Claim from these queues only. [default: all queues of the known job kinds]
    #[arg(long, env = "APP_WORKER_QUEUES", value_delimiter = ',', value_name = "QUEUE")]
    pub queues: Vec<String>,

    /// The version that the registry of workers shows, such as an image's tag.
    #[arg(long, env = "APP_WORKER_VERSION", default_value = env!("CARGO_PKG_VERSION"),
          value_name = "VERSION")]
    pub worker_version: String,

    /// Where the heads of the audit log go, out of reach of who owns the database: file:/path or
    /// https://host/path.
    #[arg(
        long,
        env = "APP_AUDIT_EXPORT",
        hide_env_values = true,
        default_value = "off",
        value_name = "TARGET"
    )]
    pub audit_export: ExportTarget,

    /// The time between two exports of the newest head.
    #[arg(long, env = "APP_AUDIT_EXPORT_INTERVAL", default_value = "60s",
          value_parser = parse_duration)]
    pub audit_export_interval: Duration,

    /// For how many days completed and cancelled jobs are kept.
    #[arg(long, env = "APP_RETENTION_COMPLETED_DAYS", default_value_t = 7, value_name = "DAYS")]
    pub retention_completed_days: u16,

    /// For how many days discarded jobs, and all attempts, are kept.
    #[arg(long, env = "APP_RETENTION_DISCARDED_DAYS", default_value_t = 30, value_name = "DAYS")]
    pub retention_discarded_days: u16,
}

/// Settings of the webhooks that are sent.
#[derive(ClapArgs, Clone, Debug)]
pub struct WebhookArgs {
    /// The waits after the first failed attempt of a delivery, the second, and so on.
    #[arg(long, env = "APP_WEBHOOK_RETRIES", default_value_t, value_name = "WAITS")]
    pub webhook_retries: RetrySchedule,

    /// Where webhooks may be sent.
    #[command(flatten)]
    pub reach: ReachArgs,
}

impl WebhookArgs {
    fn start(&self, pool: &PgPool) -> anyhow::Result<Webhooks> {
        let guard = Guard::new(self.reach.reach());
        let transport = Transport::new(guard, Limits::default());
        let client = Client::new(transport.context("TLS cannot be set up for webhooks")?);
        Ok(Webhooks::start(pool, client, self.webhook_retries.clone()))
    }
}

/// The source of the keys of sealed jobs.
#[derive(ClapArgs, Clone, Debug)]
pub struct JobKeyArgs {
    /// The keys that arguments of sealed jobs are encrypted with, each 'id:' and 32 bytes in
    /// base64, separated by commas or spaces. The first one seals, all of them open.
    #[arg(long, env = "APP_JOB_KEYS", hide_env_values = true, value_name = "KEYS")]
    pub job_keys: Option<SecretText>,

    /// A file that holds the keys instead.
    #[arg(long, env = "APP_JOB_KEYS_FILE", value_name = "FILE", conflicts_with = "job_keys")]
    pub job_keys_file: Option<PathBuf>,
}

impl JobKeyArgs {
    /// The keys; none if none are set.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or what is set is no ring of keys.
    pub fn keyring(&self) -> anyhow::Result<Option<Keyring>> {
        match (&self.job_keys, &self.job_keys_file) {
            // An environment file that leaves the variable empty means none.
            (Some(text), _) if text.0.is_empty() => Ok(None),
            (Some(text), _) => Ok(Some(text.0.parse().context(BAD_KEYS)?)),
            (None, Some(file)) => {
                let text = read_value(file)
                    .context("the file that APP_JOB_KEYS_FILE names cannot be read")?;
                Ok(Some(text.parse().context(BAD_KEYS)?))
            }
            (None, None) => Ok(None),
        }
    }
}

const BAD_KEYS: &str = "APP_JOB_KEYS, or the file that APP_JOB_KEYS_FILE names, cannot be right";

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

impl WorkerArgs {
    /// The queue's own settings.
    ///
    /// # Errors
    ///
    /// When the keys of sealed jobs cannot be read.
    pub fn settings(&self) -> anyhow::Result<WorkerSettings> {
        Ok(WorkerSettings {
            concurrency: self.concurrency,
            lease: self.lease,
            heartbeat: self.heartbeat,
            poll: self.poll,
            grace: self.grace,
            queues: self.queues.clone(),
            retention: Retention {
                completed_days: self.retention_completed_days,
                cancelled_days: self.retention_completed_days,
                discarded_days: self.retention_discarded_days,
            },
            keyring: self.job_keys.keyring()?,
            version: self.worker_version.clone(),
        })
    }
}

/// `app work`.
///
/// # Errors
///
/// When the database cannot be reached, its schema is not current, or the settings cannot work.
pub async fn run_command(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let database = &args.database;
    let pool = database.connect_to_write(HANDLER_CONNECTIONS, APPLICATION).await?;
    if args.migrate {
        db::migrate(&database.connect_session(APPLICATION, "--migrate").await?).await?;
    }
    db::require_current_schema(&pool).await?;
    let handlers = pool.clone();
    let worker = worker(pool, &args.worker, database.direct_options(APPLICATION)?)?;
    worker.require_rights().await?;
    tracing::info!(concurrency = args.worker.concurrency, "working");
    if !args.worker.mail.has_server() {
        tracing::info!(
            "APP_SMTP_URL is not set: this worker sends no mail, and keeps none for later"
        );
    }
    warn_of_unknown_queues(&handlers, &args.worker.queues).await;
    // Not that of the worker, which may be told to drain by others.
    let stop = CancellationToken::new();
    let keeper = tokio::spawn(audit_keeper(handlers, &args.worker).run(stop.clone()));
    let summary = worker.run(shutdown).await;
    stop.cancel();
    keeper.await.context("the keeper of the audit log panicked")?;
    report(summary);
    Ok(())
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

/// A worker of this application's job kinds. It listens for new jobs by `direct`, a way past any
/// connection pooler, if there is one.
///
/// # Errors
///
/// When the settings cannot work.
pub fn worker(
    pool: PgPool,
    args: &WorkerArgs,
    direct: Option<PgConnectOptions>,
) -> anyhow::Result<Arc<Worker<Services>>> {
    let bank = Bank::new(&args.bank)?;
    let webhooks = Some(args.webhooks.start(&pool)?);
    let mailer = args.mail.mailer()?;
    let registry = jobs::registry(Services { pool: pool.clone(), bank, webhooks, mailer });
    let worker =
        Worker::new(pool, registry, args.settings()?).context("the worker cannot start")?;
    Ok(Arc::new(match direct {
        Some(direct) => worker.listening_by(direct),
        None => worker,
    }))
}

/// The keeper of the audit log that runs beside the workers of a process.
pub fn audit_keeper(pool: PgPool, args: &WorkerArgs) -> AuditKeeper {
    let (export, export_interval) = (args.audit_export.clone(), args.audit_export_interval);
    AuditKeeper { pool, export, export_interval }
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
