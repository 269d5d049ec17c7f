//! The ways in which a receiver treats a sender badly.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use hyper::{Response, StatusCode};

/// Between two bytes of what is slow.
pub(super) const DRIP: Duration = Duration::from_secs(1);
/// Between the first half of an answer and the end of the connection: the half must get out.
const CUT_PAUSE: Duration = Duration::from_millis(20);
/// A piece of what has no end.
const PIECE: &[u8] = &[b'x'; 16 << 10];
/// The size that a member of the bomb unpacks to, and their number: 1 GiB from about 1 MiB.
const BOMB_MEMBER_BYTES: usize = 1 << 20;
const BOMB_MEMBERS: usize = 1 << 10;
/// Waits that nobody should believe, or stumble over.
const BAD_WAITS: [&str; 9] = [
    "1e300",
    "inf",
    "NaN",
    "-1",
    "99999999999999999999",
    "",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "\u{ff11}",
];

pub(super) type Body = BoxBody<Bytes, io::Error>;

/// A way to treat a sender badly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Misbehaviour {
    /// `status=N`: this status, 200 to 999.
    Status(u16),
    /// `redirect=URL`: 307 to there.
    Redirect(HeaderValue),
    /// `slow-drip`: 200, and a byte of the body a second, for ever.
    SlowDrip,
    /// `slow-head`: a byte of the answer's head a second.
    SlowHead,
    /// `gzip-bomb`: 200, and a MiB that unpacks to a GiB.
    GzipBomb,
    /// `reset`: the connection is reset (RST) in place of an answer.
    Reset,
    /// `cut`: half of the body that the answer announces, and the end of the connection.
    Cut,
    /// `hang`: no answer, ever.
    Hang,
    /// `huge`: 200, and a body without an end, as fast as it is read.
    Huge,
    /// `bad-retry-after[=VALUE]`: 503, and a `Retry-After` that nobody should believe.
    BadRetryAfter(Option<HeaderValue>),
    /// `interim-flood`: interim answers (103) without an end, and no answer.
    InterimFlood,
    /// `latin-1`: 200, with a header that is not UTF-8.
    Latin1,
}

/// The text is not a [`Misbehaviour`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected one of status=N, redirect=URL, slow-drip, slow-head, gzip-bomb, reset, cut, hang, \
     huge, bad-retry-after, bad-retry-after=VALUE, interim-flood, latin-1"
)]
pub struct NotAMisbehaviour;

impl FromStr for Misbehaviour {
    type Err = NotAMisbehaviour;

    fn from_str(text: &str) -> Result<Self, NotAMisbehaviour> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let header = |value: &str| HeaderValue::from_str(value).map_err(|_| NotAMisbehaviour);
        Ok(match (name, value) {
            ("status", Some(status)) => {
                let status = status.parse().ok().filter(|status| (200..=999).contains(status));
                Self::Status(status.ok_or(NotAMisbehaviour)?)
            }
            ("redirect", Some(url)) => Self::Redirect(header(url)?),
            ("slow-drip", None) => Self::SlowDrip,
            ("slow-head", None) => Self::SlowHead,
            ("gzip-bomb", None) => Self::GzipBomb,
            ("reset", None) => Self::Reset,
            ("cut", None) => Self::Cut,
            ("hang", None) => Self::Hang,
            ("huge", None) => Self::Huge,
            ("bad-retry-after", value) => Self::BadRetryAfter(value.map(header).transpose()?),
            ("interim-flood", None) => Self::InterimFlood,
            ("latin-1", None) => Self::Latin1,
            _ => return Err(NotAMisbehaviour),
        })
    }
}

impl fmt::Display for Misbehaviour {
    /// As it is read, so that it can be repeated.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        match self {
            Self::Status(status) => write!(f, "status={status}"),
            Self::Redirect(url) => write!(f, "redirect={}", text(url)),
            Self::SlowDrip => f.write_str("slow-drip"),
            Self::SlowHead => f.write_str("slow-head"),
            Self::GzipBomb => f.write_str("gzip-bomb"),
            Self::Reset => f.write_str("reset"),
            Self::Cut => f.write_str("cut"),
            Self::Hang => f.write_str("hang"),
            Self::Huge => f.write_str("huge"),
            Self::BadRetryAfter(None) => f.write_str("bad-retry-after"),
            Self::BadRetryAfter(Some(value)) => write!(f, "bad-retry-after={}", text(value)),
            Self::InterimFlood => f.write_str("interim-flood"),
            Self::Latin1 => f.write_str("latin-1"),
        }
    }
}

impl Misbehaviour {
    /// The same, with all that was left to chance decided.
    pub(super) fn decided(self, chance: &mut fastrand::Rng) -> Self {
        match self {
            Self::BadRetryAfter(None) => {
                let value = chance.choice(BAD_WAITS).unwrap_or_default();
                Self::BadRetryAfter(HeaderValue::from_bytes(value.as_bytes()).ok())
            }
            other => other,
        }
    }

    /// The answer, as far as it is one of HTTP; `None` when there is none.
    pub(super) fn answer(&self) -> Option<Response<Body>> {
        Some(match self {
            Self::Status(status) => {
                response(StatusCode::from_u16(*status).ok()?, whole("as it was told to"))
            }
            Self::Redirect(url) => {
                let answer = response(StatusCode::TEMPORARY_REDIRECT, whole("over there"));
                with(answer, LOCATION, url.clone())
            }
            Self::SlowDrip => response(StatusCode::OK, drip()),
            Self::SlowHead => response(StatusCode::OK, whole("at last")),
            Self::GzipBomb => {
                let gzip = HeaderValue::from_static("gzip");
                with(response(StatusCode::OK, bomb()), CONTENT_ENCODING, gzip)
            }
            Self::Cut => {
                let announced = with(response(StatusCode::OK, half()), CONTENT_LENGTH, 100.into());
                with(announced, CONTENT_TYPE, HeaderValue::from_static("text/plain"))
            }
            Self::Huge => response(StatusCode::OK, endless()),
            Self::BadRetryAfter(value) => {
                let answer = response(StatusCode::SERVICE_UNAVAILABLE, whole("come back later"));
                with(answer, RETRY_AFTER, value.clone()?)
            }
            Self::Latin1 => {
                let value = HeaderValue::from_bytes(b"caf\xe9").ok()?;
                let name = HeaderName::from_static("x-latin-1");
                with(response(StatusCode::OK, whole("caf\u{e9}")), name, value)
            }
            Self::Reset | Self::Hang | Self::InterimFlood => return None,
        })
    }
}

pub(super) fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn with(mut answer: Response<Body>, name: HeaderName, value: HeaderValue) -> Response<Body> {
    answer.headers_mut().insert(name, value);
    answer
}

pub(super) fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed()
}

fn drip() -> Body {
    let bytes = stream::repeat(()).then(|()| async {
        tokio::time::sleep(DRIP).await;
        Ok(Frame::data(Bytes::from_static(b".")))
    });
    BodyExt::boxed(StreamBody::new(bytes))
}

fn endless() -> Body {
    let pieces = stream::repeat(()).map(|()| Ok(Frame::data(Bytes::from_static(PIECE))));
    BodyExt::boxed(StreamBody::new(pieces))
}

/// Members one after the other are one stream of gzip (RFC 1952, section 2.2).
fn bomb() -> Body {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let member = encoder.write_all(&vec![0; BOMB_MEMBER_BYTES]).and_then(|()| encoder.finish());
    let member = Bytes::from(member.expect("memory takes all that is written"));
    let members = stream::iter((0..BOMB_MEMBERS).map(move |_| Ok(Frame::data(member.clone()))));
    BodyExt::boxed(StreamBody::new(members))
}

fn half() -> Body {
    let half = Frame::data(Bytes::from_static(&[b'x'; 50]));
    let end = stream::once(async {
        tokio::time::sleep(CUT_PAUSE).await;
        Err(io::Error::other("cut"))
    });
    BodyExt::boxed(StreamBody::new(stream::iter([Ok(half)]).chain(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_written_as_it_is_read() {
        for text in [
            "status=418",
            "redirect=http://169.254.169.254/",
            "slow-drip",
            "slow-head",
            "gzip-bomb",
            "reset",
            "cut",
            "hang",
            "huge",
            "bad-retry-after",
            "bad-retry-after=1e300",
            "interim-flood",
            "latin-1",
        ] {
            assert_eq!(text.parse::<Misbehaviour>().unwrap().to_string(), text);
        }
        for wrong in ["", "status", "status=100", "status=1000", "redirect=a\nb", "hang=1", "nice"]
        {
            assert!(wrong.parse::<Misbehaviour>().is_err(), "{wrong}");
        }
    }
}
