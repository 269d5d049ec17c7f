//! NATS JetStream. Each message has its id as `Nats-Msg-Id`, by which the stream drops a second one
//! within its window (NATS documentation, "Message Deduplication").
//!
//! Messages of a batch are all sent before the first acknowledgement is waited for. None of them
//! may be refused while those behind it are stored, as it would then be stored after them. So each
//! names the one before it as the last one of the stream (`Nats-Expected-Last-Msg-Id`): where one
//! is missing, all that follow are refused. A stream to which others publish, too, breaks such a
//! chain; the rest of the batch is then sent one by one.

use std::time::Duration;

use async_nats::jetstream::context::{Context, ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::{Client, ConnectOptions};

use super::{BrokerError, CONFIRM_WITHIN, Published, in_time};
use crate::relay::cloud_event::{MEDIA_TYPE, Message};
use crate::relay::settings::NatsDestination;

/// The window of a stream that we make: an outage of that length leaves no event in it twice.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(10 * 60);
/// More than there are messages in any batch, so that sending never waits for an acknowledgement.
const MAX_ACKS_IN_FLIGHT: usize = 16 * 1024;

/// A connection to NATS.
#[derive(Debug)]
pub(in crate::relay) struct Nats {
    client: Client,
    jetstream: Context,
    subject: String,
}

/// The reason that a message was not stored.
enum Refusal {
    /// It was not the one before it that is the last one of the stream.
    Chain,
    Other(BrokerError),
}

impl Nats {
    pub(super) async fn connect(to: &NatsDestination) -> Result<Self, BrokerError> {
        // A connection that broke is given up: what it still holds must not come late.
        let mut options = ConnectOptions::new().name("surety relay").max_reconnects(1);
        options = options.require_tls(to.is_tls);
        options = match (&to.user, &to.password) {
            (Some(user), Some(password)) => {
                options.user_and_password(user.clone(), password.clone())
            }
            (Some(token), None) => options.token(token.clone()),
            (None, _) => options,
        };
        let connected = options.connect(to.server.as_str()).await;
        let client = connected.map_err(|error| BrokerError::Connect(error.to_string()))?;
        let jetstream = ContextBuilder::new()
            .timeout(CONFIRM_WITHIN)
            .ack_timeout(CONFIRM_WITHIN)
            .max_ack_inflight(MAX_ACKS_IN_FLIGHT)
            .build(client.clone());
        let this = Self { client, jetstream, subject: to.subject.clone() };
        if let Some(stream) = &to.create_stream {
            this.create_stream(stream).await?;
        }
        Ok(this)
    }

    async fn create_stream(&self, name: &str) -> Result<(), BrokerError> {
        let config = Config {
            name: name.to_owned(),
            subjects: vec![format!("{}.>", self.subject)],
            storage: StorageType::File,
            duplicate_window: DUPLICATE_WINDOW,
            ..Config::default()
        };
        let made = self.jetstream.get_or_create_stream(config).await;
        made.map_err(|error| BrokerError::Setup(error.to_string()))?;
        Ok(())
    }

    pub(super) async fn publish(&self, messages: &[Message]) -> Published {
        let mut confirmed = 0;
        match self.publish_chained(messages, &mut confirmed).await {
            Ok(()) => return Published::all(messages),
            Err(Refusal::Other(error)) => return Published::until(confirmed, error),
            Err(Refusal::Chain) => {}
        }
        for message in &messages[confirmed..] {
            match self.publish_chained(std::slice::from_ref(message), &mut confirmed).await {
                Ok(()) => {}
                Err(Refusal::Other(error)) => return Published::until(confirmed, error),
                Err(Refusal::Chain) => {
                    let error = BrokerError::Refused("another message was expected".to_owned());
                    return Published::until(confirmed, error);
                }
            }
        }
        Published::all(messages)
    }

    /// Publishes messages of which each names the one before it, and counts those that are stored.
    async fn publish_chained(
        &self,
        messages: &[Message],
        confirmed: &mut usize,
    ) -> Result<(), Refusal> {
        let mut acks = Vec::with_capacity(messages.len());
        let mut last_id: Option<&str> = None;
        for message in messages {
            let subject = format!("{}.{}", self.subject, message.event_type);
            let mut publish = PublishMessage::build()
                .payload(message.payload.clone().into())
                .message_id(&message.id)
                .header("Content-Type", MEDIA_TYPE);
            if let Some(last_id) = last_id.replace(&message.id) {
                publish = publish.expected_last_message_id(last_id);
            }
            let sent = async {
                self.jetstream.send_publish(subject, publish).await.map_err(|error| refused(&error))
            };
            acks.push(in_time(sent).await.map_err(Refusal::Other)?);
        }
        for ack in acks {
            match tokio::time::timeout(CONFIRM_WITHIN, ack).await {
                Ok(Ok(_stored)) => *confirmed += 1,
                Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastMessageId => {
                    return Err(Refusal::Chain);
                }
                Ok(Err(error)) => return Err(Refusal::Other(refused(&error))),
                Err(_elapsed) => return Err(Refusal::Other(BrokerError::Silent)),
            }
        }
        Ok(())
    }

    pub(super) async fn close(self) {
        let _ = self.client.drain().await;
    }
}

fn refused(error: &async_nats::jetstream::context::PublishError) -> BrokerError {
    match error.kind() {
        PublishErrorKind::StreamNotFound => BrokerError::Setup(
            "no stream has the subjects of events: make one, or say --create-stream".to_owned(),
        ),
        _ => BrokerError::Refused(error.to_string()),
    }
}
