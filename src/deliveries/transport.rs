//! One POST to a URL that others chose, with limits on everything.
//!
//! Connections are kept for at most 15 s and used again only if their address is
//! among those vetted for this POST. The bank's transport keeps none, for reasons that do not hold
//! here: a webhook that arrives twice has the same id twice, and a receiver that sends too much
//! only garbles the record of its own next answer.
//!
//! A receiver may close a kept connection at the moment that we write to it. When such a connection
//! ends before an answer, within a second, the request is sent once more, over a new one.
//! Both are attempts on the wire, and both are in [`Sent`]. If not a byte was written, there was no
//! attempt, and nothing to record. Nothing else is ever sent again from here.
//!
//! Limits, beside those of the caller's: 5 s for a name; 32 KiB for the head of an answer and 16
//! interim answers before it; 64 KiB and 5 s for its body, of which 16 KiB are kept. A body that is
//! longer or slower ends the connection, and does not change that the answer was given.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, DATE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::ConfigBuilderExt as _;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, crypto};

use super::answer;
use super::attempt::{Attempt, AttemptError, Sent};
use super::connection::{Connection, NoAnswer, Trouble};
use super::pool::Pool;
use super::retry::read_retry_after;
use super::target::{Guard, TargetError, TargetUrl};

/// The time in which the end of a kept connection is taken for one that was under way already.
const STALE_WITHIN: Duration = Duration::from_secs(1);
/// The time for the body of an answer, for the answer is known by then.
const BODY_TIME: Duration = Duration::from_secs(5);
/// The most characters of a detail.
const MAX_DETAIL_CHARS: usize = 200;

/// The limits of a POST beyond its own time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The time for a connection, TLS included.
    pub connect_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5) }
    }
}

/// Posts to URLs. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Transport {
    guard: Guard,
    tls: TlsConnector,
    pool: Arc<Pool>,
    limits: Limits,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { guard, limits, .. } = self;
        f.debug_struct("Transport").field("guard", guard).field("limits", limits).finish()
    }
}

impl Transport {
    /// A transport that reaches where the guard lets it, and trusts the certificates that the
    /// system trusts.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn new(guard: Guard, limits: Limits) -> io::Result<Self> {
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .try_with_platform_verifier()
            .map_err(io::Error::other)?
            .with_no_client_auth();
        Ok(Self::with_tls(guard, limits, config))
    }

    /// A transport that trusts whom this configuration trusts.
    pub fn with_tls(guard: Guard, limits: Limits, mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { guard, tls: TlsConnector::from(Arc::new(config)), pool: Arc::default(), limits }
    }

    /// The guard, for URLs that are yet to be stored.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Posts a body. Never fails: what came of it is in the attempt. `timeout` is for all of it,
    /// the look-up of the name included.
    pub async fn post(
        &self,
        target: &TargetUrl,
        headers: HeaderMap,
        body: Bytes,
        timeout: Duration,
    ) -> Sent {
        let begun = Instant::now();
        let deadline = begun + timeout;
        let addresses = match self.addresses(target, deadline).await {
            Ok(addresses) => addresses,
            Err(error) => {
                let (error, detail) = (AttemptError::from(error), error.to_string());
                let trouble = Trouble { error, detail, address: None };
                return Sent { stale: None, attempt: failed(trouble, begun) };
            }
        };
        let post = Post { transport: self, target, headers, body, deadline };
        let mut stale = None;
        while let Some(connection) = self.pool.take(target, &addresses) {
            let sent_at = Instant::now();
            match post.over(connection, begun).await {
                Ok(attempt) => return Sent { stale: None, attempt },
                Err(NoAnswer::Unsent) => {}
                Err(NoAnswer::Failed(trouble)) => {
                    let was_closing =
                        trouble.error == AttemptError::Cut && sent_at.elapsed() < STALE_WITHIN;
                    let attempt = failed(trouble, begun);
                    if !was_closing {
                        return Sent { stale: None, attempt };
                    }
                    stale = Some(attempt);
                    break;
                }
            }
        }
        let begun = if stale.is_some() { Instant::now() } else { begun };
        let attempt = post.over_new_connection(&addresses, begun).await;
        Sent { stale, attempt: attempt.unwrap_or_else(|trouble| failed(trouble, begun)) }
    }

    async fn addresses(
        &self,
        target: &TargetUrl,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, TargetError> {
        let resolved = timeout_at(deadline, self.guard.resolve(target)).await;
        resolved.unwrap_or(Err(TargetError::LookupTimeout))
    }
}

/// One POST, over whichever connection.
struct Post<'a> {
    transport: &'a Transport,
    target: &'a TargetUrl,
    headers: HeaderMap,
    body: Bytes,
    deadline: Instant,
}

impl Post<'_> {
    async fn over_new_connection(
        &self,
        addresses: &[SocketAddr],
        begun: Instant,
    ) -> Result<Attempt, Trouble> {
        let Transport { tls, limits, .. } = self.transport;
        let deadline = self.deadline.min(Instant::now() + limits.connect_timeout);
        let connection = Connection::open(tls, self.target, addresses, deadline).await?;
        let address = Some(connection.address);
        self.over(connection, begun).await.map_err(|no_answer| match no_answer {
            NoAnswer::Failed(trouble) => trouble,
            NoAnswer::Unsent => {
                let detail = "the connection was closed at once".to_owned();
                Trouble { error: AttemptError::Cut, detail, address }
            }
        })
    }

    async fn over(&self, mut connection: Connection, begun: Instant) -> Result<Attempt, NoAnswer> {
        let response = connection.send(self.request(), self.deadline).await?;
        let address = connection.address;
        let (attempt, is_whole) = self.read(response, address, begun).await;
        if is_whole {
            self.transport.pool.put(self.target, connection);
        }
        Ok(attempt)
    }

    /// The request, with what HTTP/1.1 wants to know of the URL.
    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        let path: Result<Uri, _> = self.target.path_and_query().parse();
        *request.uri_mut() = path.expect("it was checked when the URL was read");
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        let host = HeaderValue::from_str(self.target.authority());
        headers.insert(HOST, host.expect("the host of a URL is visible ASCII"));
        let user_agent = HeaderValue::from_static(concat!("surety/", env!("CARGO_PKG_VERSION")));
        headers.insert(USER_AGENT, user_agent);
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        request
    }

    /// The attempt, and whether the connection may be kept.
    async fn read(
        &self,
        response: Response<Incoming>,
        address: SocketAddr,
        begun: Instant,
    ) -> (Attempt, bool) {
        let (head, body) = response.into_parts();
        let deadline = self.deadline.min(Instant::now() + BODY_TIME);
        let answer = answer::read(&head.headers, body, deadline).await;
        let (error, detail) = answer.trouble.unzip();
        let attempt = Attempt {
            status: Some(head.status.as_u16()),
            error,
            detail: detail.map(|detail| in_one_line(&detail)),
            duration: begun.elapsed(),
            address: Some(address),
            answer: answer.text,
            retry_after: asked_wait(head.status, &head.headers),
        };
        (attempt, answer.is_whole)
    }
}

fn asked_wait(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    read_retry_after(text(RETRY_AFTER)?, text(DATE), SystemTime::now())
}

fn failed(trouble: Trouble, begun: Instant) -> Attempt {
    Attempt {
        status: None,
        error: Some(trouble.error),
        detail: Some(in_one_line(&trouble.detail)),
        duration: begun.elapsed(),
        address: trouble.address,
        answer: String::new(),
        retry_after: None,
    }
}

/// Words that may have come from the other side.
fn in_one_line(detail: &str) -> String {
    let plain = detail.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX_DETAIL_CHARS).collect()
}
