//! The transaction that an event stands for: exact, or none.

use serde_json::json;
use surety::providers::mapping::Unmappable;
use surety::providers::{Mapped, Mapping};

use super::{SHOPIFY, STRIPE, only_source, stripe_event};

fn read(mapping: &Mapping, body: &str) -> Result<Option<[String; 4]>, Vec<(String, &'static str)>> {
    match mapping.read(body.as_bytes()) {
        Ok(Mapped::NotOurs) => Ok(None),
        Ok(Mapped::Transaction(it)) => Ok(Some([
            it.transaction_id,
            it.source_account,
            it.destination_account,
            it.money.to_string(),
        ])),
        Err(Unmappable::Fields(errors)) => {
            Err(errors.into_iter().map(|error| (error.pointer, error.code)).collect())
        }
        Err(Unmappable::Document(error)) => Err(vec![(error.to_string(), "document")]),
    }
}

fn stripe_money(amount: &str, currency: &str) -> Result<String, &'static str> {
    let body = stripe_event("pi_1", 777, currency).replace("777", amount);
    match read(&only_source(STRIPE).mapping, &body) {
        Ok(Some([_, _, _, money])) => Ok(money),
        Ok(None) => panic!("it is one of ours"),
        Err(errors) => Err(errors[0].1),
    }
}

fn shop_money(price: &str, currency: &str) -> Result<String, &'static str> {
    let body = format!(
        "{{\"id\": 1, \"financial_status\": \"paid\", \"customer\": {{\"id\": 7}}, \
         \"total_price\": {price}, \"currency\": \"{currency}\"}}"
    );
    match read(&only_source(SHOPIFY).mapping, &body) {
        Ok(Some([_, _, _, money])) => Ok(money),
        Ok(None) => panic!("it is one of ours"),
        Err(errors) => Err(errors[0].1),
    }
}

#[test]
fn an_event_becomes_a_transaction_whose_id_names_its_source() {
    let body = stripe_event("pi_1", 1250, "eur");
    let expected = ["stripe:pi_1", "stripe:cus_1", "shop", "12.50 EUR"].map(str::to_owned);
    assert_eq!(read(&only_source(STRIPE).mapping, &body), Ok(Some(expected)));
    // Numbers as ids keep all their digits.
    let body = r#"{"id": 9007199254740993, "financial_status": "paid", "customer": {"id": 7},
        "total_price": "0.10", "currency": "EUR"}"#;
    let expected = ["shop:9007199254740993", "customer:7", "shop", "0.10 EUR"].map(str::to_owned);
    assert_eq!(read(&only_source(SHOPIFY).mapping, body), Ok(Some(expected)));
}

#[test]
fn minor_units_are_exact_by_the_decimals_of_the_currency() {
    for (amount, currency, money) in [
        ("1", "usd", "0.01 USD"),
        ("10", "USD", "0.10 USD"),
        ("1250", "jpy", "1250 JPY"),
        ("5", "kwd", "0.005 KWD"),
        ("9999999999999999", "usd", "99999999999999.99 USD"),
        ("\"1250\"", "eur", "12.50 EUR"),
        // As Stripe counts them.
        ("500", "isk", "5 ISK"),
        ("500", "mga", "500.00 MGA"),
    ] {
        assert_eq!(stripe_money(amount, currency), Ok(money.to_owned()), "{amount} {currency}");
    }
}

#[test]
fn minor_units_that_are_no_whole_number_or_no_amount_are_refused() {
    for (amount, currency, code) in [
        ("1e3", "usd", "malformed"),
        ("10.0", "usd", "malformed"),
        ("0.1", "usd", "malformed"),
        ("\"01\"", "usd", "malformed"),
        ("\"\"", "usd", "malformed"),
        ("\" 1\"", "usd", "malformed"),
        ("0", "usd", "not-positive"),
        ("-5", "usd", "not-positive"),
        ("10000000000000000", "usd", "too-large"),
        (&"9".repeat(400), "usd", "too-large"),
        ("501", "isk", "too-many-decimals"),
        ("500", "ugx", "unknown-unit"),
        ("500", "zzz", "unknown-currency"),
        ("500", "Usd", "unknown-currency"),
        ("true", "usd", "wrong-type"),
        ("[5]", "usd", "wrong-type"),
        ("null", "usd", "missing"),
    ] {
        assert_eq!(stripe_money(amount, currency), Err(code), "{amount} {currency}");
    }
}

#[test]
fn major_units_are_read_from_their_text() {
    for (price, money) in [
        ("0.1", "0.10 EUR"),
        ("\"0.2\"", "0.20 EUR"),
        ("0.30", "0.30 EUR"),
        ("12345678901234.56", "12345678901234.56 EUR"),
    ] {
        assert_eq!(shop_money(price, "EUR"), Ok(money.to_owned()), "{price}");
    }
    for (price, code) in [
        ("0.30000000000000004", "too-many-decimals"),
        ("0.301", "too-many-decimals"),
        ("1e3", "malformed"),
        ("1e400", "malformed"),
        ("\"1,000.00\"", "malformed"),
        ("\"NaN\"", "malformed"),
        ("123456789012345", "too-large"),
        ("-1.00", "not-positive"),
        ("0.00", "not-positive"),
    ] {
        assert_eq!(shop_money(price, "EUR"), Err(code), "{price}");
    }
}

#[test]
fn all_that_is_wrong_with_an_event_is_told_at_once() {
    let body = json!({ "type": "payment_intent.succeeded", "data": { "object": {
        "id": "", "currency": "eur", "customer": { "id": 1 },
    } } });
    let wrong = read(&only_source(STRIPE).mapping, &body.to_string()).unwrap_err();
    let expected = [
        ("/data/object/id", "empty"),
        ("/data/object/customer", "wrong-type"),
        ("/data/object/amount_received", "missing"),
    ];
    assert_eq!(wrong, expected.map(|(place, code)| (place.to_owned(), code)));
}

#[test]
fn names_that_could_not_be_stored_or_read_back_are_refused() {
    let mapping = only_source(STRIPE).mapping;
    for (id, code) in [
        ("\\u0000", "control-character"),
        ("a\\nb", "control-character"),
        ("\\ud800", "wrong-type"),
        (&"x".repeat(255), "too-long"),
    ] {
        let body = stripe_event("PLACE", 100, "eur").replace("PLACE", id);
        let wrong = read(&mapping, &body).unwrap_err();
        assert_eq!(wrong, [("/data/object/id".to_owned(), code)], "{id}");
    }
}

#[test]
fn events_that_are_not_ours_are_told_from_those_that_are_wrong() {
    let mapping = only_source(STRIPE).mapping;
    for body in [r#"{"type": "customer.created"}"#, "{}", "[]", r#"{"type": null}"#, "7"] {
        assert_eq!(read(&mapping, body), Ok(None), "{body}");
    }
    for body in ["", "{", "\u{feff}{}"] {
        assert!(read(&mapping, body).is_err(), "{body}");
    }
}

#[test]
fn an_event_with_two_values_in_one_place_is_refused() {
    let body = stripe_event("pi_1", 777, "eur").replace(":777", ":1,\"amount_received\":777");
    let wrong = read(&only_source(STRIPE).mapping, &body).unwrap_err();
    assert_eq!(wrong[0].1, "document");
}
