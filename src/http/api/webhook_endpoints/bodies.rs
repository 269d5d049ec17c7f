//! Webhook endpoints on the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use poem_openapi::Object;
use poem_openapi::types::MaybeUndefined;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::events::EventType;
use crate::http::wire::any_json::AnyJson;
use crate::http::wire::field_types::Text;
use crate::http::wire::json_body::json_object;
use crate::operations::endpoints::{EndpointChange, EndpointView};

json_object! {
    /// An endpoint to be made.
    #[oai(rename = "NewWebhookEndpoint")]
    pub(super) struct NewEndpoint {
        /// The address to send to: `https`, or `http`, of the public Internet.
        url: Text<2048>,
        /// Your own words.
        description: Option<Text<500>>,
        /// The names of the event types to be sent, or `*` alone for all, as it is by default.
        event_types: Option<Vec<String>>,
        /// Your own notes: at most 50, of at most 500 characters each.
        metadata: Option<BTreeMap<String, String>>,
        /// Headers of your own, at most 20. Their values are not shown again.
        headers: Option<BTreeMap<String, String>>,
        /// The time for an attempt, in milliseconds; 15000 when absent.
        #[oai(validator(minimum(value = "1000"), maximum(value = "30000")))]
        timeout_ms: Option<u32>,
        /// The most deliveries in a second; as many as the endpoint takes when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "10000")))]
        rate: Option<u32>,
        /// One after another, in the order of the events; one that fails keeps the others waiting.
        ordered: Option<bool>,
        /// Sign with an ed25519 key, too (`v1a`). The endpoint shows its public key.
        signs_with_key: Option<bool>,
    }

    fn value(fields) -> EndpointChange {
        Some(EndpointChange {
            url: Some(url?.0),
            description: description?.map(|Text(text)| Some(text)),
            event_types: event_types?,
            metadata: metadata?,
            headers: headers?,
            timeout_ms: timeout_ms?,
            rate: rate?.map(Some),
            ordered: ordered?,
            signs_with_key: signs_with_key?,
        })
    }
}

json_object! {
    /// The changes to an endpoint; what is absent stays.
    #[oai(rename = "WebhookEndpointChange")]
    pub(super) struct EndpointChangeIn {
        /// The address to send to.
        url: Option<Text<2048>>,
        /// Your own words; null for none.
        description: MaybeUndefined<Text<500>>,
        /// The names of the event types to be sent, or `*` alone for all.
        event_types: Option<Vec<String>>,
        /// Your own notes, in place of those before.
        metadata: Option<BTreeMap<String, String>>,
        /// Headers of your own, in place of those before.
        headers: Option<BTreeMap<String, String>>,
        /// The time for an attempt, in milliseconds.
        #[oai(validator(minimum(value = "1000"), maximum(value = "30000")))]
        timeout_ms: Option<u32>,
        /// The most deliveries in a second; null for as many as the endpoint takes.
        #[oai(validator(minimum(value = "1"), maximum(value = "10000")))]
        rate: MaybeUndefined<u32>,
        /// One after another, in the order of the events.
        ordered: Option<bool>,
        /// Sign with an ed25519 key, too. Switched off, the key is forgotten.
        signs_with_key: Option<bool>,
        /// Send to it, or send nothing more.
        enabled: Option<bool>,
    }

    fn value(fields) -> (EndpointChange, Option<bool>) {
        let change = EndpointChange {
            url: url?.map(|Text(text)| text),
            description: cleared(description?).map(|it| it.map(|Text(text)| text)),
            event_types: event_types?,
            metadata: metadata?,
            headers: headers?,
            timeout_ms: timeout_ms?,
            rate: cleared(rate?),
            ordered: ordered?,
            signs_with_key: signs_with_key?,
        };
        Some((change, enabled?))
    }
}

/// None when it stays, an inner none when it goes.
fn cleared<T>(field: MaybeUndefined<T>) -> Option<Option<T>> {
    match field {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}

json_object! {
    /// The time for which the old secret signs, too.
    #[oai(rename = "SecretOverlap")]
    pub(super) struct OverlapIn {
        /// In seconds, at most 604800; a day when absent, and 0 for a secret that others know.
        #[oai(validator(maximum(value = "604800")))]
        overlap_seconds: Option<u32>,
    }

    fn value(fields) -> Option<Duration> {
        Some(overlap_seconds?.map(|seconds| Duration::from_secs(seconds.into())))
    }
}

/// An endpoint.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "WebhookEndpoint")]
pub(super) struct EndpointOut {
    /// The id of the endpoint.
    id: Uuid,
    /// The user whose it is; null when it is the operators'.
    #[oai(nullable)]
    owner_id: Option<Uuid>,
    /// The address to send to.
    url: String,
    /// Your own words; null when there are none.
    #[oai(nullable)]
    description: Option<String>,
    /// The names of the event types that are sent; `*` alone for all.
    event_types: Vec<String>,
    /// Your own notes.
    metadata: AnyJson,
    /// The names of your own headers.
    header_names: Vec<String>,
    /// The time for an attempt, in milliseconds.
    timeout_ms: u32,
    /// The most deliveries in a second; null for as many as the endpoint takes.
    #[oai(nullable)]
    rate: Option<i32>,
    /// One after another, in the order of the events.
    ordered: bool,
    /// The key that verifies `v1a` signatures; null when there are none.
    #[oai(nullable)]
    public_key: Option<String>,
    /// Events are sent to it.
    enabled: bool,
    /// The reason that nothing is sent to it: `by-hand`, `gone` (it answered 410) or `failing` (for
    /// days); null while it is enabled.
    #[oai(nullable)]
    disabled_reason: Option<String>,
    /// The moment since which nothing is sent to it.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    disabled_at: Option<OffsetDateTime>,
    /// The number of failed attempts since the last success.
    failures: i32,
    /// The moment of the first of these.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    failing_since: Option<OffsetDateTime>,
    /// After failures, nothing is sent before this moment.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    resting_until: Option<OffsetDateTime>,
    /// The moment at which it was made.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// The moment of its last change.
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

impl From<EndpointView> for EndpointOut {
    fn from(endpoint: EndpointView) -> Self {
        Self {
            id: endpoint.id,
            owner_id: endpoint.owner_id,
            url: endpoint.url,
            description: endpoint.description,
            event_types: endpoint.event_types,
            metadata: AnyJson(endpoint.metadata.into()),
            header_names: endpoint.header_names,
            timeout_ms: endpoint.timeout_ms,
            rate: endpoint.rate,
            ordered: endpoint.ordered,
            public_key: endpoint.public_key,
            enabled: endpoint.disabled_at.is_none(),
            disabled_reason: endpoint.disabled_reason,
            disabled_at: endpoint.disabled_at,
            failures: endpoint.failures,
            failing_since: endpoint.failing_since,
            resting_until: endpoint.resting_until,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
        }
    }
}

/// A page of endpoints, newest first.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "WebhookEndpointPage")]
pub(super) struct EndpointPage {
    /// The endpoints of this page.
    pub(super) endpoints: Vec<EndpointOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    pub(super) next_cursor: Option<String>,
}

/// An endpoint that was made, with its secret. `Debug` does not show that.
#[derive(Serialize, Object)]
#[oai(rename = "CreatedWebhookEndpoint")]
pub(super) struct SecretOut {
    /// The endpoint.
    pub(super) endpoint: EndpointOut,
    /// The secret that signs, `whsec_…`. It is shown here and never again.
    pub(super) secret: String,
}

/// A new secret.
#[derive(Serialize, Object)]
#[oai(rename = "NewWebhookSecret")]
pub(super) struct NewSecretOut {
    /// The secret that signs from now on, `whsec_…`. It is shown here and never again.
    pub(super) secret: String,
}

/// A type of event.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "WebhookEventType")]
pub(super) struct EventTypeOut {
    /// The name, as in `event_types` and in the body's `type`.
    name: String,
    /// One sentence on what has happened.
    description: String,
    /// The schema of its data in this document.
    data_schema: String,
}

impl From<EventType> for EventTypeOut {
    fn from(event_type: EventType) -> Self {
        let name = event_type.as_str();
        let data_schema = match name.split('.').next() {
            Some("transaction") => "#/components/schemas/Transaction",
            Some("webhook") => "#/components/schemas/SentTestEvent",
            _ => "#/components/schemas/Order",
        };
        Self {
            name: name.to_owned(),
            description: event_type.description().to_owned(),
            data_schema: data_schema.to_owned(),
        }
    }
}

/// All types of events.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "WebhookEventTypes")]
pub(super) struct EventTypesOut {
    /// The types.
    pub(super) event_types: Vec<EventTypeOut>,
}
