//! Webhook endpoints and deliveries on the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Enum, Object};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::deliveries::outgoing::DeliveryState;
use crate::events::EventType;
use crate::http::wire::any_json::AnyJson;
use crate::http::wire::field_types::{FieldType, Text};
use crate::http::wire::fields::Fields;
use crate::http::wire::json_body::json_object;
use crate::http::wire::moment::Moment;
use crate::operations::endpoints::deliveries::{
    AttemptView, DeliveryView, Replay, ReplayCount, ReplayView,
};
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
    /// For how long the old secret signs, too.
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

/// The deliveries that a replay sends again.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename = "ReplayWhat", rename_all = "lowercase")]
pub(super) enum ReplayWhat {
    /// Those that failed.
    Failed,
    /// Everything since `since`.
    All,
}

impl FieldType for ReplayWhat {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        fields.choice(name, &[("failed", Self::Failed), ("all", Self::All)])
    }
}

json_object! {
    /// What is to be sent again.
    #[oai(rename = "NewReplay")]
    pub(super) struct ReplayIn {
        /// What failed, or all of it.
        what: ReplayWhat,
        /// With `all`: from which moment on (RFC 3339).
        since: Option<Moment>,
        /// Only count.
        dry_run: Option<bool>,
    }

    fn value(fields) -> (Replay, bool) {
        let dry_run = dry_run?.unwrap_or(false);
        let replay = match (what?, since?) {
            (ReplayWhat::Failed, None) => Replay::Failed,
            (ReplayWhat::All, Some(Moment(since))) => Replay::Since(since),
            (ReplayWhat::Failed, Some(_)) => {
                return fields.accept("since", Err("must be absent with \"failed\""));
            }
            (ReplayWhat::All, None) => {
                return fields.accept("since", Err("is needed with \"all\""));
            }
        };
        Some((replay, dry_run))
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
    /// Why nothing is sent to it: `by-hand`, `gone` (it answered 410) or `failing` (for days); null
    /// while it is enabled.
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
    /// What has happened.
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

/// The state of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Enum)]
#[serde(rename_all = "lowercase")]
#[oai(rename = "DeliveryState", rename_all = "lowercase")]
pub(super) enum DeliveryStateName {
    /// It will be tried, or tried again.
    Pending,
    /// The endpoint has answered with a 2xx.
    Delivered,
    /// It is given up; `reason` says why.
    Failed,
}

impl From<DeliveryStateName> for DeliveryState {
    fn from(name: DeliveryStateName) -> Self {
        match name {
            DeliveryStateName::Pending => Self::Pending,
            DeliveryStateName::Delivered => Self::Delivered,
            DeliveryStateName::Failed => Self::Failed,
        }
    }
}

/// A delivery: one event for one endpoint.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Delivery")]
pub(super) struct DeliveryOut {
    /// The id of the event: the `webhook-id` of every attempt.
    event_id: String,
    /// The type of the event.
    event_type: String,
    /// The endpoint.
    endpoint_id: Uuid,
    /// The state: `pending`, `delivered` or `failed`.
    state: String,
    /// Why it failed: `attempts-exhausted`, `endpoint-gone`, `endpoint-disabled` or
    /// `endpoint-unusable`; null unless it failed.
    #[oai(nullable)]
    reason: Option<String>,
    /// The number of attempts since it was made or asked for again.
    attempts: i32,
    /// The moment at which it was made.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// The moment at which it was done with; null while it is pending.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    finished_at: Option<OffsetDateTime>,
}

impl From<DeliveryView> for DeliveryOut {
    fn from(delivery: DeliveryView) -> Self {
        Self {
            event_id: delivery.event_id,
            event_type: delivery.event_type,
            endpoint_id: delivery.endpoint_id,
            state: delivery.state.to_owned(),
            reason: delivery.reason,
            attempts: delivery.attempts,
            created_at: delivery.created_at,
            finished_at: delivery.finished_at,
        }
    }
}

/// A page of deliveries, newest first.
#[derive(Debug, Serialize, Object)]
pub(super) struct DeliveryPage {
    /// The deliveries of this page.
    pub(super) deliveries: Vec<DeliveryOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    pub(super) next_cursor: Option<String>,
}

/// An attempt: one HTTP request.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "DeliveryAttempt")]
pub(super) struct AttemptOut {
    /// The moment at which it had ended.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// The status of the answer; null when there was none.
    #[oai(nullable)]
    status: Option<i32>,
    /// The trouble, as a stable code; null when all was well.
    #[oai(nullable)]
    error: Option<String>,
    /// The trouble in more words.
    #[oai(nullable)]
    detail: Option<String>,
    /// The time that it took, in milliseconds.
    duration_ms: i32,
    /// The address that was connected to; null when none was.
    #[oai(nullable)]
    address: Option<String>,
    /// The beginning of the answer, at most 16 KiB.
    answer: String,
}

impl From<AttemptView> for AttemptOut {
    fn from(attempt: AttemptView) -> Self {
        Self {
            at: attempt.at,
            status: attempt.status,
            error: attempt.error,
            detail: attempt.detail,
            duration_ms: attempt.duration_ms,
            address: attempt.address,
            answer: attempt.answer,
        }
    }
}

/// A delivery with its attempts.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "DeliveryDetails")]
pub(super) struct DeliveryDetails {
    /// The delivery.
    pub(super) delivery: DeliveryOut,
    /// Its last attempts, at most 100, the first of them first.
    pub(super) attempts: Vec<AttemptOut>,
}

/// A test event that was sent.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "SentTestEvent")]
pub(super) struct TestOut {
    /// The id of the event, under which its delivery can be read.
    pub(super) event_id: String,
}

/// A replay, or the number of deliveries that it would send.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Replay")]
pub(super) struct ReplayOut {
    /// The number of the replay's job; null for a dry run.
    #[oai(nullable)]
    pub(super) replay_id: Option<i64>,
    /// The state of the job, such as `running` or `completed`; null for a dry run.
    #[oai(nullable)]
    pub(super) state: Option<String>,
    /// How far it is, in words.
    #[oai(nullable)]
    pub(super) progress: Option<String>,
    /// The number of deliveries that a dry run counted; null otherwise.
    #[oai(nullable)]
    pub(super) count: Option<i64>,
    /// There may be more than were counted.
    pub(super) is_capped: bool,
}

impl From<ReplayView> for ReplayOut {
    fn from(replay: ReplayView) -> Self {
        Self {
            replay_id: Some(replay.job_id),
            state: Some(replay.state.to_owned()),
            progress: replay.progress_text,
            count: None,
            is_capped: false,
        }
    }
}

impl From<ReplayCount> for ReplayOut {
    fn from(count: ReplayCount) -> Self {
        Self {
            replay_id: None,
            state: None,
            progress: None,
            count: Some(count.count),
            is_capped: count.is_capped,
        }
    }
}
