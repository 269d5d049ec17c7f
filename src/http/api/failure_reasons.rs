//! Reasons of failures of transactions and orders, as codes in one spelling.

use std::borrow::Cow;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde::Serialize;
use serde_json::Value;

use crate::bank::MAX_WORD_CHARS;
use crate::http::wire::money::wire_type;

/// The reason of a failure, as a code.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct FailureReason(pub String);

fn failure_reason() -> MetaSchema {
    MetaSchema {
        min_length: Some(1),
        max_length: Some(MAX_WORD_CHARS),
        pattern: Some("^[a-z0-9-]+$".to_owned()),
        ..MetaSchema::new("string")
    }
}

wire_type!(FailureReason, failure_reason, |it| it.0.clone(), |_text| Err(ParseError::custom(
    "reasons are only given"
)));

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::http::api::openapi::Document;
    use crate::jobs::BANK_UNAVAILABLE;
    use crate::jobs::dead_letters::WRITTEN_OFF;
    use crate::payments::transfers::TransferRefusal;

    #[test]
    fn the_document_names_every_reason_of_ours_in_one_spelling() {
        let document: Value = serde_json::from_str(&Document::new().to_json()).unwrap();
        let refusals = TransferRefusal::ALL.iter().map(|refusal| refusal.code());
        let codes: Vec<&str> = refusals.chain([BANK_UNAVAILABLE, WRITTEN_OFF]).collect();
        for schema in ["Transaction", "Order"] {
            let field = &document["components"]["schemas"][schema]["properties"]["failure_reason"];
            let described = field["description"].as_str().unwrap();
            for code in &codes {
                assert!(described.contains(&format!("`{code}`")), "{schema}: {code}");
                assert!(code.bytes().all(|it| it == b'-' || it.is_ascii_lowercase()), "{code}");
            }
        }
    }
}
