//! Users on the wire.

use poem_openapi::{Enum, Object};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::list_of;
use crate::http::wire::field_types::{EmailIn, FieldType, Text};
use crate::http::wire::fields::Fields;
use crate::http::wire::json_body::json_object;
use crate::http::wire::lists::{self, cursor_after};
use crate::http::wire::money::CurrencyCode;
use crate::identity::passwords;
use crate::money::Currency;
use crate::operations::users::{
    Email, Password, Role, UserChange as Change, UserFilter, UserStatus, UserView,
};

json_object! {
    /// A user to be made.
    pub(super) struct UserIn {
        /// The address to sign in with; case and space around it do not matter.
        email: EmailIn,
        /// At least 8 characters of any kind, and not one of those that are tried first.
        #[oai(validator(min_length = 15))]
        password: Text<{ passwords::MAX_CHARS }>,
        /// The currency of the first wallet.
        currency: CurrencyCode,
    }

    fn value(fields) -> (Email, Password, Currency) {
        let address = email.as_ref().map_or("", |it| it.0.as_str());
        let password = password.and_then(|Text(text)| {
            fields.accept("password", Password::to_set(text, address))
        });
        Some((email?.0, password?, currency?.0))
    }
}

json_object! {
    /// The password so far, and the one from now on.
    pub(super) struct PasswordsIn {
        /// The present password.
        current_password: Text<{ passwords::MAX_CHARS }>,
        /// At least 8 characters of any kind, and not one of those that are tried first.
        #[oai(validator(min_length = 15))]
        new_password: Text<{ passwords::MAX_CHARS }>,
    }

    // The new one is still a text, because it depends on the user if it may be set.
    fn value(fields) -> (Password, String) {
        Some((Password::attempt(current_password?.0), new_password?.0))
    }
}

json_object! {
    /// The changes to a user; what is absent stays.
    pub(super) struct UserChange {
        /// The role from now on.
        role: Option<RoleName>,
        /// The status from now on.
        status: Option<StatusName>,
    }

    fn value(fields) -> Change {
        Some(Change { role: role?.map(Role::from), status: status?.map(UserStatus::from) })
    }
}

impl FieldType for RoleName {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.choice(name, &Role::ALL.map(|it| (it.as_str(), it.into())))
    }
}

impl FieldType for StatusName {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.choice(name, &UserStatus::ALL.map(|it| (it.as_str(), it.into())))
    }
}

/// A role, which decides what a user may do.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "lowercase")]
#[oai(rename = "Role", rename_all = "lowercase")]
pub(super) enum RoleName {
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

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::User => Self::User,
            RoleName::Viewer => Self::Viewer,
            RoleName::Operator => Self::Operator,
            RoleName::Admin => Self::Admin,
        }
    }
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Viewer => Self::Viewer,
            Role::Operator => Self::Operator,
            Role::Admin => Self::Admin,
        }
    }
}

/// The status of a user, who may or may not sign in.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "lowercase")]
#[oai(rename = "UserStatus", rename_all = "lowercase")]
pub(super) enum StatusName {
    /// May sign in.
    Active,
    /// May not, for the time being. What was ordered before goes on, and others can pay them.
    Suspended,
    /// May not, for good. Has nothing and receives nothing.
    Closed,
}

impl From<StatusName> for UserStatus {
    fn from(status: StatusName) -> Self {
        match status {
            StatusName::Active => Self::Active,
            StatusName::Suspended => Self::Suspended,
            StatusName::Closed => Self::Closed,
        }
    }
}

impl From<UserStatus> for StatusName {
    fn from(status: UserStatus) -> Self {
        match status {
            UserStatus::Active => Self::Active,
            UserStatus::Suspended => Self::Suspended,
            UserStatus::Closed => Self::Closed,
        }
    }
}

/// A user.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "User")]
pub(super) struct UserOut {
    /// The user's id, a UUIDv7.
    id: Uuid,
    /// The address that the user signs in with, in lower case.
    email: String,
    /// The role of the user.
    role: RoleName,
    /// The status of the user.
    status: StatusName,
    /// The currency of the user's first wallet.
    default_currency: String,
    /// The moment at which the user was made.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// The moment of the last change, the password included.
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

impl From<UserView> for UserOut {
    fn from(user: UserView) -> Self {
        Self {
            id: user.id.0,
            email: user.email,
            role: user.role.into(),
            status: user.status.into(),
            default_currency: user.default_currency,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// A page of users, newest first.
#[derive(Debug, Serialize, Object)]
pub(super) struct UserPage {
    /// The users of this page.
    users: Vec<UserOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl UserPage {
    pub(super) fn new(found: Vec<UserView>, limit: u16, filter: &UserFilter) -> Self {
        let (found, last) = lists::page(found, limit);
        let next_cursor = last.map(|last| cursor_after(last.id.0.into_bytes(), &list_of(filter)));
        Self { users: found.into_iter().map(Into::into).collect(), next_cursor }
    }
}
