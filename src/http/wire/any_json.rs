//! JSON of any form in requests and answers, as its text: numbers keep all their digits.

use std::borrow::Cow;
use std::collections::BTreeMap;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseFromJSON, ParseResult, ToJSON, Type};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::field_types::FieldType;
use super::fields::Fields;
use crate::queue::JsonText;

/// JSON of any form.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct AnyJson(pub JsonText);

impl FieldType for AnyJson {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        let raw: Box<RawValue> = fields.json(name, "JSON")?;
        fields.accept(name, raw.get().parse()).map(Self)
    }
}

/// The fields of a JSON object of any form.
#[derive(Clone, Debug)]
pub struct AnyFields(pub BTreeMap<String, JsonText>);

impl FieldType for AnyFields {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.json::<BTreeMap<String, Box<RawValue>>>(name, "an object")?;
        let AnyJson(json) = AnyJson::read(fields, name)?;
        let values = json.fields().into_iter();
        let values = values.map(|(field, value)| Some((field, JsonText::of(&value).ok()?)));
        values.collect::<Option<_>>().map(Self)
    }
}

impl Type for AnyFields {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "object".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new("object")))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

/// Asked for by the derive of bodies, which are read by [`FieldType`].
impl ParseFromJSON for AnyFields {
    fn parse_from_json(_: Option<Value>) -> ParseResult<Self> {
        Ok(Self(BTreeMap::new()))
    }
}

/// The same; it is in no answer.
impl ToJSON for AnyFields {
    fn to_json(&self) -> Option<Value> {
        None
    }
}

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
