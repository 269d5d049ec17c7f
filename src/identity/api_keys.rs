//! API keys: the credentials of machines.
//!
//! A secret is 256 random bits, shown once and stored as its SHA-256. It has too many bits to be
//! guessed, so it needs no slow hash; and the database finds it by the hash, so no comparison of
//! ours can leak how much of it was right.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{IdentityError, Role, interval, random_bytes};
use crate::ids::{ApiKeyId, UserId, new_by_database_clock};

/// The prefix of every secret, which tells it from a token, and which scanners for leaked secrets
/// look for.
pub const SECRET_PREFIX: &str = "surety_";
/// Characters of a secret that are kept for people to recognise it by: 36 of its 256 bits.
const PREFIX_CHARS: usize = SECRET_PREFIX.len() + 6;
/// `last_used_at` is written no more often than this: a key is used thousands of times a second.
const USE_NOTED_EVERY: Duration = Duration::from_secs(60);

/// A secret, as its holder has it. Shown once, by [`reveal`](Self::reveal).
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeySecret(String);

/// The SHA-256 of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SecretHash(pub(super) [u8; 32]);

impl ApiKeySecret {
    fn new() -> Self {
        Self(format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(random_bytes())))
    }

    /// Reads the text of a request, if it can be a secret of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(SECRET_PREFIX)?).ok()?;
        (bytes.len() == 32).then(|| Self(text.to_owned()))
    }

    /// The hash that is stored of the secret.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(&self.0).into())
    }

    /// The secret itself, for its holder.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn prefix(&self) -> &str {
        &self.0[..PREFIX_CHARS]
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeySecret({}..)", self.prefix())
    }
}

/// The identity that a key gives its holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActsAs {
    /// One user, with a user's rights whatever the user's own role.
    User(UserId),
    /// A viewer, who reads everything and changes nothing.
    Viewer,
    /// An operator.
    Operator,
    /// An admin.
    Admin,
}

impl ActsAs {
    fn columns(self) -> (Role, Option<Uuid>) {
        match self {
            Self::User(user) => (Role::User, Some(user.0)),
            Self::Viewer => (Role::Viewer, None),
            Self::Operator => (Role::Operator, None),
            Self::Admin => (Role::Admin, None),
        }
    }
}

/// A key as people may see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey {
    /// The key; the same through all rotations.
    pub id: ApiKeyId,
    /// The name for people.
    pub name: String,
    /// The role of the key.
    pub role: Role,
    /// Whom it acts for.
    pub user: Option<UserId>,
    /// The first characters of the secret.
    pub prefix: String,
    /// The moment at which the key was made.
    pub created_at: OffsetDateTime,
    /// The moment from which the key no longer holds.
    pub expires_at: Option<OffsetDateTime>,
    /// The moment at which the key was revoked.
    pub revoked_at: Option<OffsetDateTime>,
    /// The moment of the last use, within a minute.
    pub last_used_at: Option<OffsetDateTime>,
}

/// Makes a key. The secret is not stored and cannot be had again.
///
/// # Errors
///
/// When the user does not exist, or the database refuses.
pub async fn create(
    conn: &mut PgConnection,
    name: &str,
    acts_as: ActsAs,
    expires_in: Option<Duration>,
) -> Result<(ApiKey, ApiKeySecret), IdentityError> {
    let secret = ApiKeySecret::new();
    let (role, user) = acts_as.columns();
    let id = new_by_database_clock(&mut *conn).await?;
    let key = sqlx::query_as!(
        ApiKey,
        r#"
        insert into identity.api_keys (id, name, role, user_id, secret_hash, prefix, expires_at)
        values ($1, $2, $3, $4, $5, $6, clock_timestamp() + $7::interval)
        returning
          id as "id: ApiKeyId", name, role as "role: Role", user_id as "user: UserId", prefix,
          created_at, expires_at, revoked_at, last_used_at
        "#,
        id,
        name,
        role as Role,
        user,
        &secret.hash().0[..],
        secret.prefix(),
        expires_in.map(interval),
    )
    .fetch_one(conn)
    .await?;
    Ok((key, secret))
}

/// Reads all keys there ever were, newest first.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<ApiKey>, IdentityError> {
    let keys = sqlx::query_as!(
        ApiKey,
        r#"
        select
          id as "id: ApiKeyId", name, role as "role: Role", user_id as "user: UserId", prefix,
          created_at, expires_at, revoked_at, last_used_at
        from identity.api_keys
        order by id desc
        "#
    )
    .fetch_all(conn)
    .await?;
    Ok(keys)
}

/// Ends a key at once and for good; none when no key has this id. One that was revoked stays so.
///
/// # Errors
///
/// When the database refuses.
pub async fn revoke(
    conn: &mut PgConnection,
    id: ApiKeyId,
) -> Result<Option<ApiKey>, IdentityError> {
    let key = sqlx::query_as!(
        ApiKey,
        r#"
        update identity.api_keys
        set revoked_at = coalesce(revoked_at, clock_timestamp())
        where id = $1
        returning
          id as "id: ApiKeyId", name, role as "role: Role", user_id as "user: UserId", prefix,
          created_at, expires_at, revoked_at, last_used_at
        "#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(key)
}

/// Gives a key another secret; the one before holds for `grace` more, and any older one no longer.
/// None when no key has this id, or it was revoked.
///
/// # Errors
///
/// When the database refuses.
pub async fn rotate(
    conn: &mut PgConnection,
    id: ApiKeyId,
    grace: Duration,
) -> Result<Option<(ApiKey, ApiKeySecret)>, IdentityError> {
    let secret = ApiKeySecret::new();
    let key = sqlx::query_as!(
        ApiKey,
        r#"
        update identity.api_keys
        set
          previous_secret_hash = secret_hash,
          previous_expires_at = clock_timestamp() + $4::interval,
          secret_hash = $2,
          prefix = $3
        where id = $1 and revoked_at is null
        returning
          id as "id: ApiKeyId", name, role as "role: Role", user_id as "user: UserId", prefix,
          created_at, expires_at, revoked_at, last_used_at
        "#,
        id.0,
        &secret.hash().0[..],
        secret.prefix(),
        interval(grace),
    )
    .fetch_optional(conn)
    .await?;
    Ok(key.map(|key| (key, secret)))
}

/// Writes down that these keys were used just now, for those of which it is not known yet.
///
/// # Errors
///
/// When the database refuses.
pub async fn note_use(conn: &mut PgConnection, keys: &[ApiKeyId]) -> Result<(), IdentityError> {
    let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    sqlx::query!(
        "
        update identity.api_keys
        set last_used_at = clock_timestamp()
        where id = any ($1)
          and (last_used_at is null or last_used_at <= clock_timestamp() - $2::interval)
        ",
        &ids,
        interval(USE_NOTED_EVERY),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Tells if a use at `now` is worth writing down.
pub(super) fn is_use_to_be_noted(
    last_used_at: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> bool {
    last_used_at.is_none_or(|last| now - last >= USE_NOTED_EVERY)
}
