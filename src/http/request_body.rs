//! The one place where request bodies are read: whole, up to a limit, within a deadline.
//!
//! Everything inside sees bytes that are already there. Without it a body has no limit and no
//! deadline at all: poem and hyper wait for ever for a client that sends one byte a minute.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use poem::http::header;
use poem::{Endpoint, Request};

use super::problem::{Code, Problem};

/// Of a body that is too large, so much beyond the limit is still read before the answer: a client
/// that is in the middle of sending sees its 413, instead of a connection reset.
const DISCARDED_BYTES_MAX: usize = 16 << 20;

/// What a request body may be.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// The most bytes.
    pub max_bytes: usize,
    /// The time from the end of the headers to the end of the body.
    pub timeout: Duration,
}

/// Reads the body of each request before the inner endpoint sees it.
pub struct BufferedBody<E> {
    inner: E,
    limits: BodyLimits,
}

impl<E> BufferedBody<E> {
    /// Wraps `inner`.
    pub fn new(inner: E, limits: BodyLimits) -> Self {
        Self { inner, limits }
    }
}

impl<E: Endpoint> Endpoint for BufferedBody<E> {
    type Output = E::Output;

    async fn call(&self, mut request: Request) -> poem::Result<E::Output> {
        // The body of a GET means nothing (RFC 9110, 9.3.1), and no operation looks at it.
        if request.method().is_safe() {
            return self.inner.call(request).await;
        }
        let announced = announced_bytes(&request);
        let waits_for_permission = request.headers().contains_key(header::EXPECT);
        let hopeless = self.limits.max_bytes.saturating_add(DISCARDED_BYTES_MAX);
        let bound = if waits_for_permission { self.limits.max_bytes } else { hopeless };
        if announced.is_some_and(|bytes| bytes > bound) {
            return Err(too_large(self.limits.max_bytes).into());
        }
        let body: BoxBody<Bytes, std::io::Error> = request.take_body().into();
        let bytes = tokio::time::timeout(self.limits.timeout, read(body, self.limits.max_bytes))
            .await
            .map_err(|_| Problem::new(Code::RequestTimeout))??;
        request.set_body(bytes);
        self.inner.call(request).await
    }
}

fn announced_bytes(request: &Request) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole body, without a copy when it came in one piece, as small ones do.
async fn read(
    mut body: BoxBody<Bytes, std::io::Error>,
    max_bytes: usize,
) -> Result<Bytes, Problem> {
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let cut = |_| Problem::new(Code::BadRequest).detail("The body ended too early.");
        let Ok(data) = frame.map_err(cut)?.into_data() else { continue };
        if whole.len() + pieces.len() + data.len() > max_bytes {
            discard(body).await;
            return Err(too_large(max_bytes));
        }
        if whole.is_empty() && pieces.is_empty() {
            whole = data;
        } else {
            pieces.extend_from_slice(&std::mem::take(&mut whole));
            pieces.extend_from_slice(&data);
        }
    }
    Ok(if pieces.is_empty() { whole } else { pieces.freeze() })
}

async fn discard(mut body: BoxBody<Bytes, std::io::Error>) {
    let mut discarded_bytes = 0;
    while discarded_bytes < DISCARDED_BYTES_MAX {
        match body.frame().await {
            Some(Ok(frame)) => discarded_bytes += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => return,
        }
    }
}

fn too_large(max_bytes: usize) -> Problem {
    Problem::new(Code::BodyTooLarge).detail(format!("A body has at most {max_bytes} bytes."))
}
