//! The second way in: the jobs that run after the answer was sent. One file per kind of job, and
//! [`dead_letters`] for those that were given up. [`audit_keeper`] and [`history_keeper`] run
//! beside them. [`endpoint_secrets`] seals what deliveries sign with.
//!
//! A job reads like a list of steps: begin, call the rules, complete. It owns the database
//! transaction, and has no SQL and no rules of its own; those of decisions are in [`dead_letters`],
//! those of other changes of jobs in [`changes`].

pub mod announcements;
pub mod audit_keeper;
pub mod bulk_operations;
pub mod changes;
pub mod dead_letters;
mod deliver_webhook;
pub mod endpoint_secrets;
mod execute_bank_order;
mod execute_transfer;
pub mod history_keeper;
pub mod mail_delivery;
mod replay_deliveries;
mod resolve_bank_order;
mod send_notice;
mod send_transaction_email;
mod settle_transaction;

use std::num::NonZeroU16;
use std::time::Duration;

use sqlx::PgPool;

pub use announcements::AnnounceOutcomes;
pub use bulk_operations::RunBulkOperation;
pub use deliver_webhook::{DeliverWebhook, DeliverWebhookInOrder, Webhooks};
pub use endpoint_secrets::EndpointSecrets;
pub use execute_bank_order::ExecuteBankOrder;
pub use execute_transfer::ExecuteTransfer;
pub use replay_deliveries::ReplayDeliveries;
pub use resolve_bank_order::{BANK_UNAVAILABLE, ResolveBankOrder};
pub use send_notice::SendNotice;
pub use send_transaction_email::SendTransactionEmail;
pub use settle_transaction::SettleTransaction;

use crate::bank::breaker::Breaker;
use crate::bank::settings::BankSettingsError;
use crate::bank::{BankArgs, BankClient};
use crate::metrics::Timings;
use crate::notices::Mailer;
use crate::queue::enqueue::kinds::{self, KindDeclaration};
use crate::queue::{Backoff, QueueError, Registry};

/// The name under which all workers share the circuit breaker of the bank.
pub const BANK_BREAKER: &str = "bank";

/// The services that every run of a job gets.
#[derive(Clone, Debug)]
pub struct Services {
    /// The database, for reads. What a job writes goes into the transaction that completes it.
    pub pool: PgPool,
    /// The bank that deposits come from and withdrawals go to; without one they wait.
    pub bank: Option<Bank>,
    /// The way out for webhooks; without one, deliveries wait.
    pub webhooks: Option<Webhooks>,
    /// The way that mails go; without one none is sent.
    pub mailer: Option<Mailer>,
}

impl Services {
    /// The services of a process that reaches nobody but the database.
    pub fn of_database(pool: PgPool) -> Self {
        Self { pool, bank: None, webhooks: None, mailer: None }
    }
}

/// The way to the bank.
#[derive(Clone, Debug)]
pub struct Bank {
    client: BankClient,
    breaker: Breaker,
    retries: Backoff,
    /// An instruction that the bank does not know is taken for lost after this.
    lost_after: Duration,
}

impl Bank {
    /// The bank of these settings; none when they name none.
    ///
    /// # Errors
    ///
    /// When the settings cannot work.
    pub fn new(args: &BankArgs) -> Result<Option<Self>, BankSettingsError> {
        let Some(client) = args.client()? else { return Ok(None) };
        let breaker = Breaker::new(BANK_BREAKER, args.breaker());
        // The first wait is about the delay that was set, give or take a quarter.
        let base = args.bank_retry_delay.mul_f64(1.25);
        let retries = Backoff { base, factor: 4, max: base * 16, jitter: 0.4 };
        Ok(Some(Self { client, breaker, retries, lost_after: args.bank_lost_after }))
    }

    /// The times of calls so far.
    #[must_use]
    pub fn durations(&self) -> &Timings {
        self.client.durations()
    }
}

/// Makes known what this binary knows of its kinds, for a process that enqueues and runs none.
///
/// # Errors
///
/// When the database refuses.
pub async fn declare_kinds(pool: &PgPool) -> Result<(), QueueError> {
    let registry = registry(Services::of_database(pool.clone()));
    kinds::declare(pool, &registry.declarations()).await
}

/// All kinds of job that this binary knows.
pub const fn kinds() -> [KindDeclaration; 11] {
    [
        KindDeclaration::of::<SettleTransaction>(),
        KindDeclaration::of::<ExecuteTransfer>(),
        KindDeclaration::of::<ExecuteBankOrder>(),
        KindDeclaration::of::<ResolveBankOrder>(),
        KindDeclaration::of::<AnnounceOutcomes>(),
        KindDeclaration::of::<DeliverWebhook>(),
        KindDeclaration::of::<DeliverWebhookInOrder>(),
        KindDeclaration::of::<ReplayDeliveries>(),
        KindDeclaration::of::<SendTransactionEmail>(),
        KindDeclaration::of::<SendNotice>(),
        KindDeclaration::of::<RunBulkOperation>(),
    ]
}

/// The most batches of a kind that write to the ledger at once, over all workers: more wait for
/// each other's accounts, until PostgreSQL has more cores.
pub const LEDGER_BATCHES: NonZeroU16 = NonZeroU16::new(8).expect("eight is not zero");

/// Lets so many batches of each kind write to the ledger at once, over all workers that are told
/// the same.
pub fn with_ledger_batches(
    registry: Registry<Services>,
    batches: NonZeroU16,
) -> Registry<Services> {
    registry
        .at_once_overall::<SettleTransaction>(batches)
        .at_once_overall::<ExecuteTransfer>(batches)
}

/// Registers all kinds of job that this binary knows.
pub fn registry(state: Services) -> Registry<Services> {
    Registry::new(state)
        .register_batch::<SettleTransaction>()
        .register_batch::<ExecuteTransfer>()
        .register::<ExecuteBankOrder>()
        .register::<ResolveBankOrder>()
        .register_batch::<AnnounceOutcomes>()
        .register::<DeliverWebhook>()
        .register::<DeliverWebhookInOrder>()
        .register::<ReplayDeliveries>()
        .register::<SendTransactionEmail>()
        .register::<SendNotice>()
        .register::<RunBulkOperation>()
}
