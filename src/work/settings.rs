//! Settings of a worker.

use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::Context;
use clap::Args as ClapArgs;
use sqlx::PgPool;

use crate::arguments::parse_duration;
use crate::audit::export::ExportTarget;
use crate::bank::BankArgs;
use crate::deliveries::settings::ReachArgs;
use crate::deliveries::{Client, Guard, Limits, RetrySchedule, Transport};
use crate::jobs::history_keeper::HistoryRetention;
use crate::jobs::{self, EndpointSecrets, Webhooks};
use crate::notices::MailArgs;
use crate::operations::job_keys::JobKeyArgs;
use crate::queue::{Retention, WorkerSettings};

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

    /// The most batches of payments, and of transfers, that write to the ledger at once, over all
    /// workers: about as many as PostgreSQL has cores.
    #[arg(long, env = "APP_WORKER_LEDGER_BATCHES", default_value_t = jobs::LEDGER_BATCHES,
          value_name = "N")]
    pub ledger_batches: NonZeroU16,

    /// The bank.
    #[command(flatten)]
    pub bank: BankArgs,

    /// Webhooks that we send.
    #[command(flatten)]
    pub webhooks: WebhookArgs,

    /// Mail.
    #[command(flatten)]
    pub mail: MailArgs,

    /// The keys of sealed jobs, and of the secrets of endpoints.
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

    /// For how long what was told is kept.
    #[command(flatten)]
    pub history: HistoryArgs,
}

/// Settings of how long what was told is kept.
#[derive(ClapArgs, Clone, Copy, Debug)]
pub struct HistoryArgs {
    /// For how many days ended deliveries of webhooks are kept, with their attempts.
    #[arg(long, env = "APP_RETENTION_DELIVERIES_DAYS", default_value_t = 90, value_name = "DAYS",
          value_parser = clap::value_parser!(u16).range(7..=36_500))]
    pub retention_deliveries_days: u16,

    /// For how many days it is kept what became of mails.
    #[arg(long, env = "APP_RETENTION_MAILS_DAYS", default_value_t = 30, value_name = "DAYS",
          value_parser = clap::value_parser!(u16).range(7..=36_500))]
    pub retention_mails_days: u16,

    /// For how many days events are kept; longer while a delivery of them is, or somebody has not
    /// read them.
    #[arg(long, env = "APP_RETENTION_EVENTS_DAYS", default_value_t = 365, value_name = "DAYS",
          value_parser = clap::value_parser!(u16).range(31..=36_500))]
    pub retention_events_days: u16,

    /// For how many days the bodies of inbound webhooks are kept, from their receipt; then their
    /// SHA-256 takes their place, if their transaction is final.
    #[arg(long, env = "APP_RETENTION_BODIES_DAYS", value_name = "DAYS",
          value_parser = clap::value_parser!(u16).range(31..=36_500))]
    pub retention_bodies_days: Option<u16>,

    /// For how many days calls to the bank stay in the log, from the end of their order; for good
    /// if that came more than a week after the first.
    #[arg(long, env = "APP_RETENTION_BANK_LOG_DAYS", value_name = "DAYS",
          value_parser = clap::value_parser!(u16).range(31..=36_500))]
    pub retention_bank_log_days: Option<u16>,

    /// For how many days bulk operations are kept once they have ended.
    #[arg(long, env = "APP_RETENTION_OPERATIONS_DAYS", default_value_t = 365, value_name = "DAYS",
          value_parser = clap::value_parser!(u16).range(7..=36_500))]
    pub retention_operations_days: u16,
}

impl HistoryArgs {
    pub(super) fn retention(self) -> HistoryRetention {
        HistoryRetention {
            deliveries_days: self.retention_deliveries_days,
            mails_days: self.retention_mails_days,
            events_days: self.retention_events_days,
            operations_days: self.retention_operations_days,
            bodies_days: self.retention_bodies_days,
            bank_log_days: self.retention_bank_log_days,
        }
    }
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
    pub(super) fn start(
        &self,
        pool: &PgPool,
        secrets: EndpointSecrets,
    ) -> anyhow::Result<Webhooks> {
        let guard = Guard::new(self.reach.reach());
        let transport = Transport::new(guard, Limits::default());
        let client = Client::new(transport.context("TLS cannot be set up for webhooks")?);
        let webhooks = Webhooks::start(pool, client, self.webhook_retries.clone());
        Ok(webhooks.with_secrets(secrets))
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
