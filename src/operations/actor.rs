//! The actor of a change: a person or machine, the way in, and a reason.

use std::fmt;
use std::str::FromStr;

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
}

/// A person or machine and the way by which it came in, in the form that is stored: `cli:ada`,
/// `user:<uuid>` or `key:<uuid>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity(String);

impl Identity {
    /// Somebody at a terminal. The name is claimed, not proven.
    #[must_use]
    pub fn command_line(name: &str) -> Self {
        Self(format!("cli:{name}"))
    }

    /// A user who has signed in over HTTP.
    #[must_use]
    pub fn user(id: UserId) -> Self {
        Self(format!("user:{id}"))
    }

    /// A machine that calls over HTTP with an API key.
    #[must_use]
    pub fn api_key(id: ApiKeyId) -> Self {
        Self(format!("key:{id}"))
    }

    /// The stored form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
