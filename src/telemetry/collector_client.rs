//! The client that carries spans, log lines and figures to the collector, by HTTP or by gRPC.
//!
//! It blocks, and is meant to: the exporter has a thread of its own, in which no Tokio runtime
//! turns. Proxies are those of the environment, certificates those of the system,
//! or of a file.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, ResponseBodyTooLarge};
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::TelemetryError;
#[cfg(feature = "otlp-grpc")]
use super::grpc::GrpcClient;
use super::otlp::{Protocol, Way};

/// The most bytes of an answer that are read; none says more than a sentence.
pub(super) const MAX_ANSWER_BYTES: usize = 4 << 20;

/// A request that had no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CollectorError {
    /// The time for it was over.
    #[error("the collector did not answer in time")]
    Late,
    /// The collector could not be asked.
    #[error("the collector cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
}

impl CollectorError {
    /// A cause, as one of these.
    pub(super) fn unreachable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unreachable(error.into())
    }
}

/// Sends requests, one at a time.
#[derive(Debug)]
pub(super) enum CollectorClient {
    /// By HTTP, to the URL of each request.
    Http(Agent),
    /// By gRPC, to the method of the signal, whatever the URL of a request is.
    #[cfg(feature = "otlp-grpc")]
    Grpc(Box<GrpcClient>),
}

impl CollectorClient {
    /// A client that takes this way: no longer than its timeout, from the look-up of the name to
    /// the last byte of the answer. It trusts the authorities in `pem`, or those of the system.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::Certificate`] when there are no authorities in `pem`; for gRPC also those
    /// of its client.
    pub(super) fn new(way: &Way, pem: Option<&[u8]>) -> Result<Self, TelemetryError> {
        let authorities = pem.map(authorities);
        if authorities.as_ref().is_some_and(Vec::is_empty) {
            return Err(TelemetryError::Certificate);
        }
        match way.protocol {
            Protocol::Http => Ok(Self::Http(agent(way, authorities))),
            #[cfg(feature = "otlp-grpc")]
            Protocol::Grpc => {
                let der = |it: &Certificate<'_>| it.der().to_vec().into();
                let authorities = authorities.map(|all| all.iter().map(der).collect::<Vec<_>>());
                let client = GrpcClient::new(&way.url, way.timeout, authorities.as_deref())?;
                Ok(Self::Grpc(Box::new(client)))
            }
        }
    }

    /// Posts a body, and gives the status of the answer.
    pub(super) fn post(&self, request: Request<Vec<u8>>) -> Result<u16, CollectorError> {
        match self {
            Self::Http(agent) => match agent.run(request) {
                Ok(response) => Ok(response.status().as_u16()),
                Err(ureq::Error::Timeout(_)) => Err(CollectorError::Late),
                Err(error) => Err(CollectorError::unreachable(error)),
            },
            #[cfg(feature = "otlp-grpc")]
            Self::Grpc(client) => Ok(client.call(request)?.status().as_u16()),
        }
    }
}

fn agent(way: &Way, authorities: Option<Vec<Certificate<'static>>>) -> Agent {
    let roots = match authorities {
        Some(authorities) => RootCerts::Specific(Arc::new(authorities)),
        None => RootCerts::PlatformVerifier,
    };
    let tls = TlsConfig::builder().root_certs(roots).build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(way.timeout))
        // An answer of 503 is for the exporter, which knows when to try again.
        .http_status_as_error(false);
    config.build().new_agent()
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = request.map(|body| body.to_vec());
        let agent = match self {
            Self::Http(agent) => agent,
            #[cfg(feature = "otlp-grpc")]
            Self::Grpc(client) => return Ok(client.call(request)?.map(Bytes::from)),
        };
        let (head, body) = agent.run(request)?.into_parts();
        let read = body.into_with_config().limit(MAX_ANSWER_BYTES as u64).read_to_vec();
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
