//! Deliveries and attempts as they are shown.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::deliveries::event_id_text;
use crate::deliveries::reading::{DeliveryOverview, StoredAttempt};

/// A delivery as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct DeliveryView {
    /// The id of the event: the `webhook-id` of every attempt.
    pub event_id: String,
    /// The type of the event.
    pub event_type: String,
    /// The endpoint.
    pub endpoint_id: Uuid,
    /// The state: `pending`, `delivered` or `failed`.
    pub state: &'static str,
    /// The reason of a failure, as a stable code.
    pub reason: Option<String>,
    /// The attempts since it was made or asked for again.
    pub attempts: i32,
    /// The moment at which it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// The moment at which it was done with; none while it is pending.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// The number by which lists go on.
    #[serde(skip)]
    pub position: i64,
}

/// An attempt as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptView {
    /// The moment at which it had ended.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The status of the answer.
    pub status: Option<i32>,
    /// The trouble, as a stable code.
    pub error: Option<String>,
    /// The trouble in more words.
    pub detail: Option<String>,
    /// The time that it took, in milliseconds.
    pub duration_ms: i32,
    /// The address that was connected to.
    pub address: Option<String>,
    /// The beginning of the answer.
    pub answer: String,
}

impl From<DeliveryOverview> for DeliveryView {
    fn from(delivery: DeliveryOverview) -> Self {
        Self {
            event_id: event_id_text(delivery.event_id),
            event_type: delivery.event_type,
            endpoint_id: delivery.endpoint.0,
            state: delivery.state.as_str(),
            reason: delivery.reason,
            attempts: delivery.attempts,
            created_at: delivery.created_at,
            finished_at: delivery.finished_at,
            position: delivery.event,
        }
    }
}

impl From<StoredAttempt> for AttemptView {
    fn from(attempt: StoredAttempt) -> Self {
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
