//! Events as brokers get them: CloudEvents 1.0, in structured JSON.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::events::Event;
use crate::jobs::announcements::webhook_id;

/// The media type of an event (CloudEvents 1.0, JSON event format, 3).
pub(super) const MEDIA_TYPE: &str = "application/cloudevents+json";

/// An event, ready to be published.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Its number, for the reader's place.
    pub(super) seq: i64,
    /// By which the world knows it, and by which a broker drops a second one.
    pub(super) id: String,
    /// The type, such as `transfer.completed`.
    pub(super) event_type: String,
    /// The CloudEvent.
    pub(super) payload: Vec<u8>,
}

/// The attributes of CloudEvents 1.0, chapter "Context Attributes", and two of its documented
/// extensions: "Distributed Tracing" and "Partitioning".
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    #[serde(with = "time::serde::rfc3339")]
    time: OffsetDateTime,
    subject: &'a str,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitionkey: Option<String>,
    data: &'a RawValue,
}

/// A stored body, as receivers of webhooks get it.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The accounts in the data of an event.
#[derive(Deserialize)]
struct Accounts {
    source_account: Option<String>,
    source_wallet_id: Option<String>,
    wallet_id: Option<String>,
}

impl Message {
    /// The message of an event, from the application that is called `source`, a URI.
    ///
    /// # Errors
    ///
    /// When the body is none of ours.
    pub(super) fn of(event: &Event, source: &str) -> serde_json::Result<Self> {
        let Body { data } = serde_json::from_str(&event.body)?;
        let id = webhook_id(event.id);
        let context = |name: &str| event.trace_context.as_ref()?.get(name)?.as_str();
        let payload = serde_json::to_vec(&CloudEvent {
            specversion: "1.0",
            id: &id,
            source,
            r#type: &event.event_type,
            time: event.occurred_at,
            subject: &event.subject,
            datacontenttype: "application/json",
            traceparent: context("traceparent"),
            tracestate: context("tracestate"),
            partitionkey: account_of(data)?,
            data,
        })?;
        Ok(Self { seq: event.seq, id, event_type: event.event_type.clone(), payload })
    }
}

/// The account that an event is about: the one that money leaves, or the only one. Of a transfer's
/// two, a key can name only one.
fn account_of(data: &RawValue) -> serde_json::Result<Option<String>> {
    let accounts: Accounts = serde_json::from_str(data.get())?;
    Ok(accounts.source_account.or(accounts.source_wallet_id).or(accounts.wallet_id))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::ids::EventId;

    fn event(data: &str) -> Event {
        Event {
            seq: 7,
            id: EventId(Uuid::from_u128(7)),
            event_type: "transfer.completed".to_owned(),
            subject: "order:1".to_owned(),
            body: format!(r#"{{"type":"transfer.completed","timestamp":"t","data":{data}}}"#),
            occurred_at: OffsetDateTime::UNIX_EPOCH,
            trace_context: Some(json!({ "traceparent": "00-1-2-01", "request_id": "r" })),
        }
    }

    #[test]
    fn an_event_is_a_cloud_event_with_its_data_byte_by_byte() {
        let data = r#"{"amount":"10.00", "source_wallet_id":"a","destination_wallet_id":"b"}"#;
        let message = Message::of(&event(data), "urn:surety").expect("a message");

        let text = String::from_utf8(message.payload).expect("text");
        assert!(text.contains(data), "{text}");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["specversion"], "1.0");
        assert_eq!(value["id"], "evt_00000000000000000000000000000007");
        assert_eq!(message.id, "evt_00000000000000000000000000000007");
        assert_eq!(value["source"], "urn:surety");
        assert_eq!(value["type"], "transfer.completed");
        assert_eq!(value["time"], "1970-01-01T00:00:00Z");
        assert_eq!(value["subject"], "order:1");
        assert_eq!(value["datacontenttype"], "application/json");
        assert_eq!(value["traceparent"], "00-1-2-01");
        assert_eq!(value["partitionkey"], "a");
        assert!(value.get("tracestate").is_none() && value.get("request_id").is_none(), "{text}");
    }

    #[test]
    fn the_key_is_the_account_that_money_leaves_or_the_only_one() {
        for (data, key) in [
            (r#"{"source_account":"x","destination_account":"y"}"#, Some("x")),
            (r#"{"wallet_id":"w","source_wallet_id":null}"#, Some("w")),
            (r#"{"wallet_id":null,"source_wallet_id":"s"}"#, Some("s")),
            ("{}", None),
        ] {
            let message = Message::of(&event(data), "urn:surety").expect("a message");
            let value: Value = serde_json::from_slice(&message.payload).expect("JSON");
            assert_eq!(value.get("partitionkey").and_then(Value::as_str), key, "{data}");
        }
    }
}
