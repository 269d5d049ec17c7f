//! Ids in paths, each in one spelling: what is one thing to us is one thing to whoever reads logs,
//! counts requests or caches answers by path.

use std::borrow::Cow;

use poem_openapi::registry::MetaSchemaRef;
use poem_openapi::types::{ParseError, ParseFromParameter, ParseResult, Type};
use uuid::Uuid;

/// An id in a path: a UUID of 32 hexadecimal digits and four hyphens, or a number without a sign or
/// leading zeros.
#[derive(Clone, Copy, Debug)]
pub struct Id<T>(pub T);

/// The type of an id.
pub trait IdType: Type + Copy + Sized {
    /// Reads the one spelling of an id; none for any other text.
    fn read(text: &str) -> Option<Self>;
}

/// The parser takes braces, `urn:uuid:` and digits without hyphens, too. Upper case is taken, as
/// RFC 9562 asks of readers; we write lower case.
impl IdType for Uuid {
    fn read(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH)
    }
}

/// The parser takes `+7` and `007`, too.
impl IdType for i64 {
    fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &i64| number.to_string() == text)
    }
}

impl<T: IdType> Type for Id<T> {
    const IS_REQUIRED: bool = true;
    type RawValueType = T;
    type RawElementValueType = T;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn as_raw_value(&self) -> Option<&T> {
        Some(&self.0)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a T> + 'a> {
        Box::new(std::iter::once(&self.0))
    }
}

impl<T: IdType> ParseFromParameter for Id<T> {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        T::read(text).map(Self).ok_or_else(|| ParseError::custom("in another spelling"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = Uuid::from_u128(0x0193_5f1e_0000_7000_8000_00ab_cdef_0123);
        for text in [id.to_string(), id.to_string().to_uppercase()] {
            assert_eq!(<Uuid as IdType>::read(&text), Some(id), "{text}");
        }
        let others = [id.simple().to_string(), id.braced().to_string(), id.urn().to_string()];
        for text in others.iter().map(String::as_str).chain(["", "x", " "]) {
            assert_eq!(<Uuid as IdType>::read(text), None, "{text}");
        }
        for number in [0, 7, -7, i64::MAX, i64::MIN] {
            assert_eq!(<i64 as IdType>::read(&number.to_string()), Some(number));
        }
        for text in ["+7", "007", "-0", "-07", "00", "", " 7", "7 ", "9223372036854775808", "0x7"] {
            assert_eq!(<i64 as IdType>::read(text), None, "{text}");
        }
    }
}
