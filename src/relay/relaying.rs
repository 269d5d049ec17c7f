//! The way of events from the database to the broker, batch by batch.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::brokers::{Broker, BrokerError};
use super::cloud_event::Message;
use super::figures::Figures;
use super::settings::Destination;
use crate::events::reader::{self, Held, Peeked};
use crate::events::{Event, EventType};
use crate::queue::deadline::within;

/// The wait after the first failure, and the longest one.
const BACKOFF: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(15)];
/// The interval at which a process that waits looks whether it is to take over.
const STANDBY: Duration = Duration::from_secs(1);
/// The time for a batch under way after the signal to stop. What it does not bring to its end is
/// published again by the next relay.
const GRACE: Duration = Duration::from_secs(10);

/// A relay, ready to run.
#[derive(Debug)]
pub(super) struct Relay {
    /// The database.
    pub(super) pool: PgPool,
    /// The reader that it is.
    pub(super) reader: String,
    /// The broker.
    pub(super) destination: Destination,
    /// The source of the events, a URI.
    pub(super) source: String,
    /// The most events of a batch.
    pub(super) batch: u16,
    /// The interval at which new events are looked for.
    pub(super) poll: Duration,
    /// The time after which another process takes over from one that died.
    pub(super) lease: Duration,
    /// The figures that it keeps.
    pub(super) figures: Arc<Figures>,
}

/// The reason that a round came to a bad end.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    /// The database refuses or does not answer.
    #[error("the database does not answer: {0}")]
    Database(#[from] sqlx::Error),
    /// The broker does not take events.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The body of an event is none of ours.
    #[error("the event {seq} cannot be read: {source}")]
    Event {
        /// Its number.
        seq: i64,
        /// The reason.
        source: serde_json::Error,
    },
    /// Another process of this name relays.
    #[error("another process relays under this name")]
    HeldByAnother,
}

/// The good end of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Round {
    /// There may be more.
    Relayed,
    /// Nothing is left for now.
    Idle,
    /// Another process of this name relays.
    Standby,
}

/// The things that last from round to round.
#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    broker: Option<Broker>,
}

impl Relay {
    /// Relays until `shutdown`. Whatever fails is tried again.
    pub(super) async fn run(&self, shutdown: &CancellationToken) {
        let mut state = State::default();
        let mut backoff = BACKOFF[0];
        let mut was_standby = false;
        loop {
            let round = tokio::select! {
                round = self.round(&mut state) => round,
                () = grace_over(shutdown) => break,
            };
            self.figures.end_round();
            let pause = match round {
                Ok(Round::Relayed) => Duration::ZERO,
                Ok(Round::Idle) => self.poll,
                Ok(Round::Standby) => STANDBY,
                Err(ref error) => {
                    tracing::warn!("events wait: {error}; again in {backoff:?}");
                    let pause = backoff.mul_f64(0.75 + fastrand::f64() / 2.0);
                    backoff = (backoff * 2).min(BACKOFF[1]);
                    pause
                }
            };
            if round.is_ok() {
                backoff = BACKOFF[0];
            }
            let is_standby = matches!(round, Ok(Round::Standby));
            if is_standby && !was_standby {
                tracing::info!("another process relays under this name: waiting to take over");
            }
            was_standby = is_standby;
            tokio::select! {
                () = sleep(pause) => {}
                () = shutdown.cancelled() => {}
            }
            if shutdown.is_cancelled() {
                break;
            }
        }
        self.end(state).await;
    }

    /// Relays all that there is.
    ///
    /// # Errors
    ///
    /// The first [`RelayError`].
    pub(super) async fn run_once(&self, shutdown: &CancellationToken) -> Result<(), RelayError> {
        let mut state = State::default();
        let ended = loop {
            let round = tokio::select! {
                round = self.round(&mut state) => round,
                () = grace_over(shutdown) => break Ok(()),
            };
            self.figures.end_round();
            match round {
                Ok(Round::Relayed) if !shutdown.is_cancelled() => {}
                Ok(Round::Relayed | Round::Idle) => break Ok(()),
                Ok(Round::Standby) => break Err(RelayError::HeldByAnother),
                Err(error) => break Err(error),
            }
        };
        self.end(state).await;
        ended
    }

    /// One batch: peeked at, published, moved over.
    async fn round(&self, state: &mut State) -> Result<Round, RelayError> {
        if state.held.is_none() {
            state.held = within(self.hold()).await?;
        }
        let Some(held) = state.held.as_ref() else { return Ok(Round::Standby) };
        // Before there are events, so that it is known in time that nobody is there.
        if state.broker.is_none() {
            state.broker = Some(Broker::connect(&self.destination).await?);
            self.figures.connected();
            tracing::info!("connected to {}", self.destination);
        }
        let Peeked::Events(events) = within(self.peek(held)).await? else {
            state.held = None;
            return Ok(Round::Standby);
        };
        let Some(last) = events.last() else { return Ok(Round::Idle) };
        let last_seq = last.seq;
        let messages = self.messages(&events)?;
        let Some(broker) = state.broker.as_ref() else { return Ok(Round::Relayed) };
        let published = broker.publish(&messages).await;
        self.figures.count_published(published.confirmed);
        if published.error.is_some() {
            state.broker = None;
            self.figures.disconnected();
        }
        let seq = match &published.error {
            None => Some(last_seq),
            Some(_) => messages[..published.confirmed].last().map(|message| message.seq),
        };
        if let Some(seq) = seq
            && !within(self.move_on(held, seq)).await?
        {
            state.held = None;
        }
        published.error.map_or(Ok(Round::Relayed), |error| Err(error.into()))
    }

    /// The messages of these events. Whoever tries out an endpoint has told it alone.
    fn messages(&self, events: &[Event]) -> Result<Vec<Message>, RelayError> {
        let told = events.iter().filter(|it| it.event_type != EventType::WebhookTest.as_str());
        told.map(|event| {
            let message = Message::of(event, &self.source);
            message.map_err(|source| RelayError::Event { seq: event.seq, source })
        })
        .collect()
    }

    async fn hold(&self) -> sqlx::Result<Option<Held>> {
        reader::hold(&mut *self.pool.acquire().await?, &self.reader, self.lease).await
    }

    async fn peek(&self, held: &Held) -> sqlx::Result<Peeked> {
        held.peek(&mut *self.pool.acquire().await?, self.batch).await
    }

    async fn move_on(&self, held: &Held, seq: i64) -> sqlx::Result<bool> {
        held.move_on(&mut *self.pool.acquire().await?, seq).await
    }

    /// Leaves the reader to the next relay at once. What cannot be said now is said by the end of
    /// the lease.
    async fn end(&self, state: State) {
        if let Some(held) = state.held {
            let let_go = async { held.let_go(&mut *self.pool.acquire().await?).await };
            if let Err(error) = within(let_go).await {
                tracing::warn!("the next relay waits for the end of the lease: {error}");
            }
        }
        if let Some(broker) = state.broker {
            broker.close().await;
        }
        self.figures.disconnected();
    }
}

async fn grace_over(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    sleep(GRACE).await;
}
