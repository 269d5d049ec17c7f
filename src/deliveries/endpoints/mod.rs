//! Endpoints: who wants to be told of what, and where.
//!
//! - [`create`], [`update`], [`delete`], [`enable`], [`disable`], [`rotate_secret`]: changes.
//! - [`find`], [`find_locked`], [`list`], [`count_of`]: reading, within a [`Scope`].
//! - [`with_other_keys`], [`lock_secrets`], [`store_secrets`], [`count_keys`]: secrets as they are
//!   stored, for a change of the keys that they are sealed with.

mod changing;
mod finding;
mod stored_secrets;

use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;

pub use self::changing::{create, delete, disable, enable, rotate_secret, update};
pub use self::finding::{count_of, find, find_locked, list};
pub use self::stored_secrets::{
    StoredSecrets, count_keys, lock_secrets, store_secrets, with_other_keys,
};

use crate::ids::{EndpointId, UserId};

/// The endpoints that are meant, by their owners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// A user's own.
    Of(UserId),
    /// All, of operators and of users.
    All,
}

impl Scope {
    fn owner(self) -> Option<uuid::Uuid> {
        match self {
            Self::Of(user) => Some(user.0),
            Self::All => None,
        }
    }
}

/// The settings of an endpoint, as its owner chose them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The address to send to.
    pub url: String,
    /// The owner's own words.
    pub description: Option<String>,
    /// The names of the event types that are sent; none means all.
    pub event_types: Option<Vec<String>>,
    /// The owner's own notes: a JSON object.
    pub metadata: Value,
    /// Names and values of the owner's own headers: a JSON object. The values may be secrets: each
    /// is a text, or sealed.
    pub headers: Value,
    /// The time for an attempt.
    pub timeout: Duration,
    /// The most deliveries in a second.
    pub rate: Option<i32>,
    /// One after another, in the order of the events.
    pub ordered: bool,
    /// The seed of the ed25519 key that signs beside the secrets. A secret, in plain or sealed.
    pub signing_key: Option<String>,
    /// The public key of that; also none when that was stored in plain by an earlier version.
    pub public_key: Option<String>,
}

/// A stored endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The id of the endpoint.
    pub id: EndpointId,
    /// The user whose it is; none when it is the operators'.
    pub owner: Option<UserId>,
    /// Its settings.
    pub settings: Settings,
    /// Changes with every change of the settings.
    pub version: i64,
    /// The moment at which it was made.
    pub created_at: OffsetDateTime,
    /// The moment of its last change.
    pub updated_at: OffsetDateTime,
    /// The moment since which nothing is sent to it.
    pub disabled_at: Option<OffsetDateTime>,
    /// The reason that nothing is sent to it, as a stable code.
    pub disabled_reason: Option<String>,
    /// Failed attempts since the last success.
    pub failures: i32,
    /// The moment of the first of these.
    pub failing_since: Option<OffsetDateTime>,
    /// Nothing is sent before this moment.
    pub open_until: Option<OffsetDateTime>,
}

/// The reason that nothing is sent to an endpoint any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DisabledReason {
    /// Its owner or an operator said so.
    ByHand,
    /// It answered 410.
    Gone,
    /// It has failed for days.
    Failing,
}

impl DisabledReason {
    /// The stable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ByHand => "by-hand",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}
