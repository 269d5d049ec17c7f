//! Queues: pauses, drains, limits and blocked keys.

use serde_json::{Value, json};

use super::{Desk, WHY, refused};
use crate::support::ledger::{accepted, outcome, run_jobs};
use crate::support::send;

#[tokio::test]
async fn a_paused_queue_starts_nothing_and_a_resumed_one_does() {
    let desk = Desk::new().await;
    let (transaction, _) = accepted(desk.pool(), "alice", "bob", "1 USD").await;
    let paused = desk.post("/v1/queues/default/pause").await;
    assert_eq!((paused.status, &paused.json()["is_changed"]), (200, &json!(true)));
    assert_eq!(paused.json()["pause"]["reason"], WHY);
    let again = desk.post_as_admin("/v1/queues/default/pause").await;
    assert_eq!(again.json()["is_changed"], false);
    assert_eq!(again.json()["pause"]["paused_by"], format!("user:{}", desk.operator.id));
    run_jobs(desk.pool()).await;
    assert_eq!(outcome(desk.pool(), transaction).await.0, "PROCESSING");
    let queue = desk.read("/v1/queues/default").await;
    assert_eq!((&queue["available"], &queue["pause"]["reason"]), (&json!(1), &json!(WHY)));

    let resumed = desk.post("/v1/queues/default/resume").await.json();
    assert_eq!(resumed, json!({ "is_changed": true, "pause": null }));
    run_jobs(desk.pool()).await;
    assert_eq!(outcome(desk.pool(), transaction).await.0, "COMPLETED");
    assert_eq!(desk.audited("queue.pause").await, desk.by_operator("default"));
    assert_eq!(desk.audited("queue.resume").await, desk.by_operator("default"));
}

#[tokio::test]
async fn a_pause_of_all_queues_is_told_where_one_of_them_is_resumed() {
    let desk = Desk::new().await;
    let (transaction, _) = accepted(desk.pool(), "alice", "bob", "1 USD").await;
    assert_eq!(desk.post("/v1/all-queues/pause").await.status, 200);
    run_jobs(desk.pool()).await;
    assert_eq!(outcome(desk.pool(), transaction).await.0, "PROCESSING");
    assert_eq!(desk.read("/v1/queues").await["pause_of_all"]["reason"], WHY);
    let one = desk.post("/v1/queues/default/resume").await.json();
    assert_eq!((&one["is_changed"], &one["pause"]["reason"]), (&json!(false), &json!(WHY)));
    assert_eq!(desk.post("/v1/all-queues/resume").await.json()["pause"], Value::Null);
    run_jobs(desk.pool()).await;
    assert_eq!(outcome(desk.pool(), transaction).await.0, "COMPLETED");
    assert_eq!(desk.audited("queue.pause").await, desk.by_operator("*"));
}

#[tokio::test]
async fn a_drain_says_whether_jobs_of_the_queue_still_run() {
    let desk = Desk::new().await;
    let drained = desk.post("/v1/queues/mail/drain").await;
    assert_eq!(drained.json(), json!({ "is_drained": true, "running": 0 }));
    assert_eq!(desk.read("/v1/queues/mail").await["pause"]["reason"], WHY);
    desk.execute(
        "insert into queue.jobs
           (queue, kind, running, fence, worker_id, started_at, lease_expires_at, attempt)
         values ('busy', 'report', true, nextval('queue.fence'), gen_random_uuid(), now(),
                 now() + interval '1 hour', 1)",
    )
    .await;
    let running = desk.post("/v1/queues/busy/drain").await;
    assert_eq!(running.json(), json!({ "is_drained": false, "running": 1 }));
}

#[tokio::test]
async fn queues_are_listed_by_name_page_by_page_with_their_jobs_in_figures() {
    let desk = Desk::new().await;
    desk.execute(
        "insert into queue.jobs (queue, kind, key, hold, run_at, attempt) values
           ('a', 'report', null, null, now() - interval '1 minute', 0),
           ('a', 'report', null, null, now() + interval '1 hour', 0),
           ('a', 'report', null, null, now() + interval '1 hour', 2),
           ('a', 'report', 'k', null, now() - interval '2 minutes', 0),
           ('a', 'report', 'k', 'until_due', now() + interval '1 hour', 1),
           ('a', 'report', null, 'dependencies', now() - interval '1 hour', 0),
           ('b', 'report', 'k', null, now(), 0);
         insert into queue.limits (queue, max_running, set_by) values ('c', 5, 'ada')",
    )
    .await;
    let (mut names, mut path) = (Vec::new(), "/v1/queues?limit=1".to_owned());
    loop {
        let page = desk.read(&path).await;
        let queue = &page["queues"][0];
        names.push(queue["name"].as_str().unwrap().to_owned());
        if queue["name"] == "a" {
            let figures = ["running", "available", "retryable", "scheduled"];
            let figures = figures.map(|name| queue[name].as_i64().unwrap());
            assert_eq!(figures, [0, 2, 2, 2], "{queue}");
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/queues?limit=1&cursor={cursor}");
    }
    assert_eq!(
        names,
        ["a", "b", "c", "webhooks_ordered"],
        "that of our own has limits from the start"
    );
    assert_eq!(desk.read("/v1/queues/c").await["limits"]["max_running"], 5);
    for name in ["nothing", "*", "%00", "a%0Ab"] {
        let answer = desk.get(&format!("/v1/queues/{name}")).await;
        assert_eq!(refused(&answer), (404, "queue-not-found".to_owned()), "{name}");
        assert_eq!(desk.post(&format!("/v1/queues/{}/pause", name.repeat(120))).await.status, 404);
    }
    assert_eq!(desk.post("/v1/queues/*/pause").await.status, 404, "that would be all of them");
}

#[tokio::test]
async fn limits_are_changed_only_if_they_are_what_was_seen() {
    let desk = Desk::new().await;
    let path = "/v1/queues/mail/limits";
    let none = desk.get(path).await;
    assert_eq!((none.status, &none.json()["max_running"]), (200, &Value::Null));
    let change = async |if_match: &str, change: Value| {
        let request = desk.api.request("PATCH", path).bearer_auth(&desk.operator.token);
        send(request.header("if-match", if_match).json(&change)).await
    };
    let seen = none.header("etag").to_owned();
    let set =
        json!({ "reason": WHY, "max_running": 5, "rate": "100/1m", "ordered": "skip_after=3" });
    let made = change(&seen, set).await;
    assert_eq!(made.status, 200, "{made:?}");
    let limits = made.json();
    assert_eq!((&limits["rate"], &limits["rate_period_secs"]), (&json!(100), &json!(60.0)));
    let late = change(&seen, json!({ "reason": WHY, "max_running": 6 })).await;
    assert_eq!(refused(&late), (412, "precondition-failed".to_owned()));
    let now = made.header("etag").to_owned();
    let off = change(&now, json!({ "reason": WHY, "rate": null })).await.json();
    assert_eq!((&off["rate"], &off["max_running"]), (&Value::Null, &json!(5)));
    for (field, value) in [
        ("max_running", json!(0)),
        ("max_running", json!("5")),
        ("rate", json!("100")),
        ("rate", json!("100/1ms")),
        ("ordered", json!("sometimes")),
    ] {
        let answer = change("*", json!({ "reason": WHY, field: value })).await;
        assert!((400..500).contains(&answer.status), "{field} {value}: {answer:?}");
    }
    let two = json!({ "reason": WHY, "rate": "1/1s", "rate_per_key": "1/1m" });
    assert_eq!(refused(&change("*", two).await), (422, "unacceptable-values".to_owned()));

    assert_eq!(desk.post("/v1/queues/mail/limits/clear").await.json()["max_running"], Value::Null);
    let entries = desk.audited("queue.limit").await;
    assert_eq!(entries.len(), 3, "{entries:?}");
    assert!(entries.iter().all(|entry| [entry.clone()] == *desk.by_operator("mail")));
}

#[tokio::test]
async fn a_blocked_key_goes_on_when_an_admin_says_so() {
    let desk = Desk::new().await;
    desk.execute(
        "insert into queue.blocked_keys (queue, key, job_id, cause)
           select 'ordered', 'key ' || n, n, 'discarded' from generate_series(1, 3) as n",
    )
    .await;
    let page = desk.read("/v1/queues/ordered/blocked-keys?limit=2").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = desk.read(&format!("/v1/queues/ordered/blocked-keys?limit=2&cursor={cursor}")).await;
    assert_eq!(page["blocked_keys"][1]["key"], "key 2");
    assert_eq!(
        (&next["blocked_keys"][0]["key"], &next["next_cursor"]),
        (&json!("key 3"), &Value::Null)
    );

    let path = "/v1/queues/ordered/blocked-keys/unblock";
    let body = json!({ "reason": WHY, "key": "key 2" });
    let by_operator = desk.operator.send(&desk.api, "POST", path, &body).await;
    assert_eq!(refused(&by_operator), (403, "forbidden".to_owned()));
    let unblocked = desk.admin.send(&desk.api, "POST", path, &body).await;
    assert_eq!((unblocked.status, &unblocked.json()["job_id"]), (200, &json!(2)));
    let again = desk.admin.send(&desk.api, "POST", path, &body).await;
    assert_eq!(refused(&again), (404, "key-not-blocked".to_owned()));
    assert_eq!(desk.audited("queue.unblock_key").await, desk.by_admin("ordered"));
}
