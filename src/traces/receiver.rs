//! Takes spans by OTLP over HTTP, on a loopback port.
//!
//! It has a thread and a runtime of its own, and lives as long as the process: the last spans are
//! exported when everything else has ended.
//!
//! A loopback port is open to every program of the machine, and to pages in its browsers. Spans are
//! all that can be left here, within the bounds of the store, and nothing is read out by this way;
//! what comes from a page is refused all the same.

use std::convert::Infallible;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use super::decoding::decode;
use super::span::Span;
use super::store::TraceStore;

/// The path that spans are posted to.
pub const PATH: &str = "/v1/traces";
/// The media type of an export, and of its answer.
const PROTOBUF: &str = "application/x-protobuf";
/// The most bytes of an export, as it comes and unpacked: exporters send 512 spans at once.
const MAX_BODY_BYTES: usize = 2 << 20;
/// The most connections at once; further ones wait.
const MAX_CONNECTIONS: usize = 32;
/// The time for the head of a request, and for its body.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause of the accept loop when the system refuses it a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that takes spans.
pub struct Receiver {
    listener: TcpListener,
    address: SocketAddr,
}

impl Receiver {
    /// Takes a free port.
    ///
    /// # Errors
    ///
    /// When the system refuses one.
    pub fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address of the port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes spans into `store` for as long as the process lives.
    ///
    /// # Errors
    ///
    /// When the system refuses a thread.
    pub fn start(self, store: TraceStore) -> io::Result<()> {
        self.listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let receive = move || {
            if let Err(error) = runtime.block_on(serve(self.listener, store)) {
                tracing::warn!("no traces are kept: {error}");
            }
        };
        std::thread::Builder::new().name("traces".to_owned()).spawn(receive)?;
        Ok(())
    }
}

async fn serve(listener: TcpListener, store: TraceStore) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let store = store.clone();
        tokio::spawn(async move {
            let service =
                service_fn(async |request| Ok::<_, Infallible>(take(request, &store).await));
            let mut connection = http1::Builder::new();
            connection.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            // A client that breaks off has told what it wanted to.
            let _ended = connection.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}

async fn take(request: Request<Incoming>, store: &TraceStore) -> Response<Full<Bytes>> {
    match received(request).await {
        Ok(spans) => {
            store.add(spans);
            answer(StatusCode::OK)
        }
        Err(refusal) => answer(refusal),
    }
}

/// The spans of a request, or the status of its refusal.
async fn received(request: Request<Incoming>) -> Result<Vec<(String, Span)>, StatusCode> {
    let (head, body) = request.into_parts();
    if head.uri.path() != PATH {
        return Err(StatusCode::NOT_FOUND);
    }
    if head.method != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    if head.headers.contains_key(ORIGIN) {
        return Err(StatusCode::FORBIDDEN);
    }
    if value(&head.headers, CONTENT_TYPE) != Some(PROTOBUF) {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let whole = Limited::new(body, MAX_BODY_BYTES).collect();
    let whole = tokio::time::timeout(PATIENCE, whole).await;
    let whole = whole.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
    let body = whole.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?.to_bytes();
    decode(&unpacked(&head.headers, body)?).map_err(|_| StatusCode::BAD_REQUEST)
}

fn value(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The export, without compression.
fn unpacked(headers: &HeaderMap, body: Bytes) -> Result<Bytes, StatusCode> {
    match value(headers, CONTENT_ENCODING) {
        None | Some("identity") => Ok(body),
        Some("gzip") => {
            let mut unpacked = Vec::new();
            let mut some = GzDecoder::new(&*body).take(MAX_BODY_BYTES as u64 + 1);
            some.read_to_end(&mut unpacked).map_err(|_| StatusCode::BAD_REQUEST)?;
            match unpacked.len() {
                ..=MAX_BODY_BYTES => Ok(unpacked.into()),
                _ => Err(StatusCode::PAYLOAD_TOO_LARGE),
            }
        }
        Some(_) => Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

/// An answer without a body, which as protobuf says that all was taken.
fn answer(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    response
}
