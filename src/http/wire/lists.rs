//! Lists: cursors, pages, and parameters that are read strictly.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use poem::http::Uri;
use sha2::{Digest, Sha256};

use super::problem::{Code, Problem};

/// The most items on one page.
pub const MAX_LIMIT: u16 = 200;
/// The most values of a parameter that may have several.
pub const MAX_REPEATED: usize = 200;
/// The number of items on a page when no other is asked for.
pub const DEFAULT_LIMIT: u16 = 50;

/// A misspelt filter must not widen the list, nor one that came twice be half obeyed.
///
/// # Errors
///
/// [`Code::InvalidParameter`].
pub fn refuse_unknown_parameters(uri: &Uri, known: &[&str]) -> Result<(), Problem> {
    refuse_other_parameters(uri, known, &[])
}

/// The same, where some parameters may appear several times: at most [`MAX_REPEATED`].
///
/// # Errors
///
/// [`Code::InvalidParameter`].
pub fn refuse_other_parameters(
    uri: &Uri,
    known: &[&str],
    repeatable: &[&str],
) -> Result<(), Problem> {
    let mut seen = Vec::new();
    for pair in uri.query().unwrap_or_default().split('&').filter(|it| !it.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        if repeatable.contains(&name) {
            if seen.iter().filter(|it| **it == name).count() == MAX_REPEATED {
                let reason = format!("The parameter appears more than {MAX_REPEATED} times.");
                return Err(Problem::parameter(name, &reason));
            }
        } else if !known.contains(&name) {
            let name: String = name.chars().take(64).collect();
            let known = [known, repeatable].concat();
            let reason = match known.is_empty() {
                true => "There is no such parameter, nor any other.".to_owned(),
                false => format!("There is no such parameter; there are {}.", known.join(", ")),
            };
            return Err(Problem::parameter(&name, &reason));
        } else if seen.contains(&name) {
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
    cursor_after_text(&key, list)
}

/// The cursor of what comes after the item whose key is a name, of any length.
pub fn cursor_after_text(key: &[u8], list: &str) -> String {
    URL_SAFE_NO_PAD.encode([key, &seal(key, list)].concat())
}

/// The name that a cursor of this list holds.
///
/// # Errors
///
/// [`Code::InvalidCursor`].
pub fn read_text_cursor(text: &str, list: &str) -> Result<String, Problem> {
    let invalid = || Problem::new(Code::InvalidCursor);
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
    let (key, sealed) = bytes.split_last_chunk::<SEAL>().ok_or_else(invalid)?;
    match *sealed == seal(key, list) {
        true => String::from_utf8(key.to_vec()).map_err(|_| invalid()),
        false => Err(invalid()),
    }
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

/// The bytes of a seal.
const SEAL: usize = 16;

fn seal(key: &[u8], list: &str) -> [u8; SEAL] {
    let hash: [u8; 32] = Sha256::digest(format!("{list} {key:?}")).into();
    *hash.first_chunk().expect("32 bytes hold 16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_after_a_name_holds_it_and_belongs_to_its_list() {
        for name in ["", "mail", "zahlung-über-nacht"] {
            let cursor = cursor_after_text(name.as_bytes(), "list");
            assert_eq!(read_text_cursor(&cursor, "list").expect("it is ours"), name);
            assert!(read_text_cursor(&cursor, "other list").is_err());
            assert!(read_text_cursor(&cursor[1..], "list").is_err());
        }
    }

    #[test]
    fn only_some_parameters_may_appear_several_times() {
        let uri = |query: &str| format!("/v1/jobs?{query}").parse::<Uri>().expect("a URI");
        let is_fine =
            |query: &str| refuse_other_parameters(&uri(query), &["limit"], &["state"]).is_ok();
        assert!(is_fine("state=a&state=b&limit=1"));
        assert!(!is_fine("limit=1&limit=1") && !is_fine("sate=a"));
        let many = |count: usize| vec!["state=a"; count].join("&");
        assert!(is_fine(&many(MAX_REPEATED)) && !is_fine(&many(MAX_REPEATED + 1)));
    }
}
