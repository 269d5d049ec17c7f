//! The HTTP client that carries spans to the collector.
//!
//! It blocks, and is meant to: the exporter has a thread of its own, in which no Tokio runtime
//! turns. Proxies are those of the environment, certificates those of the system,
//! or of a file.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, ResponseBodyTooLarge};
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The most bytes of an answer that are read; none says more than a sentence.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// Sends requests, one at a time.
#[derive(Debug)]
pub(super) struct CollectorClient {
    agent: Agent,
    /// The number of authorities that are trusted; `None` are those of the system.
    authorities: Option<usize>,
}

impl CollectorClient {
    /// A client whose requests take no longer than this, from the look-up of the name to the last
    /// byte of the answer. It trusts the authorities in `pem`, or those of the system.
    pub(super) fn new(timeout: Duration, pem: Option<&[u8]>) -> Self {
        let authorities = pem.map(authorities);
        let roots = match &authorities {
            Some(authorities) => RootCerts::Specific(Arc::new(authorities.clone())),
            None => RootCerts::PlatformVerifier,
        };
        let tls = TlsConfig::builder().root_certs(roots).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(timeout))
            // An answer of 503 is for the exporter, which knows when to try again.
            .http_status_as_error(false);
        let authorities = authorities.map(|authorities| authorities.len());
        Self { agent: config.build().new_agent(), authorities }
    }

    /// False when the file of authorities holds none.
    pub(super) fn trusts_somebody(&self) -> bool {
        self.authorities != Some(0)
    }

    /// Posts a body, and gives the status of the answer.
    pub(super) fn post(&self, request: Request<Vec<u8>>) -> Result<u16, ureq::Error> {
        Ok(self.agent.run(request)?.status().as_u16())
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.agent.run(request.map(|body| body.to_vec()))?;
        let (head, body) = response.into_parts();
        let read = body.into_with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        match read {
            Ok(body) => Ok(Response::from_parts(head, body.into())),
            Err(ureq::Error::BodyExceedsLimit(_)) => Err(ResponseBodyTooLarge::new().into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The certificates in a file; other things in it are passed over.
fn authorities(pem: &[u8]) -> Vec<Certificate<'static>> {
    let items = parse_pem(pem).filter_map(Result::ok);
    let certificates = items.filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate.to_owned()),
        _ => None,
    });
    certificates.collect()
}
