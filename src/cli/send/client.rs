//! One connection to the receiver.
//!
//! Plain hyper, not reqwest: `surety-bench ingest` shares its cores with the server and PostgreSQL,
//! so what the sender costs is missing from what it measures. Per request at 16 and 64 connections
//! hyper took 9 µs of CPU, reqwest 16 to 19 µs.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::service::Service;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::service::TowerToHyperService;

use super::signature::Signature;

/// The route that takes inbound webhooks, when the URL names none.
const DEFAULT_PATH: &str = "/v1/webhooks/transactions";
/// Bytes read of an answer, enough for a person to see an error.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// The receiver of the events.
#[derive(Clone)]
pub struct Target {
    uri: Uri,
    host: HeaderValue,
    connector: TowerToHyperService<HttpsConnector<HttpConnector>>,
    timeout: Duration,
}

/// The URL is not one that events can be sent to.
#[derive(Debug, thiserror::Error)]
#[error(
    "the URL to send to is none of http or https, or has a user name or password in it; write it \
     as http://127.0.0.1:8000"
)]
pub struct TargetError;

impl Target {
    /// Reads a URL. Without a path it means the API's own route for transactions.
    pub fn parse(url: &str, timeout: Duration) -> Result<Self, TargetError> {
        let refused = || TargetError;
        let uri: Uri = url.parse().map_err(|_| refused())?;
        let authority = uri.authority().ok_or_else(refused)?.clone();
        let is_http = uri.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https"));
        if !is_http || authority.as_str().contains('@') {
            return Err(refused());
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| refused())?;
        let mut parts = uri.into_parts();
        if parts.path_and_query.as_ref().is_none_or(|path| path == "/") {
            parts.path_and_query = Some(DEFAULT_PATH.parse().expect("it is a path"));
        }
        let uri = Uri::from_parts(parts).map_err(|_| refused())?;
        Ok(Self { uri, host, connector: connector(), timeout })
    }

    /// Fails unless somebody takes connections there.
    pub(super) async fn reach(&self) -> Result<(), NoAnswer> {
        let connecting = self.connector.call(self.uri.clone());
        let connected = tokio::time::timeout(self.timeout, connecting).await;
        connected.map_err(|_| NoAnswer::Timeout)?.map_err(NoAnswer::Connect)?;
        Ok(())
    }

    /// The URL for people: without its query, which may hold a key.
    pub fn url(&self) -> String {
        let url = self.uri.to_string();
        url.split('?').next().unwrap_or_default().to_owned()
    }
}

fn connector() -> TowerToHyperService<HttpsConnector<HttpConnector>> {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.enforce_http(false);
    let builder = HttpsConnectorBuilder::new().with_platform_verifier().https_or_http();
    TowerToHyperService::new(builder.enable_http1().wrap_connector(http))
}

/// The receiver's answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The time that it asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// The beginning of the body, for people.
    pub(super) body: Bytes,
}

/// A request without an answer. The receiver may have taken the event all the same.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// No connection.
    #[error("cannot connect")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection broke before the answer was complete.
    #[error("the connection broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
}

/// A connection that is made when first used, kept alive, and made anew after it broke.
pub(super) struct Connection<'a> {
    target: &'a Target,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(target: &'a Target) -> Self {
        Self { target, sender: None }
    }

    /// Posts one body and reads the whole answer.
    pub(super) async fn post(
        &mut self,
        webhook_id: &str,
        signature: Option<Signature>,
        body: Bytes,
    ) -> Result<Answer, NoAnswer> {
        let request = self.request(webhook_id, signature, body);
        let answered = tokio::time::timeout(self.target.timeout, self.exchange(request)).await;
        let result = answered.unwrap_or(Err(NoAnswer::Timeout));
        if result.is_err() {
            // The rest of an answer might still arrive on it, and would be taken for the next
            // one's.
            self.sender = None;
        }
        result
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
        let sender = self.sender().await?;
        let response =
            sender.send_request(request).await.map_err(|e| NoAnswer::Broken(Box::new(e)))?;
        read(response).await
    }

    /// The sender of a live connection.
    async fn sender(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, NoAnswer> {
        let alive = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !alive {
            let stream = self
                .target
                .connector
                .call(self.target.uri.clone())
                .await
                .map_err(NoAnswer::Connect)?;
            let (sender, connection) =
                handshake(stream).await.map_err(|e| NoAnswer::Connect(Box::new(e)))?;
            // It ends with the sender. What breaks it, the sender's next request reports.
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        Ok(self.sender.as_mut().expect("it was just made"))
    }

    fn request(
        &self,
        webhook_id: &str,
        signature: Option<Signature>,
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        let path = self.target.uri.path_and_query().expect("a target has a path").as_str();
        let mut request = Request::post(path)
            .header(HOST, &self.target.host)
            .header(USER_AGENT, concat!("surety-send/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", webhook_id);
        if let Some(signature) = signature {
            request = request
                .header("webhook-timestamp", signature.timestamp)
                .header("webhook-signature", signature.value);
        }
        request.body(Full::new(body)).expect("ids, digits and base64 are header values")
    }
}

async fn read(response: Response<Incoming>) -> Result<Answer, NoAnswer> {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(NoAnswer::Broken)?
        .to_bytes();
    Ok(Answer { status, retry_after, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str) -> Option<String> {
        Target::parse(url, Duration::from_secs(1)).ok().map(|target| target.url())
    }

    #[test]
    fn a_url_without_a_path_means_the_route_for_transactions() {
        let expected = Some("http://127.0.0.1:8000/v1/webhooks/transactions".to_owned());
        assert_eq!(url("http://127.0.0.1:8000"), expected);
        assert_eq!(url("http://127.0.0.1:8000/"), expected);
        assert_eq!(url("https://pay.test/hooks").as_deref(), Some("https://pay.test/hooks"));
    }

    #[test]
    fn only_http_and_https_are_urls() {
        for wrong in ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "", "/v1"] {
            assert_eq!(url(wrong), None, "{wrong}");
        }
    }
}
