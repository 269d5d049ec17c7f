//! One delivery to one endpoint: its headers and its signatures.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::attempt::Sent;
use super::own_headers::OwnHeaders;
use super::target::TargetUrl;
use super::transport::Transport;
use crate::metrics::Timings;
use crate::metrics::instruments::DELIVERY_DURATION;
use crate::standard_webhooks::{ID_HEADER, MessageId, SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER};

/// A message for an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The endpoint's URL.
    pub target: &'a TargetUrl,
    /// The id of the message, the same in all attempts and for all endpoints (G6).
    pub id: &'a MessageId,
    /// The body, JSON, as it is signed.
    pub body: &'a Bytes,
    /// Signs for this endpoint.
    pub signer: &'a Signer,
    /// The endpoint's own headers.
    pub own_headers: &'a OwnHeaders,
    /// Headers of ours beyond those of the scheme, such as `traceparent` and `x-request-id`.
    pub more_headers: &'a HeaderMap,
    /// The time for all of it, from the look-up of the name to the last byte of the answer.
    pub timeout: Duration,
}

/// Sends deliveries. Cheap to clone; all clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    durations: Timings,
}

impl Client {
    /// A client over this transport.
    pub fn new(transport: Transport) -> Self {
        Self { transport, durations: Timings::new(&DELIVERY_DURATION) }
    }

    /// The times of attempts so far.
    #[must_use]
    pub fn durations(&self) -> &Timings {
        &self.durations
    }

    /// Sends a message, signed at this moment. Never fails: what came of it is in the attempt.
    pub async fn deliver(&self, delivery: Delivery<'_>) -> Sent {
        let headers = headers(&delivery, unix_secs());
        let Delivery { target, body, timeout, .. } = delivery;
        let sent = self.transport.post(target, headers, body.clone(), timeout).await;
        let outcome = match (sent.attempt.error, sent.attempt.status) {
            (Some(error), _) => error.code(),
            (None, Some(200..300)) => "2xx",
            (None, Some(300..400)) => "3xx",
            (None, Some(400..500)) => "4xx",
            (None, _) => "5xx",
        };
        self.durations.observe(&[outcome], sent.attempt.duration);
        sent
    }
}

fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The endpoint's own headers first, so that none of them replaces one of ours.
fn headers(delivery: &Delivery<'_>, unix_secs: u64) -> HeaderMap {
    let signature = delivery.signer.sign(delivery.id, unix_secs, delivery.body);
    let mut headers = HeaderMap::new();
    delivery.own_headers.write(&mut headers);
    for (name, value) in delivery.more_headers {
        headers.insert(name, value.clone());
    }
    let text = |text: &str| HeaderValue::from_str(text).expect("it is visible ASCII");
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ID_HEADER, text(delivery.id.as_str()));
    headers.insert(TIMESTAMP_HEADER, unix_secs.into());
    headers.insert(SIGNATURE_HEADER, text(&signature));
    headers
}
