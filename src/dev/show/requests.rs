//! Requests to our own API, as anybody's program makes them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::Context;
use opentelemetry::propagation::{Injector, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde_json::Value;

/// The time for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A client of the API at this address.
pub(super) struct ApiClient {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

/// An answer of the API.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    pub(super) took: Duration,
}

impl ApiClient {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), address }
    }

    /// Posts a body, as part of a trace.
    pub(super) async fn post(
        &self,
        path: &str,
        body: Bytes,
        headers: &[(&'static str, &str)],
        cx: &Context,
    ) -> anyhow::Result<Answer> {
        let mut request = self.request(Method::POST, path, body, headers)?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        TraceContextPropagator::new().inject_context(cx, &mut Headers(request.headers_mut()));
        self.send(request).await
    }

    /// Gets a resource.
    pub(super) async fn get(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> anyhow::Result<Answer> {
        self.send(self.request(Method::GET, path, Bytes::new(), headers)?).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(&'static str, &str)],
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let uri = format!("http://{}{path}", self.address);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(request.body(Full::new(body))?)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let began = Instant::now();
        let exchange = async {
            let answer = self.client.request(request).await.context("the API does not answer")?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|_| anyhow::anyhow!("the answer broke off"))?.to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            anyhow::Ok(Answer { status, body, took: began.elapsed() })
        };
        tokio::time::timeout(PATIENCE, exchange).await.context("the API does not answer in time")?
    }
}

impl Answer {
    /// The answer, if it is a success.
    pub(super) fn success(self) -> anyhow::Result<Self> {
        let why = self.text("message");
        anyhow::ensure!(self.status.is_success(), "the API answered {}: {why}", self.status);
        Ok(self)
    }

    /// The member of the body with this name, as text; empty if it has none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::from_str(&value)) {
            self.0.insert(name, value);
        }
    }
}
