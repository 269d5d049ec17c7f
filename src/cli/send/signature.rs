//! Signs as a provider does, by Standard Webhooks.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::standard_webhooks::key_pair::KeyError;
use crate::standard_webhooks::{self, MessageId, SecretError, WebhookSecret};

/// The headers that prove who sent a body, and when.
pub(super) struct Signature {
    /// Unix seconds, as signed.
    pub(super) timestamp: String,
    /// `v1,` and the base64 of the HMAC.
    pub(super) value: String,
}

/// A secret shared with the receiver.
#[derive(Debug)]
pub struct Signer(standard_webhooks::Signer);

/// A text that is no secret to sign with.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignerError {
    /// The text is empty.
    #[error("the webhook secret is empty (expected whsec_ and base64, as providers show it)")]
    Empty,
    /// One of the secrets is none.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The signing key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Signer {
    /// Reads a secret as providers show it: base64, with or without `whsec_` in front.
    ///
    /// Of several, written as the server takes them during a rotation, the first one signs.
    pub(super) fn parse(secrets: &str) -> Result<Self, SignerError> {
        let mut secrets = WebhookSecret::parse_all(secrets)?.into_iter();
        let first = secrets.next().ok_or(SignerError::Empty)?;
        Ok(Self(standard_webhooks::Signer::new(vec![first])))
    }

    /// Reads what there is of secrets and of a signing key; `None` without either.
    pub(super) fn of(
        secrets: Option<&str>,
        key: Option<&str>,
    ) -> Result<Option<Self>, SignerError> {
        let signer = secrets.map(Self::parse).transpose()?;
        let Some(key) = key else { return Ok(signer) };
        let Self(signer) =
            signer.unwrap_or_else(|| Self(standard_webhooks::Signer::new(Vec::new())));
        Ok(Some(Self(signer.with_key(key.parse()?))))
    }

    /// Signs one attempt to send `body`: the id is the same over all attempts, the time is now.
    pub(super) fn sign(&self, webhook_id: &str, body: &[u8]) -> Signature {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.sign_at(now.as_secs(), webhook_id, body)
    }

    fn sign_at(&self, unix_secs: u64, webhook_id: &str, body: &[u8]) -> Signature {
        let id = MessageId::parse(webhook_id).expect("it is made of letters, digits and '_'");
        Signature { timestamp: unix_secs.to_string(), value: self.0.sign(&id, unix_secs, body) }
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
        let sign = |text: &str| Signer::parse(text).unwrap().sign_at(1, "msg_1", b"{}").value;
        let (first, second) = (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "c2Vjb25kIHNlY3JldCBmb3IgdGhlIHJvdGF0aW9uIQ==",
        );
        assert_eq!(sign(&format!("{first}, {second}")), sign(first));
        assert_ne!(sign(first), sign(second));
    }

    #[test]
    fn a_secret_that_is_not_base64_is_refused() {
        assert!(Signer::parse("whsec_not-base64!").is_err());
        assert!(Signer::parse("\n").is_err());
    }
}
