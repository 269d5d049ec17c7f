//! The form that a request must have before anything reads it: one meaning, to whoever stands
//! before us and to us. A proxy that reads another `Host`, another end of the body or another
//! parameter than we do would let pass what it is there to stop.

use poem::http::uri::Authority;
use poem::http::{HeaderMap, Uri, Version, header};
use poem::{Endpoint, IntoResponse, Request, Response};

use crate::http::wire::problem::{Code, Problem};

/// The middleware that refuses requests of more than one meaning.
pub struct WellFormed<E> {
    inner: E,
}

impl<E> WellFormed<E> {
    /// Wraps `inner`.
    pub fn new(inner: E) -> Self {
        Self { inner }
    }
}

impl<E: Endpoint> Endpoint for WellFormed<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        require_host(request.version(), request.headers())?;
        require_known_length(request.headers())?;
        require_utf8(request.uri())?;
        self.inner.call(request).await.map(IntoResponse::into_response)
    }
}

/// One `Host` (RFC 9112, 3.2), which HTTP/1.0 does not know.
fn require_host(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |detail: &'static str| Err(Problem::new(Code::BadRequest).detail(detail));
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version < Version::HTTP_11 => Ok(()),
        (None, _) => refuse("The request must have a Host header."),
        (Some(_), Some(_)) => refuse("The request has two Host headers."),
        (Some(host), None) => {
            let host = host.to_str().ok().filter(|host| !host.contains('@'));
            match host.is_some_and(is_authority) {
                true => Ok(()),
                false => refuse("The Host header is not HOST or HOST:PORT."),
            }
        }
    }
}

/// The parser takes any digits for a port.
fn is_authority(host: &str) -> bool {
    let after_address = host.rsplit(']').next().unwrap_or_default();
    let port = after_address.split_once(':').map_or("", |(_, port)| port);
    host.parse::<Authority>().is_ok() && (port.is_empty() || port.parse::<u16>().is_ok())
}

/// Bodies come with their length or in chunks: no other coding (RFC 9112, 6.1), and not both.
fn require_known_length(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") || codings.next().is_some()
    {
        return Err(Problem::new(Code::NotImplemented));
    }
    if headers.contains_key(header::CONTENT_LENGTH) {
        let detail = "The request has both a Content-Length and a Transfer-Encoding.";
        return Err(Problem::new(Code::BadRequest).detail(detail));
    }
    Ok(())
}

/// A reader that replaces what is no UTF-8 would find another account than the one that was meant.
fn require_utf8(uri: &Uri) -> Result<(), Problem> {
    for pair in uri.query().unwrap_or_default().split('&') {
        if let Some(reason) = reason_against(pair) {
            let name: String =
                pair.split('=').next().unwrap_or_default().chars().take(64).collect();
            return Err(Problem::parameter(&name, reason));
        }
    }
    Ok(())
}

fn reason_against(pair: &str) -> Option<&'static str> {
    let mut parts = pair.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let escaped = part.get(..2).and_then(|digits| {
            // The parser of numbers would take a sign.
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)
        });
        let Some(byte) = escaped else {
            return Some("must have two hexadecimal digits after each %; a % itself is %25");
        };
        bytes.push(byte);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    std::str::from_utf8(&bytes).err().map(|_| "must be UTF-8")
}

#[cfg(test)]
mod tests {
    use poem::http::StatusCode;
    use poem::{EndpointExt, endpoint};

    use super::*;

    async fn status_of(version: Version, uri: &str, headers: &[(&str, &str)]) -> StatusCode {
        let inner = endpoint::make_sync(|_| "done");
        let request = Request::builder().version(version).uri_str(uri);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        WellFormed::new(inner).map_to_response().get_response(request.finish()).await.status()
    }

    #[tokio::test]
    async fn a_request_of_more_than_one_meaning_is_refused() {
        let chunked = ("transfer-encoding", "chunked");
        for (headers, status) in [
            (&[][..], 400),
            (&[("host", "a"), ("host", "a")], 400),
            (&[("host", "")], 400),
            (&[("host", "a b")], 400),
            (&[("host", "a/b")], 400),
            (&[("host", "u@a")], 400),
            (&[("host", "a:99999")], 400),
            (&[("host", "a"), ("transfer-encoding", "gzip, chunked")], 501),
            (&[("host", "a"), chunked, chunked], 501),
            (&[("host", "a"), ("transfer-encoding", "identity")], 501),
            (&[("host", "a"), chunked, ("content-length", "3")], 400),
            (&[("host", "a"), chunked], 200),
            (&[("host", "a.example:80")], 200),
            (&[("host", "[::1]:8000")], 200),
        ] {
            let answered = status_of(Version::HTTP_11, "/", headers).await;
            assert_eq!(answered.as_u16(), status, "{headers:?}");
        }
        assert_eq!(status_of(Version::HTTP_10, "/", &[]).await, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_query_that_readers_would_repair_is_refused() {
        let host = [("host", "a")];
        for query in ["a=%FF", "a=%C3", "%FF=a", "a=%", "a=%4", "a=%zz", "a=%+4", "b=1&a=%ED%A0%80"]
        {
            let status = status_of(Version::HTTP_11, &format!("/?{query}"), &host).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        }
        for query in ["", "a=%C3%A9", "a=b+c", "a=%25", "a&b=", "a=%f0%9f%98%80"] {
            let status = status_of(Version::HTTP_11, &format!("/?{query}"), &host).await;
            assert_eq!(status, StatusCode::OK, "{query}");
        }
    }
}
