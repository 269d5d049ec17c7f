//! Signatures of inbound webhooks: verification by the Standard Webhooks scheme.
//!
//! What is signed is `id.timestamp.body`, with the bytes of the body as received: to sign what was
//! parsed and written again would let a middleman change what parsing ignores. Every failure is
//! answered by the same words; only our log knows which one it was.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseFromParameter, ParseResult, Type};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use crate::http::wire::problem::{Code, Problem};

/// The most that the sender's clock may differ from ours, either way.
pub const TOLERANCE_SECS: i64 = 300;
/// During a rotation a sender signs with two secrets; ten leaves room, and bounds the work of a
/// forged header.
const MAX_SIGNATURES: usize = 10;
/// The scheme's own bounds for a secret: shorter ones can be guessed, longer ones gain nothing.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const MAX_ID_BYTES: usize = 255;
/// Seconds since 1970 have ten digits until 2286.
const MAX_TIMESTAMP_DIGITS: usize = 11;

/// One secret shared with a sender. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

/// The text is not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SecretError {
    /// The text is not base64, with or without `whsec_` before it.
    #[error(
        "a webhook secret is 'whsec_' and base64, such as: echo whsec_$(openssl rand -base64 32)"
    )]
    NotBase64,
    /// The variable or file that should hold secrets holds none.
    #[error(
        "APP_WEBHOOK_SECRETS, or the file that APP_WEBHOOK_SECRETS_FILE names, holds no secret: \
         unset both, or make one with: echo whsec_$(openssl rand -base64 32)"
    )]
    NoneGiven,
    /// Fewer than 24 bytes or more than 64.
    #[error("a webhook secret has 24 to 64 bytes, such as: echo whsec_$(openssl rand -base64 32)")]
    WrongLength,
}

impl FromStr for WebhookSecret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let base64 = text.trim();
        let base64 = base64.strip_prefix("whsec_").unwrap_or(base64);
        let bytes = STANDARD.decode(base64).map_err(|_| SecretError::NotBase64)?;
        if !SECRET_BYTES.contains(&bytes.len()) {
            return Err(SecretError::WrongLength);
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

/// The headers that sign an inbound webhook, as they came.
#[derive(Debug)]
pub struct SignatureHeaders {
    /// `webhook-id`: the sender's id of the message.
    pub id: SignatureHeader,
    /// `webhook-timestamp`: seconds since 1970 at which it was sent.
    pub timestamp: SignatureHeader,
    /// `webhook-signature`: `v1,` and base64, several separated by spaces.
    pub signature: SignatureHeader,
}

/// The reason that an inbound webhook is not believed. For our log only.
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
    /// The timestamp is more than [`TOLERANCE_SECS`] in the past.
    #[error("webhook-timestamp is too old")]
    TooOld,
    /// The timestamp is more than [`TOLERANCE_SECS`] in the future.
    #[error("webhook-timestamp is in the future")]
    TooNew,
    /// More than a handful of signatures.
    #[error("webhook-signature holds too many signatures")]
    TooMany,
    /// No signature fits a secret.
    #[error("no signature fits")]
    NoMatch,
}

impl From<SignatureError> for Problem {
    fn from(error: SignatureError) -> Self {
        tracing::info!("inbound webhook refused: {error}");
        Problem::new(Code::InvalidSignature)
    }
}

/// Verifies signatures against the secrets of this server; with none configured, believes
/// everything.
#[derive(Clone)]
pub struct Verifier {
    /// Each secret, already mixed into the hash.
    keys: Vec<Hmac<Sha256>>,
}

impl Verifier {
    /// Several secrets are valid at once, so that a sender can change from one to the next.
    pub fn new(secrets: &[WebhookSecret]) -> Self {
        let key = |secret: &WebhookSecret| {
            Hmac::new_from_slice(&secret.0).expect("HMAC takes keys of any length")
        };
        Self { keys: secrets.iter().map(key).collect() }
    }

    /// Tells if senders need not sign, because no secret is set.
    pub fn is_open(&self) -> bool {
        self.keys.is_empty()
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
        check_id(id)?;
        check_timestamp(timestamp, now_unix_secs)?;
        let given = read_signatures(signatures)?;
        // Every key against every signature, whatever was found already: the time tells nothing.
        let mut fits = Choice::from(0);
        for key in &self.keys {
            let mut mac = key.clone();
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                mac.update(part);
            }
            let expected = mac.finalize().into_bytes();
            for signature in &given {
                fits |= expected.ct_eq(signature);
            }
        }
        if bool::from(fits) { Ok(()) } else { Err(SignatureError::NoMatch) }
    }
}

fn check_id(id: &str) -> Result<(), SignatureError> {
    let is_sane = |byte: u8| byte.is_ascii_graphic() && byte != b'.';
    if id.is_empty() || id.len() > MAX_ID_BYTES || !id.bytes().all(is_sane) {
        return Err(SignatureError::MalformedId);
    }
    Ok(())
}

fn check_timestamp(timestamp: &str, now_unix_secs: i64) -> Result<(), SignatureError> {
    let is_number = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || timestamp.len() > MAX_TIMESTAMP_DIGITS {
        return Err(SignatureError::MalformedTimestamp);
    }
    let sent: i64 = timestamp.parse().map_err(|_| SignatureError::MalformedTimestamp)?;
    match now_unix_secs.saturating_sub(sent) {
        age_secs if age_secs > TOLERANCE_SECS => Err(SignatureError::TooOld),
        age_secs if age_secs < -TOLERANCE_SECS => Err(SignatureError::TooNew),
        _ => Ok(()),
    }
}

/// The 32-byte `v1` signatures of the header; other versions and lengths are passed over, as the
/// scheme asks.
fn read_signatures(header: &str) -> Result<Vec<[u8; 32]>, SignatureError> {
    let mut given = Vec::with_capacity(1);
    for (index, versioned) in header.split(' ').enumerate() {
        if index >= MAX_SIGNATURES {
            return Err(SignatureError::TooMany);
        }
        let decoded = versioned.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
        if let Some(signature) = decoded.and_then(|bytes| bytes.try_into().ok()) {
            given.push(signature);
        }
    }
    Ok(given)
}

/// A header that must come exactly once, and is a parameter of the operation in the document.
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
    fn once(&self) -> Result<&str, SignatureError> {
        match self {
            Self::Once(value) => Ok(value),
            Self::Missing => Err(SignatureError::Missing),
            Self::Repeated => Err(SignatureError::Repeated),
        }
    }
}

impl Type for SignatureHeader {
    const IS_REQUIRED: bool = false;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "string".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromParameter for SignatureHeader {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Ok(Self::Once(value.to_owned()))
    }

    fn parse_from_parameters<I: IntoIterator<Item = A>, A: AsRef<str>>(
        values: I,
    ) -> ParseResult<Self> {
        let mut values = values.into_iter();
        Ok(match (values.next(), values.next()) {
            (None, _) => Self::Missing,
            (Some(value), None) => Self::Once(value.as_ref().to_owned()),
            (Some(_), Some(_)) => Self::Repeated,
        })
    }
}
