//! The transaction that an event of a provider's stands for, by places in its body.

use std::borrow::Cow;
use std::collections::HashMap;

use super::document::{Document, DocumentError, Found, Pointer};
use crate::money::{Amount, AmountError, Currency, Money};

/// The most digits of an amount in minor units: more than any amount has.
const MAX_MINOR_DIGITS: usize = 18;

/// The rules of one source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    pub(super) only: Vec<Condition>,
    pub(super) id: TextFrom,
    pub(super) source_account: TextFrom,
    pub(super) destination_account: TextFrom,
    pub(super) amount: AmountFrom,
    pub(super) currency: TextFrom,
    /// The most characters of ids and names.
    pub(super) max_chars: usize,
}

/// An event is ours only if one of these values stands there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Condition {
    pub(super) at: Pointer,
    pub(super) is: Vec<String>,
}

/// The origin of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum TextFrom {
    /// The same for every event.
    Constant(String),
    /// A string or whole number of the body, with something before it.
    Field { at: Pointer, prefix: String },
}

/// The origin of the amount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AmountFrom {
    pub(super) at: Pointer,
    pub(super) unit: Unit,
}

/// The unit that an amount is written in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    /// The currency itself, with a decimal point: `"12.50"`.
    Major,
    /// The smallest unit, as a whole number: `1250`. A currency has as many decimals as ISO 4217
    /// says, but for those that the provider counts otherwise; none where nobody has said how it
    /// counts.
    Minor { decimals: HashMap<Currency, Option<u32>> },
}

/// The meaning of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mapped {
    /// A transaction.
    Transaction(MappedTransaction),
    /// Not one of those that the source is there for.
    NotOurs,
}

/// The transaction that an event stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MappedTransaction {
    /// The provider's id, with the source's prefix.
    pub transaction_id: String,
    /// Whom the money leaves.
    pub source_account: String,
    /// Whom the money reaches.
    pub destination_account: String,
    /// The amount and its currency.
    pub money: Money,
}

/// One thing that is wrong with an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MappingError {
    /// The kind of the error, as for fields of our own bodies.
    pub code: &'static str,
    /// The severity: missing, malformed, or well-formed and not acceptable.
    pub fault: Fault,
    /// The place in the body.
    pub pointer: String,
    /// The error in a few words that repeat nothing of the body.
    pub detail: String,
}

/// The severity of an error.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// Well-formed, and not acceptable.
    Unacceptable,
    /// Not of the form that it must have.
    Invalid,
    /// Not there.
    Missing,
}

/// The body cannot be read, or says no transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unmappable {
    /// Not JSON, or ambiguous.
    Document(DocumentError),
    /// Errors of its fields, at least one.
    Fields(Vec<MappingError>),
}

impl From<DocumentError> for Unmappable {
    fn from(error: DocumentError) -> Self {
        Self::Document(error)
    }
}

impl Mapping {
    /// Reads an event.
    ///
    /// # Errors
    ///
    /// [`Unmappable`], with all wrong fields.
    pub fn read(&self, body: &[u8]) -> Result<Mapped, Unmappable> {
        let document = Document::parse(body)?;
        for Condition { at, is } in &self.only {
            let value = document.find(at)?.and_then(Found::scalar);
            if !value.is_some_and(|value| is.iter().any(|one| *one == value)) {
                return Ok(Mapped::NotOurs);
            }
        }
        let mut errors = Vec::new();
        let id = self.text(document, &self.id).and_then(|id| self.id_of(id));
        let id = keep(id, &mut errors)?;
        let source = keep(self.text(document, &self.source_account), &mut errors)?;
        let destination = keep(self.text(document, &self.destination_account), &mut errors)?;
        let money = keep(self.money(document), &mut errors)?;
        match (id, source, destination, money) {
            (
                Some(transaction_id),
                Some(source_account),
                Some(destination_account),
                Some(money),
            ) => Ok(Mapped::Transaction(MappedTransaction {
                transaction_id,
                source_account,
                destination_account,
                money,
            })),
            _ => Err(Unmappable::Fields(errors)),
        }
    }

    /// Clients resolve these in a path before they send it, so nobody could read it back.
    fn id_of(&self, id: String) -> Result<String, Unmappable> {
        if [".", ".."].contains(&id.as_str()) {
            let detail = "must not be . or .., which no URL can name";
            return Err(wrong(self.id.place(), Fault::Unacceptable, "unacceptable", detail));
        }
        Ok(id)
    }

    fn text(&self, document: Document<'_>, from: &TextFrom) -> Result<String, Unmappable> {
        let TextFrom::Field { at, prefix } = from else {
            return Ok(from.place().to_owned());
        };
        let found = required(document, at)?;
        let number = found.number();
        let is_whole = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let text = match number {
            Some(number) if is_whole(number) => Cow::Borrowed(number),
            Some(_) => {
                let detail = "must be a string or a whole number";
                return Err(wrong(at.as_str(), Fault::Invalid, "wrong-type", detail));
            }
            None => string(found, at)?,
        };
        if text.trim().is_empty() {
            return Err(wrong(at.as_str(), Fault::Unacceptable, "empty", "must not be empty"));
        }
        if text.chars().any(char::is_control) {
            let detail = "must not contain control characters";
            return Err(wrong(at.as_str(), Fault::Unacceptable, "control-character", detail));
        }
        let text = format!("{prefix}{text}");
        if text.chars().count() > self.max_chars {
            let detail = format!("must have at most {} characters", self.max_chars);
            return Err(wrong(at.as_str(), Fault::Unacceptable, "too-long", &detail));
        }
        Ok(text)
    }

    fn money(&self, document: Document<'_>) -> Result<Money, Unmappable> {
        let currency = self.text(document, &self.currency).and_then(|code| {
            // Some providers write all of them small.
            let is_one_case = !code.bytes().any(|byte| byte.is_ascii_uppercase());
            let code = if is_one_case { code.to_ascii_uppercase() } else { code };
            Currency::parse(&code).map_err(|error| {
                let place = self.currency.place();
                wrong(place, Fault::Unacceptable, "unknown-currency", &format!("is {error}"))
            })
        });
        let AmountFrom { at, unit } = &self.amount;
        let written = required(document, at).and_then(|found| match found.number() {
            Some(number) => Ok(Cow::Borrowed(number)),
            None => string(found, at),
        });
        let (currency, written) = match (currency, written) {
            (Ok(currency), Ok(written)) => (currency, written),
            (Err(Unmappable::Fields(mut first)), Err(Unmappable::Fields(second))) => {
                first.extend(second);
                return Err(Unmappable::Fields(first));
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let amount = match unit {
            Unit::Major => Amount::parse(&written),
            Unit::Minor { decimals } => {
                let counted = decimals.get(&currency).copied();
                let Some(counted) = counted.unwrap_or(Some(currency.decimals())) else {
                    let detail = "is in a currency of which the source must say the decimals";
                    return Err(wrong(at.as_str(), Fault::Unacceptable, "unknown-unit", detail));
                };
                major_units(&written, counted, currency.decimals())
                    .and_then(|major| Amount::parse(&major))
            }
        };
        let amount = amount.map_err(|error| of_amount(at, unit, error))?;
        Money::new(amount, currency).map_err(|error| {
            let detail = format!("has too many decimals: {error}");
            wrong(at.as_str(), Fault::Unacceptable, "too-many-decimals", &detail)
        })
    }
}

impl TextFrom {
    /// The place in the body, or the constant itself.
    pub(super) fn place(&self) -> &str {
        match self {
            Self::Constant(text) => text,
            Self::Field { at, .. } => at.as_str(),
        }
    }
}

/// The same amount with a decimal point. Decimals that the currency does not have are dropped where
/// they are zero; others stay, for [`Money::new`] to refuse.
fn major_units(written: &str, counted: u32, has: u32) -> Result<String, AmountError> {
    let (sign, digits) = match written.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", written),
    };
    let is_padded = digits.len() > 1 && digits.starts_with('0');
    if digits.is_empty() || is_padded || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AmountError::Malformed);
    }
    if digits.len() > MAX_MINOR_DIGITS {
        return Err(AmountError::TooLarge);
    }
    let (counted, has) = (counted as usize, has as usize);
    let padded = format!("{digits:0>width$}", width = counted + 1);
    let (integer, fraction) = padded.split_at(padded.len() - counted);
    let superfluous = fraction.get(has..).unwrap_or_default();
    let fraction = match superfluous.bytes().all(|byte| byte == b'0') {
        true => &fraction[..counted.min(has)],
        false => fraction,
    };
    let point = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{sign}{integer}{point}{fraction}"))
}

/// Keeps what was read; of a field that is wrong nothing but its errors, with those of the others.
fn keep<T>(
    read: Result<T, Unmappable>,
    errors: &mut Vec<MappingError>,
) -> Result<Option<T>, Unmappable> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Unmappable::Fields(wrong)) => {
            errors.extend(wrong);
            Ok(None)
        }
        Err(unreadable) => Err(unreadable),
    }
}

fn required<'a>(document: Document<'a>, at: &Pointer) -> Result<Found<'a>, Unmappable> {
    let found = document.find(at)?;
    found.ok_or_else(|| wrong(at.as_str(), Fault::Missing, "missing", "is required"))
}

fn string<'a>(found: Found<'a>, at: &Pointer) -> Result<Cow<'a, str>, Unmappable> {
    found.string().ok_or_else(|| {
        let detail = "must be a string of valid Unicode, or a number";
        wrong(at.as_str(), Fault::Invalid, "wrong-type", detail)
    })
}

fn of_amount(at: &Pointer, unit: &Unit, error: AmountError) -> Unmappable {
    let (fault, code) = match error {
        AmountError::Malformed => (Fault::Invalid, "malformed"),
        AmountError::NotPositive => (Fault::Unacceptable, "not-positive"),
        AmountError::TooLarge => (Fault::Unacceptable, "too-large"),
        AmountError::TooManyDecimals => (Fault::Unacceptable, "too-many-decimals"),
    };
    let detail = match (unit, error) {
        (Unit::Minor { .. }, AmountError::Malformed) => {
            "is not acceptable: an amount in minor units is a whole number, such as 1250".to_owned()
        }
        _ => format!("is not acceptable: {error}"),
    };
    wrong(at.as_str(), fault, code, &detail)
}

fn wrong(pointer: &str, fault: Fault, code: &'static str, detail: &str) -> Unmappable {
    let error =
        MappingError { code, fault, pointer: pointer.to_owned(), detail: detail.to_owned() };
    Unmappable::Fields(vec![error])
}
