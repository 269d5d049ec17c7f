//! Verification of what came.
//!
//! A caller that answers strangers answers every failure by the same words; only its log knows
//! which one it was.

use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};

use super::{PublicKey, WebhookSecret, is_message_id};

/// The most that the sender's clock may differ from ours, either way.
pub const TOLERANCE_SECS: i64 = 300;
/// During a rotation a sender signs with two secrets; ten leaves room, and bounds the work of a
/// forged header.
const MAX_SIGNATURES: usize = 10;
/// Seconds since 1970 have ten digits until 2286.
const MAX_TIMESTAMP_DIGITS: usize = 11;

/// The headers that sign a webhook, as they came.
#[derive(Debug)]
pub struct SignatureHeaders {
    /// `webhook-id`: the sender's id of the message.
    pub id: SignatureHeader,
    /// `webhook-timestamp`: seconds since 1970 at which it was sent.
    pub timestamp: SignatureHeader,
    /// `webhook-signature`: `v1,` and base64, several separated by spaces.
    pub signature: SignatureHeader,
}

/// The reason that a webhook is not believed. For our log only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignatureError {
    /// A header is missing.
    #[error("a signature header is missing")]
    Missing,
    /// A header came twice, so two readers could read two things.
    #[error("a signature header came more than once")]
    Repeated,
    /// The id is empty, too long, or holds a dot, which would let `a.1` + `2` pass for `a` + `1.2`.
    #[error("webhook-id is malformed")]
    MalformedId,
    /// The timestamp is not a plain number of seconds.
    #[error("webhook-timestamp is malformed")]
    MalformedTimestamp,
    /// The timestamp is further in the past than is tolerated.
    #[error("webhook-timestamp is too old")]
    TooOld,
    /// The timestamp is further in the future than is tolerated.
    #[error("webhook-timestamp is in the future")]
    TooNew,
    /// More than a handful of signatures.
    #[error("webhook-signature holds too many signatures")]
    TooMany,
    /// No signature fits a secret.
    #[error("no signature fits")]
    NoMatch,
}

/// Verifies signatures against secrets and public keys; with none of either, believes everything.
#[derive(Clone)]
pub struct Verifier {
    /// Each secret, already mixed into the hash.
    hashes: Vec<Hmac<Sha256>>,
    public_keys: Vec<PublicKey>,
    tolerance_secs: i64,
}

/// A verifier that can be replaced while it is used. Clones share it.
#[derive(Clone)]
pub struct CurrentVerifier(Arc<RwLock<Arc<Verifier>>>);

impl CurrentVerifier {
    /// Begins with this one.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(verifier))))
    }

    /// The verifier of this moment. Who has it may finish with it.
    #[must_use]
    pub fn now(&self) -> Arc<Verifier> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes this one from now on.
    pub fn replace(&self, verifier: Verifier) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(verifier);
    }
}

impl Verifier {
    /// Several secrets are valid at once, so that a sender can change from one to the next.
    pub fn new(secrets: &[WebhookSecret]) -> Self {
        let hashes = secrets.iter().map(WebhookSecret::keyed_hash).collect();
        Self { hashes, public_keys: Vec::new(), tolerance_secs: TOLERANCE_SECS }
    }

    /// The same verifier, that takes `v1a` signatures by these keys, too.
    pub fn with_public_keys(self, public_keys: Vec<PublicKey>) -> Self {
        Self { public_keys, ..self }
    }

    /// The same verifier, for clocks that differ from ours by other than [`TOLERANCE_SECS`].
    pub fn with_tolerance_secs(self, tolerance_secs: i64) -> Self {
        Self { tolerance_secs, ..self }
    }

    /// Tells if senders need not sign, because there is nothing to verify with.
    pub fn is_open(&self) -> bool {
        self.hashes.is_empty() && self.public_keys.is_empty()
    }

    /// Fails unless one of the signatures is by one of the secrets, over these very bytes, and
    /// fresh.
    ///
    /// # Errors
    ///
    /// [`SignatureError`].
    pub fn verify(
        &self,
        headers: &SignatureHeaders,
        body: &[u8],
        now_unix_secs: i64,
    ) -> Result<(), SignatureError> {
        if self.is_open() {
            return Ok(());
        }
        let id = headers.id.once()?;
        let timestamp = headers.timestamp.once()?;
        let signatures = headers.signature.once()?;
        if !is_message_id(id) {
            return Err(SignatureError::MalformedId);
        }
        check_timestamp(timestamp, now_unix_secs, self.tolerance_secs)?;
        let given = read_signatures(signatures)?;
        // Every secret against every signature, whatever was found already: the time tells nothing.
        let mut fits = Choice::from(0);
        for hash in &self.hashes {
            let mut hash = hash.clone();
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                hash.update(part);
            }
            let expected = hash.finalize().into_bytes();
            for signature in &given.symmetric {
                fits |= expected.ct_eq(signature);
            }
        }
        if bool::from(fits) || self.is_signed_by_a_key(&given, id, timestamp, body) {
            return Ok(());
        }
        Err(SignatureError::NoMatch)
    }

    /// Tells whether a `v1a` signature is by one of the public keys, about which nothing is secret.
    fn is_signed_by_a_key(&self, given: &Given, id: &str, timestamp: &str, body: &[u8]) -> bool {
        if self.public_keys.is_empty() || given.asymmetric.is_empty() {
            return false;
        }
        let message = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
        let is_signed_by = |key: &PublicKey| {
            given.asymmetric.iter().any(|signature| key.verifies(&message, signature))
        };
        self.public_keys.iter().any(is_signed_by)
    }
}

fn check_timestamp(
    timestamp: &str,
    now_unix_secs: i64,
    tolerance_secs: i64,
) -> Result<(), SignatureError> {
    let is_number = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || timestamp.len() > MAX_TIMESTAMP_DIGITS {
        return Err(SignatureError::MalformedTimestamp);
    }
    let sent: i64 = timestamp.parse().map_err(|_| SignatureError::MalformedTimestamp)?;
    match now_unix_secs.saturating_sub(sent) {
        age_secs if age_secs > tolerance_secs => Err(SignatureError::TooOld),
        age_secs if age_secs < -tolerance_secs => Err(SignatureError::TooNew),
        _ => Ok(()),
    }
}

/// Signatures of a header.
#[derive(Default)]
struct Given {
    /// Those of `v1`.
    symmetric: Vec<[u8; 32]>,
    /// Those of `v1a`.
    asymmetric: Vec<[u8; 64]>,
}

/// The signatures of the header; other versions and lengths are passed over, as the scheme asks.
fn read_signatures(header: &str) -> Result<Given, SignatureError> {
    let mut given = Given::default();
    for (index, versioned) in header.split(' ').enumerate() {
        if index >= MAX_SIGNATURES {
            return Err(SignatureError::TooMany);
        }
        let Some((version, text)) = versioned.split_once(',') else { continue };
        let Ok(bytes) = STANDARD.decode(text) else { continue };
        match version {
            "v1" => given.symmetric.extend(<[u8; 32]>::try_from(bytes).ok()),
            "v1a" => given.asymmetric.extend(<[u8; 64]>::try_from(bytes).ok()),
            _ => {}
        }
    }
    Ok(given)
}

/// A header that must come exactly once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SignatureHeader {
    /// The header did not come.
    Missing,
    /// The header came once.
    Once(String),
    /// The header came more than once.
    Repeated,
}

impl SignatureHeader {
    /// The value of a header that came once.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Missing`], [`SignatureError::Repeated`].
    pub fn once(&self) -> Result<&str, SignatureError> {
        match self {
            Self::Once(value) => Ok(value),
            Self::Missing => Err(SignatureError::Missing),
            Self::Repeated => Err(SignatureError::Repeated),
        }
    }
}
