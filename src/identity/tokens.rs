//! Tokens: the JWT that stands for a session.
//!
//! Nothing in a token is believed that could be asked of the database instead: it names its
//! session, and proves by its signature that we made it. Algorithm, issuer and audience are pinned,
//! no other header than `kid` is looked at, and `kid` only ever has to name the key that the
//! session was made with.

use jsonwebtoken::dangerous::insecure_decode;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::credentials::KnownSession;
use super::sessions::Session;
use super::signing_keys::SigningKey;
use super::token_signatures;
use crate::ids::SessionId;

/// The issuer of tokens.
pub const ISSUER: &str = "surety";
/// The audience of tokens.
pub const AUDIENCE: &str = "surety-api";
const ALGORITHM: Algorithm = Algorithm::HS256;
/// Ours have 400 bytes. What is longer is not even decoded.
const MAX_BYTES: usize = 8 * 1024;

/// The claims of a token. All of it is required, and times are whole seconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    /// The user.
    sub: Uuid,
    /// The session.
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// The reason that a token is refused: for our log, never for the client.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The token is too long to be one of ours.
    #[error("the token has more than {MAX_BYTES} bytes")]
    TooLong,
    /// The token is no JWT, lacks a claim, or has one of a wrong type.
    #[error("the token cannot be read")]
    Unreadable(#[source] jsonwebtoken::errors::Error),
    /// The header asks for something else than ours do.
    #[error("the token's header is not one of ours")]
    ForeignHeader,
    /// The signature, the issuer or the audience is not ours.
    #[error("the token cannot be verified")]
    Unverifiable(#[source] jsonwebtoken::errors::Error),
    /// The token belongs to another session, user or key than its session knows.
    #[error("the token does not fit its session")]
    OtherSession,
    /// The token does not hold at this time.
    #[error("the token has expired, or does not hold yet")]
    NotNow,
}

/// Makes the token of a session.
///
/// # Errors
///
/// When the cryptography fails.
pub fn issue(session: &Session, key: &SigningKey) -> Result<String, jsonwebtoken::errors::Error> {
    token_signatures::install();
    let header = Header { kid: Some(key.number.to_string()), ..Header::new(ALGORITHM) };
    let since = session.created_at.unix_timestamp();
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: session.user.0,
        jti: session.id.0,
        iat: since,
        nbf: since,
        exp: session.expires_at.unix_timestamp(),
    };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&key.secret)?)
}

/// A token that was read, but not verified: good for finding its session, and nothing else.
pub struct Unverified<'a> {
    token: &'a str,
    header: Header,
    claims: Claims,
}

impl<'a> Unverified<'a> {
    /// Reads a token.
    ///
    /// # Errors
    ///
    /// When no token of ours looks like that.
    pub fn read(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::TooLong);
        }
        let read = insecure_decode::<Claims>(token).map_err(TokenError::Unreadable)?;
        let (header, claims) = (read.header, read.claims);
        let is_ours = header.alg == ALGORITHM
            && header.typ.as_deref() == Some("JWT")
            // What is critical must be understood, and we understand nothing of the kind (RFC 7515,
            // 4.1.11).
            && header.crit.is_none()
            && !header.extras.inner().contains_key("b64");
        if !is_ours {
            return Err(TokenError::ForeignHeader);
        }
        Ok(Self { token, header, claims })
    }

    /// The session that it claims to stand for.
    pub fn session(&self) -> SessionId {
        SessionId(self.claims.jti)
    }

    /// Checks that it is the token of this session, which was looked up just now.
    ///
    /// # Errors
    ///
    /// When it is not, or not at this time.
    pub fn verify(&self, session: &KnownSession) -> Result<(), TokenError> {
        let key = &session.key;
        if self.header.kid.as_deref() != Some(key.number.to_string().as_str()) {
            return Err(TokenError::OtherSession);
        }
        token_signatures::install();
        let secret = DecodingKey::from_secret(&key.secret).map_err(TokenError::Unverifiable)?;
        jsonwebtoken::decode::<Claims>(self.token, &secret, &validation())
            .map_err(TokenError::Unverifiable)?;
        if self.claims.jti != session.id.0 || self.claims.sub != session.user.0 {
            return Err(TokenError::OtherSession);
        }
        self.holds_at(session.now)
    }

    /// Checks the time by the database's clock, which also dated the token: so no leeway is needed.
    fn holds_at(&self, now: OffsetDateTime) -> Result<(), TokenError> {
        let now = now.unix_timestamp();
        let Claims { iat, nbf, exp, .. } = self.claims;
        match iat <= now && nbf <= now && now < exp {
            true => Ok(()),
            false => Err(TokenError::NotNow),
        }
    }
}

fn validation() -> Validation {
    let mut validation = Validation::new(ALGORITHM);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    // This machine's clock has no say: see `holds_at`.
    validation.leeway = 0;
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}
