//! Signing in with a password, for the API and for the pages alike.

use sqlx::PgPool;

use super::client_address::ClientAddress;
use super::database::{in_transaction, within_seconds};
use super::rate_limits::{LimitClass, RateLimits};
use crate::http::wire::problem::{Code, Problem};
use crate::identity::passwords::{Hasher, Password};
use crate::identity::sessions::Session;
use crate::identity::{Email, sessions, signing_keys, tokens, users};
use crate::ids::SessionId;

/// The parts that a sign-in needs.
#[derive(Clone)]
pub struct PasswordSignIns {
    /// The database of users and sessions.
    pub pool: PgPool,
    /// Compares passwords.
    pub hasher: Hasher,
    /// Knows how often may be tried.
    pub rate_limits: RateLimits,
}

/// A session, and the token that stands for it.
pub struct SignedIn {
    /// The session.
    pub session: Session,
    /// Its token, which is a secret.
    pub token: String,
}

impl PasswordSignIns {
    /// Starts a session. Attempts are limited per address, and per account and address together:
    /// whoever guesses from elsewhere uses up nothing of the owner's.
    ///
    /// The answer is the same, and takes as long, whether the address is unknown, the password
    /// wrong, or the user may not sign in.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidCredentials`], [`Code::RateLimited`], [`Code::Unavailable`] or
    /// [`Code::Overloaded`].
    pub async fn start(
        &self,
        address: &ClientAddress,
        email: &Email,
        password: Password,
    ) -> Result<SignedIn, Problem> {
        self.rate_limits.admit(LimitClass::LoginByAddress, &address.subject()).await?;
        let guesses = format!("email:{email} {}", address.subject());
        self.rate_limits.admit(LimitClass::LoginByAccount, &guesses).await?;

        let candidate = within_seconds(&self.pool, async |conn| {
            Ok(users::find_sign_in_candidate(conn, email).await?)
        });
        let candidate = candidate.await?;
        let hash = candidate.as_ref().map(|it| &it.password_hash);
        let is_right = self.hasher.verify(password, hash).await.map_err(Problem::from)?;
        let candidate = candidate.filter(|_| is_right);
        let candidate = candidate.ok_or_else(|| Problem::new(Code::InvalidCredentials))?;

        let started = in_transaction(&self.pool, async |conn| {
            let key = signing_keys::newest(conn).await?;
            let (id, hash) = (candidate.id, &candidate.password_hash);
            let session = sessions::start(conn, id, hash, &key).await?;
            Ok(session.map(|session| (session, key)))
        });
        let (session, key) =
            started.await?.ok_or_else(|| Problem::new(Code::InvalidCredentials))?;
        let token = tokens::issue(&session, &key)
            .map_err(|error| Problem::new(Code::InternalError).cause(error))?;
        Ok(SignedIn { session, token })
    }

    /// Ends a session, on all nodes at once.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`].
    pub async fn end(&self, session: SessionId) -> Result<(), Problem> {
        in_transaction(&self.pool, async |conn| Ok(sessions::end(conn, session).await?)).await
    }
}
