//! Signatures of inbound webhooks at the edge: the headers as parameters of an operation, and the
//! refusal. [`crate::standard_webhooks`] verifies.

use std::borrow::Cow;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseFromParameter, ParseResult, Type};

use crate::http::wire::problem::{Code, Problem};
use crate::standard_webhooks::{SignatureError, SignatureHeader};

impl From<SignatureError> for Problem {
    /// Every failure is answered by the same words; only our log knows which one it was.
    fn from(error: SignatureError) -> Self {
        tracing::info!("inbound webhook refused: {error}");
        Problem::new(Code::InvalidSignature)
    }
}

impl Type for SignatureHeader {
    const IS_REQUIRED: bool = false;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "string".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromParameter for SignatureHeader {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Ok(Self::Once(value.to_owned()))
    }

    fn parse_from_parameters<I: IntoIterator<Item = A>, A: AsRef<str>>(
        values: I,
    ) -> ParseResult<Self> {
        let mut values = values.into_iter();
        Ok(match (values.next(), values.next()) {
            (None, _) => Self::Missing,
            (Some(value), None) => Self::Once(value.as_ref().to_owned()),
            (Some(_), Some(_)) => Self::Repeated,
        })
    }
}
