//! The parts of a serving process, put together.

use std::sync::Arc;

use poem::{Endpoint, Response};
use sqlx::PgPool;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{ApiArgs, Openness};
use crate::deliveries::{Guard, Reach};
use crate::http::api::audit::AuditApi;
use crate::http::api::auth::AuthApi;
use crate::http::api::dead_letters::DeadLettersApi;
use crate::http::api::deposits::DepositsApi;
use crate::http::api::docs::DocsApi;
use crate::http::api::health_report::HealthReportApi;
use crate::http::api::inbound_webhooks::{Counts, InboundWebhooksApi};
use crate::http::api::jobs::JobsApi;
use crate::http::api::metrics::MetricsApi;
use crate::http::api::notifications::NotificationsApi;
use crate::http::api::orders::{OrderService, PlaceOrders};
use crate::http::api::overview::OverviewApi;
use crate::http::api::queues::{QueueLimitsApi, QueuesApi};
use crate::http::api::record_transactions::RecordTransactions;
use crate::http::api::schedules::SchedulesApi;
use crate::http::api::system::SystemApi;
use crate::http::api::timelines::TimelinesApi;
use crate::http::api::transactions::TransactionsApi;
use crate::http::api::transfers::TransfersApi;
use crate::http::api::user_money::UserMoneyApi;
use crate::http::api::users::UsersApi;
use crate::http::api::verifications::VerificationsApi;
use crate::http::api::wallets::WalletsApi;
use crate::http::api::webhook_endpoints::{DeliveriesApi, WebhookEndpointsApi};
use crate::http::api::withdrawals::WithdrawalsApi;
use crate::http::api::workers::WorkersApi;
use crate::http::edge::idempotency;
use crate::http::edge::metrics::Metrics;
use crate::http::edge::rate_limits::RateLimits;
use crate::http::edge::shared_commit::SharedCommit;
use crate::http::edge::sign_ins::SignIns;
use crate::http::wire::request_body::BodyLimits;
use crate::http::{self, Edge};
use crate::identity::passwords::Hasher;
use crate::queue::Notifier;
use crate::standard_webhooks::Verifier;

/// The API, and what runs beside it.
pub(super) fn assemble(
    api: &ApiArgs,
    (openness, reach): (Openness, Reach),
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
    let edge = Edge {
        audience: openness.audience,
        readers: api.transaction_readers.unwrap_or(openness.readers),
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
    let orders = OrderService { shared_commit: order_commit, pool: pool.clone() };
    let pruner = tokio::spawn(idempotency::prune_for_ever(pool.clone()));
    let background = Background { committers, order_committers, loader, pruner };
    let (hasher, rate_limits) = (Hasher::default(), edge.limits.clone());
    let apis = (
        (
            InboundWebhooksApi {
                verifier: Verifier::new(&api.secrets()?),
                shared_commit,
                conflict_answer: api.conflict_answer,
                counts: Arc::clone(counts),
            },
            TransactionsApi { pool: pool.clone() },
            AuthApi {
                hasher: hasher.clone(),
                rate_limits: rate_limits.clone(),
                pool: pool.clone(),
            },
            UsersApi { pool: pool.clone(), hasher, rate_limits },
            NotificationsApi { pool: pool.clone() },
            UserMoneyApi { orders: orders.clone() },
            WalletsApi { pool: pool.clone() },
            DepositsApi { orders: orders.clone() },
            WithdrawalsApi { orders: orders.clone() },
            TransfersApi { orders },
        ),
        (
            WebhookEndpointsApi { pool: pool.clone(), guard: Guard::new(reach) },
            DeliveriesApi { pool: pool.clone(), notifier: notifier.clone() },
        ),
        (
            DeadLettersApi { pool: pool.clone(), notifier: notifier.clone() },
            AuditApi { pool: pool.clone() },
            TimelinesApi { pool: pool.clone() },
        ),
        operators(&pool, &notifier),
        standing(&pool),
        (SystemApi::new(pool, shutdown.clone()), MetricsApi { metrics }, DocsApi),
    );
    Ok((http::endpoint(apis, edge), background))
}

/// The APIs of what operators do.
fn operators(
    pool: &PgPool,
    notifier: &Notifier,
) -> (JobsApi, QueuesApi, QueueLimitsApi, SchedulesApi, WorkersApi) {
    let (pool, notifier) = (|| pool.clone(), || notifier.clone());
    (
        JobsApi { pool: pool(), notifier: notifier() },
        QueuesApi { pool: pool(), notifier: notifier() },
        QueueLimitsApi { pool: pool(), notifier: notifier() },
        SchedulesApi { pool: pool(), notifier: notifier() },
        WorkersApi { pool: pool() },
    )
}

/// The APIs that say how things stand.
fn standing(pool: &PgPool) -> (OverviewApi, HealthReportApi, VerificationsApi) {
    let pool = || pool.clone();
    (OverviewApi { pool: pool() }, HealthReportApi::new(pool()), VerificationsApi { pool: pool() })
}

/// The tasks that run beside the API.
pub(super) struct Background {
    committers: JoinSet<()>,
    order_committers: JoinSet<()>,
    loader: JoinSet<()>,
    pruner: JoinHandle<()>,
}

impl Background {
    /// Waits for the committers, who commit what was handed in and end, and for the loader of
    /// sign-ins. The pruner goes on where it was the next time.
    pub(super) async fn finish(self) {
        self.committers.join_all().await;
        self.order_committers.join_all().await;
        self.loader.join_all().await;
        self.pruner.abort();
    }
}
