//! A receiver of webhooks that answers as a test tells it to, and remembers what came.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::PATIENCE;

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Seen {
    pub(super) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The reference implementation believes it.
    pub(super) fn is_signed_by(&self, secret: &str) -> bool {
        let reference = standardwebhooks::Webhook::new(secret).unwrap();
        reference.verify(&self.body, &self.headers).is_ok()
    }
}

/// The status of the answer to the n-th request, from 0; none means that it never comes.
type Answer = dyn Fn(usize, &Seen) -> Option<u16> + Send + Sync;

pub(super) struct Inbox {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Inbox {
    /// One that takes everything.
    pub(super) async fn start() -> Self {
        Self::answering(|_, _| Some(200)).await
    }

    pub(super) async fn answering(
        answer: impl Fn(usize, &Seen) -> Option<u16> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let (seen, answer) = (Arc::default(), Arc::<Answer>::from(Box::new(answer) as Box<Answer>));
        let this = Self { url, seen: Arc::clone(&seen) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                let service = service_fn(move |request| {
                    let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                    async move { Ok::<_, Infallible>(respond(request, &seen, &*answer).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        this
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests, once there are so many.
    pub(super) async fn after(&self, requests: usize) -> Vec<Seen> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.seen();
            if seen.len() >= requests {
                return seen;
            }
            assert!(Instant::now() < deadline, "{} of {requests} requests came", seen.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn respond(
    request: Request<Incoming>,
    seen: &Mutex<Vec<Seen>>,
    answer: &Answer,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let request = Seen { path: head.uri.path().to_owned(), headers: head.headers, body };
    let status = {
        let mut seen = seen.lock().unwrap();
        let status = answer(seen.len(), &request);
        seen.push(request);
        status
    };
    match status {
        Some(status) => {
            let body = Full::from(format!("answer {status}"));
            Response::builder().status(status).body(body).unwrap()
        }
        None => std::future::pending().await,
    }
}
