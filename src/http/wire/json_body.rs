//! Bodies that must be JSON of one shape: `json_object!` declares the shape, [`JsonBody`] takes a
//! body and reads it.

use std::marker::PhantomData;

use bytes::Bytes;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::fields::Fields;
use super::problem::{Code, Problem};
use super::request_body::require_json;

/// The codes that an operation refuses with because it takes a [`JsonBody`].
pub const REFUSALS: &[Code] = &[
    Code::BadRequest,
    Code::MalformedBody,
    Code::MissingFields,
    Code::InvalidFields,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::UnacceptableValues,
];

/// The shape of a body that is a JSON object, declared by `json_object!`: its schema is in the
/// document, and its fields are read as their types say.
pub trait JsonObject: Type {
    /// The value that a body of this shape stands for.
    type Value;

    /// The names of all fields.
    const FIELDS: &'static [&'static str];

    /// Reads the fields; none when one of them is wrong, which `fields` then knows.
    fn read(fields: &mut Fields<'_>) -> Option<Self::Value>;
}

/// Declares the shape of a body, once for the document and for the code: the struct with its
/// fields, and the value that they stand for.
///
/// All fields are read before `fn value` runs, each as its type is ([`FieldType`]), so that all
/// errors of a body are reported at once. In `fn value` they are variables of their names, none
/// where a field is wrong; its argument takes errors that concern several fields.
///
/// [`FieldType`]: super::field_types::FieldType
macro_rules! json_object {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $shape:ident {
            $($(#[$field_attribute:meta])* $field:ident: $type:ty,)+
        }

        fn value($fields:ident) -> $value:ty $body:block
    ) => {
        #[derive(poem_openapi::Object)]
        $(#[$attribute])*
        $visibility struct $shape {
            $($(#[$field_attribute])* $field: $type,)+
        }

        impl $crate::http::wire::json_body::JsonObject for $shape {
            type Value = $value;

            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),+];

            fn read(
                $fields: &mut $crate::http::wire::fields::Fields<'_>,
            ) -> Option<$value> {
                use $crate::http::wire::field_types::FieldType;
                $(let $field = <$type as FieldType>::read($fields, stringify!($field));)+
                $body
            }
        }
    };
}
pub(in crate::http) use json_object;

/// The body of a request that must be JSON of the shape `T`: its bytes as received, for whoever
/// verifies or keeps them, and on demand the value that they stand for.
pub struct JsonBody<T> {
    /// The bytes as received.
    pub bytes: Bytes,
    shape: PhantomData<T>,
}

impl<T: JsonObject> JsonBody<T> {
    /// Reads the body.
    ///
    /// # Errors
    ///
    /// [`Code::MalformedBody`] when it is no JSON object; [`Code::MissingFields`],
    /// [`Code::InvalidFields`] or [`Code::UnacceptableValues`], in this order of precedence, with
    /// all wrong fields.
    pub fn read(&self) -> Result<T::Value, Problem> {
        let mut fields = Fields::parse(&self.bytes, T::FIELDS)?;
        let value = T::read(&mut fields);
        match (value, fields.problem()) {
            (Some(value), None) => Ok(value),
            (_, Some(problem)) => Err(problem),
            (None, None) => unreachable!("a missing value has told its reason"),
        }
    }
}

impl<'a, T: Type> ApiExtractor<'a> for JsonBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType {
                content_type: "application/json",
                schema: T::schema_ref(),
            }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        require_json(request.headers())?;
        let bytes = body.take()?.into_bytes().await?;
        Ok(Self { bytes, shape: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::field_types::Text;
    use crate::http::wire::money::{AmountIn, CurrencyCode};
    use crate::money::Money;

    json_object! {
        /// A body for these tests.
        struct Payment {
            /// The amount.
            amount: AmountIn,
            /// The currency.
            currency: CurrencyCode,
            /// A note for the reader.
            note: Text<3>,
        }

        fn value(fields) -> (Money, String) {
            let money = fields.money(amount, currency);
            Some((money?, note?.0))
        }
    }

    fn pointers(body: &'static str) -> Vec<String> {
        let body = JsonBody::<Payment> { bytes: Bytes::from(body), shape: PhantomData };
        let problem = body.read().expect_err("the body is wrong");
        let body: serde_json::Value =
            serde_json::from_slice(&problem.body("/")).expect("a problem is JSON");
        let errors = body["errors"].as_array().expect("the problem is about fields").iter();
        errors.map(|it| it["pointer"].as_str().expect("a pointer is text").to_owned()).collect()
    }

    #[test]
    fn the_fields_of_the_shape_are_those_of_the_document() {
        let mut registry = Registry::new();
        Payment::register(&mut registry);
        let schema = &registry.schemas["Payment"];
        let documented: Vec<&str> = schema.properties.iter().map(|(name, _)| *name).collect();
        assert_eq!(Payment::FIELDS, documented);
    }

    #[test]
    fn an_error_over_two_fields_stands_where_the_first_of_them_does() {
        let body = r#"{"note": "long", "amount": "1.001", "currency": "USD", "more": 1}"#;
        assert_eq!(pointers(body), ["#/more", "#/amount", "#/note"]);
    }

    #[test]
    fn very_many_unknown_fields_leave_no_more_than_twenty_errors() {
        let unknown: Vec<String> = (0..30).map(|n| format!("\"f{n}\": 0")).collect();
        let body: &'static str = format!("{{{}}}", unknown.join(",")).leak();
        assert_eq!(pointers(body).len(), 20);
        assert_eq!(pointers(body)[19], "#/f19");
    }
}
