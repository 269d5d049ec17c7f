//! Email addresses of users: one form for each, so that one address is one user.
//!
//! The form: NFC, in lower case, the domain as DNS has it (IDNA, `xn--…`). What two people would
//! read as the same address must not be two users, so nothing in it is invisible. Every way in,
//! registration, sign-in, lists and commands, reads addresses here.
//!
//! Deliberately absent: letters that only look alike, such as Cyrillic ones in a Latin name.

use std::fmt;
use std::str::FromStr;

use sqlx::PgConnection;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};
use uuid::Uuid;

use super::IdentityError;
use crate::ids::UserId;

/// The longest address that mail can be sent to (RFC 5321, 4.5.3.1.3).
pub const MAX_EMAIL_CHARS: usize = 254;
/// The longest name in front of the domain (RFC 5321, 4.5.3.1.1).
const MAX_NAME_BYTES: usize = 64;
/// Characters with a meaning of their own, which would have to be quoted (RFC 5322, 3.2.3).
const SPECIAL: [char; 12] = ['"', '(', ')', ',', ':', ';', '<', '>', '@', '[', '\\', ']'];

/// An email address in its one form.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Email(String);

/// A text that is no email address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "not an email address: expected name@domain, at most {MAX_EMAIL_CHARS} characters, none of \
     them a space or invisible"
)]
pub struct NotAnEmail;

impl Email {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = NotAnEmail;

    /// Refuses only what can be no address: only mail can tell if mail arrives.
    fn from_str(text: &str) -> Result<Self, NotAnEmail> {
        let text: String = text.trim().nfc().collect();
        let (name, domain) = text.rsplit_once('@').ok_or(NotAnEmail)?;
        if text.chars().any(is_invisible) {
            return Err(NotAnEmail);
        }
        let email = format!("{}@{}", read_name(name)?, read_domain(domain)?);
        match email.len() <= MAX_EMAIL_CHARS {
            true => Ok(Self(email)),
            false => Err(NotAnEmail),
        }
    }
}

fn read_name(name: &str) -> Result<String, NotAnEmail> {
    let name: String = name.to_lowercase().nfc().collect();
    // An empty part: a dot at an end, two in a row, or no name at all.
    let is_part = |part: &str| part.chars().next().is_some_and(|first| !is_combining_mark(first));
    let is_name = name.len() <= MAX_NAME_BYTES
        && name.split('.').all(is_part)
        && !name.contains(SPECIAL)
        && !name.chars().any(is_invisible);
    if is_name { Ok(name) } else { Err(NotAnEmail) }
}

/// The domain as DNS has it, with labels that may be in it.
fn read_domain(domain: &str) -> Result<String, NotAnEmail> {
    let domain = idna::domain_to_ascii_strict(domain).map_err(|_| NotAnEmail)?;
    let last = domain.rsplit('.').next().unwrap_or_default();
    // Labels are not empty, and an address of IPv4 is no domain.
    let is_domain = domain.split('.').all(|label| !label.is_empty())
        && !last.bytes().all(|byte| byte.is_ascii_digit());
    if is_domain { Ok(domain) } else { Err(NotAnEmail) }
}

/// Tells whether a character shows nothing, or nothing of its own.
fn is_invisible(c: char) -> bool {
    use GeneralCategory::{
        Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, SpaceSeparator, Surrogate,
        Unassigned,
    };
    let category = c.general_category();
    matches!(
        category,
        Control
            | Format
            | LineSeparator
            | ParagraphSeparator
            | PrivateUse
            | SpaceSeparator
            | Surrogate
            | Unassigned
    ) || matches!(
        c,
        // A joiner, fillers, vowels without a glyph, variation selectors, and a blank of Braille.
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The addresses of these users, in the order of their ids; closed ones have none any more.
///
/// # Errors
///
/// When the database refuses.
pub async fn addresses(
    conn: &mut PgConnection,
    ids: &[UserId],
) -> Result<Vec<(UserId, String)>, IdentityError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"
        select id as "id: UserId", email
        from identity.users
        where id = any($1) and status <> 'closed'
        order by id
        "#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.email)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Option<String> {
        text.parse::<Email>().ok().map(|email| email.to_string())
    }

    #[test]
    fn one_address_has_one_form() {
        for (texts, expected) in [
            (&["ada@example.com", " Ada@Example.COM ", "ADA@EXAMPLE.com\n"][..], "ada@example.com"),
            (&["zoë@example.com", "zoe\u{308}@example.com", "ZOË@example.com"], "zoë@example.com"),
            (
                &["a@bücher.example", "a@BÜCHER.example", "a@bu\u{308}cher.example"],
                "a@xn--bcher-kva.example",
            ),
            (&["a@xn--bcher-kva.example", "a@XN--BCHER-KVA.example"], "a@xn--bcher-kva.example"),
            (&["a@ｅｘａｍｐｌｅ.com", "a@example。com"], "a@example.com"),
            (&["a.b+tag@example.com", "A.B+Tag@example.com"], "a.b+tag@example.com"),
            (&["o'hara_99-x@localhost"], "o'hara_99-x@localhost"),
        ] {
            for text in texts {
                assert_eq!(form(text).as_deref(), Some(expected), "{text:?}");
            }
            assert_eq!(form(expected).as_deref(), Some(expected), "its own form");
        }
    }

    #[test]
    fn what_is_no_address_or_hides_something_is_refused() {
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "no address",
            "a@b@c",
            ".a@example.com",
            "a.@example.com",
            "a..b@example.com",
            "a@.example.com",
            "a@example.com.",
            "a@example..com",
            "a@-example.com",
            "a@example-.com",
            "a@exa_mple.com",
            "a@exa mple.com",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a@xn--a.example",
            "a b@example.com",
            "\"a b\"@example.com",
            "a<b@example.com",
            "a,b@example.com",
            "\u{301}a@example.com",
        ] {
            assert_eq!(form(text), None, "{text:?}");
        }
        let hidden = [
            '\0',
            '\u{7}',
            '\u{7f}',
            '\u{85}',
            '\u{a0}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2800}',
            '\u{3000}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{e000}',
            '\u{e0020}',
            '\u{e0101}',
        ];
        for c in hidden {
            for text in [format!("a{c}b@example.com"), format!("a@exa{c}mple.com")] {
                assert_eq!(form(&text), None, "{text:?}");
            }
        }
        assert_eq!(form(&format!("{}@example.com", "a".repeat(65))), None);
        assert_eq!(form(&format!("a@{}.com", "a".repeat(64))), None);
        assert_eq!(form(&format!("a@{}com", "abcdefgh.".repeat(28))), None);
    }
}
