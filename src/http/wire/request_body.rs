//! The one place where request bodies are read: whole, up to a limit, within a deadline.
//!
//! Everything inside sees bytes that are already there. Without it a body has no limit and no
//! deadline at all: poem and hyper wait for ever for a client that sends one byte a minute.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use poem::http::{HeaderMap, header};
use poem::{Endpoint, Request};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::problem::{Code, Problem};

/// Bytes beyond the limit that are still read before the answer: a client that is in the middle of
/// sending sees its 413, instead of a connection reset.
const DISCARDED_BYTES_MAX: usize = 16 << 20;

/// A body up to here counts as small: a payment event has a few hundred bytes.
const SMALL_BODY_BYTES: usize = 64 << 10;
/// The most larger bodies in memory at once; without this, every connection could hold one.
const MAX_LARGE_BODIES: usize = 64;

/// The limits of request bodies.
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
    large_bodies: Semaphore,
}

impl<E> BufferedBody<E> {
    /// Wraps `inner`.
    pub fn new(inner: E, limits: BodyLimits) -> Self {
        Self { inner, limits, large_bodies: Semaphore::new(MAX_LARGE_BODIES) }
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
        let (bytes, _place) = tokio::time::timeout(self.limits.timeout, self.read(body))
            .await
            .map_err(|_| Problem::new(Code::RequestTimeout))??;
        request.set_body(bytes);
        self.inner.call(request).await
    }
}

impl<E> BufferedBody<E> {
    /// The whole body, without a copy when it came in one piece, as small ones do; and its place
    /// among the large ones if it is one.
    async fn read(
        &self,
        mut body: BoxBody<Bytes, std::io::Error>,
    ) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Problem> {
        let mut whole = Bytes::new();
        let mut pieces = BytesMut::new();
        let mut place = None;
        while let Some(frame) = body.frame().await {
            let cut = |_| Problem::new(Code::BadRequest).detail("The body ended too early.");
            let Ok(data) = frame.map_err(cut)?.into_data() else { continue };
            let length = whole.len() + pieces.len() + data.len();
            if length > self.limits.max_bytes {
                discard(body).await;
                return Err(too_large(self.limits.max_bytes));
            }
            if length > SMALL_BODY_BYTES && place.is_none() {
                let free = self.large_bodies.try_acquire();
                place = Some(free.map_err(|_| Problem::new(Code::Overloaded))?);
            }
            if whole.is_empty() && pieces.is_empty() {
                whole = data;
            } else {
                pieces.extend_from_slice(&std::mem::take(&mut whole));
                pieces.extend_from_slice(&data);
            }
        }
        Ok((if pieces.is_empty() { whole } else { pieces.freeze() }, place))
    }
}

fn announced_bytes(request: &Request) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
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

/// One `Content-Type: application/json`, in UTF-8 and not compressed.
pub(in crate::http) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |detail: &'static str| Problem::new(Code::UnsupportedMediaType).detail(detail);
    let not_json = |detail| refuse(detail).hint(header::ACCEPT, "application/json");
    if headers.get(header::CONTENT_ENCODING).is_some_and(|it| it != "identity") {
        // RFC 9110, 12.5.3: of an answer it tells what the next request may come in.
        let refusal = refuse("The body must not be compressed.");
        return Err(refusal.hint(header::ACCEPT_ENCODING, "identity"));
    }
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(not_json("The request must have one Content-Type, application/json."));
    };
    let mut parts = value.to_str().unwrap_or_default().split(';').map(str::trim);
    if !parts.next().is_some_and(|it| it.eq_ignore_ascii_case("application/json")) {
        return Err(not_json("The Content-Type must be application/json."));
    }
    let is_utf8 = |charset: &str| charset.trim_matches('"').eq_ignore_ascii_case("utf-8");
    let mut parameters = parts.filter_map(|part| part.split_once('='));
    if parameters.any(|(name, value)| name.eq_ignore_ascii_case("charset") && !is_utf8(value)) {
        return Err(refuse("The charset of the body must be UTF-8."));
    }
    Ok(())
}
