//! The meaning of a source's events.

use std::collections::HashMap;

use toml::Value;

use super::scheme::SchemeName;
use super::section::{Section, Wrong};
use crate::money::{Currency, MAX_DECIMALS};
use crate::providers::adyen;
use crate::providers::document::Pointer;
use crate::providers::mapping::{AmountFrom, Condition, Mapping, TextFrom, Unit};

/// The most characters that may stand before an id or a name.
const MAX_PREFIX_CHARS: usize = 64;

/// Currencies that Stripe counts otherwise than ISO 4217: króna in hundredths, ariary whole. Of
/// shillings of Uganda its own pages say both, so the file has to.
const STRIPE_DECIMALS: [(&str, Option<u32>); 3] =
    [("ISK", Some(2)), ("MGA", Some(0)), ("UGX", None)];
/// Those that Adyen counts otherwise.
const ADYEN_DECIMALS: [(&str, Option<u32>); 4] =
    [("CLP", Some(2)), ("CVE", Some(0)), ("IDR", Some(0)), ("ISK", Some(2))];

/// Reads the table `transaction`.
pub(super) fn read(
    section: &mut Section,
    source: &str,
    scheme: SchemeName,
    max_chars: usize,
) -> Result<Mapping, Wrong> {
    let mut keys = Keys { section, scheme };
    // So that one provider cannot take the ids of another.
    let prefix = format!("{source}:");
    Ok(Mapping {
        only: keys.conditions()?,
        id: keys.text("id", &prefix)?,
        source_account: keys.text("source_account", "")?,
        destination_account: keys.text("destination_account", "")?,
        amount: keys.amount()?,
        currency: keys.text("currency", "")?,
        max_chars,
    })
    .and_then(|mapping| match &mapping.id {
        TextFrom::Field { .. } => Ok(mapping),
        TextFrom::Constant(_) => {
            Err(keys.section.wrong_key("id", "expected a place: each transaction has its own id"))
        }
    })
}

struct Keys<'a> {
    section: &'a mut Section,
    scheme: SchemeName,
}

impl Keys<'_> {
    fn conditions(&mut self) -> Result<Vec<Condition>, Wrong> {
        let place = self.section.place("only");
        let tables = match self.section.value("only") {
            None => return Ok(Vec::new()),
            Some(Value::Array(tables)) => tables,
            Some(_) => return Err(Wrong::at(&place, "expected a list of { at, is }")),
        };
        let condition = |value| {
            let Value::Table(table) = value else {
                return Err(Wrong::at(&place, "expected a list of { at, is }"));
            };
            let mut section = Section::new(&place, table);
            let at = section.required_text("at")?;
            let at = self.pointer(&at, &section.place("at"))?;
            let is = section.texts("is")?;
            if is.is_empty() {
                return Err(section.wrong_key("is", "is missing"));
            }
            section.end()?;
            Ok(Condition { at, is })
        };
        tables.into_iter().map(condition).collect()
    }

    /// A place, a place with something before it, or a constant.
    fn text(&mut self, key: &str, prefix: &str) -> Result<TextFrom, Wrong> {
        let place = self.section.place(key);
        match self.section.required(key)? {
            Value::String(at) => {
                Ok(TextFrom::Field { at: self.pointer(&at, &place)?, prefix: prefix.to_owned() })
            }
            Value::Table(table) => {
                let mut section = Section::new(&place, table);
                if let Some(text) = section.text("text")? {
                    section.end()?;
                    return match is_sane(&text) && !text.trim().is_empty() {
                        true => Ok(TextFrom::Constant(text)),
                        false => Err(Wrong::at(&format!("{place}.text"), BAD_TEXT)),
                    };
                }
                let at = section.required_text("at")?;
                let at = self.pointer(&at, &section.place("at"))?;
                let prefix = section.text("prefix")?.unwrap_or_else(|| prefix.to_owned());
                if !is_sane(&prefix) {
                    return Err(section.wrong_key("prefix", BAD_TEXT));
                }
                section.end()?;
                Ok(TextFrom::Field { at, prefix })
            }
            _ => Err(Wrong::at(&place, "expected a place, { at, prefix } or { text }")),
        }
    }

    fn amount(&mut self) -> Result<AmountFrom, Wrong> {
        let mut section = self.section.required_section("amount")?;
        let at = section.required_text("at")?;
        let at = self.pointer(&at, &section.place("at"))?;
        let is_minor = section.choice("unit", &[("minor", true), ("major", false)])?;
        let is_minor = is_minor.ok_or_else(|| section.wrong_key("unit", "is missing"))?;
        let unit = match is_minor {
            false => Unit::Major,
            true => {
                let mut decimals = preset(self.scheme);
                if let Some(named) = section.section("decimals")? {
                    decimals.extend(self.decimals(named)?);
                }
                Unit::Minor { decimals }
            }
        };
        section.end()?;
        Ok(AmountFrom { at, unit })
    }

    fn decimals(&self, mut named: Section) -> Result<HashMap<Currency, Option<u32>>, Wrong> {
        let mut decimals = HashMap::new();
        for code in named.names() {
            let Ok(currency) = Currency::parse(&code) else {
                return Err(named.wrong_key(&code, "is no currency in use"));
            };
            let number = named.value(&code).and_then(|value| value.as_integer());
            let number = number.and_then(|number| u32::try_from(number).ok());
            let number = number.filter(|number| *number as usize <= MAX_DECIMALS);
            let expected = || named.wrong_key(&code, &format!("expected 0 to {MAX_DECIMALS}"));
            decimals.insert(currency, Some(number.ok_or_else(expected)?));
        }
        Ok(decimals)
    }

    fn pointer(&self, text: &str, place: &str) -> Result<Pointer, Wrong> {
        let pointer = Pointer::parse(text).map_err(|error| Wrong::at(place, &error.to_string()))?;
        if self.scheme == SchemeName::Adyen && !adyen::is_signed(&pointer) {
            let signed = adyen::signed_places();
            let problem = format!("Adyen does not sign what stands there, only {signed}");
            return Err(Wrong::at(place, &problem));
        }
        Ok(pointer)
    }
}

const BAD_TEXT: &str = "expected 1 to 64 characters, none of them a control character";

fn is_sane(text: &str) -> bool {
    text.chars().count() <= MAX_PREFIX_CHARS && !text.chars().any(char::is_control)
}

fn preset(scheme: SchemeName) -> HashMap<Currency, Option<u32>> {
    let known: &[(&str, Option<u32>)] = match scheme {
        SchemeName::Stripe => &STRIPE_DECIMALS,
        SchemeName::Adyen => &ADYEN_DECIMALS,
        SchemeName::GitHub | SchemeName::Shopify | SchemeName::Hmac | SchemeName::Standard => &[],
    };
    let currency = |code| Currency::parse(code).expect("a currency in use");
    known.iter().map(|(code, decimals)| (currency(code), *decimals)).collect()
}
