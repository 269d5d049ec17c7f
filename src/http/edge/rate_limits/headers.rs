//! The headers of an answer that tell the limits its request was measured by.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Duration;

use poem::http::{HeaderMap, HeaderName, HeaderValue};
use poem::{Endpoint, IntoResponse, Request, Response};

use super::bucket::QuotaLeft;
use super::settings::Quota;
use super::{LimitClass, RateLimits};
use crate::http::wire::problem::RETRY_AFTER_SECS;

/// The headers, with what each means. Those of the draft
/// (draft-ietf-httpapi-ratelimit-headers-10) name every limit that was asked; the older ones know
/// only one, which is the tightest.
pub const HEADERS: [(&str, &str, &str); 5] = [
    ("X-RateLimit-Limit", "integer", "How many requests the limit allows at once."),
    ("X-RateLimit-Remaining", "integer", "How many of them are left, as far as this node knows."),
    (
        "X-RateLimit-Reset",
        "integer",
        "Seconds from now until one more is allowed; 0 when none is missing.",
    ),
    (
        "RateLimit-Policy",
        "string",
        "The limits: `\"name\";q=10;w=60` allows ten requests within 60 seconds.",
    ),
    (
        "RateLimit",
        "string",
        "What is left of them: `\"name\";r=9;t=6` says nine, and one more in 6 seconds.",
    ),
];

tokio::task_local! {
    static ASKED: RefCell<Vec<(LimitClass, QuotaLeft)>>;
}

/// Remembers for the answer to the current request what it was measured by.
pub(super) fn note(class: LimitClass, quota_left: QuotaLeft) {
    // Outside of a request there is no answer to tell it.
    let _ = ASKED.try_with(|asked| {
        let mut asked = asked.borrow_mut();
        asked.retain(|(known, _)| *known != class);
        asked.push((class, quota_left));
    });
}

/// The middleware that gives requests, as data, the two things that limiting them needs,
/// [`RateLimits`] and [`ClientAddress`](crate::http::edge::client_address::ClientAddress), and
/// writes the headers on each answer to a limited one, refusals and errors included. Therefore it
/// is outside of whatever makes answers of errors.
pub struct RateLimitHeaders<E> {
    inner: E,
    limits: RateLimits,
}

impl<E> RateLimitHeaders<E> {
    /// Wraps `inner`.
    pub fn new(inner: E, limits: RateLimits) -> Self {
        Self { inner, limits }
    }
}

impl<E: Endpoint> Endpoint for RateLimitHeaders<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let address = self.limits.0.proxies.client_of(&request);
        request.set_data(address);
        request.set_data(self.limits.clone());
        let answer = async {
            let response = self.inner.call(request).await;
            (response, ASKED.with(RefCell::take))
        };
        let (response, asked) = ASKED.scope(RefCell::default(), answer).await;
        let mut response = response?.into_response();
        write(response.headers_mut(), &asked);
        Ok(response)
    }
}

impl QuotaLeft {
    /// The rest of a limit that cannot be looked up: nothing is allowed until it can.
    pub(super) fn unknown(quota: Quota) -> Self {
        let more_in = Duration::from_secs(u64::from(RETRY_AFTER_SECS));
        Self { quota, remaining: 0, more_in }
    }
}

/// Rounded up, so that nobody is told to come too early.
pub(super) fn whole_secs(duration: Duration) -> u32 {
    let secs = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(secs).unwrap_or(u32::MAX)
}

fn write(headers: &mut HeaderMap, asked: &[(LimitClass, QuotaLeft)]) {
    let by_tightness =
        |(_, it): &&(LimitClass, QuotaLeft)| (it.remaining, std::cmp::Reverse(it.more_in));
    let Some((_, tightest)) = asked.iter().min_by_key(by_tightness) else { return };
    let (mut policies, mut standings) = (String::new(), String::new());
    for (class, quota_left) in asked {
        let separator = if policies.is_empty() { "" } else { ", " };
        let QuotaLeft { quota, remaining, more_in } = quota_left;
        let (name, window) = (class.name(), quota.window.as_secs());
        // Writing to a string cannot fail.
        let _ = write!(policies, "{separator}\"{name}\";q={};w={window}", quota.requests);
        let t = whole_secs(*more_in);
        let _ = write!(standings, "{separator}\"{name}\";r={remaining};t={t}");
    }
    let reset = whole_secs(tightest.more_in);
    for (name, value) in [
        ("x-ratelimit-limit", HeaderValue::from(tightest.quota.requests)),
        ("x-ratelimit-remaining", HeaderValue::from(tightest.remaining)),
        ("x-ratelimit-reset", HeaderValue::from(reset)),
        ("ratelimit-policy", text(&policies)),
        ("ratelimit", text(&standings)),
    ] {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("names and numbers are visible ASCII")
}
