//! Endpoints as they are shown.

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::deliveries::TargetUrl;
use crate::deliveries::endpoints::Endpoint;
use crate::standard_webhooks::SigningKey;

/// An endpoint as it is shown: without its secrets and the values of its headers.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointView {
    /// The id.
    pub id: Uuid,
    /// The user whose it is; none when it is the operators'.
    pub owner_id: Option<Uuid>,
    /// The address to send to.
    pub url: String,
    /// The owner's own words.
    pub description: Option<String>,
    /// The names of the event types that are sent; `*` means all.
    pub event_types: Vec<String>,
    /// The owner's own notes.
    pub metadata: Value,
    /// The names of the owner's own headers.
    pub header_names: Vec<String>,
    /// The time for an attempt, in milliseconds.
    pub timeout_ms: u32,
    /// The most deliveries in a second.
    pub rate: Option<i32>,
    /// One after another, in the order of the events.
    pub ordered: bool,
    /// The key that verifies `v1a` signatures, `whpk_…`; none when there are none.
    pub public_key: Option<String>,
    /// The reason that nothing is sent to it, as a stable code; none while it is enabled.
    pub disabled_reason: Option<String>,
    /// Since when nothing is sent to it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub disabled_at: Option<OffsetDateTime>,
    /// Failed attempts since the last success.
    pub failures: i32,
    /// The moment of the first of these.
    #[serde(with = "time::serde::rfc3339::option")]
    pub failing_since: Option<OffsetDateTime>,
    /// Nothing is sent before this moment.
    #[serde(with = "time::serde::rfc3339::option")]
    pub resting_until: Option<OffsetDateTime>,
    /// Changes with every change of the settings.
    pub version: i64,
    /// The moment at which it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// The moment of its last change.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

impl From<Endpoint> for EndpointView {
    fn from(endpoint: Endpoint) -> Self {
        let settings = endpoint.settings;
        let header_names = match &settings.headers {
            Value::Object(headers) => headers.keys().cloned().collect(),
            _ => Vec::new(),
        };
        // Stored in plain by an earlier version.
        let of_plain = |key: String| Some(key.parse::<SigningKey>().ok()?.public_key().to_string());
        let public_key = settings.public_key.or_else(|| settings.signing_key.and_then(of_plain));
        Self {
            id: endpoint.id.0,
            owner_id: endpoint.owner.map(|user| user.0),
            url: settings.url,
            description: settings.description,
            event_types: settings.event_types.unwrap_or_else(|| vec!["*".to_owned()]),
            metadata: settings.metadata,
            header_names,
            timeout_ms: u32::try_from(settings.timeout.as_millis()).unwrap_or(u32::MAX),
            rate: settings.rate,
            ordered: settings.ordered,
            public_key,
            disabled_reason: endpoint.disabled_reason,
            disabled_at: endpoint.disabled_at,
            failures: endpoint.failures,
            failing_since: endpoint.failing_since,
            resting_until: endpoint.open_until,
            version: endpoint.version,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
        }
    }
}

impl EndpointView {
    /// The address in logs and lists: without path and query, which may hold keys.
    #[must_use]
    pub fn place(&self) -> String {
        self.url.parse::<TargetUrl>().map_or_else(|_| "?".to_owned(), |url| url.to_string())
    }
}

/// A secret that has just been made. Its `Debug` does not show it.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct SecretView(String);

impl SecretView {
    pub(super) fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret, `whsec_…`.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretView(..)")
    }
}
