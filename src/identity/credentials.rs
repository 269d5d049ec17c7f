//! The owners of tokens and keys, as of now: one statement for however many requests wait.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::api_keys::{SecretHash, is_use_to_be_noted};
use super::signing_keys::SigningKey;
use super::{IdentityError, Role};
use crate::ids::{ApiKeyId, SessionId, UserId};

/// The credential of a request, to be looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Credential {
    /// A token's session: the token is still to be [verified](super::tokens::Unverified::verify).
    Session(SessionId),
    /// An API key.
    ApiKey(SecretHash),
}

/// A credential that holds now.
#[derive(Clone, Debug)]
pub enum KnownCaller {
    /// A session that has neither ended nor expired, of an active user.
    Session(KnownSession),
    /// A key that is neither revoked nor expired, and acts for an active user or for none.
    ApiKey(KnownApiKey),
}

/// A session that holds now.
#[derive(Clone, Debug)]
pub struct KnownSession {
    /// The session.
    pub id: SessionId,
    /// The user of the session.
    pub user: UserId,
    /// The role of the user now.
    pub role: Role,
    /// The key that the session's token must be signed with.
    pub(super) key: SigningKey,
    /// The database's time.
    pub(super) now: OffsetDateTime,
}

/// An API key that holds now.
#[derive(Clone, Debug)]
pub struct KnownApiKey {
    /// The key.
    pub id: ApiKeyId,
    /// The role of the key.
    pub role: Role,
    /// Whom it acts for.
    pub user: Option<UserId>,
    /// The use is worth [writing down](super::api_keys::note_use).
    pub is_use_to_be_noted: bool,
}

/// Looks all of these up by one statement; what does not hold now is left out.
///
/// # Errors
///
/// When the database refuses.
pub async fn find_many(
    conn: &mut PgConnection,
    credentials: &[Credential],
) -> Result<Vec<(Credential, KnownCaller)>, IdentityError> {
    let (mut sessions, mut hashes) = (Vec::<Uuid>::new(), Vec::<Vec<u8>>::new());
    for credential in credentials {
        match credential {
            Credential::Session(id) => sessions.push(id.0),
            Credential::ApiKey(hash) => hashes.push(hash.0.to_vec()),
        }
    }
    let rows = sqlx::query_as!(
        Row,
        r#"
        select
          session.id as "session?: SessionId", null::uuid as "api_key?: ApiKeyId",
          null::bytea as "hash?", account.id as "user?: UserId", account.role as "role!: Role",
          key.number as "key_number?", key.secret as "key_secret?",
          null::timestamptz as "last_used_at?", clock_timestamp() as "now!"
        from identity.sessions as session
        join identity.users as account on account.id = session.user_id
        join identity.signing_keys as key on key.number = session.signing_key
        where session.id = any ($1)
          and session.ended_at is null
          and session.expires_at > clock_timestamp()
          and account.status = 'active'
          and key.retired_at is null
        union all
        select
          null, api_key.id, asked.hash, api_key.user_id, api_key.role,
          null, null, api_key.last_used_at, clock_timestamp()
        from unnest($2::bytea[]) as asked (hash)
        join identity.api_keys as api_key
          on api_key.secret_hash = asked.hash
            or (
              api_key.previous_secret_hash = asked.hash
              and api_key.previous_expires_at > clock_timestamp()
            )
        left join identity.users as account on account.id = api_key.user_id
        where api_key.revoked_at is null
          and (api_key.expires_at is null or api_key.expires_at > clock_timestamp())
          and (api_key.user_id is null or account.status = 'active')
        "#,
        &sessions,
        &hashes,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter_map(Row::known).collect())
}

/// A session or a key, as the one statement gives it.
struct Row {
    session: Option<SessionId>,
    api_key: Option<ApiKeyId>,
    hash: Option<Vec<u8>>,
    user: Option<UserId>,
    role: Role,
    key_number: Option<i64>,
    key_secret: Option<Vec<u8>>,
    last_used_at: Option<OffsetDateTime>,
    now: OffsetDateTime,
}

impl Row {
    fn known(self) -> Option<(Credential, KnownCaller)> {
        if let Some(id) = self.session {
            let key = SigningKey { number: self.key_number?, secret: self.key_secret? };
            let (user, role, now) = (self.user?, self.role, self.now);
            let known = KnownSession { id, user, role, key, now };
            return Some((Credential::Session(id), KnownCaller::Session(known)));
        }
        let hash = SecretHash(self.hash?.try_into().ok()?);
        let known = KnownApiKey {
            id: self.api_key?,
            role: self.role,
            user: self.user,
            is_use_to_be_noted: is_use_to_be_noted(self.last_used_at, self.now),
        };
        Some((Credential::ApiKey(hash), KnownCaller::ApiKey(known)))
    }
}
