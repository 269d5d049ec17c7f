//! The way in by HTTP: the only place that knows poem.
//!
//! The cast, from the socket inwards:
//!
//! - [`server`]: the accept loop, with its limits for connections and slow clients.
//! - [`trace`]: the SERVER span, the log line and the [`request_id`] of each request.
//! - [`problem`]: what refusals look like (RFC 9457), and the catch-all that gives every error that
//!   form.
//! - [`request_body`]: reads each body whole, within its limit and deadline.
//! - [`inbound_webhooks`], [`transactions`], [`system`], [`docs`]: one file per API, a list of
//!   steps per operation.
//! - [`signature`]: whether a sender is to be believed. [`json_body`]: what a body means, read
//!   strictly.
//! - [`shared_commit`]: where concurrent requests become one database transaction; nothing is
//!   answered before its commit (G1), and transaction and job commit together (G2).
//! - [`openapi`]: the document, of which [`refused`], [`payload`] and [`money`] are what
//!   poem-openapi cannot say itself.
//!
//! Deliberately absent: rules about money, which are in `payments`, and TLS and HTTP/2, which are a
//! proxy's work.

pub mod docs;
pub mod inbound_webhooks;
pub mod json_body;
pub mod money;
pub mod openapi;
pub mod payload;
pub mod problem;
pub mod refused;
pub mod request_body;
pub mod request_id;
mod route_names;
pub mod server;
mod server_span;
pub mod shared_commit;
pub mod signature;
pub mod system;
pub mod trace;
pub mod transactions;

use std::sync::Arc;

use poem::{Endpoint, IntoEndpoint, Middleware, Response};
use poem_openapi::Tags;

use self::docs::DocsApi;
use self::inbound_webhooks::{Counts, InboundWebhooksApi};
use self::problem::Problems;
use self::request_body::{BodyLimits, BufferedBody};
use self::system::SystemApi;
use self::trace::Trace;
use self::transactions::TransactionsApi;

/// All APIs, in the order of the document.
pub type Apis = (InboundWebhooksApi, TransactionsApi, SystemApi, DocsApi);

/// What the operations are about.
#[derive(Tags)]
pub enum ApiTags {
    /// What payment providers tell us.
    #[oai(rename = "inbound webhooks")]
    InboundWebhooks,
    /// What became of it.
    #[oai(rename = "transactions")]
    Transactions,
    /// The service itself.
    #[oai(rename = "system")]
    System,
}

/// The whole API as one endpoint, which answers every request and never fails.
pub fn endpoint(
    apis: Apis,
    limits: BodyLimits,
    counts: Arc<Counts>,
) -> impl Endpoint<Output = Response> + 'static {
    let operations = openapi::service(apis).into_endpoint();
    let with_bodies = BufferedBody::new(operations, limits);
    let on_refusal = Box::new(move |path: &str, code| counts.count_refusal(path, code));
    let without_errors = Problems::new(with_bodies, openapi::allowed_methods(), on_refusal);
    Trace::new(openapi::paths()).transform(without_errors)
}
