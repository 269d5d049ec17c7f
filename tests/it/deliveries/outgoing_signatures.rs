//! What we sign, verified by the reference implementation. Others are in `.ci/clients`.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use surety::standard_webhooks::{
    MessageId, PublicKey, SignatureError, SignatureHeader, SignatureHeaders, Signer, SigningKey,
    Verifier, WebhookSecret,
};

use super::SECRET;

const OTHER_SECRET: &str = "whsec_c2Vjb25kIHNlY3JldCBmb3IgdGhlIHJvdGF0aW9uIQ==";
const BODY: &[u8] = "{\"type\":\"deposit.completed\",\"data\":{\"name\":\"é\"}}".as_bytes();
/// The first test of RFC 8032, section 7.1: seed and public key.
const RFC_SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const RFC_PUBLIC_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn message_id() -> MessageId {
    MessageId::parse("evt_0193a5c2-7f3e").unwrap()
}

fn secrets(secrets: &[&str]) -> Vec<WebhookSecret> {
    secrets.iter().map(|secret| secret.parse().unwrap()).collect()
}

fn headers(at: u64, signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", message_id().as_str().parse().unwrap());
    headers.insert("webhook-timestamp", at.to_string().parse().unwrap());
    headers.insert("webhook-signature", signature.parse().unwrap());
    headers
}

#[test]
fn the_reference_implementation_believes_each_of_our_secrets() {
    let at = now();
    let signer =
        Signer::new(secrets(&[SECRET, OTHER_SECRET])).with_key(SigningKey::random().unwrap());
    let signature = signer.sign(&message_id(), at, BODY);
    for secret in [SECRET, OTHER_SECRET] {
        let reference = standardwebhooks::Webhook::new(secret).unwrap();
        reference.verify(BODY, &headers(at, &signature)).unwrap();
        assert!(reference.verify(b"{}", &headers(at, &signature)).is_err());
    }
}

#[test]
fn signatures_are_in_the_order_of_the_secrets_and_the_key_comes_last() {
    let key: SigningKey =
        format!("whsk_{}", STANDARD.encode(hex::decode(RFC_SEED).unwrap())).parse().unwrap();
    let signer = Signer::new(secrets(&[SECRET, OTHER_SECRET])).with_key(key);
    let signature = signer.sign(&message_id(), 1_793_612_400, BODY);
    let versions: Vec<_> =
        signature.split(' ').map(|signature| signature.split_once(',').unwrap().0).collect();
    assert_eq!(versions, ["v1", "v1", "v1a"]);
    let alone = Signer::new(secrets(&[SECRET])).sign(&message_id(), 1_793_612_400, BODY);
    assert!(signature.starts_with(&format!("{alone} ")));
}

fn verify(
    verifier: &Verifier,
    at: u64,
    signature: &str,
    body: &[u8],
) -> Result<(), SignatureError> {
    let once = |text: &str| SignatureHeader::Once(text.to_owned());
    let headers = SignatureHeaders {
        id: once(message_id().as_str()),
        timestamp: once(&at.to_string()),
        signature: once(signature),
    };
    verifier.verify(&headers, body, at.cast_signed())
}

#[test]
fn a_signature_by_our_key_is_believed_by_whoever_has_the_public_one() {
    let key = SigningKey::random().unwrap();
    let verifier = Verifier::new(&[]).with_public_keys(vec![key.public_key()]);
    let other = SigningKey::random().unwrap().public_key();
    let stranger = Verifier::new(&secrets(&[SECRET])).with_public_keys(vec![other]);
    let at = now();
    let signature = Signer::new(Vec::new()).with_key(key).sign(&message_id(), at, BODY);

    assert!(!verifier.is_open());
    assert_eq!(verify(&verifier, at, &signature, BODY), Ok(()));
    let no_match = Err(SignatureError::NoMatch);
    assert_eq!(verify(&verifier, at, &signature, b"{}"), no_match);
    assert_eq!(verify(&verifier, at + 1, &signature, BODY), no_match);
    assert_eq!(verify(&verifier, at, &signature.replace("v1a,", "v1,"), BODY), no_match);
    assert_eq!(verify(&stranger, at, &signature, BODY), no_match);
}

#[test]
fn keys_are_those_of_the_rfc_and_are_written_as_they_are_read() {
    let (seed, public_key) = (hex::decode(RFC_SEED).unwrap(), hex::decode(RFC_PUBLIC_KEY).unwrap());
    let whpk = format!("whpk_{}", STANDARD.encode(&public_key));
    let both = [&*seed, &*public_key].concat();
    for bytes in [&seed, &both] {
        let key: SigningKey = format!("whsk_{}", STANDARD.encode(bytes)).parse().unwrap();
        assert_eq!(key.public_key().to_string(), whpk);
        assert_eq!(key.reveal(), format!("whsk_{}", STANDARD.encode(&both)));
        assert_eq!(format!("{key:?}"), "SigningKey(..)");
    }
    let mut foreign = both.clone();
    foreign[63] ^= 1;
    for wrong in [
        String::new(),
        "whsk_".to_owned(),
        STANDARD.encode(&seed),
        format!("whsk_{}", STANDARD.encode(&seed[1..])),
        format!("whsk_{}", STANDARD.encode(&both[1..])),
        // The public key does not belong to the seed.
        format!("whsk_{}", STANDARD.encode(&foreign)),
        format!("whsk_{}", STANDARD.encode([&*both, &*seed].concat())),
        whpk.clone(),
    ] {
        assert!(wrong.parse::<SigningKey>().is_err(), "{wrong}");
    }
    assert_eq!(whpk.parse::<PublicKey>().unwrap().to_string(), whpk);
    for wrong in ["", "whpk_", "whpk_AAAA", &whpk[5..], &whpk.replace("whpk", "whsk")] {
        assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
    }
}

#[test]
fn new_secrets_have_32_bytes_are_all_different_and_not_shown() {
    let [one, other] = [(); 2].map(|()| WebhookSecret::random().unwrap());
    let text = one.reveal();
    assert_ne!(text, other.reveal());
    assert_eq!(STANDARD.decode(text.strip_prefix("whsec_").unwrap()).unwrap().len(), 32);
    assert_eq!(text.parse::<WebhookSecret>().unwrap().reveal(), text);
    let shown = format!("{one:?} {:?}", Signer::new(vec![one.clone()]));
    assert!(!shown.contains(&text[6..]), "{shown}");
}

#[test]
fn an_id_with_a_dot_is_none() {
    for wrong in ["", "a.1", "a b", "é", "a\n", &"x".repeat(256)] {
        assert!(MessageId::parse(wrong).is_err(), "{wrong:?}");
    }
}
