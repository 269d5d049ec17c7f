//! How a comparison is shown.

use std::io::Write as _;

use rust_decimal::Decimal;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::comparison::{Break, Comparison, IN_FLIGHT, Total};
use crate::cli::output::{Output, table};
use crate::money::Balance;

/// Prints it. A reader that has seen enough, such as `head`, changes nothing.
pub(super) fn print(comparison: &Comparison, output: Output) {
    let text = match output {
        Output::Table => to_text(comparison),
        Output::Json => {
            let mut all = summary(comparison);
            all["breaks"] = comparison.breaks.iter().map(to_json).collect();
            format!("{all:#}\n")
        }
        Output::Jsonl => {
            let breaks = comparison.breaks.iter().map(|it| format!("{}\n", to_json(it)));
            breaks.chain([format!("{}\n", summary(comparison))]).collect()
        }
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn to_text(comparison: &Comparison) -> String {
    let mut text = String::new();
    if !comparison.breaks.is_empty() {
        let header =
            ["TYPE", "ORDER OR KEY", "STATUS", "HERE", "BANK", "REFERENCE", "AGE", "LAST CALL"];
        let rows: Vec<_> = comparison.breaks.iter().map(row).collect();
        text += &table(header, &rows);
        text.push('\n');
    }
    let shown = comparison.breaks.len() as u64;
    let all: u64 = comparison.counts.values().sum();
    if all > shown {
        text += &format!("{} more are not shown; raise --limit\n\n", all - shown);
    }
    let total = |it: &Total| {
        let sums = [it.here, it.there, it.here - it.there];
        let [here, there, difference] = sums.map(|sum| amount(sum, &it.currency));
        [it.currency.clone(), it.direction.clone(), here, there, difference]
    };
    let totals: Vec<_> = comparison.totals.iter().map(total).collect();
    text += &table(["CURRENCY", "DIRECTION", "HERE", "BANK", "DIFFERENCE"], &totals);
    let counts = comparison.counts.iter().map(|(kind, count)| format!("{count} {kind}"));
    let counts: Vec<String> = counts.collect();
    let verdict = match (comparison.has_breaks(), counts.is_empty()) {
        (true, _) => format!("the two sides differ: {}", counts.join(", ")),
        (false, false) => format!("the two sides agree; {}", counts.join(", ")),
        (false, true) => "the two sides agree".to_owned(),
    };
    let (bookings, at) = (comparison.bookings, rfc3339(comparison.compared_at));
    text += &format!("\n{verdict}: {bookings} bookings of the bank, our books as of {at}\n");
    text
}

fn row(it: &Break) -> [String; 8] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let side = |direction: &Option<String>, money: Option<Decimal>, currency: &Option<String>| {
        let (direction, money, currency) = (direction.as_ref()?, money?, currency.as_ref()?);
        Some(format!("{direction} {} {currency}", amount(money, currency)))
    };
    [
        it.kind.clone(),
        it.order_id.map_or_else(|| it.effect_key.clone(), |id| id.to_string()),
        or_dash(&it.status),
        or_dash(&side(&it.direction_here, it.amount_here, &it.currency_here)),
        or_dash(&side(&it.direction_there, it.amount_there, &it.currency_there)),
        or_dash(&it.bank_reference),
        humantime::format_duration(std::time::Duration::from_secs(whole_secs(it))).to_string(),
        or_dash(&it.last_call),
    ]
}

fn to_json(it: &Break) -> Value {
    let side = |direction: &Option<String>, money: Option<Decimal>, currency: &Option<String>| {
        let (money, currency) = money.zip(currency.as_deref())?;
        let amount = amount(money, currency);
        Some(json!({ "direction": direction, "amount": amount, "currency": currency }))
    };
    json!({
        "type": it.kind,
        "is_break": it.kind != IN_FLIGHT,
        "order_id": it.order_id,
        "effect_key": it.effect_key,
        "status": it.status,
        "here": side(&it.direction_here, it.amount_here, &it.currency_here),
        "bank": side(&it.direction_there, it.amount_there, &it.currency_there),
        "bank_reference": it.bank_reference,
        "since": rfc3339(it.since),
        "age_secs": whole_secs(it),
        "last_call": it.last_call,
    })
}

fn summary(comparison: &Comparison) -> Value {
    let total = |it: &Total| {
        json!({
            "currency": it.currency,
            "direction": it.direction,
            "here": amount(it.here, &it.currency),
            "bank": amount(it.there, &it.currency),
            "difference": amount(it.here - it.there, &it.currency),
        })
    };
    json!({
        "agrees": !comparison.has_breaks(),
        "compared_at": rfc3339(comparison.compared_at),
        "bookings": comparison.bookings,
        "counts": comparison.counts,
        "totals": comparison.totals.iter().map(total).collect::<Vec<_>>(),
    })
}

/// With the decimals of its currency; a difference may be negative.
fn amount(amount: Decimal, currency: &str) -> String {
    let known = Balance::from_stored(amount, currency);
    known.map_or_else(|_| amount.normalize().to_string(), Balance::amount_text)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Never negative, never huge.
fn whole_secs(it: &Break) -> u64 {
    it.age_secs as u64
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}
