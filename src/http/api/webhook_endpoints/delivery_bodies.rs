//! Deliveries and replays on the wire.

use poem_openapi::{Enum, Object};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::deliveries::outgoing::DeliveryState;
use crate::http::wire::field_types::FieldType;
use crate::http::wire::fields::Fields;
use crate::http::wire::json_body::json_object;
use crate::http::wire::moment::Moment;
use crate::operations::endpoints::deliveries::{
    AttemptView, DeliveryView, Replay, ReplayCount, ReplayView,
};

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
    /// Deliveries to be sent again.
    #[oai(rename = "NewReplay")]
    pub(super) struct ReplayIn {
        /// Those that failed, or all.
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
            (ReplayWhat::All, Some(since)) => Replay::Since(since.boundary()),
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
    /// The reason of a failure: `attempts-exhausted`, `endpoint-gone`, `endpoint-disabled`,
    /// `endpoint-unusable`, or `job-cancelled` or `job-discarded` when an operator ended it; null
    /// unless it failed.
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
    /// Its progress, in words.
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
