//! A comparison as JSON.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use super::{Break, Comparison, IN_FLIGHT, Total};
use crate::ids::OrderId;
use crate::money::Balance;

/// A comparison without its breaks.
#[derive(Debug, Serialize)]
pub struct ComparisonSummary<'a> {
    agrees: bool,
    #[serde(with = "time::serde::rfc3339")]
    compared_at: OffsetDateTime,
    bookings: u64,
    counts: &'a BTreeMap<String, u64>,
    totals: &'a [Total],
}

impl Comparison {
    /// The comparison without its breaks.
    #[must_use]
    pub fn summary(&self) -> ComparisonSummary<'_> {
        ComparisonSummary {
            agrees: !self.has_breaks(),
            compared_at: self.compared_at,
            bookings: self.bookings,
            counts: &self.counts,
            totals: &self.totals,
        }
    }
}

impl Serialize for Comparison {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a> {
            #[serde(flatten)]
            summary: ComparisonSummary<'a>,
            breaks: &'a [Break],
        }
        Json { summary: self.summary(), breaks: &self.breaks }.serialize(serializer)
    }
}

impl Serialize for Total {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a> {
            currency: &'a str,
            direction: &'a str,
            here: String,
            bank: String,
            difference: String,
        }
        let currency = &self.currency;
        let json = Json {
            currency,
            direction: &self.direction,
            here: amount_text(self.here, currency),
            bank: amount_text(self.there, currency),
            difference: amount_text(self.here - self.there, currency),
        };
        json.serialize(serializer)
    }
}

impl Serialize for Break {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Side<'a> {
            direction: Option<&'a str>,
            amount: String,
            currency: &'a str,
        }
        #[derive(Serialize)]
        struct Json<'a> {
            r#type: &'a str,
            is_break: bool,
            order_id: Option<OrderId>,
            effect_key: &'a str,
            status: Option<&'a str>,
            here: Option<Side<'a>>,
            bank: Option<Side<'a>>,
            bank_reference: Option<&'a str>,
            #[serde(with = "time::serde::rfc3339")]
            since: OffsetDateTime,
            age_secs: u64,
            last_call: Option<&'a str>,
        }
        fn side<'a>(
            direction: Option<&'a str>,
            amount: Option<Decimal>,
            currency: Option<&'a str>,
        ) -> Option<Side<'a>> {
            let (amount, currency) = amount.zip(currency)?;
            Some(Side { direction, amount: amount_text(amount, currency), currency })
        }
        let json = Json {
            r#type: &self.kind,
            is_break: self.kind != IN_FLIGHT,
            order_id: self.order_id,
            effect_key: &self.effect_key,
            status: self.status.as_deref(),
            here: side(
                self.direction_here.as_deref(),
                self.amount_here,
                self.currency_here.as_deref(),
            ),
            bank: side(
                self.direction_there.as_deref(),
                self.amount_there,
                self.currency_there.as_deref(),
            ),
            bank_reference: self.bank_reference.as_deref(),
            since: self.since,
            age_secs: self.age().as_secs(),
            last_call: self.last_call.as_deref(),
        };
        json.serialize(serializer)
    }
}

/// An amount with the decimals of its currency. It may be negative.
#[must_use]
pub fn amount_text(amount: Decimal, currency: &str) -> String {
    let known = Balance::from_stored(amount, currency);
    known.map_or_else(|_| amount.normalize().to_string(), Balance::amount_text)
}
