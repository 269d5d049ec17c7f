//! Money on the wire: amounts, balances and currencies, for the document and the code.

use std::borrow::Cow;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{
    ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type,
};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::money::{AMOUNT_PATTERN, Amount, Balance, Currency, Money};

/// An amount as we take it: a number or a string.
pub struct AmountIn(pub Amount);

/// An amount as we give it: a string with the decimals of its currency.
#[derive(Clone, Copy, Debug)]
pub struct AmountOut(pub Money);

/// A balance as we give it: a string with the decimals of its currency, which may be zero or
/// negative.
#[derive(Clone, Copy, Debug)]
pub struct BalanceOut(pub Balance);

/// The three-letter code of a currency in use: where new money is taken. As we give it, it may be
/// retired.
#[derive(Clone, Copy, Debug)]
pub struct CurrencyCode(pub Currency);

/// The three-letter code of a currency in use or retired: where money is moved that is there.
#[derive(Clone, Copy, Debug)]
pub struct HeldCurrencyCode(pub Currency);

impl From<CurrencyCode> for Currency {
    fn from(code: CurrencyCode) -> Self {
        code.0
    }
}

impl From<HeldCurrencyCode> for Currency {
    fn from(code: HeldCurrencyCode) -> Self {
        code.0
    }
}

impl Serialize for AmountOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.amount_text())
    }
}

impl Serialize for BalanceOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.amount_text())
    }
}

impl Serialize for CurrencyCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.code())
    }
}

fn amount_in() -> MetaSchema {
    let text = MetaSchema { pattern: Some(AMOUNT_PATTERN.to_owned()), ..MetaSchema::new("string") };
    let number = MetaSchema {
        minimum: Some(0.0001),
        maximum: Some(99_999_999_999_999.0),
        ..MetaSchema::new("number")
    };
    MetaSchema {
        one_of: [text, number].map(|it| MetaSchemaRef::Inline(Box::new(it))).into(),
        example: Some(Value::String("1500.00".to_owned())),
        ..MetaSchema::ANY
    }
}

fn amount_out() -> MetaSchema {
    MetaSchema {
        pattern: Some(AMOUNT_PATTERN.to_owned()),
        example: Some(Value::String("1500.00".to_owned())),
        ..MetaSchema::new("string")
    }
}

fn balance_out() -> MetaSchema {
    MetaSchema {
        pattern: Some(r"^-?(0|[1-9][0-9]*)(\.[0-9]{1,4})?$".to_owned()),
        example: Some(Value::String("1500.00".to_owned())),
        ..MetaSchema::new("string")
    }
}

fn currency_code() -> MetaSchema {
    MetaSchema {
        pattern: Some("^[A-Z]{3}$".to_owned()),
        example: Some(Value::String("USD".to_owned())),
        ..MetaSchema::new("string")
    }
}

/// Implements poem-openapi's traits for a type that is JSON text of this schema.
macro_rules! wire_type {
    ($name:ident, $schema:ident, |$value:ident| $text:expr, |$read:ident| $parse:expr) => {
        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new($schema()))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                let $value = self;
                Some(Value::String($text))
            }
        }

        impl ParseFromJSON for $name {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                match value {
                    Some(Value::String($read)) => $parse,
                    other => Err(ParseError::expected_type(other.unwrap_or_default())),
                }
            }
        }
    };
}

pub(in crate::http) use wire_type;

wire_type!(AmountIn, amount_in, |it| it.0.to_string(), |text| Ok(Self(Amount::parse(&text)?)));
wire_type!(AmountOut, amount_out, |it| it.0.amount_text(), |_text| Err(ParseError::custom(
    "amounts are only given in this form"
)));
wire_type!(BalanceOut, balance_out, |it| it.0.amount_text(), |_text| Err(ParseError::custom(
    "balances are only given in this form"
)));
wire_type!(CurrencyCode, currency_code, |it| it.0.code().to_owned(), |code| Ok(Self(
    Currency::parse(&code)?
)));

wire_type!(HeldCurrencyCode, currency_code, |it| it.0.code().to_owned(), |code| Ok(Self(
    Currency::from_stored(&code)?
)));

impl ParseFromParameter for HeldCurrencyCode {
    fn parse_from_parameter(code: &str) -> ParseResult<Self> {
        Ok(Self(Currency::from_stored(code)?))
    }
}
