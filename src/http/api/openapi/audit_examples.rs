//! The examples of the audit log, whose proof can be checked, and of timelines.

use serde_json::{Value, json};
use uuid::Uuid;

use super::examples::{AT, CURSOR, Exchange};
use super::webhook_examples;
use crate::audit::Entry;
use crate::audit::merkle::{Frontier, Hash, leaf_hash};

/// The example of an operation on the log; for others, that of `webhook_examples`.
pub(super) fn of_operation(id: &str) -> Exchange {
    let answer = match id {
        "list_audit_entries" => json!({ "entries": [listed()], "next_cursor": CURSOR }),
        "prove_transaction" => proof(),
        "get_transaction_timeline" => timeline(json!({
            "job_id": 812, "kind": "settle_transaction", "queue": "default", "state": "completed",
        })),
        "get_deposit_timeline" | "get_withdrawal_timeline" => timeline(json!({
            "job_id": 812, "kind": "execute_bank_order", "queue": "bank", "state": "completed",
        })),
        "get_transfer_timeline" => timeline(json!({
            "job_id": 812, "kind": "execute_transfer", "queue": "default", "state": "completed",
        })),
        _ => return webhook_examples::of_operation(id),
    };
    Exchange { request: None, answer: Some(answer) }
}

/// The example of a parameter of theirs; for others, that of `webhook_examples`.
pub(super) fn of_parameter(name: &str) -> Option<Value> {
    Some(match name {
        "actor" => json!("cli:ada"),
        "action" => json!("queue.pause"),
        "subject_kind" => json!("queue"),
        "subject_id" => json!("bank"),
        "since" => json!("2026-11-01T00:00:00Z"),
        "size" => json!(2),
        _ => return webhook_examples::of_parameter(name),
    })
}

fn entry() -> Entry {
    Entry {
        action: "transaction.completed".to_owned(),
        actor: "job:settle_transaction".to_owned(),
        address: None,
        after: Some(json!({ "status": "COMPLETED" }).to_string()),
        at: AT.to_owned(),
        before: Some(json!({ "status": "PROCESSING" }).to_string()),
        data: None,
        id: Uuid::from_u128(0x019a_3f60_11d7_7b02_8f4e_0c9d_5b7a_6e21),
        reason: None,
        request_id: None,
        seq: 1,
        subject_id: "txn_1001".to_owned(),
        subject_kind: "transaction".to_owned(),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
    }
}

fn proof() -> Value {
    let (entry, other) = (entry().canonical(), leaf_hash(b"another entry"));
    let mut tree = Frontier::default();
    tree.push(leaf_hash(entry.as_bytes()), |_, _| {});
    tree.push(other, |_, _| {});
    json!({
        "entries": [{ "entry": entry, "path": [hex::encode(other)], "position": 0 }],
        "head": {
            "at": AT,
            "previous": hex::encode(Hash::default()),
            "root": hex::encode(tree.root()),
            "size": 2,
        },
    })
}

fn timeline(job: Value) -> Value {
    json!({
        "events": [
            {
                "at": AT, "source": "money", "event": "accepted", "trace_id": null, "details": {},
            },
            {
                "at": AT,
                "source": "job",
                "event": "enqueued",
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                "details": job,
            },
        ],
    })
}

fn listed() -> Value {
    json!({
        "seq": 812,
        "id": "019a3f5e-8c21-7d40-9b6e-2f1c0a7d5e93",
        "at": AT,
        "actor": "cli:ada",
        "action": "queue.pause",
        "subject_kind": "queue",
        "subject_id": "bank",
        "address": null,
        "request_id": null,
        "trace_id": null,
        "reason": "the bank is down",
        "before": { "paused": false },
        "after": { "paused": true },
        "data": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::proofs::Proof;

    #[test]
    fn the_proof_in_the_document_proves_what_it_says() {
        let proof: Proof = serde_json::from_value(proof()).expect("it is a proof");
        assert_eq!(proof.check(None), Ok(()));
    }
}
