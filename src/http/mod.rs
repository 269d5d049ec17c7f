//! The way in by HTTP: the only place that knows poem.
//!
//! The cast, from the socket inwards:
//!
//! - [`server`]: the accept loop, with its limits for connections and slow clients.
//! - [`trace`]: the SERVER span, the log line and the [`request_id`] of each request.
//! - [`problem`]: what refusals look like (RFC 9457), and the catch-all that gives every error that
//!   form.
//! - [`rate_limits`]: how often one caller may ask, and what answers say of it;
//!   [`client_address`]: from where a request comes.
//! - [`cors`], [`security_headers`]: what browsers are told. [`metrics`]: what Prometheus is told.
//! - [`request_body`]: reads each body whole, within its limit and deadline.
//! - [`caller`]: who calls, looked up by [`sign_ins`] at every request, and how often they may.
//! - [`inbound_webhooks`], [`transactions`], [`auth`], [`users`], [`wallets`], [`deposits`],
//!   [`withdrawals`], [`transfers`], [`dead_letters`], [`system`], [`docs`] and others: one file
//!   per API, a list of steps per operation. [`orders`] is what deposits, withdrawals and transfers
//!   share.
//! - [`signature`]: whether a sender is to be believed. [`json_body`]: what a body means, read
//!   strictly. [`lists`]: what all lists share. [`database`]: transactions, within a bound of time.
//! - [`shared_commit`]: where concurrent requests become one database transaction; nothing is
//!   answered before its commit (G1), and transaction and job commit together (G2). For orders the
//!   claim of the key and the kept answer do, too: [`idempotency`].
//! - [`openapi`]: the document with its examples, and the collection of requests made from it;
//!   [`refused`], [`payload`], [`money`] and [`moment`] are what poem-openapi cannot say itself.
//!
//! Deliberately absent: rules about money, which are in `payments`, and TLS and HTTP/2, which are a
//! proxy's work.

pub mod auth;
pub mod caller;
pub mod client_address;
mod codes;
mod collection;
pub mod cors;
pub mod database;
pub mod dead_letters;
pub mod deposits;
pub mod docs;
mod examples;
pub mod idempotency;
pub mod inbound_webhooks;
pub mod json_body;
pub mod lists;
pub mod metrics;
pub mod moment;
pub mod money;
pub mod open_files;
pub mod openapi;
pub mod orders;
pub mod payload;
pub mod problem;
pub mod rate_limits;
pub mod record_transactions;
pub mod refused;
pub mod request_body;
pub mod request_id;
mod route_names;
pub mod security_headers;
pub mod server;
mod server_span;
pub mod shared_commit;
pub mod sign_ins;
pub mod signature;
pub mod system;
pub mod trace;
pub mod transactions;
pub mod transfers;
pub mod user_money;
pub mod users;
pub mod wallets;
pub mod withdrawals;

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, IntoEndpoint, Middleware, Response};
use poem_openapi::Tags;

use self::auth::AuthApi;
use self::caller::TransactionReaders;
use self::cors::{Cors, CorsOrigins};
use self::dead_letters::DeadLettersApi;
use self::deposits::DepositsApi;
use self::docs::DocsApi;
use self::inbound_webhooks::{Counts, InboundWebhooksApi};
use self::metrics::{Metrics, MetricsApi, RequestMetrics};
use self::problem::Problems;
use self::rate_limits::{RateLimitHeaders, RateLimits};
use self::request_body::{BodyLimits, BufferedBody};
use self::security_headers::SecurityHeaders;
use self::sign_ins::SignIns;
use self::system::SystemApi;
use self::trace::Trace;
use self::transactions::TransactionsApi;
use self::transfers::TransfersApi;
use self::user_money::UserMoneyApi;
use self::users::UsersApi;
use self::wallets::WalletsApi;
use self::withdrawals::WithdrawalsApi;

/// All APIs, in the order of the document.
pub type Apis = (
    InboundWebhooksApi,
    TransactionsApi,
    AuthApi,
    UsersApi,
    UserMoneyApi,
    WalletsApi,
    DepositsApi,
    WithdrawalsApi,
    TransfersApi,
    DeadLettersApi,
    SystemApi,
    MetricsApi,
    DocsApi,
);

/// What the operations are about.
#[derive(Tags)]
pub enum ApiTags {
    /// What payment providers tell us.
    #[oai(rename = "inbound webhooks")]
    InboundWebhooks,
    /// What became of it.
    #[oai(rename = "transactions")]
    Transactions,
    /// Signing in and out.
    #[oai(rename = "auth")]
    Auth,
    /// Who may sign in.
    #[oai(rename = "users")]
    Users,
    /// What users have.
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
    /// What was given up, for operators.
    #[oai(rename = "dead letters")]
    DeadLetters,
    /// The service itself.
    #[oai(rename = "system")]
    System,
}

/// What stands between the connections and the APIs.
#[derive(Debug)]
pub struct Edge {
    /// What request bodies may be.
    pub bodies: BodyLimits,
    /// Told of each refusal.
    pub counts: Arc<Counts>,
    /// Asked by the operations that are for known callers only.
    pub sign_ins: SignIns,
    /// Who may read the transactions that providers sent.
    pub readers: TransactionReaders,
    /// Asked by the operations that are limited.
    pub limits: RateLimits,
    /// Which sites may call the API from a browser.
    pub origins: CorsOrigins,
    /// Where requests are counted.
    pub metrics: Metrics,
}

/// The whole API as one endpoint, which answers every request and never fails.
pub fn endpoint(apis: Apis, edge: Edge) -> impl Endpoint<Output = Response> + 'static {
    let Edge { bodies, counts, sign_ins, readers, limits, origins, metrics } = edge;
    let operations = openapi::service(apis).into_endpoint().data(sign_ins).data(readers);
    let with_bodies = BufferedBody::new(operations, bodies);
    let on_refusal = Box::new(move |path: &str, code| counts.count_refusal(path, code));
    let without_errors = Problems::new(with_bodies, openapi::allowed_methods(), on_refusal);
    let limited = RateLimitHeaders::new(without_errors, limits);
    let for_browsers = SecurityHeaders::new(Cors::new(limited, origins));
    let counted = RequestMetrics::new(for_browsers, &metrics, openapi::operation_ids());
    Trace::new(openapi::paths()).transform(counted)
}
