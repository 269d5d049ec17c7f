//! A connection to one vetted address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{DnsName, ServerName};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use url::Host;

use super::attempt::AttemptError;
use super::target::TargetUrl;

/// The addresses of a name that are tried.
const MAX_ADDRESSES: u32 = 4;
/// The most bytes of an answer's head, and of what is read ahead of a body.
const MAX_HEAD_BYTES: usize = 32 << 10;
/// The most interim answers (1xx) before the answer: a receiver could send them for ever.
const MAX_INTERIM_ANSWERS: usize = 16;

/// An error with more words for it.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) error: AttemptError,
    pub(super) detail: String,
    pub(super) address: Option<SocketAddr>,
}

/// An open connection. It is closed when this is dropped, whatever it is in the middle of.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    _task: AbortOnDropHandle<()>,
}

/// A request that got no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// Not a byte was written: the connection was closed before.
    Unsent,
    /// Some of it may have arrived.
    Failed(Trouble),
}

impl Connection {
    /// Connects to the first of these addresses that takes connections, until the deadline.
    pub(super) async fn open(
        tls: &TlsConnector,
        target: &TargetUrl,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<Self, Trouble> {
        let (address, stream) = connect(addresses, deadline).await?;
        let trouble = |error, detail| Trouble { error, detail, address: Some(address) };
        // Small requests are written at once.
        let _ = stream.set_nodelay(true);
        if !target.is_https() {
            return Self::over(stream, address)
                .await
                .map_err(|error| trouble(AttemptError::Connect, error.to_string()));
        }
        let name = server_name(target.host())
            .map_err(|error| trouble(AttemptError::Tls, error.to_string()))?;
        let shaken = timeout_at(deadline, tls.connect(name, stream)).await;
        let in_time = shaken.map_err(|_| {
            trouble(AttemptError::Tls, "the handshake was not done in time".to_owned())
        })?;
        let stream = in_time.map_err(|error| trouble(AttemptError::Tls, error.to_string()))?;
        let connection = Self::over(stream, address).await;
        connection.map_err(|error| trouble(AttemptError::Tls, error.to_string()))
    }

    async fn over<S>(stream: S, address: SocketAddr) -> hyper::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        // What breaks it, the request reports.
        let task = tokio::spawn(async {
            let _ = connection.await;
        });
        Ok(Self { address, sender, _task: AbortOnDropHandle::new(task) })
    }

    /// Tells whether the other side has closed it, or sent what nobody asked for.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request and waits for the head of the answer, until the deadline.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let address = Some(self.address);
        let failed = |error, detail| NoAnswer::Failed(Trouble { error, detail, address });
        let flooded = refuse_floods(&mut request);
        let exchange = async {
            if self.sender.ready().await.is_err() {
                return Err(NoAnswer::Unsent);
            }
            self.sender.try_send_request(request).await.map_err(|mut failure| {
                match failure.take_message() {
                    Some(_unsent) => NoAnswer::Unsent,
                    None => {
                        let error = failure.into_error();
                        failed(error_of(&error), root_cause(&error))
                    }
                }
            })
        };
        let refused = async {
            flooded.cancelled().await;
            let detail = format!("more than {MAX_INTERIM_ANSWERS} interim answers (1xx)");
            Err(failed(AttemptError::InvalidAnswer, detail))
        };
        let answered = timeout_at(deadline, async {
            tokio::select! {
                answer = exchange => answer,
                refusal = refused => refusal,
            }
        });
        let late = "no answer in time".to_owned();
        answered.await.unwrap_or_else(|_| Err(failed(AttemptError::Timeout, late)))
    }
}

/// A token that is cancelled when the request gets more interim answers than anybody needs.
fn refuse_floods(request: &mut Request<Full<Bytes>>) -> CancellationToken {
    let flooded = CancellationToken::new();
    let (seen, token) = (Arc::new(AtomicUsize::new(0)), flooded.clone());
    hyper::ext::on_informational(request, move |_| {
        if seen.fetch_add(1, Ordering::Relaxed) >= MAX_INTERIM_ANSWERS {
            token.cancel();
        }
    });
    flooded
}

/// Tries one address after the other, each with its share of the time.
async fn connect(
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<(SocketAddr, TcpStream), Trouble> {
    let mut last = None;
    let mut left = MAX_ADDRESSES.min(u32::try_from(addresses.len()).unwrap_or(MAX_ADDRESSES));
    for address in addresses.iter().take(left as usize).copied() {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / left;
        left -= 1;
        let detail = match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((address, stream)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "not connected in time".to_owned(),
        };
        last = Some(Trouble { error: AttemptError::Connect, detail, address: Some(address) });
    }
    Err(last.unwrap_or_else(|| Trouble {
        error: AttemptError::Connect,
        detail: "there is no address".to_owned(),
        address: None,
    }))
}

/// The name that the certificate must be for.
fn server_name(host: Host<&str>) -> io::Result<ServerName<'static>> {
    match host {
        Host::Ipv4(address) => Ok(ServerName::from(IpAddr::V4(address))),
        Host::Ipv6(address) => Ok(ServerName::from(IpAddr::V6(address))),
        Host::Domain(name) => {
            // Certificates have no dot at the end.
            let name = DnsName::try_from(name.trim_end_matches('.').to_owned());
            Ok(ServerName::DnsName(name.map_err(io::Error::other)?))
        }
    }
}

/// The sort of an error that comes in place of an answer, or in its middle.
pub(super) fn error_of(error: &hyper::Error) -> AttemptError {
    if error.is_parse() { AttemptError::InvalidAnswer } else { AttemptError::Cut }
}

/// The innermost source: the outer ones say that something failed.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
