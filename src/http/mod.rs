//! The way in by HTTP: the only place that knows poem.
//!
//! A request passes through three folders, from the socket inwards:
//!
//! - [`edge`]: accepts connections and does what every request needs: traces, metrics, headers for
//!   browsers, rate limits, the caller's identity, signatures, transactions within a deadline.
//! - [`wire`]: defines the forms of what is sent: bodies and how strictly they are read, problems,
//!   lists and cursors, amounts and moments.
//! - [`api`]: one file per API, a list of steps per operation, and the OpenAPI document of all.
//!
//! `api` uses `edge` and `wire`, `edge` uses `wire`, and `wire` uses neither
//! (`tests/it/tidy.rs`). [`endpoint`] puts the three together: it is the map of the layer.
//!
//! Guaranteed: nothing is answered before its commit (G1), transaction and job commit together
//! (G2), every request is answered, and every refusal has the same form (RFC 9457).
//!
//! Deliberately absent: rules about money, which are in `payments`, and TLS and HTTP/2, which are a
//! proxy's work.

pub mod api;
pub mod edge;
pub mod wire;

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, IntoEndpoint, Middleware, Response};

use self::api::{Apis, openapi};
use self::edge::audience::{Audience, ForAudience};
use self::edge::caller::TransactionReaders;
use self::edge::cors::{Cors, CorsOrigins};
use self::edge::intake::Intake;
use self::edge::pages_or_api::PagesOrApi;
use self::edge::rate_limits::{RateLimitHeaders, RateLimits};
use self::edge::rejections::Rejections;
use self::edge::request_metrics::RequestMetrics;
use self::edge::security_headers::SecurityHeaders;
use self::edge::sign_ins::SignIns;
use self::edge::trace::Trace;
use self::edge::well_formed::WellFormed;
use self::wire::problem::Problems;
use self::wire::request_body::{BodyLimits, BufferedBody};
use crate::metrics::Metrics;

/// The parts and settings of the middleware that [`endpoint`] puts around the APIs.
#[derive(Debug)]
pub struct Edge {
    /// The limits of request bodies.
    pub bodies: BodyLimits,
    /// Counts each refusal.
    pub intake: Arc<Intake>,
    /// Keeps those of sources of webhooks.
    pub rejections: Arc<Rejections>,
    /// Asked by the operations that are for known callers only.
    pub sign_ins: SignIns,
    /// The callers who are answered at all.
    pub audience: Audience,
    /// The callers who may read the transactions that providers sent.
    pub readers: TransactionReaders,
    /// Asked by the operations that are limited.
    pub limits: RateLimits,
    /// The sites that may call the API from a browser.
    pub origins: CorsOrigins,
    /// The registry of figures.
    pub metrics: Metrics,
}

/// The whole API as one endpoint, and the operator's pages beside it, which make answers of their
/// own errors. It answers every request and never fails.
pub fn endpoint(
    apis: Apis,
    pages: impl Endpoint<Output = Response> + 'static,
    edge: Edge,
) -> impl Endpoint<Output = Response> + 'static {
    let Edge { bodies, intake, rejections, sign_ins, audience, .. } = edge;
    let Edge { readers, limits, origins, metrics, .. } = edge;
    let operations = openapi::service(apis).into_endpoint().data(sign_ins).data(readers);
    let with_bodies = ForAudience::new(BufferedBody::new(operations, bodies), audience);
    let well_formed = WellFormed::new(with_bodies);
    let on_refusal = Box::new(move |path: &str, code| {
        intake.count_refusal(path, code);
        rejections.note_unread(path, code);
    });
    let (allow, choices) = (openapi::allowed_methods(), openapi::choices);
    let without_errors = Problems::new(well_formed, (allow, choices), on_refusal);
    let limited = RateLimitHeaders::new(PagesOrApi::new(pages, without_errors), limits);
    let for_browsers = SecurityHeaders::new(Cors::new(limited, origins));
    let counted = RequestMetrics::new(for_browsers, &metrics, openapi::routes_by_operation());
    Trace::new(openapi::paths()).transform(counted)
}
