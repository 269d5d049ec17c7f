//! Delivers one event to one endpoint.
//!
//! ```text
//!   load ─▶ may we? ─▶ send ─▶ the attempt, the delivery's state, the health ┐ one database
//!           (health,            of its endpoint, the end of the job          ┘ transaction
//!            rate, window)
//! ```
//!
//! Runs that are at the same step at the same moment share its statements: a busy worker loads and
//! records a hundred deliveries by one each.

mod attempt_span;
mod disabling;
mod loading;
mod recording;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;

use self::attempt_span::AttemptSpan;
use self::loading::Loader;
use self::recording::{Ended, Recorder};
use self::windows::Windows;
use super::announcements::webhook_id;
use super::{EndpointSecrets, Services};
use crate::deliveries::outgoing::{DeliveryKey, DeliveryState, Outgoing, Progress};
use crate::deliveries::{
    Client, Delivery, Outcome, OwnHeaders, Planned, RetrySchedule, Sent, TargetUrl, health, retry,
};
use crate::ids::EndpointId;
use crate::metrics::Timings;
use crate::queue::{Committed, Job, JobContext, JobError, NewJob, QueueError};
use crate::standard_webhooks::{MessageId, Signer, SigningKey, WebhookSecret};

/// A worker that sends no webhooks, or does not know the key of an endpoint's secrets, looks again
/// after this long.
const WITHOUT_WAY_OUT: Duration = Duration::from_secs(30);

/// The reasons that a delivery failed, as stable codes.
mod reason {
    pub(super) const EXHAUSTED: &str = "attempts-exhausted";
    pub(super) const GONE: &str = "endpoint-gone";
    pub(super) const OFF: &str = "endpoint-disabled";
    pub(super) const UNUSABLE: &str = "endpoint-unusable";
}

/// The way out for webhooks. Clones share connections, windows and statements.
#[derive(Clone, Debug)]
pub struct Webhooks {
    client: Client,
    schedule: Arc<RetrySchedule>,
    loader: Loader,
    recorder: Recorder,
    windows: Windows,
    secrets: EndpointSecrets,
}

impl Webhooks {
    /// A way out by this client, for runs on this pool. Called within a runtime, as it starts
    /// tasks, which end with the last clone.
    pub fn start(pool: &PgPool, client: Client, schedule: RetrySchedule) -> Self {
        Self {
            client,
            loader: Loader::start(pool.clone()),
            recorder: Recorder::start(pool.clone(), schedule.first_wait()),
            schedule: Arc::new(schedule),
            windows: Windows::default(),
            secrets: EndpointSecrets::default(),
        }
    }

    /// The same, for endpoints whose secrets are sealed with the keys that these have.
    #[must_use]
    pub fn with_secrets(self, secrets: EndpointSecrets) -> Self {
        Self { secrets, ..self }
    }

    /// The times of attempts so far.
    #[must_use]
    pub fn durations(&self) -> &Timings {
        self.client.durations()
    }
}

/// Sends an event to an endpoint, again and again by the schedule, until it is taken.
///
/// A failed attempt is a failed attempt of the job. An endpoint that fails again and again is left
/// alone for a while, by all workers, and then probed by one delivery; the others wait, which costs
/// them no attempt. When the schedule has come to its end the delivery is `failed`, and the job is
/// done: somebody may ask for the delivery again.
///
/// Enqueued once per delivery, by whoever makes it or asks for it again, in the same database
/// transaction.
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
    pub fn job(planned: &Planned) -> Result<NewJob, QueueError> {
        let this = Self { event: planned.event, endpoint: planned.endpoint };
        let job = match planned.ordered {
            true => NewJob::new(&DeliverWebhookInOrder(this))?,
            false => NewJob::new(&this)?,
        };
        // Keys take turns, so that no endpoint keeps the others waiting.
        Ok(job.key(planned.endpoint.to_string()))
    }

    fn key(self) -> DeliveryKey {
        DeliveryKey { event: self.event, endpoint: self.endpoint }
    }
}

impl Job for DeliverWebhook {
    const KIND: &'static str = "deliver_webhook";
    const QUEUE: &'static str = "webhooks";
    // Money first.
    const PRIORITY: i16 = 3;
    // The schedule decides, and this is beyond it.
    const MAX_ATTEMPTS: i16 = 100;
    // The attempts are kept, with more to tell.
    const KEEPS_HISTORY: bool = false;
    type State = Services;

    async fn run(self, state: &Services, cx: JobContext) -> Result<Committed, JobError> {
        let Some(webhooks) = &state.webhooks else {
            let reason = "this worker sends no webhooks";
            return Err(JobError::snooze_because(WITHOUT_WAY_OUT, reason));
        };
        let Some(outgoing) = webhooks.loader.load(self.key()).await? else {
            return Err(JobError::discard(MissingDelivery(self.key())));
        };
        if outgoing.state != DeliveryState::Pending {
            return cx.complete_without_effects().await;
        }
        if outgoing.is_off {
            return webhooks.recorder.give_up(self.key(), reason::OFF, cx).await;
        }
        let outgoing = match webhooks.secrets.open(outgoing) {
            Ok(opened) => opened,
            Err(error) if error.is_for_another_worker() => {
                let reason = format!("its endpoint's secrets are sealed: {error}");
                return Err(JobError::snooze_because(WITHOUT_WAY_OUT, reason));
            }
            Err(error) => {
                let endpoint = self.endpoint;
                tracing::warn!(%endpoint, "secrets of endpoint {endpoint} do not open: {error}");
                return webhooks.recorder.give_up(self.key(), reason::UNUSABLE, cx).await;
            }
        };
        let Some(message) = Message::of(&outgoing) else {
            return webhooks.recorder.give_up(self.key(), reason::UNUSABLE, cx).await;
        };
        may_send(&outgoing, state).await?;
        let Some(place) = webhooks.windows.enter(self.endpoint).await else {
            let reason = "the endpoint has as many deliveries in progress as it bears";
            return Err(JobError::snooze_because(after_a_while(), reason));
        };
        let sent = message.send(&webhooks.client).await;
        let outcome = retry::outcome(&sent.attempt);
        place.leave(outcome == Outcome::Delivered);
        webhooks.conclude(&outgoing, sent, outcome, cx).await
    }
}

/// A [`DeliverWebhook`] of an endpoint that wants its deliveries one after another: in a queue that
/// is ordered by key, where the next one waits until this one is done with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliverWebhookInOrder(pub DeliverWebhook);

impl Job for DeliverWebhookInOrder {
    const KIND: &'static str = "deliver_webhook_in_order";
    const QUEUE: &'static str = "webhooks_ordered";
    const PRIORITY: i16 = DeliverWebhook::PRIORITY;
    const MAX_ATTEMPTS: i16 = DeliverWebhook::MAX_ATTEMPTS;
    const KEEPS_HISTORY: bool = DeliverWebhook::KEEPS_HISTORY;
    type State = Services;

    async fn run(self, state: &Services, cx: JobContext) -> Result<Committed, JobError> {
        self.0.run(state, cx).await
    }
}

/// Waits for the endpoint's leave, or puts the delivery off.
async fn may_send(outgoing: &Outgoing, state: &Services) -> Result<(), JobError> {
    let endpoint = outgoing.key.endpoint;
    if let Some(rest) = outgoing.rest {
        let reason = "the endpoint is left alone after failed attempts";
        // Not all at once: the first one back is the probe, the others would wait again.
        let delay = rest + after_a_while().mul_f64(fastrand::f64());
        return Err(JobError::snooze_because(delay, reason));
    }
    if outgoing.failures >= health::OPENS_AFTER {
        let mut conn = state.pool.acquire().await?;
        if !health::take_probe(&mut conn, endpoint, outgoing.timeout).await? {
            let reason = "another delivery tries whether the endpoint is back";
            return Err(JobError::snooze_because(after_a_while(), reason));
        }
    }
    if let Some(rate) = outgoing.rate {
        let mut conn = state.pool.acquire().await?;
        let wait = health::take_slot(&mut conn, endpoint, rate).await?;
        drop(conn);
        match wait {
            Some(wait) => tokio::time::sleep(wait).await,
            None => {
                let reason = "the rate of the endpoint is used up";
                // The smaller the rate, the longer the line, and the less is it worth to look.
                let span = (600.0 / f64::from(rate.max(1))).clamp(8.0, 60.0);
                let delay = health::LONGEST_WAIT + Duration::from_secs_f64(span * fastrand::f64());
                return Err(JobError::snooze_because(delay, reason));
            }
        }
    }
    Ok(())
}

/// Five to ten seconds.
fn after_a_while() -> Duration {
    Duration::from_secs(5).mul_f64(1.0 + fastrand::f64())
}

impl Webhooks {
    /// Records the attempt, and what it means for the delivery.
    async fn conclude(
        &self,
        outgoing: &Outgoing,
        sent: Sent,
        outcome: Outcome,
        cx: JobContext,
    ) -> Result<Committed, JobError> {
        let failed_attempts = u32::try_from(outgoing.attempts + 1).unwrap_or(u32::MAX);
        let asked = sent.attempt.retry_after;
        let wait = self.schedule.wait(failed_attempts, asked, &mut fastrand::Rng::new());
        let (progress, retry) = match (outcome, wait) {
            (Outcome::Delivered, _) => (Progress::Delivered, None),
            (Outcome::Gone, _) => (Progress::Failed(reason::GONE), None),
            (Outcome::Failed, None) => (Progress::Failed(reason::EXHAUSTED), None),
            (Outcome::Failed, Some(wait)) => (Progress::FailedOnce, Some(wait)),
        };
        let failure = anyhow::anyhow!("{}", in_words(&sent));
        let ended = Ended::new(outgoing.key, sent, progress);
        match retry {
            None => self.recorder.complete(ended, cx).await,
            Some(wait) => {
                self.recorder.record(ended).await?;
                Err(JobError::retry_after(wait, failure))
            }
        }
    }
}

/// The failure of an attempt in words, without anything of the answer's body.
fn in_words(sent: &Sent) -> String {
    let attempt = &sent.attempt;
    match (attempt.status, attempt.error) {
        (Some(status), _) => format!("the endpoint answered {status}"),
        (None, Some(error)) => format!("the endpoint could not be told: {error}"),
        (None, None) => "the endpoint could not be told".to_owned(),
    }
}

/// A delivery, ready to be sent.
struct Message {
    target: TargetUrl,
    id: MessageId,
    body: Bytes,
    signer: Signer,
    own_headers: OwnHeaders,
    timeout: Duration,
}

impl Message {
    /// The message; none when what is stored of the endpoint cannot be used: another version, or
    /// another program, has written it.
    fn of(outgoing: &Outgoing) -> Option<Self> {
        let secrets: Result<Vec<WebhookSecret>, _> =
            outgoing.secrets.iter().map(|secret| secret.parse()).collect();
        let mut signer = Signer::new(secrets.ok().filter(|secrets| !secrets.is_empty())?);
        if let Some(key) = &outgoing.signing_key {
            signer = signer.with_key(key.parse::<SigningKey>().ok()?);
        }
        let Value::Object(headers) = &outgoing.headers else { return None };
        let headers = headers
            .iter()
            .map(|(name, value)| Some((name.as_str(), value.as_str()?)))
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            target: outgoing.url.parse().ok()?,
            id: MessageId::parse(&webhook_id(outgoing.event_id)).ok()?,
            body: Bytes::from(outgoing.body.clone()),
            signer,
            own_headers: OwnHeaders::read(headers).ok()?,
            timeout: outgoing.timeout,
        })
    }

    async fn send(&self, client: &Client) -> Sent {
        let span = AttemptSpan::start(&self.target, self.id.as_str());
        let sent = client
            .deliver(Delivery {
                target: &self.target,
                id: &self.id,
                body: &self.body,
                signer: &self.signer,
                own_headers: &self.own_headers,
                more_headers: &span.headers(),
                timeout: self.timeout,
            })
            .await;
        span.end(&sent);
        sent
    }
}

#[derive(Debug, thiserror::Error)]
#[error("there is no delivery of the event {} to the endpoint {}", .0.event, .0.endpoint)]
struct MissingDelivery(DeliveryKey);
