//! Sealing and opening with the keys of a ring.

use aes_gcm_siv::aead::{AeadInOut as _, Generate as _};
use aes_gcm_siv::{Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::envelope::{OpenError, SealedArgs};
use super::keyring::Keyring;

/// The first byte of what is sealed: which cipher, and what follows. 1: AES-256-GCM-SIV, a nonce of
/// 12 bytes, the ciphertext, a tag of 16 bytes.
const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// The reason that arguments could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// They cannot be written as JSON.
    #[error("they cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The cipher refused.
    #[error("the cipher refused them")]
    Cipher,
}

impl Keyring {
    /// Seals the arguments of a job of this kind with the current key. Sealing the same twice gives
    /// two texts.
    ///
    /// # Errors
    ///
    /// [`SealError`].
    pub fn seal(&self, kind: &str, args: &impl Serialize) -> Result<SealedArgs, SealError> {
        let mut text = serde_json::to_vec(args)?;
        let key = self.current_key();
        let nonce = Nonce::try_generate().map_err(|_no_random_bytes| SealError::Cipher)?;
        let tag = key
            .cipher
            .encrypt_inout_detached(&nonce, kind.as_bytes(), text.as_mut_slice().into())
            .map_err(|_too_long| SealError::Cipher)?;
        let bytes = [&[VERSION], nonce.as_slice(), &text, tag.as_slice()].concat();
        Ok(SealedArgs { sealed: STANDARD.encode(bytes), key: key.id.clone() })
    }

    /// The arguments of a job of this kind, as JSON.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; it shows nothing of the arguments.
    pub fn open(&self, kind: &str, args: &SealedArgs) -> Result<Box<RawValue>, OpenError> {
        let unknown = || OpenError::UnknownKey { key: args.key.clone() };
        let key = self.find(&args.key).ok_or_else(unknown)?;
        let mut bytes = STANDARD.decode(&args.sealed).map_err(|_| OpenError::Malformed)?;
        let refused = || OpenError::Refused { key: args.key.clone() };
        let (header, rest) =
            bytes.split_first_chunk_mut::<{ 1 + NONCE_BYTES }>().ok_or(OpenError::Malformed)?;
        let [version, nonce @ ..] = *header;
        if version != VERSION {
            return Err(OpenError::UnknownFormat { key: args.key.clone(), version });
        }
        let (text, tag) = rest.split_last_chunk_mut::<TAG_BYTES>().ok_or_else(refused)?;
        key.cipher
            .decrypt_inout_detached(
                &Nonce::from(nonce),
                kind.as_bytes(),
                (&mut *text).into(),
                &Tag::from(*tag),
            )
            .map_err(|_altered| refused())?;
        // Whatever else was sealed was not sealed by us: it is as good as altered.
        serde_json::from_slice(text).map_err(|_| refused())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const OLD: &str = "old:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    /// Another key under the id of the old one.
    const IMPOSTOR: &str = "old:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

    fn ring(text: &str) -> Keyring {
        text.parse().expect("it is a ring")
    }

    fn refused() -> Result<Value, OpenError> {
        Err(OpenError::Refused { key: "old".to_owned() })
    }

    fn open(ring: &Keyring, kind: &str, sealed: &SealedArgs) -> Result<Value, OpenError> {
        ring.open(kind, sealed).map(|raw| serde_json::from_str(raw.get()).expect("it is JSON"))
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(".*", inner, 0..5)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_opened(args in any_json(), kind in ".{1,20}") {
            let sealed = ring(OLD).seal(&kind, &args).unwrap();
            prop_assert_eq!(sealed.key(), "old");
            prop_assert_eq!(open(&ring(OLD), &kind, &sealed), Ok(args.clone()));
            // After a rotation, too.
            prop_assert_eq!(open(&ring(&format!("{NEW},{OLD}")), &kind, &sealed), Ok(args));
        }

        #[test]
        fn one_altered_bit_anywhere_is_noticed(
            args in any_json(),
            at in any::<prop::sample::Index>(),
            bit in 0..8u8,
        ) {
            let mut sealed = ring(OLD).seal("a", &args).unwrap();
            let mut bytes = STANDARD.decode(&sealed.sealed).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            sealed.sealed = STANDARD.encode(&bytes);
            let opened = open(&ring(OLD), "a", &sealed);
            match at {
                0 => prop_assert_eq!(
                    opened,
                    Err(OpenError::UnknownFormat { key: "old".to_owned(), version: bytes[0] })
                ),
                _ => prop_assert_eq!(opened, refused()),
            }
        }

        #[test]
        fn any_cut_is_noticed(args in any_json(), keep in any::<prop::sample::Index>()) {
            let mut sealed = ring(OLD).seal("a", &args).unwrap();
            let bytes = STANDARD.decode(&sealed.sealed).unwrap();
            let keep = keep.index(bytes.len());
            sealed.sealed = STANDARD.encode(&bytes[..keep]);
            let opened = open(&ring(OLD), "a", &sealed);
            match keep {
                0..=NONCE_BYTES => prop_assert_eq!(opened, Err(OpenError::Malformed)),
                _ => prop_assert_eq!(opened, refused()),
            }
        }

        #[test]
        fn another_kind_does_not_open_it(kind in ".{0,20}", other in ".{0,20}") {
            prop_assume!(kind != other);
            let sealed = ring(OLD).seal(&kind, &json!({})).unwrap();
            prop_assert_eq!(open(&ring(OLD), &other, &sealed), refused());
        }
    }

    #[test]
    fn another_key_does_not_open_it() {
        let sealed = ring(OLD).seal("a", &json!({ "name": "Ada" })).unwrap();
        assert_eq!(
            open(&ring(NEW), "a", &sealed),
            Err(OpenError::UnknownKey { key: "old".to_owned() })
        );
        assert_eq!(open(&ring(IMPOSTOR), "a", &sealed), refused());
        // Nor does the right key under a wrong id.
        let renamed = SealedArgs { key: "new".to_owned(), ..sealed };
        assert_eq!(
            open(&ring(&format!("{NEW},{OLD}")), "a", &renamed),
            Err(OpenError::Refused { key: "new".to_owned() })
        );
    }

    #[test]
    fn the_same_arguments_are_sealed_differently_each_time() {
        let keys = ring(OLD);
        let sealed: std::collections::HashSet<String> =
            (0..1000).map(|_| keys.seal("a", &json!({})).unwrap().sealed).collect();
        assert_eq!(sealed.len(), 1000);
    }

    #[test]
    fn what_is_stored_shows_nothing_but_the_key() {
        let sealed = ring(OLD).seal("a", &json!({ "card": "4111111111111111" })).unwrap();
        let stored = serde_json::to_value(&sealed).unwrap();
        assert_eq!(stored.as_object().unwrap().keys().collect::<Vec<_>>(), ["sealed", "key"]);
        assert_eq!(stored["key"], "old");
        let bytes = STANDARD.decode(stored["sealed"].as_str().unwrap()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("4111"));
        assert_eq!(bytes.len(), 1 + NONCE_BYTES + r#"{"card":"4111111111111111"}"#.len() + 16);
    }

    #[test]
    fn sealed_arguments_of_our_own_making_still_open() {
        // Sealed by an earlier build: what is at rest must open for as long as its key is known.
        let stored = "AR55ahzoqBgwR2Km0tHwYuwdaiRYuFh+fEPBEivBAiS8mAW2ECUwu1cvqg==";
        let stored = SealedArgs { sealed: stored.to_owned(), key: "old".to_owned() };
        assert_eq!(open(&ring(OLD), "greet", &stored), Ok(json!({ "name": "Ada" })));
    }
}
