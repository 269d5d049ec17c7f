//! JSON that is kept as its text.
//!
//! Arguments of jobs are JSON, and whoever touches them must not change what they do not mean to:
//! as a `serde_json::Value`, `12345678901234567890.12` becomes `12345678901234567000`. So they go
//! from the hands of people to the database and back as text. PostgreSQL, whose numbers are exact,
//! is what changes them.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::types::Json;
use sqlx::{Decode, Encode, Postgres, Type};

use crate::storable_json::{self, NotStorable};

/// The deepest nesting that is taken from people: that of what a handler can parse.
const MAX_DEPTH: usize = 128;

/// JSON as text: numbers keep all their digits.
///
/// From people it comes by [`FromStr`], which refuses what says two things at once, and what cannot
/// be stored.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

/// The reason that a text is not taken as JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonTextError {
    /// It is none.
    #[error(transparent)]
    Syntax(#[from] serde_json::Error),
    /// An object has the same field twice, and readers differ in which one counts.
    #[error("the field {0:?} is there twice")]
    DuplicateField(String),
    /// PostgreSQL does not store it.
    #[error("the values {0}")]
    NotStorable(NotStorable),
    /// It has more levels than a handler could parse.
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

impl JsonText {
    /// The JSON of a value.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        to_raw_value(value).map(Self)
    }

    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// The value that a type reads from it.
    ///
    /// # Errors
    ///
    /// When it is not what is asked for.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.get())
    }

    /// The fields of an object; none if it is something else.
    pub fn fields(&self) -> BTreeMap<String, &RawValue> {
        serde_json::from_str::<Fields<'_>>(self.get())
            .map(|fields| fields.0.into_iter().collect())
            .unwrap_or_default()
    }

    pub(crate) fn raw(&self) -> &RawValue {
        &self.0
    }
}

impl From<Value> for JsonText {
    fn from(value: Value) -> Self {
        Self::of(&value).expect("a JSON value is JSON")
    }
}

impl FromStr for JsonText {
    type Err = JsonTextError;

    fn from_str(text: &str) -> Result<Self, JsonTextError> {
        let json: Box<RawValue> = serde_json::from_str(text)?;
        check(json.get(), 0)?;
        storable_json::check(json.get()).map_err(JsonTextError::NotStorable)?;
        Ok(Self(json))
    }
}

/// JSON without the white space that PostgreSQL puts between its parts.
fn compact(text: &str) -> String {
    let (mut in_string, mut is_escaped) = (false, false);
    text.chars()
        .filter(|c| {
            let is_kept = in_string || !c.is_ascii_whitespace();
            in_string ^= *c == '"' && !is_escaped;
            is_escaped = in_string && *c == '\\' && !is_escaped;
            is_kept
        })
        .collect()
}

/// Looks for fields that are there twice, level by level: no number is read.
fn check(text: &str, depth: usize) -> Result<(), JsonTextError> {
    let parts: Vec<&RawValue> = match text.as_bytes().first() {
        Some(b'{') => {
            let Fields(fields) = serde_json::from_str(text)?;
            let mut seen = HashSet::new();
            if let Some((twice, _)) = fields.iter().find(|(name, _)| !seen.insert(name)) {
                return Err(JsonTextError::DuplicateField(twice.clone()));
            }
            fields.into_iter().map(|(_, value)| value).collect()
        }
        Some(b'[') => serde_json::from_str(text)?,
        _ => return Ok(()),
    };
    if depth >= MAX_DEPTH {
        return Err(JsonTextError::TooDeep);
    }
    parts.into_iter().try_for_each(|part| check(part.get(), depth + 1))
}

/// The fields of an object, each as often as it is there.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry::<String, &'de RawValue>()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

impl fmt::Display for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for JsonText {}

impl PartialEq<Value> for JsonText {
    fn eq(&self, other: &Value) -> bool {
        self.parse::<Value>().is_ok_and(|value| value == *other)
    }
}

impl Type<Postgres> for JsonText {
    fn type_info() -> PgTypeInfo {
        <Json<Box<RawValue>> as Type<Postgres>>::type_info()
    }

    fn compatible(ty: &PgTypeInfo) -> bool {
        <Json<Box<RawValue>> as Type<Postgres>>::compatible(ty)
    }
}

impl PgHasArrayType for JsonText {
    fn array_type_info() -> PgTypeInfo {
        <Json<Box<RawValue>> as PgHasArrayType>::array_type_info()
    }
}

impl<'r> Decode<'r, Postgres> for JsonText {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let stored = Json::<Box<RawValue>>::decode(value)?.0;
        Ok(Self(RawValue::from_string(compact(stored.get()))?))
    }
}

impl Encode<'_, Postgres> for JsonText {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Json(self.raw()).encode_by_ref(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        let text = r#"{"a":12345678901234567890.12,"b":1.10,"c":1e400,"d":-0,"e":[1.0]}"#;
        let json: JsonText = text.parse().unwrap();
        assert_eq!(json.get(), text);
        assert_eq!(serde_json::to_string(&[&json]).unwrap(), format!("[{text}]"));
        assert_eq!(json.fields()["b"].get(), "1.10");
    }

    #[test]
    fn what_says_two_things_at_once_is_refused_at_any_depth() {
        for twice in
            [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"\u0061":2}}]"#, r#" { "a" : 1 , "a" : 2 } "#]
        {
            let refused = twice.parse::<JsonText>();
            assert!(
                matches!(&refused, Err(JsonTextError::DuplicateField(name)) if name == "a"),
                "{refused:?}"
            );
        }
        assert!(r#"{"a":{"a":1},"b":{"a":1}}"#.parse::<JsonText>().is_ok());
        for none in ["", "{", "{a:1}", "1 2", "NaN"] {
            assert!(matches!(none.parse::<JsonText>(), Err(JsonTextError::Syntax(_))), "{none}");
        }
    }

    #[test]
    fn white_space_between_parts_is_left_out_and_that_in_texts_is_not() {
        let text = r#"{"a b": [1, 2.0 , " \" , : \\"], "c\\": " }  { "}"#;
        let short = r#"{"a b":[1,2.0," \" , : \\"],"c\\":" }  { "}"#;
        assert_eq!(compact(text), short);
        assert!(short.parse::<JsonText>().is_ok());
    }

    #[test]
    fn what_no_handler_could_parse_is_refused() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(nested(MAX_DEPTH).parse::<JsonText>().is_ok());
        assert!(matches!(nested(MAX_DEPTH + 1).parse::<JsonText>(), Err(JsonTextError::TooDeep)));
        assert!(nested(100_000).parse::<JsonText>().is_err());
    }
}
