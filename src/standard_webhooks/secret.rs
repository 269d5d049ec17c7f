//! The secret that a sender and a receiver of webhooks share, for signatures `v1`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _};
use sha2::Sha256;

/// The prefix of a secret as text.
const PREFIX: &str = "whsec_";
/// The scheme's own bounds for a secret: shorter ones can be guessed, longer ones gain nothing.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// The size of those that are made here: as many bits as the hash has.
const NEW_SECRET_BYTES: usize = 32;

/// One secret shared with the other side. `Debug` does not show it.
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
    /// Fewer than 24 bytes or more than 64.
    #[error("a webhook secret has 24 to 64 bytes, such as: echo whsec_$(openssl rand -base64 32)")]
    WrongLength,
}

impl WebhookSecret {
    /// A new secret of 32 random bytes.
    ///
    /// # Errors
    ///
    /// When the system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = vec![0; NEW_SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Reads secrets that are separated by commas, spaces or ends of lines, as they stand in a
    /// setting or a file; none where there is none.
    ///
    /// # Errors
    ///
    /// [`SecretError`], of the first that is none.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, SecretError> {
        let parts = text.split(|c: char| c == ',' || c.is_whitespace());
        parts.filter(|part| !part.is_empty()).map(str::parse).collect()
    }

    /// The secret itself, `whsec_` and base64: to be shown to its owner once, and sealed.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// The hash, with this secret mixed in already.
    pub(super) fn keyed_hash(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(&self.0).expect("HMAC takes keys of any length")
    }
}

impl FromStr for WebhookSecret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let base64 = text.trim();
        let base64 = base64.strip_prefix(PREFIX).unwrap_or(base64);
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
