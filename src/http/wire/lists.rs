//! Lists: cursors, pages, and parameters that are read strictly.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use poem::http::Uri;
use sha2::{Digest, Sha256};

use super::problem::{Code, Problem};

/// The most items on one page.
pub const MAX_LIMIT: u16 = 200;
/// The number of items on a page when no other is asked for.
pub const DEFAULT_LIMIT: u16 = 50;

/// A misspelt filter must not widen the list, nor one that came twice be half obeyed.
///
/// # Errors
///
/// [`Code::InvalidParameter`].
pub fn refuse_unknown_parameters(uri: &Uri, known: &[&str]) -> Result<(), Problem> {
    let mut seen = Vec::new();
    for pair in uri.query().unwrap_or_default().split('&').filter(|it| !it.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        if !known.contains(&name) {
            let name: String = name.chars().take(64).collect();
            let reason = match known {
                [] => "There is no such parameter, nor any other.".to_owned(),
                known => format!("There is no such parameter; there are {}.", known.join(", ")),
            };
            return Err(Problem::parameter(&name, &reason));
        }
        if seen.contains(&name) {
            return Err(Problem::parameter(name, "The parameter appears twice."));
        }
        seen.push(name);
    }
    Ok(())
}

/// Splits the `limit + 1` items that were asked for into those of the page, and the last of them
/// when there is another page.
pub fn page<T: Clone>(mut found: Vec<T>, limit: u16) -> (Vec<T>, Option<T>) {
    let has_more = found.len() > usize::from(limit);
    found.truncate(usize::from(limit));
    let last = found.last().filter(|_| has_more).cloned();
    (found, last)
}

/// The cursor of what comes after the item with this key, in the list that `list` describes: its
/// name, its filters, and whose it is.
///
/// `key || first 16 bytes of SHA-256(list, key)`: the list continues only for what it began with,
/// and a cursor that was cut or mixed up is noticed. Nothing in it is secret, so it needs no key
/// that all nodes share.
pub fn cursor_after<const KEY: usize>(key: [u8; KEY], list: &str) -> String {
    URL_SAFE_NO_PAD.encode([key.as_slice(), &seal(&key, list)].concat())
}

/// The key that a cursor of this list holds.
///
/// # Errors
///
/// [`Code::InvalidCursor`].
pub fn read_cursor<const KEY: usize>(text: &str, list: &str) -> Result<[u8; KEY], Problem> {
    let invalid = || Problem::new(Code::InvalidCursor);
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
    let (key, sealed) = bytes.split_first_chunk::<KEY>().ok_or_else(invalid)?;
    match sealed == seal(key, list) {
        true => Ok(*key),
        false => Err(invalid()),
    }
}

fn seal(key: &[u8], list: &str) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::digest(format!("{list} {key:?}")).into();
    *hash.first_chunk().expect("32 bytes hold 16")
}
