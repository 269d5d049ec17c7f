//! Constrained text: amounts, currencies, ids, names and secrets, each a schema of its own.
//!
//! Generators of clients make a type of every text with a pattern or a length. Without a name of
//! its own they call it after the place where it stands, once for every place, and a
//! `WalletBalance` of `Wallet.balance` meets the schema `WalletBalance`.

use serde_json::{Map, Value, json};

use crate::http::edge::idempotency::KEY_PATTERN;
use crate::http::wire::field_types::{EMAIL_PATTERN, TEXT_PATTERN};
use crate::money::AMOUNT_PATTERN;

/// Keys that say nothing of which texts are allowed.
const ANNOTATIONS: [&str; 3] = ["description", "example", "nullable"];

/// A kind of text.
struct Scalar {
    name: &'static str,
    description: &'static str,
    /// The schema wherever it is used, but for [`ANNOTATIONS`].
    schema: Value,
}

/// All kinds. Those that others refer to come first.
fn all() -> impl Iterator<Item = Scalar> {
    of_money().into_iter().chain(of_people()).chain(of_operators())
}

fn scalar(name: &'static str, description: &'static str, schema: Value) -> Scalar {
    Scalar { name, description, schema }
}

fn text(min: u32, max: u32) -> Value {
    json!({ "type": "string", "minLength": min, "maxLength": max })
}

/// The schema of `Text`.
fn words(min: u32, max: u32) -> Value {
    matching(TEXT_PATTERN, min, max)
}

fn matching(pattern: &str, min: u32, max: u32) -> Value {
    let mut schema = text(min, max);
    schema["pattern"] = json!(pattern);
    schema
}

fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn of_money() -> Vec<Scalar> {
    vec![
        scalar(
            "Amount",
            "An amount of money, in decimal notation. Answers have exactly the decimals of the \
             currency (ISO 4217).",
            pattern(AMOUNT_PATTERN),
        ),
        scalar(
            "AmountInput",
            "An amount of money, greater than zero: text, or a number whose digits are read as \
             they were sent. It has no more decimals than the currency has (ISO 4217).",
            json!({ "oneOf": [
                { "$ref": reference("Amount") },
                { "type": "number", "minimum": 0.0001, "maximum": 99_999_999_999_999.0 },
            ]}),
        ),
        scalar(
            "SignedAmount",
            "An amount of money that may be zero or negative, with exactly the decimals of the \
             currency (ISO 4217).",
            pattern(r"^-?(0|[1-9][0-9]*)(\.[0-9]{1,4})?$"),
        ),
        scalar(
            "Currency",
            "The three-letter code of a currency (ISO 4217).",
            pattern("^[A-Z]{3}$"),
        ),
        scalar("ProviderId", "An id of a provider's, without control characters.", words(1, 255)),
        scalar(
            "WalletVersion",
            "The ETag of a wallet, or `*` for any.",
            pattern(r#"^(\*|"(0|[1-9][0-9]{0,18})")$"#),
        ),
        scalar(
            "IdempotencyKey",
            "A key that names one request.",
            json!({ "type": "string", "minLength": 1, "pattern": KEY_PATTERN }),
        ),
        scalar("AccountName", "The name of an account of a provider's.", text(1, 255)),
    ]
}

fn of_people() -> Vec<Scalar> {
    vec![
        scalar(
            "FailureReason",
            "The reason of a failure, as a stable code. Ours are `account-not-found`, \
             `balance-out-of-range`, `bank-unavailable`, `currency-mismatch`, \
             `insufficient-funds`, `same-account` and `written-off`; a bank that declines may have \
             more, such as `account-closed`, in the same spelling.",
            matching("^[a-z0-9-]+$", 1, 100),
        ),
        scalar("EmailAddress", "An email address.", matching(EMAIL_PATTERN, 3, 254)),
        scalar("Password", "A password, as it was set.", words(1, 128)),
        scalar("NewPassword", "A password to be set.", words(15, 128)),
        scalar("OrderDescription", "Words of the payer's about an order.", words(1, 140)),
        scalar("Remark", "Words for people: a description, or the reason of a decision.", {
            words(1, 500)
        }),
        scalar("EndpointUrl", "The address of an endpoint.", words(1, 2048)),
    ]
}

fn of_operators() -> Vec<Scalar> {
    vec![
        scalar("FailureFingerprint", "The fingerprint of a failure.", {
            matching("^[0-9a-f]{16}$", 1, 16)
        }),
        scalar("SoughtText", "A text that jobs are sought by.", matching(r"^[^\x00]+$", 1, 1000)),
        scalar("ArgumentMatch", "A field of the arguments and its value: `FIELD=VALUE`.", {
            matching(r"^[^\x00=]+=[^\x00]*$", 1, 1000)
        }),
        scalar("ErrorPart", "A part of the error of a job.", words(1, 300)),
        scalar("ShortName", "The name of a queue, or of a kind of jobs.", words(1, 100)),
        scalar("JobKey", "The key that jobs share.", words(1, 200)),
        scalar("LimitText", "A limit of a queue as people write it.", words(1, 40)),
        scalar(
            "EntityVersion",
            "The ETag of a thing, or `*` for any.",
            pattern(r#"^(\*|"[0-9a-z-]{1,100}")$"#),
        ),
        scalar("JobKind", "The name of a kind of jobs.", text(1, 100)),
    ]
}

/// Puts a reference in the place of each such text, and the schemas that are used to the others.
pub(super) fn share(document: &mut Value) {
    for Scalar { name, description, schema } in all() {
        let mut examples = Vec::new();
        replace(document, name, &schema, &mut examples);
        let Some(example) = examples.into_iter().next() else { continue };
        let mut component = json!({ "description": description });
        for (key, value) in schema.as_object().into_iter().flatten() {
            component[key] = value.clone();
        }
        if let Some(example) = example {
            component["example"] = example;
        }
        document["components"]["schemas"][name] = component;
    }
}

fn reference(name: &str) -> String {
    format!("#/components/schemas/{name}")
}

/// Replaces the schema wherever it stands in `part`, and gathers the example of each place.
fn replace(part: &mut Value, name: &str, schema: &Value, examples: &mut Vec<Option<Value>>) {
    match part {
        Value::Object(fields) if is_of_schema(fields, schema) => {
            examples.push(fields.get("example").cloned());
            *part = refer(fields, name);
        }
        Value::Object(fields) => {
            let schemas = fields.iter_mut().filter(|(key, _)| !key.starts_with("example"));
            schemas.for_each(|(_, value)| replace(value, name, schema, examples));
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|value| replace(value, name, schema, examples));
        }
        _ => {}
    }
}

fn is_of_schema(fields: &Map<String, Value>, schema: &Value) -> bool {
    let schema = schema.as_object().expect("a schema is an object");
    let constraints = fields.iter().filter(|(key, _)| !ANNOTATIONS.contains(&key.as_str()));
    constraints.clone().count() == schema.len()
        && constraints.into_iter().all(|(key, value)| schema.get(key) == Some(value))
}

/// A reference with the field's own description, which must not stand beside `$ref`.
fn refer(fields: &Map<String, Value>, name: &str) -> Value {
    let reference = json!({ "$ref": reference(name) });
    let mut own = fields.clone();
    own.retain(|key, _| key == "description" || key == "nullable");
    if own.is_empty() {
        return reference;
    }
    own.insert("allOf".to_owned(), json!([reference]));
    Value::Object(own)
}
