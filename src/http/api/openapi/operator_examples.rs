//! The examples in the document of what operators read and do: jobs, queues, schedules, workers,
//! and how things stand.

use serde_json::{Value, json};

use super::examples::{AT, CURSOR, Exchange};
use super::failure_examples;
use crate::http::wire::problem::Code;

const WORKER_ID: &str = "019a9f3c-7d2e-7b61-a6a5-0f2d5c1b9e44";
const BY: &str = "user:019a3f5e-8c21-7d40-9b6e-2f1c0a7d5e93";
const LATER: &str = "2026-11-02T10:30:00.123456Z";
const REASON: &str = "the mail server is back";
const FAILED: &str = "the mail server did not answer within 10 s";

/// The example of an operation of theirs; for others, that of `failure_examples`.
pub(super) fn of_operation(id: &str) -> Exchange {
    let answer = |answer| Exchange { request: None, answer: Some(answer) };
    let because =
        |answer| Exchange { request: Some(json!({ "reason": REASON })), answer: Some(answer) };
    let changed = |result: &str| because(json!({ "id": 812, "result": result }));
    match id {
        "list_jobs" => answer(json!({ "jobs": [job()], "next_cursor": CURSOR })),
        "get_job" => answer(job_details()),
        "enqueue_job" => Exchange {
            request: Some(json!({
                "reason": "the outcomes of yesterday were not announced",
                "kind": "announce_outcomes",
                "args": { "events": 1 },
                "delay_secs": 3600,
            })),
            answer: Some(json!({ "id": 812 })),
        },
        "run_job_now" => changed("due_now"),
        "retry_job" => changed("redriven"),
        "cancel_job" => changed("cancelled"),
        "discard_job" => changed("discarded"),
        "edit_job" => Exchange {
            request: Some(json!({ "reason": "a typing error", "set": { "events": 2 } })),
            answer: Some(json!({ "id": 812, "result": "edited" })),
        },
        "reveal_job_args" => {
            because(json!({ "id": 812, "kind": "announce_outcomes", "args": { "events": 1 } }))
        }
        "list_schedules" => answer(json!({ "schedules": [schedule()], "next_cursor": CURSOR })),
        "get_schedule" => answer(schedule_details(&Value::Null)),
        "pause_schedule" => because(schedule_details(&pause())),
        "resume_schedule" => because(schedule_details(&Value::Null)),
        "run_schedule" => because(json!({ "job_id": 812 })),
        "list_workers" => answer(json!({ "workers": [worker()], "next_cursor": CURSOR })),
        "get_worker" => answer(worker()),
        "drain_worker" => {
            let mut draining = worker();
            draining["state"] = json!("draining");
            draining["drain_requested_at"] = json!(LATER);
            draining["drain_requested_by"] = json!(BY);
            draining["drain_reason"] = json!(REASON);
            because(draining)
        }
        "get_overview" => answer(overview()),
        "get_health_report" => answer(health_report()),
        "start_verification" => answer(verification("running")),
        "list_verifications" => {
            let mut listed = verification("passed");
            listed["report"] = Value::Null;
            answer(json!({ "verifications": [listed], "next_cursor": CURSOR }))
        }
        "get_verification" => answer(verification("passed")),
        id => of_queue_operation(id),
    }
}

fn of_queue_operation(id: &str) -> Exchange {
    let answer = |answer| Exchange { request: None, answer: Some(answer) };
    let because =
        |answer| Exchange { request: Some(json!({ "reason": REASON })), answer: Some(answer) };
    let paused = json!({ "is_changed": true, "pause": pause() });
    let resumed = json!({ "is_changed": true, "pause": null });
    match id {
        "list_queues" => answer(json!({
            "queues": [queue()], "pause_of_all": null, "next_cursor": CURSOR,
        })),
        "get_queue" => answer(queue()),
        "pause_queue" | "pause_all_queues" => because(paused),
        "resume_queue" | "resume_all_queues" => because(resumed),
        "drain_queue" => because(json!({ "is_drained": false, "running": 2 })),
        "get_queue_limits" => answer(limits(Some(20))),
        "change_queue_limits" => Exchange {
            request: Some(json!({ "reason": "their limit", "max_running": 20, "rate": null })),
            answer: Some(limits(Some(20))),
        },
        "clear_queue_limits" => because(limits(None)),
        "list_blocked_keys" => answer(json!({
            "blocked_keys": [{
                "key": "acc_user_789", "job_id": 812, "cause": "discarded", "since": AT,
                "waiting": 3,
            }],
            "next_cursor": CURSOR,
        })),
        "unblock_queue_key" => Exchange {
            request: Some(json!({ "reason": REASON, "key": "acc_user_789" })),
            answer: Some(json!({ "job_id": 812 })),
        },
        id => failure_examples::of_operation(id),
    }
}

/// The example of a parameter of theirs; nothing for others.
pub(super) fn of_parameter(operation: &str, name: &str) -> Option<Value> {
    Some(match (operation, name) {
        ("list_jobs", "state") => json!(["retryable", "discarded"]),
        ("list_jobs", "kind") => json!(["send_notice"]),
        ("list_jobs", "queue") => json!(["mail"]),
        ("list_jobs", "tag") => json!(["nightly"]),
        ("list_jobs", "key") => json!(["acc_user_789"]),
        ("list_jobs", "where") => json!(["events=1"]),
        ("list_jobs", "id") => json!([812]),
        ("list_jobs", "error") => json!("did not answer"),
        ("list_jobs", "attempt_gte") => json!(2),
        ("list_jobs", "since" | "failed_since") => json!("2h"),
        ("list_jobs", "until" | "failed_until") => json!("2026-12-01T00:00:00Z"),
        ("list_jobs", "decided") => json!(false),
        ("edit_job", "If-Match") => json!("\"1-0-0\""),
        ("change_queue_limits", "If-Match") => json!("\"8f14e45fceea167a\""),
        (_, "queue") => json!("reports"),
        (_, "schedule") => json!("nightly-report"),
        (_, "worker_id") => json!(WORKER_ID),
        (_, "verification_id") => json!(17),
        _ => return None,
    })
}

/// The path of a request that is refused with this code; for codes of others, that of
/// `failure_examples`.
pub(super) fn path_of(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::NotReady => "/readyz",
        Code::DeadLetterNotFound | Code::DeadLetterDecided | Code::NothingToRedrive => {
            "/v1/dead-letters/812"
        }
        Code::JobNotFound | Code::JobUnsuitable => "/v1/jobs/812",
        Code::QueueNotFound | Code::KeyNotBlocked => "/v1/queues/reports",
        Code::ScheduleNotFound | Code::SchedulePaused | Code::ScheduleNotPaused => {
            "/v1/schedules/nightly-report"
        }
        Code::WorkerNotFound | Code::WorkerLost => "/v1/workers",
        Code::VerificationNotFound => "/v1/verifications/17",
        _ => return failure_examples::path_of(code),
    })
}

fn pause() -> Value {
    json!({ "paused_by": BY, "reason": "the mail server is down", "paused_at": AT })
}

fn job() -> Value {
    json!({
        "id": 812,
        "queue": "mail",
        "kind": "send_notice",
        "state": "retryable",
        "priority": 3,
        "attempt": 2,
        "max_attempts": 10,
        "run_at": LATER,
        "enqueued_at": AT,
        "finished_at": null,
        "failed_at": AT,
        "key": null,
        "tags": [],
        "batch_id": null,
        "args": { "user": "[redacted]" },
        "error": FAILED,
    })
}

fn job_details() -> Value {
    let mut details = json!({
        "explanation": "It waits for its retry at 2026-11-02T10:30:00Z: attempt 2 of 10 failed.",
        "also": [],
        "causes": [{
            "cause": "waits_for_retry", "until": LATER, "attempt": 2, "max_attempts": 10,
            "error": FAILED,
        }],
    });
    let fields = details.as_object_mut().expect("it is an object");
    let mut job = job();
    let listed = job.as_object_mut().expect("it is an object");
    for name in ["failed_at", "error"] {
        listed.remove(name);
    }
    fields.append(listed);
    let more = json!({
        "crash_count": 0,
        "started_at": null,
        "worker_id": null,
        "lease_expires_at": null,
        "cancel_requested_by": null,
        "wait_reason": null,
        "waits_for": [],
        "progress": null,
        "progress_text": null,
        "output": null,
        "checkpoint": null,
        "attempts": [{
            "attempt": 2, "worker_id": WORKER_ID, "started_at": AT, "ended_at": AT,
            "outcome": "timed_out", "error": FAILED,
        }],
        "decisions": [],
        "interventions": [{
            "action": "retry", "made_by": BY, "reason": REASON, "detail": null, "made_at": AT,
        }],
    });
    fields.extend(more.as_object().cloned().into_iter().flatten());
    details
}

fn limits(max_running: Option<u32>) -> Value {
    json!({
        "max_running": max_running, "max_running_per_key": null, "rate": null,
        "rate_per_key": null, "rate_period_secs": 1.0, "ordered": null,
    })
}

fn queue() -> Value {
    json!({
        "name": "mail",
        "running": 2,
        "available": 17,
        "retryable": 3,
        "scheduled": 0,
        "counts_capped_at": 10_000,
        "oldest_due": AT,
        "blocked_keys": 0,
        "pause": null,
        "limits": limits(Some(20)),
    })
}

fn schedule() -> Value {
    json!({
        "name": "nightly-report",
        "cron": "0 3 * * *",
        "every_secs": null,
        "time_zone": "Europe/Paris",
        "policy": "skip",
        "kind": "send_report",
        "args": {},
        "queue": "reports",
        "priority": 3,
        "max_attempts": 10,
        "key": null,
        "tags": [],
        "pause": null,
        "next_tick_at": "2026-11-03T02:00:00Z",
        "last_tick_at": "2026-11-02T02:00:00Z",
        "defined_by": "code",
        "created_at": AT,
        "updated_at": AT,
    })
}

fn schedule_details(pause: &Value) -> Value {
    let mut schedule = schedule();
    schedule["pause"] = pause.clone();
    if !pause.is_null() {
        schedule["next_tick_at"] = Value::Null;
    }
    json!({
        "schedule": schedule,
        "upcoming": [{ "tick_at": "2026-11-03T02:00:00Z" }, { "tick_at": "2026-11-04T02:00:00Z" }],
        "ticks": [{ "tick_at": "2026-11-02T02:00:00Z", "job_id": 811, "requested_by": null }],
    })
}

fn worker() -> Value {
    json!({
        "id": WORKER_ID,
        "state": "working",
        "host": "worker-1",
        "pid": 4711,
        "version": env!("CARGO_PKG_VERSION"),
        "queues": ["default", "mail"],
        "kinds": ["send_notice", "settle_transaction"],
        "slots": 32,
        "running": 1,
        "started_at": AT,
        "last_seen_at": AT,
        "drain_requested_at": null,
        "drain_requested_by": null,
        "drain_reason": null,
        "jobs": [{
            "id": 812, "kind": "send_notice", "queue": "mail", "key": null, "attempt": 3,
            "max_attempts": 10, "started_at": AT, "is_to_be_cancelled": false, "progress": null,
            "progress_text": null,
        }],
    })
}

fn overview() -> Value {
    json!({
        "as_of": AT,
        "needs_attention": [{
            "severity": "warn",
            "title": "send_notice fails",
            "detail": "Jobs of queue mail that wait to be tried again: 3; one of them: the mail \
                       server did not answer within 10 s.",
            "subject_kind": "job_kind",
            "subject_id": "send_notice",
        }],
        "pace": {
            "accepted_per_minute": 1284.0, "settled_per_minute": 1279.0, "failed_per_minute": 4.0,
        },
        "jobs": {
            "running": 2, "waiting": 17, "retryable": 3, "scheduled": 0, "is_more": false,
            "oldest_due": AT, "oldest_due_queue": "mail",
        },
        "failing": [{
            "queue": "mail", "kind": "send_notice", "jobs": 3, "sample_job_id": 812,
            "error": FAILED, "failed_at": AT,
        }],
        "dead_letters": { "open": 0, "is_more": false, "oldest_at": null, "newest_at": null },
        "workers": {
            "working": 1, "draining": 0, "lost": 0, "slots": 32, "running": 2,
            "versions": [env!("CARGO_PKG_VERSION")],
        },
        "conflicts": { "bodies": 0, "is_more": false, "newest_at": null },
        "sources": [{
            "source": "webhooks", "last_at": AT, "silent_secs": 0.4, "usual_gap_secs": 0.05,
            "is_silent": false,
        }],
        "bank": { "breaker": "closed", "failures": 0, "opened_at": null },
        "ledger": { "at": AT, "ok": true, "violations": 0, "took_secs": 1.8 },
        "queues": [queue()],
        "pause_of_all": null,
    })
}

fn health_report() -> Value {
    json!({
        "level": "warn",
        "database": "surety",
        "server_version": "17.5",
        "checked_at": AT,
        "findings": [
            {
                "check": "migrations", "level": "ok", "found": "all are applied", "fix": null,
            },
            {
                "check": "workers", "level": "warn",
                "found": "0 working, 0 draining", "fix": "start a worker",
            },
        ],
    })
}

fn verification(state: &str) -> Value {
    let is_over = state != "running";
    json!({
        "id": 17,
        "state": state,
        "requested_by": BY,
        "started_at": AT,
        "ended_at": is_over.then_some(LATER),
        "violations": is_over.then_some(0),
        "report": is_over.then(|| json!({
            "holds": true,
            "database": "surety",
            "checked_at": AT,
            "duration_ms": 1800,
            "invariants": [],
        })),
        "error": null,
    })
}
