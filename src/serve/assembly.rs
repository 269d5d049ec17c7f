//! The parts of a serving process, put together.

use std::sync::Arc;

use poem::{Endpoint, Response};
use sqlx::PgPool;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::reloading::Replaceable;
use super::webhook_sources::{OpenSources, SourcesInForce};
use super::{ApiArgs, Openness};
use crate::http::api::OperatorApis;
use crate::http::api::activity::ActivityApi;
use crate::http::api::audit::AuditApi;
use crate::http::api::auth::AuthApi;
use crate::http::api::bulk_operations::BulkOperationsApi;
use crate::http::api::conflicts::ConflictsApi;
use crate::http::api::dead_letters::DeadLettersApi;
use crate::http::api::deposits::DepositsApi;
use crate::http::api::docs::DocsApi;
use crate::http::api::failures::FailuresApi;
use crate::http::api::health_report::HealthReportApi;
use crate::http::api::inbound_webhooks::InboundWebhooksApi;
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
use crate::http::api::webhook_rejections::WebhookRejectionsApi;
use crate::http::api::webhook_sources::WebhookSourcesApi;
use crate::http::api::withdrawals::WithdrawalsApi;
use crate::http::api::workers::WorkersApi;
use crate::http::edge::idempotency;
use crate::http::edge::intake::Intake;
use crate::http::edge::password_sign_ins::PasswordSignIns;
use crate::http::edge::rate_limits::RateLimits;
use crate::http::edge::reads::Reads;
use crate::http::edge::rejections::Rejections;
use crate::http::edge::shared_commit::SharedCommit;
use crate::http::edge::sign_ins::SignIns;
use crate::http::wire::request_body::BodyLimits;
use crate::http::{self, Edge};
use crate::identity::passwords::Hasher;
use crate::metrics::{Metrics, show_pool};
use crate::operations::endpoints::{EndpointSecrets, Safeguards};
use crate::operations::figures::Sampler;
use crate::pages::{self, SiteParts};
use crate::queue::Notifier;
use crate::standard_webhooks::WebhookSecret;
use crate::traces::TraceStore;

/// The API, and what runs beside it.
pub(super) fn assemble(
    api: &ApiArgs,
    (openness, safeguards, traces): (Openness, Safeguards, Option<TraceStore>),
    reads: Reads,
    (metrics, shown_metrics): (&Metrics, Option<Metrics>),
    (intake, sources, secrets): (&Arc<Intake>, OpenSources, Vec<WebhookSecret>),
    shutdown: &CancellationToken,
) -> (impl Endpoint<Output = Response> + 'static, Replaceable, Background) {
    let pool = reads.primary().clone();
    reads.show(metrics);
    let notifier = Notifier::start(&pool);
    let rejections = Arc::new(Rejections::new(sources.declared()));
    let figures = FigureKeeper::start(api, &pool, metrics, (intake, &rejections));
    let (sign_ins, loader) = SignIns::start(&pool.connect_options());
    let edge = Edge {
        audience: openness.audience,
        readers: api.transaction_readers.unwrap_or(openness.readers),
        bodies: BodyLimits { max_bytes: api.max_body, timeout: api.body_timeout },
        intake: Arc::clone(intake),
        rejections: Arc::clone(&rejections),
        sign_ins,
        limits: RateLimits::start(&pool.connect_options(), &api.limits, metrics),
        origins: api.cors_origins.clone(),
        metrics: metrics.clone(),
    };
    let (options, work) =
        (pool.connect_options(), RecordTransactions { settle_delay: api.settle_delay });
    let (shared_commit, committers) =
        SharedCommit::start(work, api.committers, &options, &notifier, metrics);
    let (order_commit, order_committers) =
        SharedCommit::start(PlaceOrders, api.committers, &options, &notifier, metrics);
    let orders = OrderService { shared_commit: order_commit, pool: pool.clone() };
    let pruner = tokio::spawn(idempotency::prune_for_ever(pool.clone()));
    let background = Background { committers, order_committers, loader, pruner, figures };
    let (hasher, rate_limits) = (Hasher::default(), edge.limits.clone());
    let passwords = PasswordSignIns {
        pool: pool.clone(),
        hasher: hasher.clone(),
        rate_limits: rate_limits.clone(),
    };
    let shown = (traces, safeguards.secrets.clone());
    let sources = SourcesInForce::new(sources, api, intake);
    let replaceable = Replaceable::new(secrets, rate_limits.clone(), sources);
    let pages = pages_of(&edge, (openness, shown), (&reads, &passwords), shutdown);
    let receiving = (shared_commit, Arc::clone(intake), rejections);
    let webhooks = webhook_apis(api, &replaceable, receiving, &pool);
    let apis = (
        (
            webhooks,
            TransactionsApi { pool: pool.clone() },
            AuthApi { sign_ins: passwords },
            UsersApi { pool: pool.clone(), hasher, rate_limits },
            NotificationsApi { pool: pool.clone() },
            UserMoneyApi { orders: orders.clone() },
            WalletsApi { pool: pool.clone() },
            DepositsApi { orders: orders.clone() },
            WithdrawalsApi { orders: orders.clone() },
            TransfersApi { orders },
        ),
        (
            WebhookEndpointsApi { pool: pool.clone(), safeguards },
            DeliveriesApi { pool: pool.clone(), reads: reads.clone(), notifier: notifier.clone() },
        ),
        for_operators(&reads, &notifier),
        (SystemApi::new(pool, shutdown.clone()), MetricsApi { metrics: shown_metrics }, DocsApi),
    );
    (http::endpoint(apis, pages, edge), replaceable, background)
}

/// The APIs of inbound webhooks, of which two receive.
fn webhook_apis(
    api: &ApiArgs,
    replaceable: &Replaceable,
    (shared_commit, intake, rejections): (
        SharedCommit<RecordTransactions>,
        Arc<Intake>,
        Arc<Rejections>,
    ),
    pool: &PgPool,
) -> (InboundWebhooksApi, WebhookSourcesApi, WebhookRejectionsApi) {
    let transactions = InboundWebhooksApi {
        verifier: replaceable.verifier.clone(),
        shared_commit: shared_commit.clone(),
        conflict_answer: api.conflict_answer,
        intake: Arc::clone(&intake),
    };
    let sources = WebhookSourcesApi {
        sources: replaceable.sources.served(),
        shared_commit,
        intake,
        rejections,
        limits: replaceable.rate_limits.clone(),
    };
    (transactions, sources, WebhookRejectionsApi { pool: pool.clone() })
}

/// The operator's pages.
fn pages_of(
    edge: &Edge,
    (openness, (traces, secrets)): (Openness, (Option<TraceStore>, EndpointSecrets)),
    (reads, passwords): (&Reads, &PasswordSignIns),
    shutdown: &CancellationToken,
) -> impl Endpoint<Output = Response> + 'static + use<> {
    pages::endpoint(SiteParts {
        reads: reads.clone(),
        sign_ins: edge.sign_ins.clone(),
        passwords: passwords.clone(),
        rate_limits: edge.limits.clone(),
        entry: openness.entry,
        audience: openness.pages,
        bodies: edge.bodies,
        secrets,
        traces,
        shutdown: shutdown.clone(),
    })
}

/// Looks at the database for figures, and stores the counts of webhooks.
struct FigureKeeper {
    keeping: JoinHandle<()>,
    stop: CancellationToken,
}

impl FigureKeeper {
    fn start(
        api: &ApiArgs,
        pool: &PgPool,
        metrics: &Metrics,
        (intake, rejections): (&Arc<Intake>, &Arc<Rejections>),
    ) -> Self {
        intake.show(metrics);
        show_pool(metrics, "api", pool);
        let sampler = Sampler::show(pool.clone(), api.sample_interval, metrics);
        let (intake, rejections) = (Arc::clone(intake), Arc::clone(rejections));
        let pool = pool.clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let keeping = tokio::spawn(async move {
            let rejections = rejections.keep(pool.clone(), stopped.clone());
            let intake = intake.keep(pool, stopped.clone());
            tokio::join!(sampler.keep(stopped), intake, rejections);
        });
        Self { keeping, stop }
    }

    /// Stores the last counts. A panic there costs figures, nothing else.
    async fn finish(self) {
        self.stop.cancel();
        let _ended = self.keeping.await;
    }
}

/// The APIs of those who look after the service.
fn for_operators(reads: &Reads, notifier: &Notifier) -> OperatorApis {
    let pool = reads.primary();
    (
        (
            FailuresApi { pool: pool.clone(), reads: reads.clone() },
            BulkOperationsApi { pool: pool.clone(), notifier: notifier.clone() },
            ConflictsApi { pool: pool.clone(), notifier: notifier.clone() },
        ),
        (
            DeadLettersApi { pool: pool.clone(), notifier: notifier.clone() },
            AuditApi { pool: pool.clone(), reads: reads.clone() },
            TimelinesApi { pool: pool.clone() },
            ActivityApi { reads: reads.clone() },
        ),
        (
            JobsApi { pool: pool.clone(), reads: reads.clone(), notifier: notifier.clone() },
            QueuesApi { pool: pool.clone(), notifier: notifier.clone() },
            QueueLimitsApi { pool: pool.clone(), notifier: notifier.clone() },
            SchedulesApi { pool: pool.clone(), notifier: notifier.clone() },
            WorkersApi { pool: pool.clone() },
        ),
        (
            OverviewApi { pool: pool.clone() },
            HealthReportApi::new(pool.clone()),
            VerificationsApi { pool: pool.clone() },
        ),
    )
}

/// The tasks that run beside the API.
pub(super) struct Background {
    committers: JoinSet<()>,
    order_committers: JoinSet<()>,
    loader: JoinSet<()>,
    pruner: JoinHandle<()>,
    figures: FigureKeeper,
}

impl Background {
    /// Waits for the committers, who commit what was handed in and end, and for the loader of
    /// sign-ins. The pruner goes on where it was the next time.
    pub(super) async fn finish(self) {
        self.committers.join_all().await;
        self.order_committers.join_all().await;
        self.loader.join_all().await;
        self.pruner.abort();
        self.figures.finish().await;
    }
}
