//! The fields of a request body that is one JSON object, read strictly.
//!
//! Strict, because a body is evidence and money: a key that appears twice, or that is not known, is
//! refused instead of silently dropped, and numbers are handed on as the text that was sent. All
//! errors of the fields are collected and reported at once. Values are not walked into, so nesting
//! costs nothing and cannot overflow the stack.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use poem_openapi::types::ParseFromParameter;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::id::IdType as _;
use super::moment::Moment;
use super::money::AmountIn;
use super::problem::{Code, FieldError, Problem};
use crate::money::{Amount, AmountError, Currency, Money, UnknownCurrency};

/// The most errors that are reported of one body.
const MAX_ERRORS: usize = 20;
/// The length to which an unknown field's name is cut where it is repeated.
const MAX_ECHOED_CHARS: usize = 64;

/// The severity of a wrong field: the worst decides the code of the whole body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Unacceptable,
    Invalid,
    Missing,
}

/// The fields of one JSON object, and the errors found in them so far.
pub struct Fields<'a> {
    body: &'a Bytes,
    known: &'static [&'static str],
    values: Vec<Option<&'a RawValue>>,
    /// Each with the position of its field; those about the object itself have none.
    errors: Vec<(Option<usize>, FieldError)>,
    worst: Option<Fault>,
}

impl<'a> Fields<'a> {
    /// Splits the body into its fields. Names that are not `known`, or appear twice, are errors.
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

    /// A required UUID, in its usual form with hyphens.
    pub fn uuid(&mut self, name: &'static str) -> Option<Uuid> {
        let text = self.string(name)?;
        match Uuid::read(&text) {
            Some(uuid) => Some(uuid),
            None => self.fault(Fault::Invalid, name, "malformed", "must be a UUID"),
        }
    }

    /// A required `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        match self.required(name)?.get() {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.fault(Fault::Invalid, name, "wrong-type", "must be true or false"),
        }
    }

    /// A required amount: a JSON number, or a string, in the grammar of [`Amount::parse`].
    pub fn amount(&mut self, name: &'static str) -> Option<Amount> {
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

    /// A required code of a currency that `parse` knows.
    pub fn currency(
        &mut self,
        name: &'static str,
        parse: fn(&str) -> Result<Currency, UnknownCurrency>,
    ) -> Option<Currency> {
        let code = self.string(name)?;
        match parse(&code) {
            Ok(currency) => Some(currency),
            Err(error) => {
                let detail = format!("is {error}");
                self.fault(Fault::Unacceptable, name, "unknown-currency", &detail)
            }
        }
    }

    /// Joins the fields `amount` and `currency`, where both could be read: the amount must have no
    /// more decimals than its currency.
    pub fn money(
        &mut self,
        amount: Option<AmountIn>,
        currency: Option<impl Into<Currency>>,
    ) -> Option<Money> {
        match Money::new(amount?.0, currency?.into()) {
            Ok(money) => Some(money),
            Err(error) => {
                let detail = format!("has too many decimals: {error}");
                self.fault(Fault::Unacceptable, "amount", "too-many-decimals", &detail)
            }
        }
    }

    /// A required JSON value of one of Rust's own types, described as `what` where it is another
    /// one.
    pub fn json<T: DeserializeOwned>(&mut self, name: &'static str, what: &str) -> Option<T> {
        let raw = self.required(name)?.get();
        match serde_json::from_str(raw) {
            Ok(value) => Some(value),
            Err(_) => self.fault(Fault::Invalid, name, "wrong-type", &format!("must be {what}")),
        }
    }

    /// A required moment (RFC 3339), in UTC.
    pub fn moment(&mut self, name: &'static str) -> Option<Moment> {
        let text = self.string(name)?;
        match Moment::parse_from_parameter(&text) {
            Ok(moment) => Some(moment),
            Err(_) => {
                self.fault(Fault::Invalid, name, "malformed", "must be a moment as in RFC 3339")
            }
        }
    }

    /// A required string that is one of these.
    pub fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string(name)?;
        match choices.iter().find(|(choice, _)| *choice == text) {
            Some((_, meaning)) => Some(*meaning),
            None => {
                let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
                let detail = format!("must be one of {}", names.join(", "));
                self.fault(Fault::Unacceptable, name, "unknown-value", &detail)
            }
        }
    }

    /// Takes the result of reading a field further, and reports an error of that.
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

    /// The refusal of the body, unless all of it is right. Errors are in the order of the shape's
    /// fields, after those about fields that it does not have or has twice.
    pub fn problem(mut self) -> Option<Problem> {
        let code = match self.worst? {
            Fault::Missing => Code::MissingFields,
            Fault::Invalid => Code::InvalidFields,
            Fault::Unacceptable => Code::UnacceptableValues,
        };
        self.errors.sort_by_key(|(position, _)| *position);
        self.errors.truncate(MAX_ERRORS);
        let errors: Vec<FieldError> = self.errors.into_iter().map(|(_, error)| error).collect();
        let details: Vec<&str> = errors.iter().map(|it| it.detail.as_str()).collect();
        let detail = format!("{}.", details.join("; "));
        Some(Problem::new(code).detail(detail).errors(errors))
    }

    /// Tells a field that is there, and null.
    pub fn is_null(&self, name: &'static str) -> bool {
        let index = self.position(name).expect("the shape's own field");
        self.values[index].is_some_and(|value| value.get() == "null")
    }

    /// Tells a field that is absent or null.
    pub fn is_absent(&self, name: &'static str) -> bool {
        self.value(name).is_none()
    }

    /// The value of a field that must be there; null is as good as absent.
    fn required(&mut self, name: &'static str) -> Option<&'a RawValue> {
        self.value(name).or_else(|| self.fault(Fault::Missing, name, "missing", "is required"))
    }

    /// The value of a field, if it is there; null is as good as absent.
    fn value(&self, name: &'static str) -> Option<&'a RawValue> {
        let index = self.position(name).expect("the shape's own field");
        self.values[index].filter(|value| value.get() != "null")
    }

    fn string(&mut self, name: &'static str) -> Option<Cow<'a, str>> {
        let raw = self.required(name)?.get();
        if !raw.starts_with('"') {
            return self.fault(Fault::Invalid, name, "wrong-type", "must be a string");
        }
        match serde_json::from_str::<JsonText<'a>>(raw) {
            Ok(JsonText(text)) => Some(text),
            // Half a surrogate pair, as in "\ud800": JSON's grammar allows it, Unicode does not.
            Err(_) => self.fault(Fault::Invalid, name, "malformed", "must be valid Unicode"),
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.known.iter().position(|known| *known == name)
    }

    /// Reports an error of one of the shape's fields.
    fn fault<T>(&mut self, fault: Fault, name: &str, code: &str, detail: &str) -> Option<T> {
        self.worst = self.worst.max(Some(fault));
        self.errors.push((self.position(name), field_error(name, code, detail)));
        None
    }

    /// Reports an error of the object itself. A body may have very many of them.
    fn object_fault(&mut self, name: &str, code: &str, detail: &str) {
        self.worst = self.worst.max(Some(Fault::Invalid));
        if self.errors.len() < MAX_ERRORS {
            self.errors.push((None, field_error(name, code, detail)));
        }
    }
}

fn field_error(name: &str, code: &str, detail: &str) -> FieldError {
    let name: String = name.chars().take(MAX_ECHOED_CHARS).collect();
    FieldError {
        pointer: format!("#/{}", name.replace('~', "~0").replace('/', "~1")),
        code: code.to_owned(),
        detail: format!("{name} {detail}"),
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
        while let Some(JsonText(name)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            match fields.position(&name) {
                None => fields.object_fault(&name, "unknown-field", "is not known"),
                Some(index) if fields.values[index].is_some() => {
                    fields.object_fault(&name, "duplicate-field", "appears twice");
                }
                Some(index) => fields.values[index] = Some(value),
            }
        }
        Ok(())
    }
}

/// A string that is borrowed from the body where it holds no escapes.
struct JsonText<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for JsonText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = JsonText<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: serde::de::Error>(
                self,
                text: &'de str,
            ) -> Result<JsonText<'de>, E> {
                Ok(JsonText(Cow::Borrowed(text)))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<JsonText<'de>, E> {
                Ok(JsonText(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}
