//! The keys that a process knows.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aes_gcm_siv::{Aes256GcmSiv, KeyInit as _};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The most characters of a key's id.
pub const MAX_KEY_ID_CHARS: usize = 40;

/// Keys are pasted by people, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The keys that this process knows, each with the id that jobs name it by. The first is the
/// *current* one: it seals, all of them open.
///
/// Written `id:key`, several separated by commas or white space, where the key is 32 random bytes
/// in base64 (`openssl rand -base64 32`). Neither `Debug` nor any error shows a key. Cloning is
/// cheap.
#[derive(Clone)]
pub struct Keyring {
    /// Never empty.
    keys: Arc<[Key]>,
}

pub(super) struct Key {
    pub(super) id: String,
    pub(super) cipher: Aes256GcmSiv,
}

impl Keyring {
    /// The id of the key that seals.
    #[must_use]
    pub fn current(&self) -> &str {
        &self.current_key().id
    }

    /// The ids of all keys, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Tells whether this process knows the key of this id.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.find(id).is_some()
    }

    pub(super) fn current_key(&self) -> &Key {
        self.keys.first().expect("only `from_str` makes one, and not without a key")
    }

    pub(super) fn find(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }
}

/// Names the keys and shows none.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")?;
        f.debug_list().entries(self.ids()).finish()
    }
}

/// The reason that a text is no ring of keys. It shows nothing of the text: where an id should
/// stand, there may be a key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyringError {
    /// There is nothing in it.
    #[error("there is no key; write it as id:key, the key made with: openssl rand -base64 32")]
    Empty,
    /// An entry without a colon.
    #[error("key {position} has no id; write it as id:key, such as 2026-11:…")]
    NoId {
        /// The position of the entry, from 1.
        position: usize,
    },
    /// An entry with an id that is none.
    #[error(
        "the id of key {position} must be 1 to {MAX_KEY_ID_CHARS} letters, digits, dots, hyphens \
         or underscores"
    )]
    BadId {
        /// The position of the entry, from 1.
        position: usize,
    },
    /// A key that is none.
    #[error("key {position} is not 32 bytes in base64; make one with: openssl rand -base64 32")]
    BadKey {
        /// The position of the entry, from 1.
        position: usize,
    },
    /// Two keys of one id.
    #[error(
        "key {position} has the id of one before it; every key needs an id of its own, for ever"
    )]
    SameId {
        /// The position of the later entry, from 1.
        position: usize,
    },
}

impl FromStr for Keyring {
    type Err = KeyringError;

    fn from_str(text: &str) -> Result<Self, KeyringError> {
        let entries = text.split(|c: char| c == ',' || c.is_whitespace());
        let keys = entries
            .filter(|entry| !entry.is_empty())
            .enumerate()
            .map(|(index, entry)| parse_key(entry, index + 1))
            .collect::<Result<Arc<[Key]>, _>>()?;
        if keys.is_empty() {
            return Err(KeyringError::Empty);
        }
        let mut seen = HashSet::new();
        match keys.iter().position(|key| !seen.insert(key.id.as_str())) {
            Some(index) => Err(KeyringError::SameId { position: index + 1 }),
            None => Ok(Self { keys }),
        }
    }
}

fn parse_key(entry: &str, position: usize) -> Result<Key, KeyringError> {
    let (id, key) = entry.split_once(':').ok_or(KeyringError::NoId { position })?;
    if !is_id(id) {
        return Err(KeyringError::BadId { position });
    }
    let bad_key = || KeyringError::BadKey { position };
    let bytes = BASE64.decode(key).map_err(|_shows_the_byte| bad_key())?;
    let cipher = Aes256GcmSiv::new_from_slice(&bytes).map_err(|_of_another_length| bad_key())?;
    Ok(Key { id: id.to_owned(), cipher })
}

fn is_id(text: &str) -> bool {
    let is_id_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=MAX_KEY_ID_CHARS).contains(&text.len()) && text.chars().all(is_id_char)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3I=";

    fn ring(text: &str) -> Result<Keyring, KeyringError> {
        text.parse()
    }

    #[test]
    fn the_first_key_is_the_current_one() {
        let keys = ring(&format!(" b:{SECRET}\n,a_1:{}\n", SECRET.trim_end_matches('='))).unwrap();
        assert_eq!(keys.current(), "b");
        assert_eq!(keys.ids().collect::<Vec<_>>(), ["b", "a_1"]);
        assert!(keys.knows("a_1") && !keys.knows("c"));
    }

    #[test]
    fn what_is_no_ring_is_refused_and_not_shown() {
        let long = "i".repeat(MAX_KEY_ID_CHARS + 1);
        for (text, expected) in [
            (String::new(), KeyringError::Empty),
            (" ,\n".to_owned(), KeyringError::Empty),
            (SECRET.to_owned(), KeyringError::NoId { position: 1 }),
            (format!("a:{SECRET},{SECRET}"), KeyringError::NoId { position: 2 }),
            (format!(":{SECRET}"), KeyringError::BadId { position: 1 }),
            (format!("{SECRET}:a"), KeyringError::BadId { position: 1 }),
            (format!("{long}:{SECRET}"), KeyringError::BadId { position: 1 }),
            ("a:".to_owned(), KeyringError::BadKey { position: 1 }),
            (format!("a:{}", &SECRET[4..]), KeyringError::BadKey { position: 1 }),
            (format!("a:{SECRET}AAAA"), KeyringError::BadKey { position: 1 }),
            (format!("a:{SECRET},a:{SECRET}"), KeyringError::SameId { position: 2 }),
        ] {
            let refused = ring(&text).expect_err(&text);
            assert_eq!(refused, expected, "{text}");
            let said = format!("{refused} {refused:?}");
            assert!(!said.contains("c2Vj") && !said.contains("NlY3I"), "{said}");
        }
    }

    #[test]
    fn debug_names_the_keys_and_shows_none() {
        let shown = format!("{:?}", ring(&format!("2026-11:{SECRET}")).unwrap());
        assert_eq!(shown, r#"Keyring["2026-11"]"#);
    }
}
