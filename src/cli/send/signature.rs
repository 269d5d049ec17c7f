//! Signs as a provider does, by Standard Webhooks.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The prefix of a secret in base64.
const SECRET_PREFIX: &str = "whsec_";

/// The headers that prove who sent a body, and when.
pub(super) struct Signature {
    /// Unix seconds, as signed.
    pub(super) timestamp: String,
    /// `v1,` and the base64 of the HMAC.
    pub(super) value: String,
}

/// A secret shared with the receiver.
#[derive(Clone)]
pub struct Signer {
    key: Vec<u8>,
}

/// A text that is no secret to sign with.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    /// The text is empty.
    #[error("the webhook secret is empty (expected whsec_ and base64, as providers show it)")]
    Empty,
    /// The text is not base64.
    #[error("the webhook secret is not base64 (expected whsec_ and base64, as providers show it)")]
    NotBase64,
}

impl Signer {
    /// Reads a secret as providers show it: base64, with or without `whsec_` in front.
    ///
    /// Of several, written as the server takes them during a rotation, the first one signs.
    pub(super) fn parse(secrets: &str) -> Result<Self, SecretError> {
        let mut each = secrets.split([',', ' ', '\n']).filter(|secret| !secret.is_empty());
        let first = each.next().ok_or(SecretError::Empty)?;
        let encoded = first.strip_prefix(SECRET_PREFIX).unwrap_or(first);
        Ok(Self { key: BASE64_STANDARD.decode(encoded).map_err(|_| SecretError::NotBase64)? })
    }

    /// Signs one attempt to send `body`: the id is the same over all attempts, the time is now.
    pub(super) fn sign(&self, webhook_id: &str, body: &[u8]) -> Signature {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.sign_at(now.as_secs(), webhook_id, body)
    }

    fn sign_at(&self, unix_secs: u64, webhook_id: &str, body: &[u8]) -> Signature {
        let timestamp = unix_secs.to_string();
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        for part in [webhook_id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        let value = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        Signature { timestamp, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_standard() {
        // The example of the Standard Webhooks specification.
        let signer = Signer::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = signer.sign_at(1_614_265_330, "msg_p5jXN8AQM9LWM0D4loKWxJek", body);
        assert_eq!(signature.value, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(signature.timestamp, "1614265330");
    }

    #[test]
    fn the_first_of_several_secrets_signs() {
        let both = Signer::parse("whsec_AAAA, whsec_BBBB").unwrap();
        assert_eq!(both.key, Signer::parse("AAAA").unwrap().key);
    }

    #[test]
    fn a_secret_that_is_not_base64_is_refused() {
        assert!(Signer::parse("whsec_not-base64!").is_err());
        assert!(Signer::parse("\n").is_err());
    }
}
