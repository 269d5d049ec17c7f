//! Brokers: systems that others read our events from.
//!
//! - [`Broker`]: a connection to one of them.
//! - `nats`: NATS JetStream.
//! - `amqp`: AMQP 0-9-1, as RabbitMQ speaks it.
//!
//! Guaranteed: what counts as confirmed is stored by the broker, and is a beginning of what was
//! handed in, without a gap. After an error the connection is good for nothing any more: no message
//! that was given up may be on its way when another one is published. Deliberately absent: waiting
//! and connecting again, which is the relay's.

mod amqp;
mod nats;

use std::time::Duration;

use tokio::time::timeout;

use self::amqp::Amqp;
use self::nats::Nats;
use super::cloud_event::Message;
use super::settings::Destination;

/// The time for a connection, with all that is asked of the broker before the first event.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// The time for a broker's word on a message.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

/// A connection to a broker.
#[derive(Debug)]
pub(super) enum Broker {
    /// NATS JetStream.
    Nats(Nats),
    /// AMQP 0-9-1.
    Amqp(Amqp),
}

/// The reason that a broker does not take events. None shows a user or a password.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokerError {
    /// Nobody there, or nobody who lets us in.
    #[error("cannot connect to the broker: {0}")]
    Connect(String),
    /// It has no place for events.
    #[error("the broker is not set up: {0}")]
    Setup(String),
    /// It did not take a message, or the connection broke.
    #[error("an event was not confirmed: {0}")]
    Refused(String),
    /// No queue is bound that would get it.
    #[error("no queue is bound for an event of type {0}: bind one, or say --unroutable drop")]
    Unroutable(String),
    /// No word from it for too long.
    #[error("the broker does not answer")]
    Silent,
}

/// The end of an attempt to publish.
#[derive(Debug)]
pub(super) struct Published {
    /// The number of messages, from the first one on, that the broker has.
    pub(super) confirmed: usize,
    /// The reason that it is not all of them.
    pub(super) error: Option<BrokerError>,
}

impl Broker {
    /// Connects.
    ///
    /// # Errors
    ///
    /// [`BrokerError`].
    pub(super) async fn connect(destination: &Destination) -> Result<Self, BrokerError> {
        let connecting = async {
            Ok(match destination {
                Destination::Nats(to) => Self::Nats(Nats::connect(to).await?),
                Destination::Amqp(to) => Self::Amqp(Amqp::connect(to).await?),
            })
        };
        timeout(CONNECT_WITHIN, connecting).await.unwrap_or(Err(BrokerError::Silent))
    }

    /// Publishes these messages in their order, all before the first confirmation is waited for.
    /// To be dropped after an error.
    pub(super) async fn publish(&self, messages: &[Message]) -> Published {
        match self {
            Self::Nats(nats) => nats.publish(messages).await,
            Self::Amqp(amqp) => amqp.publish(messages).await,
        }
    }

    /// Ends the connection in good order.
    pub(super) async fn close(self) {
        let _ = timeout(CONFIRM_WITHIN, async {
            match self {
                Self::Nats(nats) => nats.close().await,
                Self::Amqp(amqp) => amqp.close().await,
            }
        })
        .await;
    }
}

impl Published {
    fn all(messages: &[Message]) -> Self {
        Self { confirmed: messages.len(), error: None }
    }

    fn until(confirmed: usize, error: BrokerError) -> Self {
        Self { confirmed, error: Some(error) }
    }
}

/// The broker's word, or [`BrokerError::Silent`].
async fn in_time<T>(work: impl Future<Output = Result<T, BrokerError>>) -> Result<T, BrokerError> {
    timeout(CONFIRM_WITHIN, work).await.unwrap_or(Err(BrokerError::Silent))
}
