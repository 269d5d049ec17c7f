//! The settings of endpoints: what may be chosen.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::deliveries::endpoints::Settings;
use crate::deliveries::{Guard, OwnHeaders};
use crate::events::EventType;
use crate::standard_webhooks::SigningKey;

/// The longest time for which an old secret signs beside the new one.
pub const MAX_OVERLAP: Duration = Duration::from_secs(7 * 24 * 3600);

const MAX_DESCRIPTION_CHARS: usize = 500;
const MAX_METADATA: usize = 50;
const MAX_METADATA_NAME_CHARS: usize = 64;
const MAX_METADATA_VALUE_CHARS: usize = 500;
/// The time for an attempt, in milliseconds.
const TIMEOUT_MS: std::ops::RangeInclusive<u32> = 1_000..=30_000;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_RATE: u32 = 10_000;

/// Settings to be chosen or changed: what is none stays, and at first is the default. An inner none
/// takes a setting away.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    /// The address to send to; needed at first.
    pub url: Option<String>,
    /// The owner's own words.
    pub description: Option<Option<String>>,
    /// Names of event types, or `*` alone for all, which is the default.
    pub event_types: Option<Vec<String>>,
    /// The owner's own notes.
    pub metadata: Option<BTreeMap<String, String>>,
    /// The owner's own headers.
    pub headers: Option<BTreeMap<String, String>>,
    /// The time for an attempt, in milliseconds: 1,000 to 30,000; by default 15,000.
    pub timeout_ms: Option<u32>,
    /// The most deliveries in a second; by default as many as the endpoint takes.
    pub rate: Option<Option<u32>>,
    /// One after another, in the order of the events.
    pub ordered: Option<bool>,
    /// Sign with an ed25519 key, too.
    pub signs_with_key: Option<bool>,
}

/// A setting is not acceptable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} {reason}")]
pub struct SettingRefusal {
    /// The name of the setting.
    pub field: &'static str,
    /// The reason, to be read after the name.
    pub reason: String,
}

impl SettingRefusal {
    pub(super) fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

/// A change whose URL can be sent to.
pub(super) struct CheckedChange(EndpointChange);

impl EndpointChange {
    /// Looks the URL up, if there is one.
    pub(super) async fn check(mut self, guard: &Guard) -> Result<CheckedChange, SettingRefusal> {
        if let Some(url) = &self.url {
            let checked = guard.check(url).await;
            let checked = checked
                .map_err(|error| SettingRefusal::new("url", format!("cannot be used: {error}")))?;
            self.url = Some(checked.as_str().to_owned());
        }
        Ok(CheckedChange(self))
    }

    /// The settings after the change.
    pub(super) async fn apply(
        self,
        present: Option<Settings>,
        guard: &Guard,
    ) -> Result<Settings, SettingRefusal> {
        self.check(guard).await?.apply_to(present)
    }
}

impl CheckedChange {
    /// The settings after the change.
    pub(super) fn apply_to(self, present: Option<Settings>) -> Result<Settings, SettingRefusal> {
        let Self(change) = self;
        let mut settings = match (present, &change.url) {
            (Some(present), _) => present,
            (None, Some(url)) => defaults(url),
            (None, None) => return Err(SettingRefusal::new("url", "is needed")),
        };
        if let Some(url) = change.url {
            settings.url = url;
        }
        if let Some(description) = change.description {
            settings.description = description.map(checked_description).transpose()?;
        }
        if let Some(event_types) = change.event_types {
            settings.event_types = checked_event_types(event_types)?;
        }
        if let Some(metadata) = change.metadata {
            settings.metadata = checked_metadata(metadata)?;
        }
        if let Some(headers) = change.headers {
            settings.headers = checked_headers(headers)?;
        }
        if let Some(timeout_ms) = change.timeout_ms {
            if !TIMEOUT_MS.contains(&timeout_ms) {
                return Err(SettingRefusal::new("timeout_ms", "must be 1000 to 30000"));
            }
            settings.timeout = Duration::from_millis(timeout_ms.into());
        }
        if let Some(rate) = change.rate {
            settings.rate = rate.map(checked_rate).transpose()?;
        }
        if let Some(ordered) = change.ordered {
            settings.ordered = ordered;
        }
        match (change.signs_with_key, &settings.signing_key) {
            (Some(true), None) => settings.signing_key = Some(new_key()?),
            (Some(false), Some(_)) => {
                settings.signing_key = None;
                settings.public_key = None;
            }
            _ => {}
        }
        Ok(settings)
    }
}

fn defaults(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        description: None,
        event_types: None,
        metadata: json!({}),
        headers: json!({}),
        timeout: DEFAULT_TIMEOUT,
        rate: None,
        ordered: false,
        signing_key: None,
        public_key: None,
    }
}

fn new_key() -> Result<String, SettingRefusal> {
    let key = SigningKey::random();
    let key = key.map_err(|_| {
        SettingRefusal::new(
            "signs_with_key",
            "needs random numbers, which the system does not give",
        )
    })?;
    Ok(key.reveal())
}

fn checked_description(description: String) -> Result<String, SettingRefusal> {
    let is_plain = !description.chars().any(|c| c.is_control() && c != '\n');
    match is_plain && description.chars().count() <= MAX_DESCRIPTION_CHARS {
        true => Ok(description),
        false => Err(SettingRefusal::new(
            "description",
            format!(
                "must have at most {MAX_DESCRIPTION_CHARS} characters, and no control characters"
            ),
        )),
    }
}

fn checked_event_types(names: Vec<String>) -> Result<Option<Vec<String>>, SettingRefusal> {
    if names == ["*"] {
        return Ok(None);
    }
    if names.is_empty() {
        let reason = "must name at least one type, or be [\"*\"] for all";
        return Err(SettingRefusal::new("event_types", reason));
    }
    let mut checked: Vec<String> = Vec::new();
    for name in names {
        match name.parse::<EventType>() {
            Ok(event_type) => checked.push(event_type.as_str().to_owned()),
            Err(_) => {
                let known: Vec<&str> = EventType::ALL.iter().map(|it| it.as_str()).collect();
                let reason = format!("must be [\"*\"], or names of these: {}", known.join(", "));
                return Err(SettingRefusal::new("event_types", reason));
            }
        }
    }
    checked.sort_unstable();
    checked.dedup();
    Ok(Some(checked))
}

fn checked_metadata(metadata: BTreeMap<String, String>) -> Result<Value, SettingRefusal> {
    let is_text = |text: &str, most: usize| text.chars().count() <= most && !text.contains('\0');
    let fits = metadata.iter().all(|(name, value)| {
        !name.is_empty()
            && is_text(name, MAX_METADATA_NAME_CHARS)
            && is_text(value, MAX_METADATA_VALUE_CHARS)
    });
    match fits && metadata.len() <= MAX_METADATA {
        true => Ok(json!(metadata)),
        false => Err(SettingRefusal::new(
            "metadata",
            format!(
                "must have at most {MAX_METADATA} names of 1 to {MAX_METADATA_NAME_CHARS} \
                 characters, with values of at most {MAX_METADATA_VALUE_CHARS}"
            ),
        )),
    }
}

fn checked_headers(headers: BTreeMap<String, String>) -> Result<Value, SettingRefusal> {
    let given = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    match OwnHeaders::read(given) {
        Ok(_) => Ok(json!(headers)),
        Err(error) => Err(SettingRefusal::new("headers", format!("cannot be used: {error}"))),
    }
}

fn checked_rate(rate: u32) -> Result<i32, SettingRefusal> {
    match i32::try_from(rate) {
        Ok(rate @ 1..) if rate <= MAX_RATE as i32 => Ok(rate),
        _ => Err(SettingRefusal::new("rate", format!("must be 1 to {MAX_RATE} in a second"))),
    }
}
