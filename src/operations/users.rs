//! Users, as operators and admins make and change them.
//!
//! The caller decides who may do so: at a terminal anybody who reaches the database, over HTTP an
//! admin; anybody may make a user with the role `user` there.

use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

pub use crate::identity::passwords::{Hasher, HasherError, Password, WeakPassword};
pub use crate::identity::users::{Change as UserChange, Filter as UserFilter, NewUser};
pub use crate::identity::{Email, IdentityError, Right, Role, UserStatus};

use super::Identity;
use crate::audit::{self, Subject};
use crate::identity::passwords::PasswordHash;
use crate::identity::users::{self, Changed, User};
use crate::ids::UserId;
use crate::payments::LedgerError;
use crate::payments::wallets::{self, Unsettled};
use crate::queue::commits::commit;

/// An operation on a user that was not carried out. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// There is no such user.
    #[error("there is no such user")]
    NotFound,
    /// The user is the last active admin, whom nobody could let in again.
    #[error("the last active admin stays one")]
    LastAdmin,
    /// Another user has the address, or the database refused.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The user cannot be closed: there is money, or something is on its way.
    #[error("{}", in_words(.0))]
    Unsettled(Unsettled),
    /// A wallet could not be opened, read or closed.
    #[error(transparent)]
    Wallet(#[from] LedgerError),
}

fn in_words(unsettled: &Unsettled) -> String {
    let balances: Vec<String> = unsettled.balances.iter().map(ToString::to_string).collect();
    match (balances.is_empty(), unsettled.has_unfinished_orders) {
        (true, _) => "orders of the user's, or to the user, are not finished".to_owned(),
        (false, false) => format!("the user has {}", balances.join(", ")),
        (false, true) => {
            format!("the user has {}, and orders that are not finished", balances.join(", "))
        }
    }
}

impl From<sqlx::Error> for UsersError {
    fn from(error: sqlx::Error) -> Self {
        Self::Identity(error.into())
    }
}

/// A user as callers see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct UserView {
    /// The user.
    pub id: UserId,
    /// The address that the user signs in with.
    pub email: String,
    /// The rights of the user.
    #[serde(serialize_with = "role")]
    pub role: Role,
    /// The status, which says whether the user may sign in.
    #[serde(serialize_with = "status")]
    pub status: UserStatus,
    /// The currency of the user's first wallet.
    pub default_currency: String,
    /// The time at which the user was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// The time of the latest change, that of the password included.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

pub(super) fn role<S: Serializer>(role: &Role, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(role.as_str())
}

fn status<S: Serializer>(status: &UserStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.as_str())
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            role: user.role,
            status: user.status,
            default_currency: user.default_currency,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// A user by id or email address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UserRef {
    /// By id.
    Id(UserId),
    /// By email address.
    Email(Email),
}

/// A text that is neither a user's id nor an email address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("neither a user's id nor an address")]
pub struct InvalidUserRef;

impl FromStr for UserRef {
    type Err = InvalidUserRef;

    fn from_str(text: &str) -> Result<Self, InvalidUserRef> {
        if let Ok(id) = text.parse::<Uuid>() {
            return Ok(Self::Id(UserId(id)));
        }
        text.parse().map(Self::Email).map_err(|_| InvalidUserRef)
    }
}

/// The user; none if there is no such user.
///
/// # Errors
///
/// [`IdentityError::Database`].
pub async fn find(
    conn: &mut PgConnection,
    user: &UserRef,
) -> Result<Option<UserView>, IdentityError> {
    let found = match user {
        UserRef::Id(id) => users::find(conn, *id).await?,
        UserRef::Email(email) => users::find_by_email(conn, email).await?,
    };
    Ok(found.map(UserView::from))
}

/// The users that match, newest first: at most `limit` of those made before the user `before`.
///
/// # Errors
///
/// [`IdentityError::Database`].
pub async fn list(
    conn: &mut PgConnection,
    filter: &UserFilter,
    before: Option<UserId>,
    limit: u16,
) -> Result<Vec<UserView>, IdentityError> {
    let found = users::list(conn, filter, before, limit).await?;
    Ok(found.into_iter().map(UserView::from).collect())
}

/// The rights of a user as the audit log keeps them: nothing that tells who it is.
fn access(role: Role, status: UserStatus) -> Value {
    json!({ "role": role.as_str(), "status": status.as_str() })
}

/// Makes an active user with a first wallet; by nobody where users do it themselves.
///
/// # Errors
///
/// [`UsersError::Identity`] or [`UsersError::Wallet`].
pub async fn create(
    conn: &mut PgConnection,
    new: &NewUser,
    by: Option<&Identity>,
) -> Result<UserView, UsersError> {
    let mut tx = conn.begin().await?;
    let user = users::create(&mut tx, new).await?;
    wallets::open(&mut tx, user.id, new.currency).await?;
    if let Some(by) = by {
        let entry = by.entry("user.create", Subject::new("user", user.id));
        let after = access(user.role, user.status);
        audit::record(&mut tx, &[entry.before(&Value::Null).after(&after)]).await?;
    }
    commit(tx).await?;
    Ok(user.into())
}

/// Changes the role or the status of a user, but leaves the last active admin one. A user who is no
/// longer active is signed out everywhere.
///
/// Who is suspended can do nothing, but what was ordered before goes on, and others can pay him.
/// Who is closed has nothing, nothing on its way, and receives nothing: all wallets are closed with
/// him.
///
/// # Errors
///
/// [`UsersError`].
pub async fn change(
    conn: &mut PgConnection,
    id: UserId,
    change: UserChange,
    by: &Identity,
) -> Result<UserView, UsersError> {
    let mut tx = conn.begin().await?;
    match users::change(&mut tx, id, change).await? {
        Changed::Yes { before, user } => {
            if change.status == Some(UserStatus::Closed) {
                wallets::close_all(&mut tx, id).await?.map_err(UsersError::Unsettled)?;
            }
            let entry = by.entry("user.change", Subject::new("user", id));
            let entry = entry.before(&access(before.role, before.status));
            let entry = entry.after(&access(user.role, user.status));
            audit::record(&mut tx, &[entry]).await?;
            commit(tx).await?;
            let (role, status, by) = (user.role.as_str(), user.status.as_str(), by.as_str());
            tracing::info!(%id, role, status, by, "user {id} was changed to {role}, {status}");
            Ok(user.into())
        }
        Changed::NoSuchUser => Err(UsersError::NotFound),
        Changed::LastAdmin => Err(UsersError::LastAdmin),
    }
}

/// Sets another password, whatever the one before was, and signs the user out everywhere.
///
/// # Errors
///
/// [`UsersError::NotFound`] or [`UsersError::Identity`].
pub async fn set_password(
    conn: &mut PgConnection,
    id: UserId,
    hash: &PasswordHash,
    by: &Identity,
) -> Result<(), UsersError> {
    let mut tx = conn.begin().await?;
    if !users::set_password(&mut tx, id, hash).await? {
        return Err(UsersError::NotFound);
    }
    // That it was set, and nothing of what it was or is.
    audit::record(&mut tx, &[by.entry("user.set_password", Subject::new("user", id))]).await?;
    Ok(commit(tx).await?)
}
