//! The APIs: one file per poem-openapi `Api`, and the document that describes them all.
//!
//! An operation reads as its steps: check, begin, domain calls, enqueue, commit, respond.
//!
//! - [`inbound_webhooks`]: takes transactions from payment providers; [`record_transactions`] is
//!   its shared commit. [`webhook_sources`]: takes those of providers with a shape of their own;
//!   [`webhook_rejections`]: shows what they were refused. [`transactions`]: shows them.
//! - [`auth`], [`users`]: sign-in and sign-out, users and their roles. [`notifications`]: their
//!   mail.
//! - [`wallets`], [`user_money`]: wallets, their entries and balances, of one wallet and of a user.
//! - [`deposits`], [`withdrawals`], [`transfers`]: orders; [`orders`] is their common part.
//! - [`webhook_endpoints`]: whom we tell what, and what became of that.
//! - [`audit`]: who did what, and proofs of it. [`timelines`]: what happened to one thing.
//! - [`failures`]: what failed, by fingerprint. [`bulk_operations`]: actions on all jobs of a
//!   filter.
//! - [`conflicts`]: transactions that came again with other content, and decisions over them.
//! - [`dead_letters`]: discarded jobs and operators' decisions over them.
//! - [`jobs`], [`queues`], [`schedules`], [`workers`]: what operators read and do.
//! - [`overview`], [`health_report`], [`verifications`]: how things stand, what is amiss, and
//!   whether every guarantee holds.
//! - [`activity`]: what happened when, for charts.
//! - [`system`], [`metrics`], [`docs`]: health and build, figures, documentation.
//! - [`openapi`]: the document with its examples, and the collection of requests made from it.
//!
//! Guaranteed: each operation names all codes that it refuses with ([`Refused`]); transaction and
//! job commit together (G2), and for orders so do the claim of the key and the stored answer.
//!
//! Deliberately absent: rules about money (`payments`), and whatever all requests have in common
//! (`edge`, `wire`).
//!
//! [`Refused`]: crate::http::wire::refused::Refused

pub mod activity;
pub mod audit;
pub mod auth;
pub mod bulk_operations;
pub mod conflicts;
pub mod dead_letters;
pub mod deposits;
pub mod docs;
pub mod failure_reasons;
pub mod failures;
pub mod health_report;
pub mod inbound_webhooks;
pub mod jobs;
pub mod metrics;
pub mod notifications;
pub mod openapi;
pub mod orders;
pub mod overview;
pub mod queues;
pub mod record_transactions;
pub mod schedules;
pub mod system;
pub mod timelines;
pub mod transactions;
pub mod transfers;
pub mod user_money;
pub mod users;
pub mod verifications;
pub mod wallets;
pub mod webhook_endpoints;
pub mod webhook_rejections;
pub mod webhook_sources;
pub mod withdrawals;
pub mod workers;

use poem_openapi::Tags;

use self::activity::ActivityApi;
use self::audit::AuditApi;
use self::auth::AuthApi;
use self::bulk_operations::BulkOperationsApi;
use self::conflicts::ConflictsApi;
use self::dead_letters::DeadLettersApi;
use self::deposits::DepositsApi;
use self::docs::DocsApi;
use self::failures::FailuresApi;
use self::health_report::HealthReportApi;
use self::inbound_webhooks::InboundWebhooksApi;
use self::jobs::JobsApi;
use self::metrics::MetricsApi;
use self::notifications::NotificationsApi;
use self::overview::OverviewApi;
use self::queues::{QueueLimitsApi, QueuesApi};
use self::schedules::SchedulesApi;
use self::system::SystemApi;
use self::timelines::TimelinesApi;
use self::transactions::TransactionsApi;
use self::transfers::TransfersApi;
use self::user_money::UserMoneyApi;
use self::users::UsersApi;
use self::verifications::VerificationsApi;
use self::wallets::WalletsApi;
use self::webhook_endpoints::{DeliveriesApi, WebhookEndpointsApi};
use self::webhook_rejections::WebhookRejectionsApi;
use self::webhook_sources::WebhookSourcesApi;
use self::withdrawals::WithdrawalsApi;
use self::workers::WorkersApi;

/// The APIs, in the order of the document.
pub type Apis = (
    (
        (InboundWebhooksApi, WebhookSourcesApi, WebhookRejectionsApi),
        TransactionsApi,
        AuthApi,
        UsersApi,
        NotificationsApi,
        UserMoneyApi,
        WalletsApi,
        DepositsApi,
        WithdrawalsApi,
        TransfersApi,
    ),
    (WebhookEndpointsApi, DeliveriesApi),
    OperatorApis,
    (SystemApi, MetricsApi, DocsApi),
);

/// The APIs of those who look after the service.
pub type OperatorApis = (
    (FailuresApi, BulkOperationsApi, ConflictsApi),
    (DeadLettersApi, AuditApi, TimelinesApi, ActivityApi),
    (JobsApi, QueuesApi, QueueLimitsApi, SchedulesApi, WorkersApi),
    (OverviewApi, HealthReportApi, VerificationsApi),
);

/// The groups of operations in the document.
#[derive(Tags)]
pub enum ApiTags {
    /// Transactions, as payment providers send them.
    #[oai(rename = "inbound webhooks")]
    InboundWebhooks,
    /// Transactions with their outcome.
    #[oai(rename = "transactions")]
    Transactions,
    /// Signing in and out.
    #[oai(rename = "auth")]
    Auth,
    /// Users and their roles.
    #[oai(rename = "users")]
    Users,
    /// Wallets of users.
    #[oai(rename = "wallets")]
    Wallets,
    /// Money that comes in through the bank.
    #[oai(rename = "deposits")]
    Deposits,
    /// Money that goes out through the bank.
    #[oai(rename = "withdrawals")]
    Withdrawals,
    /// Money that goes from one wallet to another.
    #[oai(rename = "transfers")]
    Transfers,
    /// Whom we tell what, by webhooks of ours.
    #[oai(rename = "webhook endpoints")]
    WebhookEndpoints,
    /// Jobs that failed, grouped by what their errors say, for operators.
    #[oai(rename = "failures")]
    Failures,
    /// Actions on all jobs that match a filter, for operators.
    #[oai(rename = "operations")]
    Operations,
    /// Transactions that came again with other content, for operators.
    #[oai(rename = "conflicts")]
    Conflicts,
    /// Discarded jobs, for operators.
    #[oai(rename = "dead letters")]
    DeadLetters,
    /// Jobs, for operators.
    #[oai(rename = "jobs")]
    Jobs,
    /// Queues of jobs, for operators.
    #[oai(rename = "queues")]
    Queues,
    /// Jobs by the clock, for operators.
    #[oai(rename = "schedules")]
    Schedules,
    /// The processes that run jobs, for operators.
    #[oai(rename = "workers")]
    Workers,
    /// Checks that every guarantee holds, for operators.
    #[oai(rename = "verifications")]
    Verifications,
    /// The log of who did what, for operators.
    #[oai(rename = "audit")]
    Audit,
    /// The service itself.
    #[oai(rename = "system")]
    System,
}
