//! Connections, verification, answers.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::hostile_io::{HostileIo, Hostility, Manner};
use super::misbehaviour::{Body, Misbehaviour, response, whole};
use super::{Received, ReceiverState, Verdict};
use crate::standard_webhooks::{
    ID_HEADER, SIGNATURE_HEADER, SignatureHeader, SignatureHeaders, TIMESTAMP_HEADER,
};

/// The most bytes of a body.
const MAX_BODY_BYTES: usize = 1 << 20;
/// The most connections at a time; further ones wait.
const MAX_CONNECTIONS: usize = 1_024;
/// The pause of the accept loop when the system refuses it a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct Disconnect;

/// The member of a body that says what it is about.
#[derive(Deserialize)]
struct Typed {
    r#type: String,
}

/// Serves until the shutdown.
pub(super) async fn serve(listener: TcpListener, receiver: Arc<ReceiverState>) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accept = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            (permit, accepted) = accept => match accepted {
                Ok((stream, _)) => {
                    let receiver = Arc::clone(&receiver);
                    connections.spawn(async move {
                        serve_connection(receiver, stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!("connections cannot be accepted at the moment: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = receiver.shutdown.cancelled() => break,
        }
    }
    connections.close();
    connections.wait().await;
}

async fn serve_connection(receiver: Arc<ReceiverState>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let manner = Manner::default();
    let io = HostileIo::new(stream, manner.clone());
    let service = service_fn(|request| {
        let (receiver, manner) = (Arc::clone(&receiver), manner.clone());
        async move { receiver.answer(request, &manner).await }
    });
    let connection = http1::Builder::new().header_read_timeout(None).serve_connection(io, service);
    tokio::select! {
        _ = connection => {}
        () = receiver.shutdown.cancelled() => {}
    }
}

impl ReceiverState {
    async fn answer(
        &self,
        request: Request<Incoming>,
        manner: &Manner,
    ) -> Result<Response<Body>, Disconnect> {
        if request.method() != Method::POST {
            let only = whole("webhooks are posted\n");
            return Ok(response(StatusCode::METHOD_NOT_ALLOWED, only));
        }
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
            return Ok(response(StatusCode::PAYLOAD_TOO_LARGE, whole("at most 1 MiB\n")));
        };
        let body = body.to_bytes();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let mut received = self.examine(path, &head.headers, &body);
        if let Some(misbehaviour) = self.next_misbehaviour() {
            let chance = || self.chance.lock().unwrap_or_else(PoisonError::into_inner);
            let misbehaviour = misbehaviour.decided(&mut chance());
            received.answer = misbehaviour.to_string();
            self.report(received).await;
            return misbehave(&misbehaviour, manner).await;
        }
        let (status, text) = self.treat(&received, head.headers, body).await;
        received.answer = status.as_u16().to_string();
        self.report(received).await;
        Ok(response(status, whole(text)))
    }

    /// The delivery, verified, without an answer yet.
    fn examine(&self, path: String, headers: &HeaderMap, body: &Bytes) -> Received {
        let signature = SignatureHeaders {
            id: once(headers, ID_HEADER),
            timestamp: once(headers, TIMESTAMP_HEADER),
            signature: once(headers, SIGNATURE_HEADER),
        };
        let now = OffsetDateTime::now_utc();
        let verifier = &self.settings.verifier;
        let (verdict, doubt) = match verifier.verify(&signature, body, now.unix_timestamp()) {
            Ok(()) if verifier.is_open() => (Verdict::Unverified, None),
            Ok(()) => (Verdict::Verified, None),
            Err(doubt) => (Verdict::Refused, Some(doubt.to_string())),
        };
        let id = text(signature.id);
        Received {
            received_at: now,
            path,
            attempt: self.count(&id),
            id,
            timestamp: text(signature.timestamp),
            event_type: serde_json::from_slice(body).ok().map(|Typed { r#type }| r#type),
            verdict,
            doubt,
            answer: String::new(),
            body_bytes: body.len(),
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }

    async fn treat(
        &self,
        received: &Received,
        headers: HeaderMap,
        body: Bytes,
    ) -> (StatusCode, String) {
        match (received.verdict, &self.forwarder) {
            (Verdict::Refused, _) => (StatusCode::UNAUTHORIZED, "not believed\n".to_owned()),
            (Verdict::Verified | Verdict::Unverified, None) => (StatusCode::OK, String::new()),
            (Verdict::Verified | Verdict::Unverified, Some(forwarder)) => {
                let answer = forwarder.forward(headers, body).await;
                (answer.status, answer.body)
            }
        }
    }

    /// Waits while too many are yet to be printed.
    async fn report(&self, received: Received) {
        // Without anybody who reads them, they are not wanted.
        let _ = self.received.send(received).await;
    }
}

async fn misbehave(
    misbehaviour: &Misbehaviour,
    manner: &Manner,
) -> Result<Response<Body>, Disconnect> {
    match misbehaviour {
        Misbehaviour::Reset => {
            manner.be(Hostility::Resetting);
            Err(Disconnect)
        }
        Misbehaviour::Hang => std::future::pending().await,
        Misbehaviour::InterimFlood => {
            manner.be(Hostility::Flooding);
            // Something must be to be written, for anything else to be written in its place.
            Ok(response(StatusCode::OK, whole("never seen")))
        }
        Misbehaviour::SlowHead => {
            manner.be(Hostility::Slow);
            misbehaviour.answer().ok_or(Disconnect)
        }
        Misbehaviour::Status(_)
        | Misbehaviour::Redirect(_)
        | Misbehaviour::SlowDrip
        | Misbehaviour::GzipBomb
        | Misbehaviour::Cut
        | Misbehaviour::Huge
        | Misbehaviour::BadRetryAfter(_)
        | Misbehaviour::Latin1 => misbehaviour.answer().ok_or(Disconnect),
    }
}

fn once(headers: &HeaderMap, name: &str) -> SignatureHeader {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => SignatureHeader::Missing,
        (Some(value), None) => {
            SignatureHeader::Once(String::from_utf8_lossy(value.as_bytes()).into_owned())
        }
        (Some(_), Some(_)) => SignatureHeader::Repeated,
    }
}

fn text(header: SignatureHeader) -> String {
    match header {
        SignatureHeader::Once(text) => text,
        SignatureHeader::Missing | SignatureHeader::Repeated => String::new(),
    }
}
