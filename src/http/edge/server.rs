//! The accept loop, with the limits of connections and the graceful end.
//!
//! poem's own server has no deadline for headers, no limit of connections and no TCP_NODELAY, so
//! this is a loop of our own over hyper. It speaks HTTP/1.1 only: TLS and HTTP/2 are a proxy's
//! work, and what is not spoken cannot be abused.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, IntoResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::protocol_errors::ProtocolErrors;
use crate::http::wire::problem::{Code, Problem, RETRY_AFTER_SECS};

/// The most bytes of request line and headers; beyond, hyper answers 431.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// The pause of the accept loop when the system has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most connections beyond the limit that are answered, at a time, that there are too many.
const MAX_TURNED_AWAY: usize = 64;
/// The time that such a connection has to read that answer.
const TURN_AWAY_WITHIN: Duration = Duration::from_secs(1);

/// The limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// The most connections that are served at once.
    pub max_connections: usize,
    /// The time from the connection, or the first byte of a request, to the end of its headers.
    pub header_timeout: Duration,
    /// The time without progress, between requests or within an answer, after which a connection is
    /// closed.
    pub idle_timeout: Duration,
    /// The time that requests under way have to end once the process is told to stop.
    pub grace: Duration,
}

/// Serves `endpoint` until `shutdown` is cancelled; then finishes the requests under way, and
/// returns when all connections are closed, at the latest after the grace.
pub async fn serve<E>(
    listener: TcpListener,
    endpoint: E,
    limits: ConnectionLimits,
    shutdown: CancellationToken,
) where
    E: Endpoint + 'static,
{
    let (closing, aborted) = (CancellationToken::new(), CancellationToken::new());
    let server = Arc::new(Server { endpoint, limits, closing, aborted });
    let connections = TaskTracker::new();
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = accept(&listener, &server, &connections) => {}
    }
    // From here on the system refuses connections, so that clients and balancers turn to another
    // node. Only then are connections closed: whoever sees that finds nobody listening.
    drop(listener);
    server.closing.cancel();
    connections.close();
    if tokio::time::timeout(limits.grace, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "closing connections that did not end");
        server.aborted.cancel();
        connections.wait().await;
    }
}

struct Server<E> {
    endpoint: E,
    limits: ConnectionLimits,
    /// Cancelled when no more is to be begun.
    closing: CancellationToken,
    /// Cancelled when what was begun has had its time.
    aborted: CancellationToken,
}

/// Accepts for ever.
async fn accept<E: Endpoint + 'static>(
    listener: &TcpListener,
    server: &Arc<Server<E>>,
    connections: &TaskTracker,
) {
    let places = Arc::new(Semaphore::new(server.limits.max_connections));
    let turned_away = Arc::new(Semaphore::new(MAX_TURNED_AWAY));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                rest_after(&error).await;
                continue;
            }
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            connections.spawn(serve_connection(Arc::clone(server), stream, place));
        } else if let Ok(place) = Arc::clone(&turned_away).try_acquire_owned() {
            connections.spawn(turn_away(stream, place));
        }
    }
}

/// A client that gave up concerns nobody. Anything else, such as having no file descriptors left,
/// would come back at once and for ever: the loop must not spin on it.
async fn rest_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    tracing::warn!("connections cannot be accepted at the moment: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Serves one connection to its end.
async fn serve_connection<E: Endpoint + 'static>(
    server: Arc<Server<E>>,
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
) {
    let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) else { return };
    // Answers are written whole; to wait for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::new(server.limits));
    let service = service_fn(|request: hyper::Request<Incoming>| {
        activity.begin_request();
        let (server, activity) = (Arc::clone(&server), Arc::clone(&activity));
        let addresses = (LocalAddr(Addr::SocketAddr(local)), RemoteAddr(Addr::SocketAddr(remote)));
        async move {
            let request = poem::Request::from((request, addresses.0, addresses.1, Scheme::HTTP));
            let response = match server.endpoint.call(request).await {
                Ok(output) => output.into_response(),
                Err(error) => error.into_response(),
            };
            activity.end_request();
            Ok::<_, Infallible>(hyper::Response::from(response))
        }
    });
    let io = WatchedIo {
        io: TokioIo::new(stream),
        activity: Arc::clone(&activity),
        errors: ProtocolErrors::default(),
    };
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .header_read_timeout(None)
            // Whoever has said all there is to say may still wait for the answer.
            .half_close(true)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(io, service)
    );
    let mut watchdog = std::pin::pin!(Watchdog::new(&activity));
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = watchdog.as_mut() => return,
        () = server.closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        biased;
        _ = connection => {}
        () = watchdog => {}
        () = server.aborted.cancelled() => {}
    }
}

/// Tells a client that there are too many, without reading its request.
async fn turn_away(mut stream: TcpStream, _place: OwnedSemaphorePermit) {
    let problem = Problem::new(Code::Overloaded).detail("Too many connections.");
    let body = problem.body("");
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\ncontent-length: {}\r\n\
         retry-after: {RETRY_AFTER_SECS}\r\nconnection: close\r\n\r\n",
        crate::http::wire::problem::MEDIA_TYPE,
        body.len()
    );
    let _ = tokio::time::timeout(TURN_AWAY_WITHIN, async {
        stream.write_all(&[head.as_bytes(), &body].concat()).await?;
        stream.shutdown().await?;
        // Closed with bytes unread, the connection would be reset, and the answer lost with it.
        let mut unread = [0; 4096];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}

/// The phase of a connection, and the moment at which it began. Shared by its parts, which all run
/// in one task.
struct Activity {
    limits: ConnectionLimits,
    started: Instant,
    phase: AtomicU64,
    since_ms: AtomicU64,
}

/// Between requests; also while the last answer is still being written.
const IDLE: u64 = 0;
/// The headers of a request are being read, or the first request has not begun.
const HEAD: u64 = 1;
/// A request is being answered: its body has a deadline of its own, and so has whatever it waits
/// for.
const REQUEST: u64 = 2;

impl Activity {
    fn new(limits: ConnectionLimits) -> Self {
        let (phase, since_ms) = (AtomicU64::new(HEAD), AtomicU64::new(0));
        Self { limits, started: Instant::now(), phase, since_ms }
    }

    fn enter(&self, phase: u64) {
        let since_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(since_ms, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn is(&self, phase: u64) -> bool {
        self.phase.load(Ordering::Relaxed) == phase
    }

    fn begin_request(&self) {
        self.phase.store(REQUEST, Ordering::Relaxed);
    }

    fn end_request(&self) {
        self.enter(IDLE);
    }

    fn on_read(&self) {
        if self.is(IDLE) {
            self.enter(HEAD);
        }
    }

    fn on_write(&self) {
        if self.is(IDLE) {
            self.enter(IDLE);
        }
    }

    /// The moment at which the connection is to be closed, if nothing happens until then.
    fn deadline(&self) -> Option<Instant> {
        let timeout = match self.phase.load(Ordering::Relaxed) {
            HEAD => self.limits.header_timeout,
            REQUEST => return None,
            _ => self.limits.idle_timeout,
        };
        Some(self.started + Duration::from_millis(self.since_ms.load(Ordering::Relaxed)) + timeout)
    }
}

/// Ends when a connection has done nothing for too long. Polled after the connection, in the same
/// task, so it sees each change of its activity.
struct Watchdog<'a> {
    activity: &'a Activity,
    alarm: Pin<Box<Sleep>>,
}

impl<'a> Watchdog<'a> {
    fn new(activity: &'a Activity) -> Self {
        let first = activity.started + activity.limits.header_timeout;
        Self { activity, alarm: Box::pin(sleep_until(first)) }
    }
}

impl Future for Watchdog<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let deadline = self.activity.deadline();
            // Only ever set earlier here: a deadline that moved on is found when the alarm rings,
            // so that busy connections do not reset a timer with every request.
            if deadline.is_some_and(|deadline| deadline < self.alarm.deadline()) {
                self.alarm.as_mut().reset(deadline.unwrap_or_else(Instant::now));
            }
            ready!(self.alarm.as_mut().poll(cx));
            let now = Instant::now();
            match deadline {
                Some(deadline) if deadline <= now => return Poll::Ready(()),
                Some(deadline) => self.alarm.as_mut().reset(deadline),
                None => {
                    let next_look = now + self.activity.limits.header_timeout;
                    self.alarm.as_mut().reset(next_look);
                }
            }
        }
    }
}

/// The connection's bytes, and a note of when they moved.
struct WatchedIo {
    io: TokioIo<TcpStream>,
    activity: Arc<Activity>,
    errors: ProtocolErrors,
}

impl Read for WatchedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, buffer));
        self.activity.on_read();
        Poll::Ready(result)
    }
}

impl Write for WatchedIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { io, errors, .. } = &mut *self;
        let result = ready!(errors.poll_write(Pin::new(io), cx, bytes));
        self.activity.on_write();
        Poll::Ready(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { io, errors, .. } = &mut *self;
        let result = match bytes.first().filter(|first| errors.concerns(first)) {
            Some(first) => ready!(errors.poll_write(Pin::new(io), cx, first)),
            None => ready!(Pin::new(io).poll_write_vectored(cx, bytes)),
        };
        self.activity.on_write();
        Poll::Ready(result)
    }
}
