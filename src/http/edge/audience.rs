//! The audience of a server: everybody who reaches it, or its own machine only.
//!
//! A server that listens on a loopback address and has no webhook secret takes unsigned webhooks
//! and shows all transactions. The address keeps other machines out, but not those who come by way
//! of this one: through a proxy or a tunnel on it, or by a page in a browser here whose name was
//! made to lead to 127.0.0.1 (DNS rebinding). Proxies and tunnels say so in a header, and a browser
//! names the page's host. Such requests are refused, all but those that ask for its health.
//!
//! A proxy that hides itself, by a loopback `Host` and no header, cannot be told from a program of
//! this machine: whatever is meant for others needs a secret.

use std::net::IpAddr;

use poem::http::uri::Authority;
use poem::http::{HeaderMap, header};
use poem::{Endpoint, IntoResponse, Request, Response};

use crate::http::wire::problem::{Code, Problem};

/// Answered to anybody: they are for balancers and supervisors, and tell nothing.
const FOR_ANYBODY: [&str; 2] = ["/healthz", "/readyz"];
/// Headers of proxies and tunnels, beside all that begin with `x-forwarded`.
const OF_PROXIES: [&str; 8] = [
    "cdn-loop",
    "cf-connecting-ip",
    "forwarded",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-original-host",
    "x-real-ip",
];

/// The callers that a server answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Everybody: who may do what is decided by signatures and credentials, or the operator said
    /// that anybody may.
    Everybody,
    /// Programs of this machine, as nothing else tells friend from stranger.
    ThisMachine,
}

impl Audience {
    fn includes(self, request: &Request) -> bool {
        match self {
            Self::Everybody => true,
            Self::ThisMachine => {
                FOR_ANYBODY.contains(&request.uri().path())
                    || (request.uri().authority().is_none_or(is_loopback)
                        && names_this_machine(request.headers())
                        && !came_by_proxy(request.headers()))
            }
        }
    }
}

/// The middleware that refuses whoever is not in the audience, before anything is read of a body.
pub struct ForAudience<E> {
    inner: E,
    audience: Audience,
}

impl<E> ForAudience<E> {
    /// Wraps `inner`.
    pub fn new(inner: E, audience: Audience) -> Self {
        Self { inner, audience }
    }
}

impl<E: Endpoint> Endpoint for ForAudience<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        if !self.audience.includes(&request) {
            return Err(Problem::new(Code::NotLocal).into());
        }
        self.inner.call(request).await.map(IntoResponse::into_response)
    }
}

/// One `Host`, and a loopback one: two would be read differently by different readers.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    host.as_ref().is_some_and(is_loopback)
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let name = host.strip_suffix('.').unwrap_or(host);
    let address = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    let address = address.parse::<IpAddr>().map(|it| it.to_canonical());
    !authority.as_str().contains('@')
        && (name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback()))
}

fn came_by_proxy(headers: &HeaderMap) -> bool {
    let mut names = headers.keys().map(header::HeaderName::as_str);
    names.any(|name| name.starts_with("x-forwarded") || OF_PROXIES.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(path: &str, headers: &[(&str, &str)]) -> bool {
        let request = headers.iter().fold(Request::builder().uri_str(path), |request, header| {
            request.header(header.0, header.1)
        });
        Audience::ThisMachine.includes(&request.finish())
    }

    #[test]
    fn only_the_names_of_this_machine_are_answered() {
        for host in [
            "localhost",
            "LocalHost:8000",
            "localhost.:8000",
            "127.0.0.1",
            "127.0.0.1:8000",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:8000",
            "[::ffff:127.0.0.1]:8000",
        ] {
            assert!(answers("/v1/transactions", &[("host", host)]), "{host}");
        }
        for host in [
            "",
            " ",
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "evil-localhost",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
            "0.0.0.0:8000",
            "192.168.0.1",
            "[::]",
            "[fe80::1]",
            "::1",
            "localhost, evil.example",
            "http://localhost",
        ] {
            assert!(!answers("/v1/transactions", &[("host", host)]), "{host:?}");
            assert!(answers("/healthz", &[("host", host)]), "{host:?}");
        }
        assert!(!answers("/v1/transactions", &[]));
        assert!(!answers("/v1/transactions", &[("host", "localhost"), ("host", "evil.example")]));
        assert!(!answers("http://evil.example/v1/transactions", &[("host", "localhost")]));
        assert!(answers("http://localhost:1/v1/transactions", &[("host", "localhost:1")]));
    }

    #[test]
    fn what_came_through_a_proxy_is_not_answered_whatever_it_says() {
        for name in [
            "X-Forwarded-For",
            "x-forwarded-host",
            "X-Forwarded-Proto",
            "X-Forwarded",
            "Forwarded",
            "Via",
            "X-Real-IP",
            "CF-Connecting-IP",
        ] {
            for value in ["", "127.0.0.1", "1.1 proxy", "for=127.0.0.1"] {
                let headers = [("host", "localhost"), (name, value)];
                assert!(!answers("/v1/webhooks/transactions", &headers), "{name}: {value}");
                assert!(answers("/readyz", &headers), "{name}: {value}");
            }
        }
    }

    #[test]
    fn a_server_for_everybody_asks_nothing() {
        let request = Request::builder().uri_str("/").header("via", "1.1 proxy").finish();
        assert!(Audience::Everybody.includes(&request));
    }
}
