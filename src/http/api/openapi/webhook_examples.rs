//! The examples in the document of the operations on what others are told: webhooks and mails.

use serde_json::{Value, json};

use super::examples::{AT, CURSOR, Exchange};
use super::{failure_examples, operator_examples};
use crate::events::EventType;

const ENDPOINT_ID: &str = "019a3f7c-2b10-7c65-9e0f-5a7d3c1b8f42";
const EVENT_ID: &str = "evt_019a3f7d40717d2298c31f5e7a9b2c04";
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const REPLAY_ID: i64 = 4711;

/// The example of an operation on webhooks or mails; for others, that of `operator_examples`.
pub(super) fn of_operation(id: &str) -> Exchange {
    let answer = |answer| Exchange { request: None, answer: Some(answer) };
    let asked = |request, answer| Exchange { request: Some(request), answer: Some(answer) };
    match id {
        "create_webhook_endpoint" => asked(
            json!({
                "url": "https://example.com/hooks",
                "description": "The shop",
                "event_types": ["transfer.completed", "transfer.failed"],
            }),
            json!({ "endpoint": endpoint(), "secret": SECRET }),
        ),
        "list_webhook_endpoints" => {
            answer(json!({ "endpoints": [endpoint()], "next_cursor": CURSOR }))
        }
        "get_webhook_endpoint" => answer(endpoint()),
        "change_webhook_endpoint" => {
            let mut changed = endpoint();
            changed["rate"] = json!(50);
            asked(json!({ "rate": 50 }), changed)
        }
        "rotate_webhook_secret" => {
            asked(json!({ "overlap_seconds": 86_400 }), json!({ "secret": SECRET }))
        }
        "list_webhook_event_types" => {
            let event_type = EventType::TransferCompleted;
            answer(json!({ "event_types": [{
                "name": event_type.as_str(),
                "description": event_type.description(),
                "data_schema": "#/components/schemas/Order",
            }] }))
        }
        "test_webhook_endpoint" => answer(json!({ "event_id": EVENT_ID })),
        "list_deliveries" => {
            answer(json!({ "deliveries": [delivery("delivered")], "next_cursor": CURSOR }))
        }
        "get_delivery" => {
            answer(json!({ "delivery": delivery("delivered"), "attempts": [attempt()] }))
        }
        "retry_delivery" => answer(delivery("pending")),
        "replay_deliveries" => asked(json!({ "what": "failed" }), replay("available")),
        "get_replay" => answer(replay("running")),
        "cancel_replay" => answer(replay("cancelled")),
        "get_notifications" => answer(json!({ "email_notifications": true })),
        "change_notifications" => {
            let off = json!({ "email_notifications": false });
            asked(off.clone(), off)
        }
        id => operator_examples::of_operation(id),
    }
}

/// The example of a parameter of theirs; for others, that of `failure_examples`.
pub(super) fn of_parameter(name: &str) -> Option<Value> {
    match name {
        "endpoint_id" => Some(json!(ENDPOINT_ID)),
        "event_id" => Some(json!(EVENT_ID)),
        "replay_id" => Some(json!(REPLAY_ID)),
        "state" => Some(json!("failed")),
        _ => failure_examples::of_parameter(name),
    }
}

fn endpoint() -> Value {
    json!({
        "id": ENDPOINT_ID,
        "owner_id": null,
        "url": "https://example.com/hooks",
        "description": "The shop",
        "event_types": ["transfer.completed", "transfer.failed"],
        "metadata": {},
        "header_names": [],
        "timeout_ms": 15_000,
        "rate": null,
        "ordered": false,
        "public_key": null,
        "enabled": true,
        "disabled_reason": null,
        "disabled_at": null,
        "failures": 0,
        "failing_since": null,
        "resting_until": null,
        "created_at": AT,
        "updated_at": AT,
    })
}

fn delivery(state: &str) -> Value {
    json!({
        "event_id": EVENT_ID,
        "event_type": "transfer.completed",
        "endpoint_id": ENDPOINT_ID,
        "state": state,
        "reason": null,
        "attempts": i32::from(state != "pending"),
        "created_at": AT,
        "finished_at": if state == "pending" { Value::Null } else { json!(AT) },
    })
}

fn attempt() -> Value {
    json!({
        "at": AT,
        "status": 200,
        "error": null,
        "detail": null,
        "duration_ms": 38,
        "address": "203.0.113.7:443",
        "answer": "ok",
    })
}

fn replay(state: &str) -> Value {
    let progress =
        if state == "available" { Value::Null } else { json!("500 deliveries asked for") };
    json!({
        "replay_id": REPLAY_ID,
        "state": state,
        "progress": progress,
        "count": null,
        "is_capped": false,
    })
}
