//! The answers to those who watch over a process: `/metrics`, `/healthz` and `/readyz`, on a
//! listener of their own.
//!
//! For processes that serve no API, and for those whose figures are nobody's business where the API
//! is. It waits for nobody but for the database at `/readyz`, and that for a second.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sqlx::PgPool;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::arguments::parse_listen_address;
use crate::db;
use crate::metrics::{Format, Metrics};

/// The most connections at a time; further ones wait.
const MAX_CONNECTIONS: usize = 16;
/// The time for a connection, with all that is asked by it.
const CONNECTION_WITHIN: Duration = Duration::from_secs(30);
/// The time until a request is there.
const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// The pause when the system refuses us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A database that does not answer for so long is away, for the purposes of readiness.
const DATABASE_WITHIN: Duration = Duration::from_secs(1);
const PLAIN: &str = "text/plain; charset=utf-8";

/// Where a process that serves no API answers probes.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct ProbeArgs {
    /// The address and port at which /metrics, /healthz and /readyz are answered. [default: none]
    #[arg(long, env = "APP_PROBE_LISTEN", value_name = "ADDRESS:PORT",
          value_parser = parse_listen_address)]
    pub probe_listen: Option<SocketAddr>,
}

/// The answers of a process.
#[derive(Clone)]
pub struct Probes {
    metrics: Metrics,
    is_alive: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Cancelled when the process is about to stop.
    draining: CancellationToken,
    /// The database without which the process is of no use, if there is one.
    database: Option<PgPool>,
}

impl Probes {
    /// The answers of a process that lives as long as it answers, and is ready until it stops.
    #[must_use]
    pub fn new(metrics: Metrics, draining: CancellationToken) -> Self {
        Self { metrics, is_alive: Arc::new(|| true), draining, database: None }
    }

    /// The same, ready only while this database answers and has a current schema.
    #[must_use]
    pub fn with_database(mut self, database: PgPool) -> Self {
        self.database = Some(database);
        self
    }

    /// The same, alive only while this says so.
    #[must_use]
    pub fn while_alive(mut self, is_alive: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.is_alive = Arc::new(is_alive);
        self
    }

    /// Answers at `address` until its task is aborted. Says in the log where.
    ///
    /// # Errors
    ///
    /// When the address is taken, or not ours to take.
    pub async fn listen(self, address: SocketAddr) -> anyhow::Result<ProbeTask> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot answer probes on {address}: choose another address and port")
        })?;
        tracing::info!("metrics at http://{}/metrics", listener.local_addr()?);
        Ok(ProbeTask(tokio::spawn(self.serve(listener))))
    }

    async fn serve(self, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let permit = Arc::clone(&room).acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let probes = self.clone();
                    tokio::spawn(async move {
                        let _ = timeout(CONNECTION_WITHIN, probes.serve_connection(stream)).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!("connections cannot be accepted at the moment: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve_connection(self, stream: TcpStream) {
        let service = service_fn(|request| {
            let probes = self.clone();
            async move { Ok::<_, Infallible>(probes.answer(&request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADER_WITHIN);
        let _ = http.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET is answered\n");
        }
        match request.uri().path() {
            "/metrics" => {
                let accept = request.headers().get(ACCEPT).and_then(|it| it.to_str().ok());
                let exposition = Format::preferred(accept).write(&self.metrics.gather());
                text(StatusCode::OK, exposition.media_type, exposition.text)
            }
            "/healthz" => match (self.is_alive)() {
                true => text(StatusCode::OK, PLAIN, "ok\n"),
                false => text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "it hangs\n"),
            },
            "/readyz" => match self.reason_against().await {
                None => text(StatusCode::OK, PLAIN, "ready\n"),
                Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, reason + "\n"),
            },
            _ => {
                let there = "there are /metrics, /healthz and /readyz\n";
                text(StatusCode::NOT_FOUND, PLAIN, there)
            }
        }
    }

    /// The reason that the process is not ready, if there is one.
    async fn reason_against(&self) -> Option<String> {
        if self.draining.is_cancelled() {
            return Some("it is about to stop".to_owned());
        }
        let looked = timeout(DATABASE_WITHIN, db::require_current_schema(self.database.as_ref()?));
        match looked.await {
            Ok(Ok(())) => None,
            Ok(Err(db::DbError::Schema(state))) => Some(db::DbError::Schema(state).to_string()),
            Ok(Err(_)) | Err(_) => Some("the database does not answer".to_owned()),
        }
    }
}

/// The task that answers; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the answers"]
pub struct ProbeTask(tokio::task::JoinHandle<()>);

impl Drop for ProbeTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes").finish_non_exhaustive()
    }
}

fn text(
    status: StatusCode,
    media_type: &'static str,
    text: impl Into<String>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
