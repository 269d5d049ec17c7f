//! The examples of the system's own operations: health, build, figures, activity.

use serde_json::{Value, json};

use super::examples::AT;

const MINUTE: &str = "2026-11-02T09:30:00Z";

/// The beginning of a scrape.
const METRICS: &str = "\
# HELP app_webhook_events_total Inbound webhooks by their answer
# TYPE app_webhook_events_total counter
app_webhook_events_total{source=\"transactions\",outcome=\"accepted\"} 42
";

/// The answer of an operation; none if it is another's.
pub(super) fn of_operation(id: &str) -> Option<Value> {
    match id {
        "get_status" => Some(json!({ "status": "HEALTHY", "current_time": AT })),
        "check_health" => Some(json!({ "status": "ok" })),
        "check_readiness" => Some(json!({ "status": "ready", "bank_breaker": "closed" })),
        "get_version" => Some(json!({ "name": "surety", "version": env!("CARGO_PKG_VERSION") })),
        "get_activity" => Some(activity()),
        "get_metrics" => Some(json!(METRICS)),
        _ => None,
    }
}

/// One point of each sort; there are sixty and more.
fn activity() -> Value {
    let times = |p50, p95, p99| json!({ "p50": p50, "p95": p95, "p99": p99 });
    json!({
        "span": "1h",
        "jobs": [{
            "at": MINUTE, "completed": 118, "retried": 2, "discarded": 0,
            "wait": times(0.004, 0.019, 0.046), "run": times(0.007, 0.031, 0.12),
        }],
        "depth": [{ "at": MINUTE, "waiting": 3, "oldest_secs": 0.4 }],
        "intake": [{ "at": MINUTE, "accepted": 120, "duplicate": 4, "refused": 1 }],
    })
}
