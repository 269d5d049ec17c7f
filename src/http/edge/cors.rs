//! Cross-origin requests from browsers (CORS): allowed from the sites that are set, by default from
//! none.
//!
//! poem's own middleware is not used: without origins it allows all of them, it refuses requests of
//! unknown origin, among them those that our own documentation page sends, and leaves out `Vary`.
//!
//! The API knows no cookies, so credentials are never allowed, and a request of unknown origin is
//! answered as if it came from no browser at all: to read the answer is what the browser then
//! refuses. Only a preflight is refused by us, since nothing else is asked by it.

use std::str::FromStr;

use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use poem::{Endpoint, IntoResponse, Request, Response};

use crate::http::wire::problem::{Code, Problem};

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// The headers that a script may send, beyond those that any site may.
const REQUEST_HEADERS: &str = "authorization, content-type, idempotency-key, if-match, \
    if-none-match, traceparent, tracestate, x-request-id";
/// The headers that a script may read, beyond those that any site may.
const EXPOSED_HEADERS: &str = "content-disposition, data-age, etag, location, idempotent-replayed, \
    retry-after, x-request-id, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, \
    ratelimit, ratelimit-policy";
/// The time that a browser may remember the answer to a preflight; no browser keeps it longer.
const MAX_AGE_SECS: u32 = 7200;
/// On what the answer to a preflight depends.
const PREFLIGHT_VARY: &str =
    "origin, access-control-request-method, access-control-request-headers";

/// The origins that are allowed, each exactly as browsers send it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CorsOrigins(Vec<String>);

impl CorsOrigins {
    fn allow(&self, origin: &HeaderValue) -> bool {
        self.0.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
    }
}

impl FromStr for CorsOrigins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
        parts.map(origin).collect::<Result<_, _>>().map(Self)
    }
}

/// An origin that differs from what a browser sends by one letter would never match.
fn origin(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err("* is not allowed: name each origin".to_owned());
    }
    let as_sent = |uri: &Uri| {
        let scheme = uri.scheme_str().filter(|it| ["http", "https"].contains(it))?;
        let port = uri.port_u16().filter(|it| (scheme, *it) != ("https", 443));
        let port = port.filter(|it| (scheme, *it) != ("http", 80));
        let port = port.map(|it| format!(":{it}")).unwrap_or_default();
        Some(format!("{scheme}://{}{port}", uri.host()?.to_ascii_lowercase()))
    };
    match text.parse::<Uri>().ok().as_ref().and_then(as_sent) {
        Some(sent) if sent == text => Ok(sent),
        Some(_) => {
            Err("expected an origin as browsers send it, in lower case and without a path or \
                        the usual port: https://app.example"
                .to_owned())
        }
        None => Err("expected https://app.example".to_owned()),
    }
}

/// The middleware.
pub struct Cors<E> {
    inner: E,
    origins: CorsOrigins,
}

impl<E> Cors<E> {
    /// Wraps `inner`, which must have made answers of all errors.
    pub fn new(inner: E, origins: CorsOrigins) -> Self {
        Self { inner, origins }
    }
}

impl<E: Endpoint> Endpoint for Cors<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        // Closed: an OPTIONS is a method like any other.
        if self.origins.0.is_empty() {
            return self.inner.call(request).await.map(IntoResponse::into_response);
        }
        let origin = request.headers().get(header::ORIGIN);
        let allowed = origin.filter(|origin| self.origins.allow(origin)).cloned();
        if is_preflight(&request) {
            return Ok(answer_preflight(allowed, request.uri().path()));
        }
        let mut response = self.inner.call(request).await?.into_response();
        let headers = response.headers_mut();
        // Also where there is none: a cache must not give this answer to another origin.
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            insert(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        }
        Ok(response)
    }
}

fn is_preflight(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Lists all that is allowed, whatever was asked for: the browser compares.
fn answer_preflight(allowed: Option<HeaderValue>, path: &str) -> Response {
    let mut response = match allowed {
        None => Problem::new(Code::OriginNotAllowed).response(path),
        Some(origin) => {
            let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            insert(headers, header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            insert(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(MAX_AGE_SECS));
            response
        }
    };
    insert(response.headers_mut(), header::VARY, PREFLIGHT_VARY);
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_taken_exactly_as_browsers_send_them() {
        for text in ["https://app.example", "http://localhost:3000", "https://[::1]:8443"] {
            assert_eq!(text.parse(), Ok(CorsOrigins(vec![text.to_owned()])));
        }
        let two = "https://a.example, https://b.example".parse::<CorsOrigins>();
        assert_eq!(two.map(|it| it.0.len()), Ok(2));
        assert_eq!("".parse(), Ok(CorsOrigins::default()));
    }

    #[test]
    fn what_no_browser_would_send_is_refused_with_what_it_would() {
        for (text, hint) in [
            ("*", "name each origin"),
            ("null", "expected https://"),
            ("app.example", "expected https://"),
            ("ftp://app.example", "expected https://"),
            ("https://", "expected https://"),
            ("https://app.example/", "without a path or the usual port"),
            ("https://app.example/path", "without a path or the usual port"),
            ("https://App.example", "without a path or the usual port"),
            ("https://app.example:443", "without a path or the usual port"),
            ("http://app.example:80", "without a path or the usual port"),
            ("https://user@app.example", "without a path or the usual port"),
            ("https://*.example", "name each origin"),
        ] {
            let error = text.parse::<CorsOrigins>().expect_err(text);
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
