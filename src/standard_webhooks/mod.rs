//! The Standard Webhooks scheme (<https://www.standardwebhooks.com>, specification 1.0): how a
//! webhook is signed, by us and by others.
//!
//! - [`secret`]: what both sides share, `whsec_…`, for signatures `v1` (HMAC-SHA256).
//! - [`key_pair`]: a key of ours to sign with, `whsk_…`, and the public one that others verify
//!   with, `whpk_…`, for signatures `v1a` (ed25519).
//! - [`signer`]: the signatures of an attempt to send.
//! - [`verifier`]: whether to believe what came.
//!
//! A message has an id that is the same in all attempts, a time that is that of the attempt, and
//! the bytes of its body. What is signed is `{id}.{timestamp}.{body}`, so neither the id nor the
//! timestamp may hold a dot: `a.1` + `2` would pass for `a` + `1.2`.
//!
//! Words for every ring, as [`crate::money`] is: inbound webhooks, deliveries, and the commands
//! that play either side sign and verify by this alone. Only the bytes of the body count, as they
//! are sent or received: to sign what was parsed and written again would let a middleman change
//! what parsing ignores.

pub mod key_pair;
pub mod secret;
pub mod signer;
pub mod verifier;

use std::fmt;

pub use self::key_pair::{PublicKey, SigningKey};
pub use self::secret::{SecretError, WebhookSecret};
pub use self::signer::Signer;
pub use self::verifier::{
    CurrentVerifier, SignatureError, SignatureHeader, SignatureHeaders, Verifier,
};

/// The header with the id of the message.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of the attempt, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures, separated by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// The most bytes of a message's id.
pub const MAX_ID_BYTES: usize = 255;

/// The id of a message, the same in all attempts to send it: 1 to [`MAX_ID_BYTES`] visible ASCII
/// characters without a dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(String);

/// The text is not a [`MessageId`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a message id has 1 to {MAX_ID_BYTES} visible ASCII characters, and no dot")]
pub struct NotAMessageId;

impl MessageId {
    /// Reads an id.
    ///
    /// # Errors
    ///
    /// [`NotAMessageId`].
    pub fn parse(text: &str) -> Result<Self, NotAMessageId> {
        if is_message_id(text) { Ok(Self(text.to_owned())) } else { Err(NotAMessageId) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_message_id(text: &str) -> bool {
    let is_sane = |byte: u8| byte.is_ascii_graphic() && byte != b'.';
    (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(is_sane)
}
