//! `OTEL_RESOURCE_ATTRIBUTES` by its specification: values are percent-encoded, and a list that
//! cannot be read counts as none. The SDK's own reader takes values as they stand.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::ResourceDetector;
use percent_encoding::percent_decode_str;

/// Reads the variable.
pub(super) struct FromEnvironment;

impl ResourceDetector for FromEnvironment {
    fn detect(&self) -> Resource {
        let text = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        Resource::builder_empty().with_attributes(attributes(&text).unwrap_or_default()).build()
    }
}

fn attributes(text: &str) -> Option<Vec<KeyValue>> {
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    let attribute = |member: &str| {
        let (key, value) = member.split_once('=')?;
        let decoded = |text: &str| {
            percent_decode_str(text.trim()).decode_utf8().ok().map(|text| text.into_owned())
        };
        let key = decoded(key).filter(|key| !key.is_empty())?;
        Some(KeyValue::new(key, decoded(value)?))
    };
    members.map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_percent_decoded_and_a_list_that_is_none_is_left_out() {
        let read = |text| {
            let attributes = attributes(text)?;
            let text = |it: &KeyValue| format!("{}={}", it.key, it.value);
            Some(attributes.iter().map(text).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(read("a=1, b=%2C%20%C3%A9 ,").as_deref(), Some("a=1 b=, é"));
        assert_eq!(read("").as_deref(), Some(""));
        for none in ["a", "=1", "a=1,b", "a=%FF"] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
