//! AMQP 0-9-1, with RabbitMQ's publisher confirms (<https://www.rabbitmq.com/docs/confirms>).
//!
//! All messages take one channel, which keeps their order. They are persistent, have their id as
//! `message-id`, and are mandatory: one that no queue would get comes back.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
};

use super::{BrokerError, Published, in_time};
use crate::relay::cloud_event::{MEDIA_TYPE, Message};
use crate::relay::settings::{AmqpDestination, Unroutable};

/// `delivery-mode` of a message that survives the broker.
const PERSISTENT: u8 = 2;
/// The normal end of a connection (AMQP 0-9-1, 1.2, reply-success).
const SUCCESS: u16 = 200;

/// A connection to an AMQP broker, with a channel.
pub(in crate::relay) struct Amqp {
    connection: Connection,
    channel: Channel,
    exchange: String,
    /// The routing key of all messages; their types, if there is none.
    routing_key: Option<String>,
    unroutable: Unroutable,
}

impl std::fmt::Debug for Amqp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Amqp").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

impl Amqp {
    pub(super) async fn connect(to: &AmqpDestination) -> Result<Self, BrokerError> {
        // The parser's error would show what it could not read.
        let uri: AMQPUri = to
            .url
            .parse()
            .map_err(|_hidden| BrokerError::Connect("the URL cannot be right".to_owned()))?;
        let properties = ConnectionProperties::default();
        let properties = properties.with_connection_name("surety relay".into());
        let connecting = Connection::connect_uri(uri, properties).await;
        let connection = connecting.map_err(|error| BrokerError::Connect(error.to_string()))?;
        let setup = |error: lapin::Error| BrokerError::Setup(error.to_string());
        let channel = connection.create_channel().await.map_err(setup)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(setup)?;
        // The nameless exchange is there, and nobody may declare it.
        if !to.exchange.is_empty() {
            let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
            let (name, none) = (to.exchange.as_str().into(), FieldTable::default());
            let declared = channel.exchange_declare(name, ExchangeKind::Topic, durable, none);
            declared.await.map_err(setup)?;
        }
        Ok(Self {
            connection,
            channel,
            exchange: to.exchange.clone(),
            routing_key: to.routing_key.clone(),
            unroutable: to.unroutable,
        })
    }

    pub(super) async fn publish(&self, messages: &[Message]) -> Published {
        let mut confirms = Vec::with_capacity(messages.len());
        let mut send_error = None;
        for message in messages {
            match in_time(self.send(message)).await {
                Ok(confirm) => confirms.push(confirm),
                Err(error) => {
                    send_error = Some(error);
                    break;
                }
            }
        }
        let sent = confirms.len();
        for (confirmed, (confirm, message)) in confirms.into_iter().zip(messages).enumerate() {
            let word = in_time(async { confirm.await.map_err(|error| refused(&error)) }).await;
            let checked = word.and_then(|word| self.check(word, message));
            if let Err(error) = checked {
                return Published::until(confirmed, error);
            }
        }
        Published { confirmed: sent, error: send_error }
    }

    async fn send(&self, message: &Message) -> Result<lapin::PublisherConfirm, BrokerError> {
        let key = self.routing_key.as_deref().unwrap_or(&message.event_type);
        let properties = BasicProperties::default()
            .with_message_id(message.id.as_str().into())
            .with_type(message.event_type.as_str().into())
            .with_content_type(MEDIA_TYPE.into())
            .with_delivery_mode(PERSISTENT);
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let exchange = self.exchange.as_str().into();
        let sent =
            self.channel.basic_publish(exchange, key.into(), options, &message.payload, properties);
        sent.await.map_err(|error| refused(&error))
    }

    fn check(&self, word: Confirmation, message: &Message) -> Result<(), BrokerError> {
        match (word, self.unroutable) {
            (Confirmation::Ack(None), _) | (Confirmation::Ack(Some(_)), Unroutable::Drop) => Ok(()),
            (Confirmation::Ack(Some(_)), Unroutable::Wait) => {
                Err(BrokerError::Unroutable(message.event_type.clone()))
            }
            (Confirmation::Nack(_) | Confirmation::NotRequested, _) => {
                Err(BrokerError::Refused("the broker could not store it".to_owned()))
            }
        }
    }

    pub(super) async fn close(self) {
        let _ = self.connection.close(SUCCESS, "done".into()).await;
    }
}

fn refused(error: &lapin::Error) -> BrokerError {
    BrokerError::Refused(error.to_string())
}
