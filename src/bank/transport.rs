//! One HTTP exchange with the bank.
//!
//! Every exchange has a connection of its own. A connection that is used again can hold what the
//! bank sent too much the last time, which would be read as the answer to the next question, or be
//! closed by the bank at the moment that we write to it, which cannot be told from a payment that
//! it took. Beside the seconds that a bank takes, one more handshake is nothing.
//!
//! A redirect is an answer like any other and is not followed, and a proxy of the environment is
//! not asked: either would take a payment to somebody whom nobody has configured. Nothing is sent a
//! second time: what is to be tried again, our jobs decide.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::service::Service as _;
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::service::TowerToHyperService;
use url::{Position, Url};

use super::error::{BankError, InvalidAnswer, Unavailable};

/// The limits of a call. Beyond them, a call fails.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// The time for a connection.
    pub connect_timeout: Duration,
    /// The time for the whole call, from the connection to the last byte of the answer.
    pub total_timeout: Duration,
    /// The size of an answer's body.
    pub max_answer_bytes: usize,
}

/// Makes connections; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    connector: TowerToHyperService<HttpsConnector<HttpConnector>>,
    limits: ClientLimits,
}

impl Transport {
    /// A way to make calls with these limits.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub(super) fn new(limits: ClientLimits) -> io::Result<Self> {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        let https = HttpsConnectorBuilder::new().try_with_platform_verifier();
        let https = https.map_err(io::Error::other)?.https_or_http().enable_http1();
        let connector = TowerToHyperService::new(https.wrap_connector(http));
        Ok(Self { connector, limits })
    }

    /// The status and the body that come back in time. `answered` gets the status before the body
    /// is there.
    pub(super) async fn exchange(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
        answered: impl FnOnce(u16),
    ) -> Result<(u16, Vec<u8>), BankError> {
        let call = async {
            let mut sender = self.connect(url).await?;
            let request = addressed(request, url)?;
            // Once there is a connection, all of it may have been sent.
            let response = sender.send_request(request).await.map_err(|_| CUT)?;
            let status = response.status().as_u16();
            answered(status);
            Ok((status, self.body(response).await?))
        };
        let in_time = tokio::time::timeout(self.limits.total_timeout, call).await;
        in_time.unwrap_or(Err(BankError::TimedOut))
    }

    async fn connect(&self, url: &Url) -> Result<SendRequest<Full<Bytes>>, BankError> {
        let uri: Uri = url.as_str().parse().map_err(|_| NOT_CONNECTED)?;
        let connecting = async {
            let stream = self.connector.call(uri).await.map_err(|_| NOT_CONNECTED)?;
            handshake(stream).await.map_err(|_| NOT_CONNECTED)
        };
        let in_time = tokio::time::timeout(self.limits.connect_timeout, connecting).await;
        let (sender, connection) = in_time.unwrap_or(Err(NOT_CONNECTED))?;
        // It ends with the sender. What breaks it, the request reports.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// The whole body, as long as it is not too large, however large it says it is.
    async fn body(&self, response: Response<Incoming>) -> Result<Vec<u8>, BankError> {
        let mut incoming = response.into_body();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let Ok(piece) = frame.map_err(|_| CUT)?.into_data() else { continue };
            if body.len() + piece.len() > self.limits.max_answer_bytes {
                return Err(BankError::Malformed(InvalidAnswer::TooLarge));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

const CUT: BankError = BankError::Malformed(InvalidAnswer::Cut);
const NOT_CONNECTED: BankError = BankError::Unavailable(Unavailable::NotConnected);

/// The request with what HTTP/1.1 wants to know of its URL.
fn addressed(
    mut request: Request<Full<Bytes>>,
    url: &Url,
) -> Result<Request<Full<Bytes>>, BankError> {
    let target = &url[Position::BeforePath..Position::AfterQuery];
    *request.uri_mut() = target.parse().map_err(|_| NOT_CONNECTED)?;
    let host = &url[Position::BeforeHost..Position::AfterPort];
    let host = HeaderValue::from_str(host).map_err(|_| NOT_CONNECTED)?;
    let user_agent = HeaderValue::from_static(concat!("surety/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(USER_AGENT, user_agent);
    Ok(request)
}
