//! Signatures of an attempt to send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac as _;

use super::{MessageId, SigningKey, WebhookSecret};

/// Signs with every active secret, so that the receiver can change from one to the next, and with
/// a key of ours if there is one. `Debug` shows neither.
#[derive(Debug)]
pub struct Signer {
    secrets: Vec<WebhookSecret>,
    key: Option<SigningKey>,
}

impl Signer {
    /// A signer with these secrets. Without any, and without a key, what it signs is empty.
    pub fn new(secrets: Vec<WebhookSecret>) -> Self {
        Self { secrets, key: None }
    }

    /// The same signer, that adds a `v1a` signature by this key.
    pub fn with_key(self, key: SigningKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The value of `webhook-signature` for an attempt at this second since 1970: `v1,` and base64
    /// for each secret in their order, then `v1a,` and base64, separated by spaces.
    pub fn sign(&self, id: &MessageId, unix_secs: u64, body: &[u8]) -> String {
        let head = format!("{id}.{unix_secs}.");
        let mut signatures = Vec::with_capacity(self.secrets.len() + 1);
        for secret in &self.secrets {
            let hash = secret.keyed_hash().chain_update(head.as_bytes()).chain_update(body);
            signatures.push(format!("v1,{}", STANDARD.encode(hash.finalize().into_bytes())));
        }
        if let Some(key) = &self.key {
            let signature = key.sign(&[head.as_bytes(), body].concat());
            signatures.push(format!("v1a,{}", STANDARD.encode(signature)));
        }
        signatures.join(" ")
    }
}
