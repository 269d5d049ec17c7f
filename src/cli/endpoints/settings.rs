//! Flags that choose or change the settings of an endpoint.

use std::collections::BTreeMap;

use crate::operations::endpoints::EndpointChange;

/// The settings of an endpoint.
#[derive(clap::Args, Debug)]
pub(super) struct SettingArgs {
    /// Your own words; empty for none.
    #[arg(long)]
    description: Option<String>,
    /// A type of event to be sent, again for each; '*' for all.
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// A note of your own, again for each.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// A header of your own, again for each. It is not shown again.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// The time for an attempt, in milliseconds.
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u32>,
    /// The most deliveries in a second; 0 for as many as the endpoint takes.
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// One after another, in the order of the events.
    #[arg(long, value_name = "BOOL")]
    ordered: Option<bool>,
    /// Sign with an ed25519 key, too (v1a).
    #[arg(long, value_name = "BOOL")]
    signs_with_key: Option<bool>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("it is not NAME=VALUE".to_owned()),
    }
}

impl SettingArgs {
    pub(super) fn into_change(self, url: Option<String>) -> EndpointChange {
        let given = |pairs: Vec<(String, String)>| -> Option<BTreeMap<String, String>> {
            (!pairs.is_empty()).then(|| pairs.into_iter().collect())
        };
        EndpointChange {
            url,
            description: self.description.map(|text| Some(text).filter(|text| !text.is_empty())),
            event_types: Some(self.events).filter(|events| !events.is_empty()),
            metadata: given(self.metadata),
            headers: given(self.headers),
            timeout_ms: self.timeout_ms,
            rate: self.rate.map(|rate| Some(rate).filter(|rate| *rate > 0)),
            ordered: self.ordered,
            signs_with_key: self.signs_with_key,
        }
    }
}
