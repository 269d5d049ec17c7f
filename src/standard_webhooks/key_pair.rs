//! A key pair of ed25519 (RFC 8032), for signatures `v1a`: whoever verifies cannot sign.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

/// The prefix of a signing key as text.
const SIGNING_PREFIX: &str = "whsk_";
/// The prefix of a public key as text.
const PUBLIC_PREFIX: &str = "whpk_";
/// The bytes of a seed, and those of a public key.
const KEY_BYTES: usize = 32;

/// A key to sign with. `Debug` does not show it.
pub struct SigningKey {
    /// Kept, as the pair does not give it back.
    seed: [u8; KEY_BYTES],
    pair: Ed25519KeyPair,
}

/// A key to verify with; anybody may know it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PublicKey([u8; KEY_BYTES]);

/// The text is not a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither a seed of 32 bytes nor a seed and its public key.
    #[error("a signing key is 'whsk_' and the base64 of 32 or 64 bytes of ed25519")]
    NotASigningKey,
    /// Not 32 bytes.
    #[error("a public key is 'whpk_' and the base64 of 32 bytes of ed25519")]
    NotAPublicKey,
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    ///
    /// When the system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut seed = [0; KEY_BYTES];
        getrandom::fill(&mut seed)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed");
        Ok(Self { seed, pair })
    }

    /// The key that verifies what this one signs.
    pub fn public_key(&self) -> PublicKey {
        let public = self.pair.public_key().as_ref();
        PublicKey(public.try_into().expect("public keys of ed25519 have 32 bytes"))
    }

    /// The key itself, `whsk_` and the base64 of the seed and the public key, as libsodium and the
    /// reference implementations write it: to be sealed.
    pub fn reveal(&self) -> String {
        let both = [self.seed, self.public_key().0].concat();
        format!("{SIGNING_PREFIX}{}", STANDARD.encode(both))
    }

    /// The 64 bytes of a signature.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl FromStr for SigningKey {
    type Err = KeyError;

    /// Reads a seed, or a seed and the public key that must belong to it.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let not_a_key = |_| KeyError::NotASigningKey;
        let base64 = text.trim().strip_prefix(SIGNING_PREFIX).ok_or(KeyError::NotASigningKey)?;
        let bytes = STANDARD.decode(base64).map_err(|_| KeyError::NotASigningKey)?;
        let (seed, public) = bytes.split_at_checked(KEY_BYTES).ok_or(KeyError::NotASigningKey)?;
        let pair = match public {
            [] => Ed25519KeyPair::from_seed_unchecked(seed).map_err(not_a_key)?,
            public => Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(not_a_key)?,
        };
        Ok(Self { seed: seed.try_into().map_err(|_| KeyError::NotASigningKey)?, pair })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl PublicKey {
    /// Tells whether the key's owner signed this.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let base64 = text.trim().strip_prefix(PUBLIC_PREFIX).ok_or(KeyError::NotAPublicKey)?;
        let bytes = STANDARD.decode(base64).map_err(|_| KeyError::NotAPublicKey)?;
        Ok(Self(bytes.try_into().map_err(|_| KeyError::NotAPublicKey)?))
    }
}

impl fmt::Display for PublicKey {
    /// `whpk_` and base64.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", STANDARD.encode(self.0))
    }
}
