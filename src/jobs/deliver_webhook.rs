//! Delivers one event to one endpoint.

use serde::{Deserialize, Serialize};

use super::Services;
use crate::deliveries::Planned;
use crate::ids::EndpointId;
use crate::queue::{Committed, Job, JobContext, JobError, NewJob, QueueError};

/// The queue of endpoints that want their deliveries one after another.
pub const ORDERED_QUEUE: &str = "webhooks_ordered";

/// Sends an event to an endpoint, again and again by the schedule, until it is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeliverWebhook {
    /// The number of the event.
    pub event: i64,
    /// The endpoint.
    pub endpoint: EndpointId,
}

impl DeliverWebhook {
    /// The job of a delivery.
    ///
    /// # Errors
    ///
    /// [`QueueError::Args`].
    pub(super) fn job(planned: &Planned) -> Result<NewJob, QueueError> {
        let job = NewJob::new(&Self { event: planned.event, endpoint: planned.endpoint })?;
        // Keys take turns, so that no endpoint keeps the others waiting.
        let job = job.key(planned.endpoint.to_string());
        Ok(if planned.ordered { job.queue(ORDERED_QUEUE) } else { job })
    }
}

impl Job for DeliverWebhook {
    const KIND: &'static str = "deliver_webhook";
    const QUEUE: &'static str = "webhooks";
    const PRIORITY: i16 = 3;
    const MAX_ATTEMPTS: i16 = 100;
    type State = Services;

    async fn run(self, _state: &Services, cx: JobContext) -> Result<Committed, JobError> {
        cx.complete_without_effects().await
    }
}
