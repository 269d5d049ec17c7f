//! Moments as parameters.

use std::borrow::Cow;

use poem_openapi::registry::MetaSchemaRef;
use poem_openapi::types::{
    ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type,
};
use serde_json::Value;
use time::{OffsetDateTime, UtcOffset};

use crate::queue::moments::to_the_microsecond;

/// A moment from outside (RFC 3339), in UTC: moments that are the same are equal in every form. The
/// last hours of the year 9999 can be written with an offset, but have no place in UTC; they are
/// refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment(OffsetDateTime);

impl Moment {
    /// The moment from which on, or before which, something is: what happens is dated to the
    /// microsecond, so whatever is finer goes to the next one.
    pub fn boundary(self) -> OffsetDateTime {
        to_the_microsecond(self.0)
    }

    /// The last microsecond that is not after the moment.
    pub fn until(self) -> OffsetDateTime {
        let beyond = self.0.nanosecond() % 1_000;
        self.0.replace_nanosecond(self.0.nanosecond() - beyond).unwrap_or(self.0)
    }
}

impl Type for Moment {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        OffsetDateTime::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        OffsetDateTime::schema_ref()
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ToJSON for Moment {
    fn to_json(&self) -> Option<Value> {
        self.0.to_json()
    }
}

impl ParseFromJSON for Moment {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::String(text)) => Self::parse_from_parameter(&text),
            other => Err(ParseError::expected_type(other.unwrap_or_default())),
        }
    }
}

impl ParseFromParameter for Moment {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        let moment = OffsetDateTime::parse_from_parameter(text).map_err(|_| {
            ParseError::custom(
                "must be a moment as in RFC 3339, such as 2026-11-21T08:00:00Z; in a query, + is a \
                 space: write %2B",
            )
        })?;
        let utc = moment.checked_to_offset(UtcOffset::UTC).filter(|utc| utc.year() >= 0);
        utc.map(Self).ok_or_else(|| ParseError::custom("must be a moment of the years 0 to 9999"))
    }
}
