//! The types of fields of a body: each is in the document, and says how it is read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{MaybeUndefined, ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde_json::Value;
use uuid::Uuid;

use super::fields::Fields;
use super::moment::Moment;
use super::money::{AmountIn, CurrencyCode, HeldCurrencyCode, wire_type};
use crate::identity::{Email, MAX_EMAIL_CHARS};
use crate::money::Currency;

/// A type that a field of a body may have.
pub trait FieldType: Type + Sized {
    /// Reads the field of this name; none when it is wrong, which `fields` then knows.
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self>;
}

/// The pattern of every [`Text`]. One of white space alone is refused, too, which is more than a
/// pattern can say that all generators of clients read.
pub const TEXT_PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f]+$";

/// The pattern of every email address: the rest of the rules are those of mail and of DNS.
pub const EMAIL_PATTERN: &str = "^[^@]+@[^@]+$";

/// Text of 1 to `MAX_CHARS` characters, none of them a control character.
pub struct Text<const MAX_CHARS: usize>(pub String);

/// The email address of a user.
pub struct EmailIn(pub Email);

impl<const MAX_CHARS: usize> FieldType for Text<MAX_CHARS> {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.text(name, MAX_CHARS).map(Self)
    }
}

impl FieldType for EmailIn {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        let text = fields.text(name, MAX_EMAIL_CHARS)?;
        fields.accept(name, text.parse()).map(Self)
    }
}

impl FieldType for bool {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.boolean(name)
    }
}

impl FieldType for Uuid {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.uuid(name)
    }
}

impl FieldType for AmountIn {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.amount(name).map(Self)
    }
}

impl FieldType for CurrencyCode {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.currency(name, Currency::parse).map(Self)
    }
}

impl FieldType for HeldCurrencyCode {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.currency(name, Currency::from_stored).map(Self)
    }
}

impl FieldType for u32 {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.json(name, "a whole number of 0 to 4294967295")
    }
}

impl FieldType for Vec<String> {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.json(name, "an array of strings")
    }
}

impl FieldType for BTreeMap<String, String> {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.json(name, "an object whose values are strings")
    }
}

impl FieldType for Moment {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.moment(name)
    }
}

/// A field that may be absent, which leaves things as they are, or null, which takes them away.
impl<T: FieldType> FieldType for MaybeUndefined<T> {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        match (fields.is_null(name), fields.is_absent(name)) {
            (true, _) => Some(Self::Null),
            (false, true) => Some(Self::Undefined),
            (false, false) => T::read(fields, name).map(Self::Value),
        }
    }
}

/// A field that may be absent; null is as good as absent.
impl<T: FieldType> FieldType for Option<T> {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        match fields.is_absent(name) {
            true => Some(None),
            false => T::read(fields, name).map(Some),
        }
    }
}

impl<const MAX_CHARS: usize> Type for Text<MAX_CHARS> {
    const IS_REQUIRED: bool = true;
    type RawValueType = String;
    type RawElementValueType = String;

    fn name() -> Cow<'static, str> {
        String::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        let schema = MetaSchema {
            min_length: Some(1),
            max_length: Some(MAX_CHARS),
            pattern: Some(TEXT_PATTERN.to_owned()),
            ..MetaSchema::new("string")
        };
        MetaSchemaRef::Inline(Box::new(schema))
    }

    fn as_raw_value(&self) -> Option<&String> {
        Some(&self.0)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a String> + 'a> {
        Box::new(std::iter::once(&self.0))
    }
}

impl<const MAX_CHARS: usize> ToJSON for Text<MAX_CHARS> {
    fn to_json(&self) -> Option<Value> {
        Some(Value::String(self.0.clone()))
    }
}

impl<const MAX_CHARS: usize> ParseFromJSON for Text<MAX_CHARS> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Ok(Self(String::parse_from_json(value).map_err(ParseError::propagate)?))
    }
}

fn email_in() -> MetaSchema {
    MetaSchema {
        min_length: Some(3),
        max_length: Some(MAX_EMAIL_CHARS),
        pattern: Some(EMAIL_PATTERN.to_owned()),
        ..MetaSchema::new("string")
    }
}

wire_type!(EmailIn, email_in, |it| it.0.to_string(), |text| Ok(Self(
    text.parse().map_err(ParseError::custom)?
)));
