//! The record of what came of a POST.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::target::TargetError;

/// The most bytes of an answer that are kept.
pub const MAX_ANSWER_BYTES: usize = 16 << 10;

/// One attempt on the wire, or the reason that there was none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// The status of the answer, once its head was there.
    pub status: Option<u16>,
    /// The trouble, if any. Beside a status, it is one with the rest of the answer.
    pub error: Option<AttemptError>,
    /// The error in more words, for the endpoint's owner; at most 200 characters, no control
    /// characters.
    pub detail: Option<String>,
    /// From the look-up of the name to the last byte that was read.
    pub duration: Duration,
    /// The address that was connected to.
    pub address: Option<SocketAddr>,
    /// The beginning of the answer's body, at most [`MAX_ANSWER_BYTES`]; U+FFFD for what is not
    /// UTF-8, and for NUL, which PostgreSQL does not take. Of a compressed body, its size in words.
    pub answer: String,
    /// The wait that a 429 or 503 asks for, as it says, which may be anything: see
    /// [`RetrySchedule::wait`](super::retry::RetrySchedule::wait).
    pub retry_after: Option<Duration>,
}

/// The attempts that a delivery came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// An attempt over a kept connection that the receiver was closing: see
    /// [`super::transport`]. To be recorded, and to be counted for nothing.
    pub stale: Option<Attempt>,
    /// The attempt that counts.
    pub attempt: Attempt,
}

/// The trouble of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptError {
    /// The URL, its port or its address is not one that webhooks are sent to.
    RefusedAddress,
    /// The name has no address, or could not be looked up in time.
    Dns,
    /// No connection: refused, unreachable, or not in time.
    Connect,
    /// No TLS: the certificate, the version, or not in time.
    Tls,
    /// The answer, or its end, did not come in time.
    Timeout,
    /// The connection ended before the answer did.
    Cut,
    /// The answer is not HTTP, or its head has no end.
    InvalidAnswer,
}

impl AttemptError {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::RefusedAddress,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Cut,
        Self::InvalidAnswer,
    ];

    /// The stable name, for tables, JSON and labels.
    pub fn code(self) -> &'static str {
        match self {
            Self::RefusedAddress => "refused-address",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Cut => "cut",
            Self::InvalidAnswer => "invalid-answer",
        }
    }

    /// The error of this name.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.code() == code)
    }
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl From<TargetError> for AttemptError {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::NotFound | TargetError::LookupTimeout => Self::Dns,
            TargetError::TooLong
            | TargetError::Malformed
            | TargetError::Scheme
            | TargetError::UserInfo
            | TargetError::Port
            | TargetError::RefusedAddress => Self::RefusedAddress,
        }
    }
}
