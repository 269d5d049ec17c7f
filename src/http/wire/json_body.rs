//! A strict reader of request bodies that are one JSON object.
//!
//! Strict, because a body is evidence and money: a key that appears twice, or that we do not know,
//! is refused instead of silently dropped, and numbers are handed on as the text that was sent. All
//! that is wrong with the fields is collected and told at once. Values are not walked into, so
//! nesting costs nothing and cannot overflow the stack.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::problem::{Code, FieldError, Problem};
use super::request_body::require_json;
use crate::money::{Amount, AmountError, Currency, Money};

/// Of a body with very many wrong fields, only so many are listed.
const MAX_ERRORS: usize = 20;
/// Of an unknown field's name, only so much is repeated in the answer.
const MAX_ECHOED_CHARS: usize = 64;

/// What an operation that takes a [`JsonBody`] can answer besides.
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

/// The shape of a JSON object: for the document the type itself, for the code what it means.
pub trait FromFields: Type {
    /// What a body of this shape means.
    type Value;

    /// The names of all fields.
    const FIELDS: &'static [&'static str];

    /// Takes the fields; none when one of them is wrong, which `fields` then knows.
    fn from_fields(fields: &mut Fields<'_>) -> Option<Self::Value>;
}

/// The body of a request that must be JSON of the shape `T`: its bytes as received, for whoever
/// verifies or keeps them, and on demand what they mean.
pub struct JsonBody<T> {
    /// The bytes as received.
    pub bytes: Bytes,
    shape: PhantomData<T>,
}

impl<T: FromFields> JsonBody<T> {
    /// Reads the body.
    ///
    /// # Errors
    ///
    /// [`Code::MalformedBody`] when it is no JSON object; [`Code::MissingFields`],
    /// [`Code::InvalidFields`] or [`Code::UnacceptableValues`], in this order of precedence, with
    /// all wrong fields.
    pub fn read(&self) -> Result<T::Value, Problem> {
        let mut fields = Fields::parse(&self.bytes, T::FIELDS)?;
        let value = T::from_fields(&mut fields);
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

/// How bad a wrong field is: the worst decides what the whole body is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Unacceptable,
    Invalid,
    Missing,
}

/// The fields of one JSON object, and what was found wrong with them so far.
pub struct Fields<'a> {
    body: &'a Bytes,
    known: &'static [&'static str],
    values: Vec<Option<&'a RawValue>>,
    errors: Vec<FieldError>,
    worst: Option<Fault>,
}

impl<'a> Fields<'a> {
    /// Splits the body into its fields; names that are not `known`, or appear twice, are held
    /// against it.
    ///
    /// # Errors
    ///
    /// [`Code::MalformedBody`].
    pub fn parse(body: &'a Bytes, known: &'static [&'static str]) -> Result<Self, Problem> {
        let malformed = |detail: String| Problem::new(Code::MalformedBody).detail(detail);
        let text = std::str::from_utf8(body).map_err(|error| {
            malformed(format!("Not UTF-8 from byte {} on.", error.valid_up_to()))
        })?;
        let values = vec![None; known.len()];
        let mut fields = Self { body, known, values, errors: Vec::new(), worst: None };
        let mut json = serde_json::Deserializer::from_str(text);
        json.deserialize_map(ObjectVisitor(&mut fields))
            .and_then(|()| json.end())
            // Its own text may repeat what was sent; the position is enough.
            .map_err(|error| match error.is_data() {
                true => malformed("The body must be one JSON object.".to_owned()),
                false => malformed(format!(
                    "Not JSON at line {}, column {}.",
                    error.line(),
                    error.column()
                )),
            })?;
        Ok(fields)
    }

    /// A required string of 1 to `max_chars` characters, none of them a control character.
    pub fn text(&mut self, name: &'static str, max_chars: usize) -> Option<String> {
        let text = self.string(name)?;
        if text.contains('\0') {
            return self.fault(Fault::Invalid, name, "malformed", "must not contain U+0000");
        }
        if text.trim().is_empty() {
            return self.fault(Fault::Unacceptable, name, "empty", "must not be empty");
        }
        if text.chars().any(char::is_control) {
            let detail = "must not contain control characters";
            return self.fault(Fault::Unacceptable, name, "control-character", detail);
        }
        // Bytes first: of a text with few bytes the characters need no counting.
        if text.len() > max_chars && text.chars().count() > max_chars {
            let detail = format!("must have at most {max_chars} characters");
            return self.fault(Fault::Unacceptable, name, "too-long", &detail);
        }
        Some(text.into_owned())
    }

    /// The same of a field that may be absent.
    pub fn optional_text(
        &mut self,
        name: &'static str,
        max_chars: usize,
    ) -> Option<Option<String>> {
        match self.value(name) {
            Some(_) => self.text(name, max_chars).map(Some),
            None => Some(None),
        }
    }

    /// A required UUID, in its usual form with hyphens.
    pub fn uuid(&mut self, name: &'static str) -> Option<Uuid> {
        let text = self.string(name)?;
        match Uuid::try_parse(&text) {
            Ok(uuid) if text.len() == 36 => Some(uuid),
            _ => self.fault(Fault::Invalid, name, "malformed", "must be a UUID"),
        }
    }

    /// A required amount: a JSON number, or a string, in the grammar of [`Amount::parse`].
    fn amount(&mut self, name: &'static str) -> Option<Amount> {
        let raw = self.required(name)?.get();
        let text = match raw.as_bytes()[0] {
            b'"' => self.string(name)?,
            b'-' | b'0'..=b'9' => Cow::Borrowed(raw),
            _ => {
                let detail = "must be a number, or a string that holds one";
                return self.fault(Fault::Invalid, name, "wrong-type", detail);
            }
        };
        match Amount::parse(&text) {
            Ok(amount) => Some(amount),
            Err(error) => {
                let (fault, code) = match error {
                    AmountError::Malformed => (Fault::Invalid, "malformed"),
                    AmountError::NotPositive => (Fault::Unacceptable, "not-positive"),
                    AmountError::TooLarge => (Fault::Unacceptable, "too-large"),
                    AmountError::TooManyDecimals => (Fault::Unacceptable, "too-many-decimals"),
                };
                self.fault(fault, name, code, &format!("is not acceptable: {error}"))
            }
        }
    }

    /// A required code of a currency in use.
    pub fn currency(&mut self, name: &'static str) -> Option<Currency> {
        let code = self.string(name)?;
        match Currency::parse(&code) {
            Ok(currency) => Some(currency),
            Err(error) => {
                let detail = format!("is {error}");
                self.fault(Fault::Unacceptable, name, "unknown-currency", &detail)
            }
        }
    }

    /// A required amount in a required currency, with no more decimals than the currency has.
    pub fn money(&mut self, amount: &'static str, currency: &'static str) -> Option<Money> {
        let (value, currency) = (self.amount(amount), self.currency(currency));
        match Money::new(value?, currency?) {
            Ok(money) => Some(money),
            Err(error) => {
                let detail = format!("has too many decimals: {error}");
                self.fault(Fault::Unacceptable, amount, "too-many-decimals", &detail)
            }
        }
    }

    /// An optional string that is one of these words; null is as good as absent.
    pub fn optional_word<T: Copy>(
        &mut self,
        name: &'static str,
        words: &[(&str, T)],
    ) -> Option<Option<T>> {
        if self.value(name).is_none() {
            return Some(None);
        }
        let text = self.string(name)?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Some(Some(*meaning)),
            None => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let detail = format!("must be one of {}", words.join(", "));
                self.fault(Fault::Unacceptable, name, "unknown-value", &detail)
            }
        }
    }

    /// What came of reading a field further; an error is held against it.
    pub fn accept<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        read: Result<T, E>,
    ) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(error) => self.fault(Fault::Unacceptable, name, "unacceptable", &error.to_string()),
        }
    }

    /// The whole body, as received.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// What is wrong with the body, if anything is.
    pub fn problem(self) -> Option<Problem> {
        let code = match self.worst? {
            Fault::Missing => Code::MissingFields,
            Fault::Invalid => Code::InvalidFields,
            Fault::Unacceptable => Code::UnacceptableValues,
        };
        let details: Vec<&str> = self.errors.iter().map(|it| it.detail.as_str()).collect();
        let detail = format!("{}.", details.join("; "));
        Some(Problem::new(code).detail(detail).errors(self.errors))
    }

    /// The value of a field that must be there; null is as good as absent.
    fn required(&mut self, name: &'static str) -> Option<&'a RawValue> {
        self.value(name).or_else(|| self.fault(Fault::Missing, name, "missing", "is required"))
    }

    /// The value of a field, if it is there; null is as good as absent.
    fn value(&self, name: &'static str) -> Option<&'a RawValue> {
        let index = self.known.iter().position(|it| *it == name).expect("the shape's own field");
        self.values[index].filter(|value| value.get() != "null")
    }

    fn string(&mut self, name: &'static str) -> Option<Cow<'a, str>> {
        let raw = self.required(name)?.get();
        if !raw.starts_with('"') {
            return self.fault(Fault::Invalid, name, "wrong-type", "must be a string");
        }
        match serde_json::from_str::<Text<'a>>(raw) {
            Ok(Text(text)) => Some(text),
            // Half a surrogate pair, as in "\ud800": JSON's grammar allows it, Unicode does not.
            Err(_) => self.fault(Fault::Invalid, name, "malformed", "must be valid Unicode"),
        }
    }

    fn fault<T>(&mut self, fault: Fault, name: &str, code: &str, detail: &str) -> Option<T> {
        self.worst = self.worst.max(Some(fault));
        if self.errors.len() < MAX_ERRORS {
            let name: String = name.chars().take(MAX_ECHOED_CHARS).collect();
            self.errors.push(FieldError {
                pointer: format!("#/{}", name.replace('~', "~0").replace('/', "~1")),
                code: code.to_owned(),
                detail: format!("{name} {detail}"),
            });
        }
        None
    }
}

struct ObjectVisitor<'f, 'a>(&'f mut Fields<'a>);

impl<'a> Visitor<'a> for ObjectVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        let Self(fields) = self;
        while let Some(Text(name)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            match fields.known.iter().position(|known| *known == name) {
                None => {
                    let _: Option<()> =
                        fields.fault(Fault::Invalid, &name, "unknown-field", "is not known");
                }
                Some(index) if fields.values[index].is_some() => {
                    let _: Option<()> =
                        fields.fault(Fault::Invalid, &name, "duplicate-field", "appears twice");
                }
                Some(index) => fields.values[index] = Some(value),
            }
        }
        Ok(())
    }
}

/// A string that is borrowed from the body where it holds no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: serde::de::Error>(
                self,
                text: &'de str,
            ) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}
