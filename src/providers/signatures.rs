//! Signatures of providers: one verifier for each scheme, over the bytes as they came.
//!
//! Every secret is tried against every signature, whatever was found already, and compared in
//! constant time. A caller answers every failure by the same words; only the log and the list of
//! rejections know which one it was.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq as _};

use super::adyen;
use crate::standard_webhooks::{
    ID_HEADER, SIGNATURE_HEADER, SignatureError, SignatureHeader, SignatureHeaders,
    TIMESTAMP_HEADER, Verifier, WebhookSecret,
};

/// The header of Stripe's signatures.
const STRIPE_HEADER: &str = "stripe-signature";
/// During a rotation a sender signs with two secrets; ten leaves room, and bounds the work of a
/// forged header.
const MAX_SIGNATURES: usize = 10;
/// Seconds since 1970 have ten digits until 2286.
const MAX_TIMESTAMP_DIGITS: usize = 11;

/// Verifies the deliveries of one source. `Debug` does not show its secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceVerifier {
    scheme: Scheme,
    secrets: Vec<Secret>,
    tolerance_secs: i64,
}

/// A key of HMAC.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The way in which a source signs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    /// Stripe: `t=…,v1=…` over `{t}.{body}`.
    Stripe,
    /// Adyen's standard webhooks: over eight fields, in the event.
    Adyen,
    /// One header with an HMAC.
    Plain(PlainHmac),
    /// Standard Webhooks, which keeps its secrets itself.
    Standard(StandardVerifier),
}

/// [`Verifier`] with its secrets, which `Debug` does not show.
#[derive(Clone)]
pub(super) struct StandardVerifier {
    verifier: Verifier,
    secrets: Vec<WebhookSecret>,
}

impl StandardVerifier {
    pub(super) fn new(secrets: Vec<WebhookSecret>) -> Self {
        Self { verifier: Verifier::new(&secrets), secrets }
    }
}

impl PartialEq for StandardVerifier {
    fn eq(&self, other: &Self) -> bool {
        self.secrets == other.secrets
    }
}

impl Eq for StandardVerifier {}

impl fmt::Debug for StandardVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StandardVerifier(..)")
    }
}

/// An HMAC in a header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PlainHmac {
    /// The header, in lower case.
    pub(super) header: String,
    /// The text before the signature in the header.
    pub(super) prefix: String,
    /// The form of the signature.
    pub(super) encoding: Encoding,
    /// The hash.
    pub(super) hash: Hash,
    /// The header with the seconds since 1970 at which it was sent, if it is signed.
    pub(super) timestamp_header: Option<String>,
    /// The text that is signed, in parts.
    pub(super) signed: Vec<Part>,
}

/// The form of bytes as text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    /// Hexadecimal, in either case.
    Hex,
    /// Base64 with padding.
    Base64,
}

impl Encoding {
    /// The bytes of a text.
    pub(super) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => STANDARD.decode(text).ok(),
        }
    }
}

/// The hash of an HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// A part of what is signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// These very characters.
    Text(String),
    /// The timestamp, as it came.
    Timestamp,
    /// The body, as it came.
    Body,
}

/// The reason that a delivery is not believed. For the log and for operators only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unverified {
    /// The signature, or what belongs to it, is missing.
    #[error("the signature, or the header with its time, is missing")]
    Missing,
    /// A header came twice, so two readers could read two things.
    #[error("a header of the signature came more than once")]
    Repeated,
    /// The signature, or what is signed, does not have the form of the scheme.
    #[error("the signature, or what is signed, does not have the form of the scheme")]
    Malformed,
    /// The body, in which the signature should be, is not JSON.
    #[error("the body, in which the signature should be, is not JSON")]
    Unreadable,
    /// The signature is older than the source's tolerance.
    #[error("the signature is too old")]
    TooOld,
    /// The signature is further in the future than the source's tolerance.
    #[error("the signature is from the future")]
    TooNew,
    /// More than a handful of signatures, or more than one event.
    #[error("there are too many signatures or events")]
    TooMany,
    /// No signature fits a secret.
    #[error("no signature fits a secret of this source")]
    NoMatch,
}

impl Unverified {
    /// The stable name of the reason.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "signature-missing",
            Self::Repeated => "signature-repeated",
            Self::Malformed => "signature-malformed",
            Self::Unreadable => "body-unreadable",
            Self::TooOld => "signature-too-old",
            Self::TooNew => "signature-too-new",
            Self::TooMany => "signatures-too-many",
            Self::NoMatch => "signature-mismatch",
        }
    }
}

impl From<SignatureError> for Unverified {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Missing => Self::Missing,
            SignatureError::Repeated => Self::Repeated,
            SignatureError::MalformedId | SignatureError::MalformedTimestamp => Self::Malformed,
            SignatureError::TooOld => Self::TooOld,
            SignatureError::TooNew => Self::TooNew,
            SignatureError::TooMany => Self::TooMany,
            SignatureError::NoMatch => Self::NoMatch,
        }
    }
}

impl SourceVerifier {
    pub(super) fn new(scheme: Scheme, secrets: Vec<Secret>, tolerance_secs: i64) -> Self {
        Self { scheme, secrets, tolerance_secs }
    }

    /// The name of the scheme by which a request should have shown its sender.
    #[must_use]
    pub const fn challenge(&self) -> &'static str {
        match self.scheme {
            Scheme::Stripe => "Stripe-Signature",
            Scheme::Adyen => "Adyen-HMAC",
            Scheme::Plain(_) => "HMAC",
            Scheme::Standard(_) => "Standard-Webhooks",
        }
    }

    /// Fails unless one of the signatures is by one of the secrets, over these very bytes, and
    /// fresh where the scheme signs a time. `header` gives the header of a name in lower case.
    ///
    /// # Errors
    ///
    /// [`Unverified`].
    pub fn verify(
        &self,
        header: impl Fn(&str) -> SignatureHeader,
        body: &[u8],
        now_unix_secs: i64,
    ) -> Result<(), Unverified> {
        match &self.scheme {
            Scheme::Stripe => {
                let header = header(STRIPE_HEADER);
                let (timestamp, given) = read_stripe(header.once()?)?;
                self.check_time(timestamp, now_unix_secs)?;
                self.compare(Hash::Sha256, &[timestamp.as_bytes(), b".", body], &given)
            }
            Scheme::Adyen => {
                let (text, signature) = adyen::signed_text(body)?;
                let given = Encoding::Base64.decode(&signature).ok_or(Unverified::Malformed)?;
                self.compare(Hash::Sha256, &[text.as_bytes()], &[given])
            }
            Scheme::Plain(plain) => self.verify_plain(plain, header, body, now_unix_secs),
            Scheme::Standard(StandardVerifier { verifier, .. }) => {
                let headers = SignatureHeaders {
                    id: header(ID_HEADER),
                    timestamp: header(TIMESTAMP_HEADER),
                    signature: header(SIGNATURE_HEADER),
                };
                let within = verifier.clone().with_tolerance_secs(self.tolerance_secs);
                Ok(within.verify(&headers, body, now_unix_secs)?)
            }
        }
    }

    fn verify_plain(
        &self,
        plain: &PlainHmac,
        header: impl Fn(&str) -> SignatureHeader,
        body: &[u8],
        now_unix_secs: i64,
    ) -> Result<(), Unverified> {
        let signature = header(&plain.header);
        let signature = signature.once()?.strip_prefix(&plain.prefix);
        let given = signature.and_then(|it| plain.encoding.decode(it));
        let given = given.ok_or(Unverified::Malformed)?;
        let timestamp = match &plain.timestamp_header {
            None => String::new(),
            Some(name) => {
                let timestamp = header(name).once()?.to_owned();
                self.check_time(&timestamp, now_unix_secs)?;
                timestamp
            }
        };
        let parts = plain.signed.iter().map(|part| match part {
            Part::Text(text) => text.as_bytes(),
            Part::Timestamp => timestamp.as_bytes(),
            Part::Body => body,
        });
        let parts: Vec<&[u8]> = parts.collect();
        self.compare(plain.hash, &parts, &[given])
    }

    fn check_time(&self, timestamp: &str, now_unix_secs: i64) -> Result<(), Unverified> {
        let is_number = !timestamp.is_empty() && timestamp.bytes().all(|it| it.is_ascii_digit());
        if !is_number || timestamp.len() > MAX_TIMESTAMP_DIGITS {
            return Err(Unverified::Malformed);
        }
        let sent: i64 = timestamp.parse().map_err(|_| Unverified::Malformed)?;
        match now_unix_secs.saturating_sub(sent) {
            age_secs if age_secs > self.tolerance_secs => Err(Unverified::TooOld),
            age_secs if age_secs < -self.tolerance_secs => Err(Unverified::TooNew),
            _ => Ok(()),
        }
    }

    fn compare(&self, hash: Hash, parts: &[&[u8]], given: &[Vec<u8>]) -> Result<(), Unverified> {
        let mut fits = Choice::from(0);
        for secret in &self.secrets {
            let expected = hash.mac(&secret.0, parts);
            for signature in given {
                fits |= expected.ct_eq(signature);
            }
        }
        if bool::from(fits) { Ok(()) } else { Err(Unverified::NoMatch) }
    }
}

impl Hash {
    fn mac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        const ANY_LENGTH: &str = "HMAC takes keys of any length";
        match self {
            Self::Sha256 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY_LENGTH);
                parts.iter().for_each(|part| mac.update(part));
                mac.finalize().into_bytes().to_vec()
            }
            Self::Sha512 => {
                let mut mac = Hmac::<Sha512>::new_from_slice(key).expect(ANY_LENGTH);
                parts.iter().for_each(|part| mac.update(part));
                mac.finalize().into_bytes().to_vec()
            }
        }
    }
}

/// The time and the signatures `v1` of Stripe's header; those of other versions are passed over, as
/// the scheme asks.
fn read_stripe(header: &str) -> Result<(&str, Vec<Vec<u8>>), Unverified> {
    let (mut timestamp, mut given) = (None, Vec::new());
    for (index, item) in header.split(',').enumerate() {
        if index > MAX_SIGNATURES {
            return Err(Unverified::TooMany);
        }
        let (name, value) = item.trim().split_once('=').ok_or(Unverified::Malformed)?;
        match name {
            "t" if timestamp.replace(value).is_some() => return Err(Unverified::Repeated),
            "v1" => given.push(Encoding::Hex.decode(value).ok_or(Unverified::Malformed)?),
            _ => {}
        }
    }
    let timestamp = timestamp.ok_or(Unverified::Malformed)?;
    if given.is_empty() {
        return Err(Unverified::Missing);
    }
    Ok((timestamp, given))
}
