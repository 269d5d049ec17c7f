//! Counts and times requests, by the operation of the OpenAPI document that they ask for, as the
//! semantic conventions name it: method, route and status.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use poem::http::Method;
use poem::{Endpoint, IntoResponse, Request, Response};
use poem_openapi::OperationId;
use tokio::time::Instant;

use crate::metrics::instruments::{HTTP_ACTIVE_REQUESTS, HTTP_REQUEST_DURATION};
use crate::metrics::tallies::OTHER;
use crate::metrics::{Family, Metrics, Timings};

/// The methods that are told apart, whatever clients make up.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// All others, by the name that the conventions give them.
const OTHER_METHOD: &str = "_OTHER";

/// The middleware.
pub struct RequestMetrics<E> {
    inner: E,
    /// By the id of the operation.
    routes: HashMap<String, String>,
    durations: Timings,
    active: Arc<AtomicI64>,
}

impl<E> RequestMetrics<E> {
    /// Wraps `inner`, which must have made answers of all errors. `routes` are the paths of the
    /// operations, by their ids.
    pub fn new(inner: E, metrics: &Metrics, routes: HashMap<String, String>) -> Self {
        let (durations, active) = (Timings::new(&HTTP_REQUEST_DURATION), Arc::default());
        let (shown, shown_active): (_, Arc<AtomicI64>) = (durations.clone(), Arc::clone(&active));
        metrics.collect(move || {
            let active = shown_active.load(Ordering::Relaxed) as f64;
            vec![shown.family(), Family::single(&HTTP_ACTIVE_REQUESTS, active)]
        });
        Self { inner, routes, durations, active }
    }
}

impl<E: Endpoint> Endpoint for RequestMetrics<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let _active = Active::begin(&self.active);
        let method = known(request.method());
        let response = self.inner.call(request).await?.into_response();
        let operation = response.data::<OperationId>();
        let route = operation.and_then(|id| self.routes.get(id.0)).map_or(OTHER, String::as_str);
        let status = response.status();
        self.durations.observe(&[method, route, status.as_str()], started.elapsed());
        Ok(response)
    }
}

/// A request that is being answered; its client may give it up at any moment.
struct Active<'a>(&'a AtomicI64);

impl<'a> Active<'a> {
    fn begin(active: &'a AtomicI64) -> Self {
        active.fetch_add(1, Ordering::Relaxed);
        Self(active)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn known(method: &Method) -> &'static str {
    METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER_METHOD)
}
