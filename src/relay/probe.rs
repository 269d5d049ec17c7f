//! The answers to those who watch over a relay: `/metrics` and `/healthz`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::figures::Figures;

/// The most connections at a time; further ones wait.
const MAX_CONNECTIONS: usize = 16;
/// The time for a connection, with all that is asked by it.
const CONNECTION_WITHIN: Duration = Duration::from_secs(30);
/// The time until a request is there.
const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// The pause when the system refuses us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers until its task is aborted.
pub(super) async fn serve(listener: TcpListener, figures: Arc<Figures>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let figures = Arc::clone(&figures);
                tokio::spawn(async move {
                    let _ = timeout(CONNECTION_WITHIN, serve_connection(stream, figures)).await;
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

async fn serve_connection(stream: TcpStream, figures: Arc<Figures>) {
    let service = service_fn(|request| {
        let figures = Arc::clone(&figures);
        async move { Ok::<_, Infallible>(answer(&request, &figures).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_WITHIN);
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: &Request<Incoming>, figures: &Figures) -> Response<Full<Bytes>> {
    let (status, media_type, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            (StatusCode::OK, OPENMETRICS, figures.scrape().await)
        }
        (&Method::GET | &Method::HEAD, "/healthz") => match figures.is_alive() {
            true => (StatusCode::OK, PLAIN, "ok\n".to_owned()),
            false => (StatusCode::SERVICE_UNAVAILABLE, PLAIN, "it hangs\n".to_owned()),
        },
        _ => (StatusCode::NOT_FOUND, PLAIN, "there are /metrics and /healthz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
