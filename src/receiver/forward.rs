//! The receiver behind this one.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING, UPGRADE};

use crate::deliveries::{Guard, Limits, Reach, TargetUrl, Transport};

/// The time that it has, which is what senders usually give.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Passes deliveries on as they came, their signatures included.
pub(super) struct Forwarder {
    target: TargetUrl,
    transport: Transport,
}

/// The answer from behind.
pub(super) struct ForwardAnswer {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

impl Forwarder {
    pub(super) fn new(target: TargetUrl) -> io::Result<Self> {
        // Whoever starts it chooses the place, and it mostly is on the same machine.
        let transport = Transport::new(Guard::new(Reach::PrivateToo), Limits::default())?;
        Ok(Self { target, transport })
    }

    /// The answer from behind; 502 when there is none.
    pub(super) async fn forward(&self, mut headers: HeaderMap, body: Bytes) -> ForwardAnswer {
        for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE] {
            headers.remove(name);
        }
        let attempt = self.transport.post(&self.target, headers, body, TIMEOUT).await.attempt;
        let status = attempt.status.and_then(|status| StatusCode::from_u16(status).ok());
        match status {
            Some(status) => ForwardAnswer { status, body: attempt.answer },
            None => {
                let detail = attempt.detail.unwrap_or_default();
                let body = format!("{} does not answer: {detail}", self.target);
                ForwardAnswer { status: StatusCode::BAD_GATEWAY, body }
            }
        }
    }
}
