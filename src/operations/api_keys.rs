//! API keys for machines, and the keys that tokens are signed with.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

pub use crate::identity::api_keys::{ActsAs, ApiKeySecret};

use super::Identity;
use super::users::role;
use crate::audit::{self, NewEntry, Subject};
use crate::identity::api_keys::{self, ApiKey};
use crate::identity::{IdentityError, Role, signing_keys};
use crate::ids::{ApiKeyId, UserId};
use crate::queue::commits::commit;

/// An operation on an API key that was not carried out. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeysError {
    /// No key has this id; for a rotation, or it is revoked.
    #[error("there is no such API key")]
    NotFound,
    /// The user does not exist, or the database refused.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl From<sqlx::Error> for ApiKeysError {
    fn from(error: sqlx::Error) -> Self {
        Self::Identity(error.into())
    }
}

/// An API key as callers see it: without its secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ApiKeyView {
    /// The key; the same through all rotations.
    pub id: ApiKeyId,
    /// The name that people gave it.
    pub name: String,
    /// The rights of the key.
    #[serde(serialize_with = "role")]
    pub role: Role,
    /// The user for whom it acts; null if it acts for nobody.
    pub user_id: Option<UserId>,
    /// The beginning of its secret.
    pub prefix: String,
    /// The time at which it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// The time from which it no longer holds; null if it holds until it is revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    /// The time at which it was revoked; null if it was not.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
    /// The time of its latest use, to the minute; null if it was never used.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_used_at: Option<OffsetDateTime>,
}

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            role: key.role,
            user_id: key.user,
            prefix: key.prefix,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}

impl ApiKeyView {
    /// An entry of the audit log about this key, without its secret or any part of it.
    fn entry(&self, by: &Identity, action: &'static str) -> NewEntry {
        by.entry(action, Subject::new("api_key", self.id))
    }

    /// The key as the audit log keeps it.
    fn audited(&self) -> Value {
        let at = |at: Option<OffsetDateTime>| at.map(|at| at.to_string());
        json!({
            "name": self.name,
            "role": self.role.as_str(),
            "user_id": self.user_id,
            "expires_at": at(self.expires_at),
            "revoked_at": at(self.revoked_at),
        })
    }
}

/// A key with its secret, which is not stored and cannot be had again.
#[derive(Debug)]
pub struct IssuedKey {
    /// The key.
    pub key: ApiKeyView,
    /// Its secret.
    pub secret: ApiKeySecret,
}

/// All keys that there ever were, newest first.
///
/// # Errors
///
/// [`ApiKeysError::Identity`].
pub async fn list(conn: &mut PgConnection) -> Result<Vec<ApiKeyView>, ApiKeysError> {
    Ok(api_keys::list(conn).await?.into_iter().map(ApiKeyView::from).collect())
}

/// Makes a key.
///
/// # Errors
///
/// [`ApiKeysError::Identity`].
pub async fn create(
    conn: &mut PgConnection,
    name: &str,
    acts_as: ActsAs,
    expires_in: Option<Duration>,
    by: &Identity,
) -> Result<IssuedKey, ApiKeysError> {
    let mut tx = conn.begin().await?;
    let (key, secret) = api_keys::create(&mut tx, name, acts_as, expires_in).await?;
    let key = ApiKeyView::from(key);
    let entry = key.entry(by, "api_key.create").before(&Value::Null).after(&key.audited());
    audit::record(&mut tx, &[entry]).await?;
    commit(tx).await?;
    Ok(IssuedKey { key, secret })
}

/// Ends a key at once and for good.
///
/// # Errors
///
/// [`ApiKeysError`].
pub async fn revoke(
    conn: &mut PgConnection,
    id: ApiKeyId,
    by: &Identity,
) -> Result<ApiKeyView, ApiKeysError> {
    let mut tx = conn.begin().await?;
    let key = api_keys::revoke(&mut tx, id).await?;
    let key = key.map(ApiKeyView::from).ok_or(ApiKeysError::NotFound)?;
    audit::record(&mut tx, &[key.entry(by, "api_key.revoke").after(&key.audited())]).await?;
    commit(tx).await?;
    Ok(key)
}

/// Gives a key another secret; the one before still holds for `grace`.
///
/// # Errors
///
/// [`ApiKeysError`].
pub async fn rotate(
    conn: &mut PgConnection,
    id: ApiKeyId,
    grace: Duration,
    by: &Identity,
) -> Result<IssuedKey, ApiKeysError> {
    let mut tx = conn.begin().await?;
    let rotated = api_keys::rotate(&mut tx, id, grace).await?;
    let (key, secret) = rotated.ok_or(ApiKeysError::NotFound)?;
    let key = ApiKeyView::from(key);
    let entry = key.entry(by, "api_key.rotate").after(&key.audited());
    let entry = entry.data(&json!({ "grace_secs": grace.as_secs() }));
    audit::record(&mut tx, &[entry]).await?;
    commit(tx).await?;
    Ok(IssuedKey { key, secret })
}

/// Makes a new key that tokens are signed with, and returns its number. Tokens of the one before
/// still hold.
///
/// # Errors
///
/// [`ApiKeysError::Identity`].
pub async fn rotate_signing_key(
    conn: &mut PgConnection,
    by: &Identity,
) -> Result<i64, ApiKeysError> {
    let mut tx = conn.begin().await?;
    let key = signing_keys::rotate(&mut tx).await?;
    let entry = by.entry("signing_key.rotate", Subject::new("signing_key", key.number));
    audit::record(&mut tx, &[entry]).await?;
    commit(tx).await?;
    Ok(key.number)
}
