//! JSON of any form in answers, as its text: numbers keep all their digits.

use std::borrow::Cow;

use poem_openapi::registry::MetaSchemaRef;
use poem_openapi::types::{ParseFromJSON, ParseResult, ToJSON, Type};
use serde::Serialize;
use serde_json::Value;

use crate::queue::JsonText;

/// JSON of any form.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct AnyJson(pub JsonText);

impl Type for AnyJson {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        Value::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        Value::schema_ref()
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

/// Asked for by the derive of bodies, which are written by serde, and never read.
impl ParseFromJSON for AnyJson {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Ok(Self(value.unwrap_or_default().into()))
    }
}

/// The same.
impl ToJSON for AnyJson {
    fn to_json(&self) -> Option<Value> {
        self.0.parse().ok()
    }
}
