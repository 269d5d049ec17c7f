//! Headers by which every answer restricts the browser.

use poem::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use poem::http::{HeaderName, HeaderValue};
use poem::{Endpoint, IntoResponse, Request, Response};

/// The policy of answers that are no pages: nothing may be loaded, nobody may frame them.
const CLOSED: &str = "default-src 'none'; frame-ancestors 'none'";

/// The policy of the documentation's pages. They carry their scripts and styles within themselves,
/// and fetch from here only: Swagger UI tries operations out, ReDoc searches in a worker that it
/// makes of a blob.
pub(in crate::http) const DOCS_PAGE: &str = "default-src 'none'; script-src 'unsafe-inline'; \
    style-src 'unsafe-inline'; img-src 'self' data: blob:; font-src data:; connect-src 'self'; \
    worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Each with its value, unless the operation gave one. Answers are about money: none is kept by a
/// cache that was not told so.
const HEADERS: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CONTENT_SECURITY_POLICY, CLOSED),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (CACHE_CONTROL, "no-store"),
];

/// The middleware. HSTS is not among its headers: TLS is a proxy's work, and so is to say so.
pub struct SecurityHeaders<E> {
    inner: E,
}

impl<E> SecurityHeaders<E> {
    /// Wraps `inner`, which must have made answers of all errors.
    pub fn new(inner: E) -> Self {
        Self { inner }
    }
}

impl<E: Endpoint> Endpoint for SecurityHeaders<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let mut response = self.inner.call(request).await?.into_response();
        let headers = response.headers_mut();
        for (name, value) in HEADERS {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        Ok(response)
    }
}
