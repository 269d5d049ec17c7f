//! Signing keys: HMAC secrets that all nodes share through the database.
//!
//! The newest signs and the newest two verify, so that a rotation signs nobody out; the second one
//! does: by then a token of the third key has either expired or is meant to die.

use std::fmt;

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{IdentityError, random_bytes};

/// A key that signs or verifies.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The number of the key; rises with every new one.
    pub number: i64,
    pub(super) secret: Vec<u8>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.number)
    }
}

/// The key that signs. Whichever node comes first makes the first one.
///
/// # Errors
///
/// When the database refuses.
pub async fn newest(conn: &mut PgConnection) -> Result<SigningKey, IdentityError> {
    if let Some(key) = find_newest(conn).await? {
        return Ok(key);
    }
    lock(conn).await?;
    match find_newest(conn).await? {
        Some(key) => Ok(key),
        None => make(conn).await,
    }
}

/// Makes a new key, which signs from now on, and erases all but the one before it.
///
/// # Errors
///
/// When the database refuses.
pub async fn rotate(conn: &mut PgConnection) -> Result<SigningKey, IdentityError> {
    lock(conn).await?;
    let key = make(conn).await?;
    sqlx::query!(
        "
        update identity.signing_keys
        set secret = null, retired_at = clock_timestamp()
        where retired_at is null
          and number not in (select number from identity.signing_keys order by number desc limit 2)
        "
    )
    .execute(conn)
    .await?;
    Ok(key)
}

/// A signing key as people may see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SigningKeyState {
    /// The number of the key.
    pub number: i64,
    /// The moment since which the key signs.
    pub created_at: OffsetDateTime,
    /// The moment since which the key no longer verifies.
    pub retired_at: Option<OffsetDateTime>,
}

/// Reads all signing keys there ever were, newest first.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<SigningKeyState>, IdentityError> {
    let keys = sqlx::query_as!(
        SigningKeyState,
        "select number, created_at, retired_at from identity.signing_keys order by number desc"
    )
    .fetch_all(conn)
    .await?;
    Ok(keys)
}

/// One makes a key at a time; nobody who reads has to wait.
async fn lock(conn: &mut PgConnection) -> Result<(), IdentityError> {
    sqlx::query!("lock table identity.signing_keys in share row exclusive mode")
        .execute(conn)
        .await?;
    Ok(())
}

async fn find_newest(conn: &mut PgConnection) -> Result<Option<SigningKey>, IdentityError> {
    let key = sqlx::query_as!(
        SigningKey,
        r#"
        select number, secret as "secret!"
        from identity.signing_keys
        where retired_at is null
        order by number desc
        limit 1
        "#
    )
    .fetch_optional(conn)
    .await?;
    Ok(key)
}

async fn make(conn: &mut PgConnection) -> Result<SigningKey, IdentityError> {
    let secret = random_bytes().to_vec();
    let number = sqlx::query_scalar!(
        "insert into identity.signing_keys (secret) values ($1) returning number",
        secret,
    )
    .fetch_one(conn)
    .await?;
    Ok(SigningKey { number, secret })
}
