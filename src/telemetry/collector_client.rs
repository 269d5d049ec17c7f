//! The HTTP client that carries spans to the collector.
//!
//! It blocks, and is meant to: the exporter has a thread of its own, in which no Tokio runtime
//! turns. Proxies are those of the environment, certificates those of the system.

use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, ResponseBodyTooLarge};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// The most bytes of an answer that are read; none says more than a sentence.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// Sends requests, one at a time.
#[derive(Debug)]
pub(super) struct CollectorClient(Agent);

impl CollectorClient {
    /// A client whose requests take no longer than this, from the look-up of the name to the last
    /// byte of the answer.
    pub(super) fn new(timeout: Duration) -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(timeout))
            // An answer of 503 is for the exporter, which knows when to try again.
            .http_status_as_error(false);
        Self(config.build().new_agent())
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.0.run(request.map(|body| body.to_vec()))?;
        let (head, body) = response.into_parts();
        let read = body.into_with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        match read {
            Ok(body) => Ok(Response::from_parts(head, body.into())),
            Err(ureq::Error::BodyExceedsLimit(_)) => Err(ResponseBodyTooLarge::new().into()),
            Err(error) => Err(error.into()),
        }
    }
}
