//! OTLP over gRPC: one unary call for each message, on the HTTP/2 that the binary has anyway.
//!
//! The exporters know HTTP alone. So what they would post is sent as the message of a call, and the
//! status of the call is given back as the status of HTTP that makes them do the same: try again,
//! or not. Proxies of the environment are not asked.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, TE};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::TelemetryError;
use super::collector_client::{CollectorError, MAX_ANSWER_BYTES};

const GRPC_ENCODING: &str = "grpc-encoding";
const GRPC_STATUS: &str = "grpc-status";
/// The bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Makes calls, one at a time, from threads in which no runtime turns.
#[derive(Debug)]
pub(super) struct GrpcClient {
    /// The method of the service.
    uri: Uri,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Drives the connection. Taken by `drop` alone.
    runtime: Option<Runtime>,
    timeout: Duration,
}

impl GrpcClient {
    /// A client of the method at this URL, whose calls take no longer than `timeout`. It trusts
    /// these authorities, or those of the system.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::Otlp`] when the URL is none; [`TelemetryError::Certificate`] when an
    /// authority cannot be trusted; [`TelemetryError::Threads`].
    pub(super) fn new(
        url: &str,
        timeout: Duration,
        authorities: Option<&[CertificateDer<'static>]>,
    ) -> Result<Self, TelemetryError> {
        let uri = url.parse().map_err(|_| TelemetryError::Otlp)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("OpenTelemetry.Grpc")
            .enable_all()
            .build()
            .map_err(TelemetryError::Threads)?;
        let tls = HttpsConnectorBuilder::new();
        let https = match authorities {
            Some(authorities) => tls.with_tls_config(trusting(authorities)?),
            None => tls.try_with_platform_verifier().map_err(|_| TelemetryError::Certificate)?,
        };
        let https = https.https_or_http().enable_http2().build();
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build(https);
        Ok(Self { uri, client, runtime: Some(runtime), timeout })
    }

    /// Sends the body of this request as a message, with its headers.
    ///
    /// # Errors
    ///
    /// [`CollectorError`] when there is no answer.
    pub(super) fn call(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, CollectorError> {
        let call = self.answer(self.request(request));
        let runtime = self.runtime.as_ref().expect("it is there until the client is dropped");
        let within = async { tokio::time::timeout(self.timeout, call).await };
        runtime.block_on(within).unwrap_or(Err(CollectorError::Late))
    }

    fn request(&self, posted: Request<Vec<u8>>) -> Request<Full<Bytes>> {
        let (head, message) = posted.into_parts();
        let is_compressed = head.headers.contains_key(CONTENT_ENCODING);
        let mut framed = BytesMut::with_capacity(message.len() + PREFIX_BYTES);
        framed.put_u8(u8::from(is_compressed));
        framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        framed.extend_from_slice(&message);
        let mut request = Request::new(Full::new(framed.freeze()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        *headers = head.headers;
        if let Some(encoding) = headers.remove(CONTENT_ENCODING) {
            headers.insert(GRPC_ENCODING, encoding);
        }
        headers.remove(ACCEPT_ENCODING);
        headers.insert(CONTENT_TYPE, "application/grpc".parse().expect("it is a value"));
        headers.insert(TE, "trailers".parse().expect("it is a value"));
        request
    }

    async fn answer(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Vec<u8>>, CollectorError> {
        let response = self.client.request(request).await.map_err(CollectorError::unreachable)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(CollectorError::Unreachable)?;
        let status = match head.status {
            // A refusal without a message has its status among the headers.
            StatusCode::OK => status(body.trailers().unwrap_or(&head.headers), &head.headers),
            other => other,
        };
        let message = body.to_bytes();
        let message = message.get(PREFIX_BYTES..).unwrap_or_default().to_vec();
        let mut answer = Response::new(message);
        *answer.status_mut() = status;
        Ok(answer)
    }
}

impl Drop for GrpcClient {
    fn drop(&mut self) {
        // Without waiting, which is forbidden where another runtime turns.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The status of HTTP that is dealt with as this call's is to be (OTLP: which failures may be tried
/// again).
fn status(trailers: &HeaderMap, headers: &HeaderMap) -> StatusCode {
    let told = trailers.get(GRPC_STATUS).or_else(|| headers.get(GRPC_STATUS));
    match told.and_then(|status| status.to_str().ok()?.parse::<u8>().ok()) {
        Some(0) => StatusCode::OK,
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
        Some(1 | 4 | 10 | 11 | 14 | 15) => StatusCode::SERVICE_UNAVAILABLE,
        Some(8) => StatusCode::TOO_MANY_REQUESTS,
        Some(3) => StatusCode::BAD_REQUEST,
        Some(7) => StatusCode::FORBIDDEN,
        Some(12) => StatusCode::NOT_FOUND,
        Some(16) => StatusCode::UNAUTHORIZED,
        Some(_) | None => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn trusting(authorities: &[CertificateDer<'static>]) -> Result<ClientConfig, TelemetryError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|_| TelemetryError::Certificate)?;
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| TelemetryError::Certificate)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
