//! The trace of a request: a SERVER span, one log line, and its id on the answer.
//!
//! [`Trace`] is the outermost middleware, so that it sees every answer, errors included. Span names
//! and attributes follow the HTTP conventions of OpenTelemetry 1.44. poem's own middlewares do not,
//! hence this one.
//!
//! The log line is a `tracing` event named [`REQUEST_ENDED`], target [`LOG_TARGET`], with the
//! fields `method`, `path`, `route`, `status`, `duration_ms`; all lines of the request also carry
//! `request_id` and what the handler noted with [`note_webhook`] and [`note_outcome`]:
//! `transaction_id`, `amount`, `outcome`. Neither queries nor bodies nor headers are logged.

mod route_names;
mod server_span;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::trace::{FutureExt, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use poem::http::{Method, StatusCode};
use poem::{Endpoint, IntoResponse, Middleware, PathPattern, Request, Response, Result};
use tracing::{Instrument, field};

use self::route_names::RouteNames;
use self::server_span::{Loss, cut};
use crate::http::wire::request_id::{RequestId, X_REQUEST_ID};
use crate::http::wire::shown_path::shown_path;
use crate::queue::telemetry::LOG_CONTEXT_TARGET;

/// The name of the `tracing` event that tells how a request ended.
pub const REQUEST_ENDED: &str = "request_ended";
/// The target of that event.
pub const LOG_TARGET: &str = "surety::http";

/// Asked every few seconds by whatever supervises the process: they would drown everything else.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// The middleware. It gives every answer an `X-Request-Id`, and every request but a probe a span
/// and a log line.
#[derive(Clone, Debug)]
pub struct Trace {
    routes: RouteNames,
}

impl Trace {
    /// `routes` are the paths of the OpenAPI document (`/v1/transactions/{transaction_id}`) and
    /// others to be told by name.
    pub fn new(routes: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        Self { routes: RouteNames::new(routes) }
    }
}

impl<E: Endpoint> Middleware<E> for Trace {
    type Output = TraceEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        TraceEndpoint { inner, routes: self.routes.clone() }
    }
}

/// The endpoint that [`Trace`] makes of another.
#[derive(Debug)]
pub struct TraceEndpoint<E> {
    inner: E,
    routes: RouteNames,
}

impl<E: Endpoint> Endpoint for TraceEndpoint<E> {
    type Output = Response;

    async fn call(&self, mut req: Request) -> Result<Response> {
        let request_id = RequestId::accept_or_make(req.headers().get(X_REQUEST_ID));
        req.set_data(request_id.clone());

        let mut response = if PROBES.contains(&req.uri().path()) {
            into_response(request_id.clone().scope(self.inner.call(req)).await)
        } else {
            let request =
                RequestInProgress::start(&req, &request_id, self.routes.find(req.uri().path()));
            let answer = request_id.clone().scope(self.inner.call(req));
            let response = into_response(request.scope(answer).await);
            request.end(&response);
            response
        };
        response.headers_mut().insert(X_REQUEST_ID, request_id.to_header_value());
        Ok(response)
    }
}

/// Tells the log line and the span of the current request which payment it is about. The amount is
/// text for people.
pub fn note_webhook(transaction_id: &str, amount: &dyn fmt::Display) {
    let log_context = tracing::Span::current();
    log_context.record("transaction_id", transaction_id);
    log_context.record("amount", field::display(amount));
    Context::map_current(|cx| {
        if cx.span().is_recording() {
            cx.span().set_attribute(KeyValue::new("app.event.id", cut(transaction_id)));
        }
    });
}

/// Tells the log line and the span of the current request what became of it, in one word such as
/// `duplicate`.
pub fn note_outcome(outcome: &'static str) {
    tracing::Span::current().record("outcome", outcome);
    Context::map_current(|cx| cx.span().set_attribute(KeyValue::new("app.event.outcome", outcome)));
}

/// One request on its way. Dropped without [`end`](Self::end), the client has gone or the handler
/// has panicked.
struct RequestInProgress {
    cx: Context,
    log_context: tracing::Span,
    method: Method,
    path: String,
    route: Option<Arc<str>>,
    started: Instant,
    ended: bool,
}

impl RequestInProgress {
    fn start(req: &Request, request_id: &RequestId, route: Option<Arc<str>>) -> Self {
        // Of level ERROR, so that a filter that lets only warnings and errors through does not
        // strip them of the id.
        let log_context = tracing::error_span!(
            target: LOG_CONTEXT_TARGET,
            "request",
            request_id = request_id.as_str(),
            transaction_id = field::Empty,
            amount = field::Empty,
            outcome = field::Empty,
        );
        Self {
            cx: server_span::start(req, request_id, route.as_deref()),
            log_context,
            method: req.method().clone(),
            path: cut(&shown_path(req.uri().path())),
            route,
            started: Instant::now(),
            ended: false,
        }
    }

    fn scope<F: Future>(&self, answer: F) -> impl Future<Output = F::Output> + use<F> {
        answer.instrument(self.log_context.clone()).with_context(self.cx.clone())
    }

    fn end(mut self, response: &Response) {
        self.ended = true;
        let status = response.status();
        let found_late = match self.route {
            Some(_) => None,
            None => response.data::<PathPattern>().map(|pattern| pattern.0.clone()),
        };
        server_span::answered(&self.cx, &self.method, found_late.as_deref(), status);
        self.route = self.route.take().or(found_late);
        self.log(|request, duration_ms| request.log_answer(status, duration_ms));
    }

    /// Logs within the span and the log context.
    fn log(&self, line: impl FnOnce(&Self, f64)) {
        let _entered = self.cx.clone().attach();
        self.log_context.in_scope(|| line(self, millis(self.started.elapsed())));
    }

    fn log_answer(&self, status: StatusCode, duration_ms: f64) {
        let Self { method, path, route, .. } = self;
        let (method, route) = (method.as_str(), route.as_deref());
        // One macro call per level, because a level is part of the call.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    name: REQUEST_ENDED,
                    target: LOG_TARGET,
                    method, path, route, duration_ms,
                    status = status.as_u16(),
                    "{method} {path} was answered {} in {duration_ms} ms", status.as_u16()
                )
            };
        }
        // 503 is what the database being away looks like; it has been logged where it was found.
        if status == StatusCode::SERVICE_UNAVAILABLE {
            line!(warn);
        } else if status.is_server_error() {
            line!(error);
        } else {
            line!(info);
        }
    }

    fn log_loss(&self, reason: Loss, duration_ms: f64) {
        let Self { method, path, route, .. } = self;
        let (method, route) = (method.as_str(), route.as_deref());
        match reason {
            Loss::Panic => tracing::error!(
                name: REQUEST_ENDED, target: LOG_TARGET, method, path, route, duration_ms,
                "{method} {path} was not answered: its handler panicked"
            ),
            Loss::ClientGone => tracing::info!(
                name: REQUEST_ENDED, target: LOG_TARGET, method, path, route, duration_ms,
                "{method} {path} was given up by the client after {duration_ms} ms"
            ),
        }
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let reason = if std::thread::panicking() { Loss::Panic } else { Loss::ClientGone };
        server_span::lost(&self.cx, reason);
        self.log(|request, duration_ms| request.log_loss(reason, duration_ms));
    }
}

/// Milliseconds with three decimals.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

fn into_response<T: IntoResponse>(result: Result<T>) -> Response {
    match result {
        Ok(answer) => answer.into_response(),
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests;
