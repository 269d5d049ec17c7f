//! The examples of failures, bulk operations and conflicts, and of providers' webhooks.

use serde_json::{Value, json};

use super::examples::{self, AT, CURSOR, Exchange};
use crate::http::wire::problem::Code;

const FINGERPRINT: &str = "9f2c51d07ab3e846";
const BY: &str = "user:019a3f5e-8c21-7d40-9b6e-2f1c0a7d5e93";

/// The example of an operation on them; the default for any other.
pub(super) fn of_operation(id: &str) -> Exchange {
    let answer = |answer| Exchange { request: None, answer: Some(answer) };
    let asked = |request, answer| Exchange { request: Some(request), answer: Some(answer) };
    match id {
        "list_failures" => answer(json!({
            "failures": [failure()], "may_have_more": false, "counted_up_to": 10_000,
        })),
        "get_failure" => answer(failure()),
        "start_operation" => asked(
            json!({
                "action": "discard",
                "states": ["scheduled"],
                "kinds": ["send_notice"],
                "reason": "the campaign was called off",
                "dry_run": true,
            }),
            planned(),
        ),
        "list_operations" => {
            answer(json!({ "operations": [operation("running")], "next_cursor": CURSOR }))
        }
        "get_operation" => answer(operation("running")),
        "cancel_operation" => {
            asked(json!({ "reason": "it was the wrong filter" }), operation("cancelled"))
        }
        "receive_provider_event" => asked(
            json!({
                "id": "evt_1SxkQ2LkdIwHu7ixT0Yh",
                "type": "payment_intent.succeeded",
                "data": {
                    "object": {
                        "id": "pi_3SxkQ2LkdIwHu7ix1a2b",
                        "amount_received": 1_250,
                        "currency": "eur",
                        "customer": "cus_T5Qm3lYz",
                    },
                },
            }),
            json!({ "message": "accepted" }),
        ),
        "list_webhook_rejections" => answer(json!({
            "rejections": [rejection()], "next_cursor": CURSOR,
        })),
        "list_conflicts" => answer(json!({ "conflicts": [conflict()], "next_cursor": CURSOR })),
        "get_conflict" => answer(conflict()),
        "resolve_conflict" => {
            let reason = "the provider sent a test body, case 4711";
            let mut resolved = conflict();
            resolved["resolution"] = json!("kept");
            resolved["resolved_by"] = json!(BY);
            resolved["resolve_reason"] = json!(reason);
            resolved["resolved_at"] = json!(AT);
            asked(json!({ "resolution": "kept", "reason": reason }), resolved)
        }
        _ => Exchange::default(),
    }
}

/// The example of a parameter of theirs; nothing for others.
pub(super) fn of_parameter(name: &str) -> Option<Value> {
    match name {
        "fingerprint" => Some(json!(FINGERPRINT)),
        "operation_id" => Some(json!(7)),
        "conflict_id" => Some(json!(3)),
        "all" | "verified" => Some(json!(true)),
        "source" => Some(json!("stripe")),
        _ => None,
    }
}

/// The path of an example of a refusal of theirs; none for others.
pub(super) fn path_of(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::SourceNotFound => "/v1/webhooks/sources/stripe",
        Code::FailureNotFound => "/v1/failures/9f2c51d07ab3e846",
        Code::NothingEligible | Code::TooManyOperations => "/v1/operations",
        Code::OperationNotFound | Code::OperationFinished => "/v1/operations/7",
        Code::ConflictNotFound | Code::ConflictResolved | Code::NotCorrectable => "/v1/conflicts/3",
        _ => return None,
    })
}

fn rejection() -> Value {
    json!({
        "id": 12,
        "source": "stripe",
        "reason": "missing-fields",
        "detail": "/data/object/customer is required.",
        "is_verified": true,
        "body_sha256": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
        "body_bytes": 1_804,
        "excerpt": "{\"id\": \"evt_1SxkQ2LkdIwHu7ixT0Yh\", …",
        "address": "203.0.113.7",
        "received_count": 3,
        "first_seen_at": AT,
        "last_seen_at": AT,
    })
}

fn failure() -> Value {
    json!({
        "fingerprint": FINGERPRINT,
        "kind": "execute_bank_order",
        "error": "the bank did not take it: … not_accepted",
        "jobs": 1_204,
        "jobs_capped": false,
        "first_at": AT,
        "last_at": AT,
        "sample_job": 812,
        "waiting": 1_200,
        "discarded": 4,
    })
}

fn operation(state: &str) -> Value {
    let cancelled = state == "cancelled";
    let when = |is: bool, value: Value| if is { value } else { Value::Null };
    json!({
        "id": 7,
        "action": "discard",
        "filter": "state=scheduled kind=send_notice",
        "state": state,
        "eligible": 12_408,
        "eligible_is_more": false,
        "skipped": [{ "reason": "running", "jobs": 2 }],
        "done": 6_500,
        "failed": 0,
        "last_error": null,
        "made_by": BY,
        "reason": "the campaign was called off",
        "job_id": 4_711,
        "created_at": AT,
        "started_at": AT,
        "finished_at": when(cancelled, json!(AT)),
        "cancelled_by": when(cancelled, json!(BY)),
        "cancel_reason": when(cancelled, json!("it was the wrong filter")),
        "sample": [{ "id": 9_120, "kind": "send_notice", "state": "scheduled", "error": null }],
    })
}

fn planned() -> Value {
    let mut planned = operation("planned");
    for absent in ["id", "job_id", "started_at"] {
        planned[absent] = Value::Null;
    }
    planned["done"] = json!(0);
    planned
}

fn conflict() -> Value {
    let body = |amount: &str| {
        json!({
            "transaction_id": "txn_1001", "source_account": "acc_user_789",
            "destination_account": "acc_merchant_456", "amount": amount, "currency": "USD",
        })
        .to_string()
    };
    json!({
        "id": 3,
        "transaction_id": "txn_1001",
        "transaction": examples::stored_transaction(),
        "our_body": body("1500.00"),
        "our_dropped_body_sha256": null,
        "their_body": body("1050.00"),
        "differences": [{ "field": "amount", "ours": "1500.00", "theirs": "1050.00" }],
        "received_count": 2,
        "first_seen_at": AT,
        "last_seen_at": AT,
        "resolution": null,
        "resolved_by": null,
        "resolve_reason": null,
        "resolved_at": null,
        "reversal": null,
        "correction": null,
    })
}
