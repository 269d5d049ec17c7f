//! Places in a JSON body, and the text that stands there: numbers keep all their digits.
//!
//! Strict, because a body is evidence and money: an object that has the wanted member twice is
//! refused, as two readers could read two things. Nothing is walked into but what leads to a place,
//! so nesting costs nothing and cannot overflow the stack.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

/// The most steps of a [`Pointer`].
const MAX_STEPS: usize = 16;

/// A place in a JSON document (RFC 6901), such as `/data/object/id`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pointer {
    text: String,
    steps: Vec<String>,
}

/// The text is no [`Pointer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a JSON pointer of at most {MAX_STEPS} steps, such as /data/object/id")]
pub struct NotAPointer;

impl Pointer {
    /// Reads a pointer that leads somewhere: that of the whole document is none.
    ///
    /// # Errors
    ///
    /// [`NotAPointer`].
    pub fn parse(text: &str) -> Result<Self, NotAPointer> {
        let rest = text.strip_prefix('/').ok_or(NotAPointer)?;
        let steps: Option<Vec<String>> = rest.split('/').map(unescaped).collect();
        let steps = steps.filter(|steps| steps.len() <= MAX_STEPS).ok_or(NotAPointer)?;
        Ok(Self { text: text.to_owned(), steps })
    }

    /// The pointer as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A step without its escapes: `~1` is a slash, `~0` a tilde, and no other may follow one.
fn unescaped(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escaped, rest) = match part.strip_prefix('0') {
            Some(rest) => ('~', rest),
            None => ('/', part.strip_prefix('1')?),
        };
        text.push(escaped);
        text.push_str(rest);
    }
    Some(text)
}

/// The body is not JSON, or it is ambiguous.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is not UTF-8.
    #[error("not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    /// It is not JSON.
    #[error("not JSON at line {line}, column {column}")]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// An object on the way to this place has a member twice.
    #[error("an object on the way to {0} has a member twice")]
    Ambiguous(String),
}

/// A body that is JSON.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a>(&'a RawValue);

impl<'a> Document<'a> {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`DocumentError::NotUtf8`], [`DocumentError::NotJson`].
    pub fn parse(body: &'a [u8]) -> Result<Self, DocumentError> {
        let text = std::str::from_utf8(body)
            .map_err(|error| DocumentError::NotUtf8(error.valid_up_to()))?;
        let raw = serde_json::from_str(text).map_err(|error| DocumentError::NotJson {
            line: error.line(),
            column: error.column(),
        })?;
        Ok(Self(raw))
    }

    /// The JSON at a place; none where there is nothing, or null.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Ambiguous`].
    pub fn find(self, place: &Pointer) -> Result<Option<Found<'a>>, DocumentError> {
        let mut here = self.0;
        for step in &place.steps {
            let member = match here.get().as_bytes().first() {
                Some(b'{') => Member(step).deserialize(here),
                Some(b'[') => Item(step).deserialize(here),
                _ => return Ok(None),
            };
            let member = member.map_err(|_| DocumentError::Ambiguous(place.text.clone()))?;
            let Some(member) = member else { return Ok(None) };
            here = member;
        }
        Ok((here.get() != "null").then_some(Found(here.get())))
    }
}

/// The JSON text that was found at a place, which is not null.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found<'a>(&'a str);

impl<'a> Found<'a> {
    /// The text of a string; none of anything else, or where it is no valid Unicode.
    #[must_use]
    pub fn string(self) -> Option<Cow<'a, str>> {
        // Without escapes what stands between the quotes is the text.
        match self.0.strip_prefix('"')?.strip_suffix('"') {
            Some(text) if !text.contains('\\') => Some(Cow::Borrowed(text)),
            _ => serde_json::from_str(self.0).ok().map(Cow::Owned),
        }
    }

    /// The digits of a number, as they were sent; none of anything else.
    #[must_use]
    pub fn number(self) -> Option<&'a str> {
        self.0.starts_with(|first: char| first == '-' || first.is_ascii_digit()).then_some(self.0)
    }

    /// The text of a string, the digits of a number, or `true` or `false`; none of what holds
    /// others.
    #[must_use]
    pub fn scalar(self) -> Option<Cow<'a, str>> {
        match self.0 {
            "true" | "false" => Some(Cow::Borrowed(self.0)),
            _ => self.number().map(Cow::Borrowed).or_else(|| self.string()),
        }
    }
}

/// Finds the member of this name in an object; an error if it is there twice.
struct Member<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            let value: &RawValue = map.next_value()?;
            if name == self.0 && found.replace(value).is_some() {
                return Err(M::Error::custom("twice"));
            }
        }
        Ok(found)
    }
}

/// Finds the item of this number in an array.
struct Item<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<Self::Value, S::Error> {
        let is_index = self.0 == "0" || !self.0.starts_with(['0', '+']);
        let index = self.0.parse::<usize>().ok().filter(|_| is_index);
        let (mut found, mut at) = (None, 0);
        while let Some(item) = items.next_element::<&RawValue>()? {
            if Some(at) == index {
                found = Some(item);
                while items.next_element::<IgnoredAny>()?.is_some() {}
                break;
            }
            at += 1;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str, place: &str) -> Result<Option<String>, DocumentError> {
        let document = Document::parse(body.as_bytes())?;
        let found = document.find(&Pointer::parse(place).expect(place))?;
        Ok(found.map(|found| found.0.to_owned()))
    }

    #[test]
    fn places_are_found_through_objects_and_arrays_with_every_digit() {
        let body = r#"{"a": [{"b/c": 0.10}, {"~": "x"}], "": {"0": 1e3}, "n": null}"#;
        for (place, text) in [
            ("/a/0/b~1c", "0.10"),
            ("/a/1/~0", "\"x\""),
            ("//0", "1e3"),
            ("/a/1", "{\"~\": \"x\"}"),
        ] {
            assert_eq!(found(body, place), Ok(Some(text.to_owned())), "{place}");
        }
        for place in ["/a/2", "/a/00", "/a/+0", "/a/-", "/b", "/n", "/n/x", "/a/0/b~1c/x"] {
            assert_eq!(found(body, place), Ok(None), "{place}");
        }
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused_where_it_is_on_the_way() {
        let body = r#"{"x": 1, "x": 2, "a": {"b": 1, "\u0062": 2}, "c": 3}"#;
        assert_eq!(found(body, "/c"), Ok(Some("3".to_owned())));
        for place in ["/x", "/a/b"] {
            assert_eq!(found(body, place), Err(DocumentError::Ambiguous(place.to_owned())));
        }
    }

    #[test]
    fn what_is_not_json_is_refused_and_depth_costs_nothing() {
        for body in ["", "{", "{} x", "{\"a\": 01}", "[1,]", "NaN"] {
            assert!(matches!(found(body, "/a"), Err(DocumentError::NotJson { .. })), "{body}");
        }
        assert_eq!(Document::parse(b"\"\xff\"").err(), Some(DocumentError::NotUtf8(1)));
        let deep = format!("{{\"d\": {}1{}, \"a\": 7}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(found(&deep, "/a"), Ok(Some("7".to_owned())));
    }

    #[test]
    fn texts_are_decoded_and_half_a_character_is_none() {
        assert_eq!(Found(r#""\u00e9""#).string().as_deref(), Some("é"));
        assert_eq!(Found(r#""\ud800""#).string(), None);
        assert_eq!(Found("1e3").number(), Some("1e3"));
        assert_eq!(Found("true").scalar().as_deref(), Some("true"));
        assert_eq!(Found("[]").scalar(), None);
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for text in ["", "a", "a/b", "/~", "/~2", "/a~", &"/a".repeat(17)] {
            assert_eq!(Pointer::parse(text), Err(NotAPointer), "{text}");
        }
    }
}
