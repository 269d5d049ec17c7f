//! Headers that an endpoint's owner has sent with each delivery, such as `authorization`.
//!
//! Refused are those by which HTTP itself works (a second `content-length` makes two requests of
//! one), those that say who sends and what, which are ours (`webhook-*`, `user-agent`,
//! `traceparent`), and those by which proxies tell servers what to believe (`x-forwarded-*`,
//! `proxy-*`, `cookie`). All others are the owner's: `authorization`, `x-api-key`, `x-tenant`.

use std::collections::BTreeMap;
use std::fmt;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// The most headers of an endpoint.
pub const MAX_HEADERS: usize = 20;
/// The most bytes of a name.
pub const MAX_NAME_BYTES: usize = 64;
/// The most bytes of a value.
pub const MAX_VALUE_BYTES: usize = 4_096;

/// Names that are refused, in lower case.
const REFUSED_NAMES: [&str; 28] = [
    "accept",
    "accept-encoding",
    "alt-used",
    "baggage",
    "connection",
    "cookie",
    "cookie2",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "range",
    "referer",
    "set-cookie",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-http-method",
    "x-http-method-override",
    "x-real-ip",
    "x-request-id",
];
/// Beginnings of names that are refused, in lower case.
const REFUSED_PREFIXES: [&str; 9] = [
    "access-control-",
    "cf-",
    "content-",
    "if-",
    "proxy-",
    "sec-",
    "surety-",
    "webhook-",
    "x-forwarded-",
];

/// Headers of an endpoint, by their names in lower case. `Debug` shows no values: they are secrets
/// as often as not.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct OwnHeaders(BTreeMap<String, String>);

/// The reason that headers are refused. Names no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OwnHeadersError {
    /// More than [`MAX_HEADERS`].
    #[error("there are more than {MAX_HEADERS} headers")]
    TooMany,
    /// A name that is none.
    #[error("a header's name has 1 to {MAX_NAME_BYTES} letters, digits, and !#$%&'*+-.^_`|~")]
    MalformedName,
    /// A name that is ours, HTTP's, or a proxy's.
    #[error("the header '{0}' cannot be set")]
    RefusedName(String),
    /// A name twice, by whatever case.
    #[error("the header '{0}' is there twice")]
    RepeatedName(String),
    /// A value that could be two lines, or is no text.
    #[error(
        "the value of the header '{0}' is not 1 to {MAX_VALUE_BYTES} visible ASCII characters, \
         with spaces between them"
    )]
    MalformedValue(String),
}

impl OwnHeaders {
    /// Reads names and values, as they were given.
    ///
    /// # Errors
    ///
    /// [`OwnHeadersError`].
    pub fn read<'a>(
        given: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, OwnHeadersError> {
        let mut headers = BTreeMap::new();
        for (name, value) in given {
            if headers.len() == MAX_HEADERS {
                return Err(OwnHeadersError::TooMany);
            }
            let name = read_name(name)?;
            if !is_value(value) {
                return Err(OwnHeadersError::MalformedValue(name));
            }
            if headers.insert(name.clone(), value.to_owned()).is_some() {
                return Err(OwnHeadersError::RepeatedName(name));
            }
        }
        Ok(Self(headers))
    }

    /// The names, in order, which may be shown.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Adds them to a request, before those that are ours.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("it was checked");
            let mut value = HeaderValue::from_str(value).expect("it was checked");
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
}

impl TryFrom<BTreeMap<String, String>> for OwnHeaders {
    type Error = OwnHeadersError;

    fn try_from(given: BTreeMap<String, String>) -> Result<Self, OwnHeadersError> {
        Self::read(given.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

impl From<OwnHeaders> for BTreeMap<String, String> {
    fn from(headers: OwnHeaders) -> Self {
        headers.0
    }
}

impl fmt::Debug for OwnHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// The name in lower case. `HeaderName` knows the characters of a token (RFC 9110, section 5.6.2).
fn read_name(name: &str) -> Result<String, OwnHeadersError> {
    if name.len() > MAX_NAME_BYTES {
        return Err(OwnHeadersError::MalformedName);
    }
    let name = HeaderName::from_bytes(name.as_bytes());
    let name = name.map_err(|_| OwnHeadersError::MalformedName)?.as_str().to_owned();
    let is_refused = REFUSED_NAMES.contains(&name.as_str())
        || REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if is_refused { Err(OwnHeadersError::RefusedName(name)) } else { Ok(name) }
}

fn is_value(value: &str) -> bool {
    let is_visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    (1..=MAX_VALUE_BYTES).contains(&value.len())
        && value.bytes().all(is_visible)
        && value.trim().len() == value.len()
}
