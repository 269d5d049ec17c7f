//! Identity of callers: users, and the credentials of people and of machines.
//!
//! The cast:
//!
//! - [`users`]: people, with a role and a status.
//! - [`Right`]: what the roles may do.
//! - [`email`]: their addresses, in one form each.
//! - [`passwords`]: which ones are acceptable, and their hashes (Argon2id).
//! - [`sessions`]: sign-ins of users, and what ends them.
//! - [`signing_keys`]: the keys that sign tokens; shared by all nodes through the database.
//! - [`tokens`]: the JWT that stands for a session.
//! - [`api_keys`]: the credentials of machines.
//! - [`credentials`]: one statement that says who many tokens and keys belong to, as of now.
//!
//! A token proves nothing by itself: its session, its user's status and role, and the key that
//! signed it are read at every request, in one statement. So a logout, a new password, a
//! suspension, another role or a rotation takes effect with the next request on any node. Times are
//! compared by the database's clock alone, so nodes may differ without any leeway.
//!
//! Every function that takes a `&mut PgConnection` neither begins nor commits. Deliberately absent:
//! HTTP, caches, and which right an operation needs, which each says itself.

pub mod api_keys;
pub mod credentials;
pub mod email;
pub mod passwords;
mod rights;
pub mod sessions;
pub mod signing_keys;
mod token_signatures;
pub mod tokens;
pub mod users;

use std::time::Duration;

use sqlx::postgres::types::PgInterval;

pub use self::email::{Email, MAX_EMAIL_CHARS, NotAnEmail};
pub use self::rights::Right;

/// An error of the database. Rules that were broken are outcomes, and no errors.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another user has this address.
    #[error("the email address is taken")]
    EmailTaken,
    /// Any other trouble with the database.
    #[error("the database refused")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for IdentityError {
    fn from(error: sqlx::Error) -> Self {
        let constraint = error.as_database_error().and_then(|error| error.constraint());
        match constraint {
            Some("users_email_key") => Self::EmailTaken,
            _ => Self::Database(error),
        }
    }
}

/// A role, in rising order of rights.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, sqlx::Type, clap::ValueEnum)]
#[sqlx(type_name = "identity.role", rename_all = "lowercase")]
pub enum Role {
    /// Owns wallets, and sees and moves what is in them.
    User,
    /// Reads everything but what is hidden, and changes nothing.
    Viewer,
    /// Reads the same, and acts on what moves no money.
    Operator,
    /// Does all of that, sees what is hidden, changes roles and statuses, and decides over money
    /// that is stuck.
    Admin,
}

impl Role {
    /// The roles there are.
    pub const ALL: [Self; 4] = [Self::User, Self::Viewer, Self::Operator, Self::Admin];

    /// The role in one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// The status of a user, who may or may not sign in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, sqlx::Type, clap::ValueEnum)]
#[sqlx(type_name = "identity.user_status", rename_all = "lowercase")]
pub enum UserStatus {
    /// May sign in.
    Active,
    /// May not, for the time being. What was ordered before goes on, and others can pay them.
    Suspended,
    /// May not, and is gone for good as far as people are concerned: has nothing, and receives
    /// nothing.
    Closed,
}

impl UserStatus {
    /// The statuses there are.
    pub const ALL: [Self; 3] = [Self::Active, Self::Suspended, Self::Closed];

    /// The status in one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Closed => "closed",
        }
    }
}

/// A random value of 256 bits.
pub(crate) fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system's random numbers never run out");
    bytes
}

/// PostgreSQL counts in microseconds; a rest of nanoseconds is nothing that a person asked for.
fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}
