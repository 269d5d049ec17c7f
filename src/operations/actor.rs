//! The actor of a change: a person or machine, the way in, and a reason.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use opentelemetry::Context;
use opentelemetry::trace::{TraceContextExt as _, TraceId};

use crate::audit::{NewEntry, Subject};
use crate::ids::{ApiKeyId, UserId};
use crate::queue::operate::discarded::Decision;

/// The most characters of a reason.
pub const MAX_REASON_CHARS: usize = 500;

/// Somebody who changes something, by which way in, and why. All of it is kept with the change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    /// The person or machine, and the way in.
    pub identity: Identity,
    /// The reason.
    pub reason: Reason,
}

impl Actor {
    /// The form in which the queue stores it.
    pub(super) fn decision(&self) -> Decision<'_> {
        Decision { by: self.identity.as_str(), reason: self.reason.as_str() }
    }

    /// An entry of the audit log that this actor did `action` to `subject`, and why.
    pub(super) fn entry(&self, action: &'static str, subject: Subject) -> NewEntry {
        self.identity.entry(action, subject).reason(Some(self.reason.as_str()))
    }
}

/// A person or machine and the way by which it came in, in the form that is stored: `cli:ada`,
/// `user:<uuid>`, `key:<uuid>` or `page:local`; with the request by which it acts, if it is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    name: String,
    /// The address that the request comes from.
    address: Option<IpAddr>,
    request_id: Option<String>,
    /// The reason for a change that needs none.
    reason: Option<Reason>,
}

impl Identity {
    /// Somebody at a terminal. The name is claimed, not proven.
    #[must_use]
    pub fn command_line(name: &str) -> Self {
        Self::named(format!("cli:{name}"))
    }

    /// Somebody at the pages of a server that asks for no sign-in, on the same machine. Nobody
    /// knows who that is.
    #[must_use]
    pub fn local_page() -> Self {
        Self::named("page:local".to_owned())
    }

    /// A user who has signed in over HTTP.
    #[must_use]
    pub fn user(id: UserId) -> Self {
        Self::named(format!("user:{id}"))
    }

    /// A machine that calls over HTTP with an API key.
    #[must_use]
    pub fn api_key(id: ApiKeyId) -> Self {
        Self::named(format!("key:{id}"))
    }

    fn named(name: String) -> Self {
        Self { name, address: None, request_id: None, reason: None }
    }

    /// The same, by a request from this address and with this id, which the audit log keeps.
    #[must_use]
    pub fn by_request(self, address: IpAddr, request_id: Option<String>) -> Self {
        Self { address: Some(address), request_id, ..self }
    }

    /// The same, for this reason, which the audit log keeps of changes that are kept without one
    /// elsewhere.
    #[must_use]
    pub fn because(self, reason: Reason) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// The id of the request by which it acts, if it is one.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The stored form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// An entry of the audit log that this identity did `action` to `subject`, with its request and
    /// the trace that it is part of.
    pub(super) fn entry(&self, action: &'static str, subject: Subject) -> NewEntry {
        let trace = Context::current().span().span_context().trace_id();
        let trace = (trace != TraceId::INVALID).then(|| trace.to_string());
        NewEntry::new(&self.name, action, subject)
            .address(self.address)
            .request_id(self.request_id.as_deref())
            .reason(self.reason.as_ref().map(Reason::as_str))
            .trace_id(trace.as_deref())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The reason for a change: 1 to [`MAX_REASON_CHARS`] characters, not all of them space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason(String);

/// The text is empty, or longer than [`MAX_REASON_CHARS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a reason has 1 to {MAX_REASON_CHARS} characters")]
pub struct InvalidReason;

impl Reason {
    /// The reason as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reason {
    type Err = InvalidReason;

    fn from_str(text: &str) -> Result<Self, InvalidReason> {
        match text.trim().is_empty() || text.chars().count() > MAX_REASON_CHARS {
            true => Err(InvalidReason),
            false => Ok(Self(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_something_and_has_a_bound() {
        assert!(" ".parse::<Reason>().is_err() && "".parse::<Reason>().is_err());
        assert!("é".repeat(MAX_REASON_CHARS).parse::<Reason>().is_ok());
        assert!("é".repeat(MAX_REASON_CHARS + 1).parse::<Reason>().is_err());
    }
}
