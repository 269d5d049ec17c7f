//! HMAC-SHA256 for the `jsonwebtoken` crate, by the implementation that verifies inbound webhooks.
//!
//! The crate has two implementations to choose from, and each is for all algorithms of JWT: one
//! takes over a minute to build, the other brings an RSA that leaks its key by its timing
//! (RUSTSEC-2023-0071). Our tokens know HS256 alone.

use std::sync::Once;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey};
use sha2::Sha256;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes `jsonwebtoken` sign and verify with this, in the whole process. Cheap when done before.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        PROVIDER.install_default().expect("nothing else in this process signs tokens");
    });
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    only_hs256(*algorithm, key.family())?;
    Ok(Box::new(Hs256::new(key.as_bytes())))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    only_hs256(*algorithm, key.family())?;
    Ok(Box::new(Hs256::new(key.try_get_as_bytes()?)))
}

fn only_hs256(algorithm: Algorithm, family: AlgorithmFamily) -> Result<(), Error> {
    match (algorithm, family) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => Ok(()),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

/// HMAC with SHA-256 and one secret.
struct Hs256(Hmac<Sha256>);

impl Hs256 {
    fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes keys of any length"))
    }

    fn of(&self, message: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(message)
    }
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.of(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        // Compares in constant time.
        self.of(message).verify_slice(signature).map_err(signature::Error::from_source)
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_is_signed_and_verified() {
        // RFC 7515, appendix A.1; its header and claims have line breaks, so only the signature is
        // compared.
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75\
                      aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let message = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                       eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS\
                       9pc19yb290Ijp0cnVlfQ";
        let signed = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

        install();
        let secret = base64_url(secret);
        let (signing, verifying) = (
            EncodingKey::from_secret(&secret).expect("it is not empty"),
            DecodingKey::from_secret(&secret).expect("it is not empty"),
        );
        let sign = |message: &str| {
            jsonwebtoken::crypto::sign(message.as_bytes(), &signing, Algorithm::HS256)
        };
        assert_eq!(sign(message).expect("it signs"), signed);
        let verify = |message: &str| {
            jsonwebtoken::crypto::verify(signed, message.as_bytes(), &verifying, Algorithm::HS256)
        };
        assert!(verify(message).expect("it verifies"));
        assert!(!verify(&message[1..]).expect("it verifies"));
    }

    #[test]
    fn no_other_algorithm_is_signed_or_verified_with() {
        install();
        for algorithm in [Algorithm::HS384, Algorithm::HS512, Algorithm::RS256, Algorithm::ES256] {
            let signing = EncodingKey::from_secret(b"secret").expect("it is not empty");
            let refused = jsonwebtoken::crypto::sign(b"", &signing, algorithm);
            assert_eq!(*refused.expect_err("it is refused").kind(), ErrorKind::InvalidAlgorithm);
            let verifying = DecodingKey::from_secret(b"secret").expect("it is not empty");
            let refused = jsonwebtoken::crypto::verify("", b"", &verifying, algorithm);
            assert_eq!(*refused.expect_err("it is refused").kind(), ErrorKind::InvalidAlgorithm);
        }
    }

    fn base64_url(text: &str) -> Vec<u8> {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).expect("it is base64")
    }
}
