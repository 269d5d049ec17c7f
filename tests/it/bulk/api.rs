//! Bulk operations and failures over HTTP and by the command line.

use serde_json::{Value, json};
use surety::identity::Role;

use super::*;
use crate::support::{App, Binary as _, Person, TestApi};

async fn app(api: &TestApi, args: &[&str]) -> (Option<i32>, String) {
    let url = &api.db.as_ref().unwrap().url;
    let command = App::command(args).env("DATABASE_URL", url).env("USER", "ada");
    let (status, output) = command.run().await;
    (status.code(), output)
}

#[tokio::test]
async fn an_operation_is_counted_started_watched_and_listed() {
    let api = TestApi::start().await;
    let admin = Person::new(&api, Role::Admin).await;
    give_up(&api.pool, 3).await;
    let failures = admin.get(&api, "/v1/failures").await.json();
    let failure = &failures["failures"][0];
    assert_eq!((&failure["jobs"], &failure["kind"]), (&json!(3), &json!("other")));
    assert_eq!(failure["error"], json!("refused by host …"));
    let fingerprint = failure["fingerprint"].as_str().unwrap();
    let one = admin.get(&api, &format!("/v1/failures/{fingerprint}")).await.json();
    assert_eq!(&one, failure);

    let mut body = json!({
        "action": "redrive", "fingerprint": fingerprint, "reason": "fixed", "dry_run": true,
    });
    let counted = admin.send(&api, "POST", "/v1/operations", &body).await;
    assert_eq!(counted.status, 200, "{counted:?}");
    let counted = counted.json();
    assert_eq!((&counted["eligible"], &counted["id"]), (&json!(3), &Value::Null));
    assert_eq!(counted["sample"].as_array().unwrap().len(), 3);
    assert_eq!(counted["filter"], json!(format!("state=discarded fingerprint={fingerprint}")));
    body["dry_run"] = json!(false);
    let started = admin.send(&api, "POST", "/v1/operations", &body).await;
    assert_eq!(started.status, 202, "{started:?}");
    let path = format!("/v1/operations/{}", started.json()["id"]);
    assert_eq!(admin.get(&api, &path).await.json()["state"], json!("waiting"));
    run_jobs(&api.pool).await;
    let ended = admin.get(&api, &path).await.json();
    assert_eq!((&ended["state"], &ended["done"]), (&json!("completed"), &json!(3)));
    let listed = admin.get(&api, "/v1/operations?limit=1").await.json();
    assert_eq!((&listed["operations"][0], &listed["next_cursor"]), (&ended, &Value::Null));

    let cancel = json!({ "reason": "too late" });
    let answer = admin.send(&api, "POST", &format!("{path}/cancel"), &cancel).await;
    assert_eq!((answer.status, answer.code()), (409, "operation-finished".to_owned()));
    let again = admin.send(&api, "POST", "/v1/operations", &body).await;
    assert_eq!((again.status, again.code()), (409, "nothing-eligible".to_owned()));
    // They run again, so the failure is not dealt with yet.
    let waiting = admin.get(&api, &format!("/v1/failures/{fingerprint}")).await.json();
    assert_eq!((&waiting["waiting"], &waiting["discarded"]), (&json!(3), &json!(0)));
}

#[tokio::test]
async fn operators_decide_over_nothing_that_can_move_money() {
    let api = TestApi::start().await;
    let operator = Person::new(&api, Role::Operator).await;
    give_up(&api.pool, 1).await;
    for (action, expected) in [
        ("redrive", 403),
        ("write-off", 403),
        ("retry", 403),
        ("cancel", 200),
        ("discard", 200),
        ("run-now", 200),
    ] {
        let body = json!({ "action": action, "kinds": ["a"], "reason": "why", "dry_run": true });
        let answer = operator.send(&api, "POST", "/v1/operations", &body).await;
        assert_eq!(answer.status, expected, "{action}: {answer:?}");
    }
    let waiting = json!({
        "action": "retry", "states": ["retryable"], "reason": "why", "dry_run": true,
    });
    assert_eq!(operator.send(&api, "POST", "/v1/operations", &waiting).await.status, 200);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let api = TestApi::start().await;
    let admin = Person::new(&api, Role::Admin).await;
    give_up(&api.pool, 1).await;
    let many: Vec<String> = (0..51).map(|n| format!("kind_{n}")).collect();
    for (field, value, expected) in [
        ("action", json!("explode"), 422),
        ("action", json!(7), 400),
        ("states", json!(["asleep"]), 422),
        ("states", json!(["completed"]), 422),
        ("kinds", json!(many), 422),
        ("kinds", json!(["a\0b"]), 422),
        ("keys", json!(["x".repeat(201)]), 422),
        ("args", json!({ "a": "\0" }), 422),
        ("error", json!("a\0b"), 400),
        ("fingerprint", json!("xyz"), 422),
        ("since", json!("yesterday"), 400),
        ("attempt_gte", json!(-1), 400),
        ("attempt_gte", json!(0), 422),
        ("limit", json!(0), 422),
        ("reason", json!(" "), 422),
        ("reason", Value::Null, 400),
        ("unknown", json!(1), 400),
    ] {
        let mut body = json!({ "action": "redrive", "kinds": ["other"], "reason": "why" });
        body[field] = value;
        let answer = admin.send(&api, "POST", "/v1/operations", &body).await;
        assert_eq!(answer.status, expected, "{field}: {answer:?}");
    }
    let everything = json!({ "action": "redrive", "reason": "why" });
    let answer = admin.send(&api, "POST", "/v1/operations", &everything).await;
    assert_eq!(answer.status, 422, "{answer:?}");
    for path in ["/v1/failures/xyz", "/v1/failures/0123456789abcdef", "/v1/operations/4711"] {
        assert_eq!(admin.get(&api, path).await.status, 404, "{path}");
    }
    assert_eq!(count(&api.pool, "select count(*) from operations.bulk_operations").await, 0);
}

#[tokio::test]
async fn commands_count_start_wait_for_and_cancel_operations() {
    let api = TestApi::start().await;
    give_up(&api.pool, 12).await;
    let (code, output) = app(&api, &["failures", "list"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("refused by host …") && output.contains(" 12 "), "{output}");
    let fingerprint = output.lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let (code, output) = app(&api, &["failures", "show", &fingerprint]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("12 jobs: 0 wait or run again, 12 are discarded"), "{output}");

    let retry = ["jobs", "retry", "--all-matching", "--fingerprint", &fingerprint, "--reason", "x"];
    let (code, output) = app(&api, &[&retry[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("would retry 12 jobs"), "{output}");
    let (code, output) = app(&api, &[&retry[..], &["--background"]].concat()).await;
    assert_eq!(code, Some(2), "nobody consents: {output}");
    let (code, output) = app(&api, &[&retry[..], &["--background", "--yes"]].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(
        output.contains("operation 1: waiting, retry of state=retryable,discarded"),
        "{output}"
    );
    let (code, output) = app(&api, &["operations", "wait", "1", "--timeout", "10ms"]).await;
    assert_eq!(code, Some(6), "{output}");
    run_jobs(&api.pool).await;
    let (code, output) = app(&api, &["operations", "wait", "1"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("12 of 12 jobs done"), "{output}");

    let start = ["operations", "start", "discard", "--kind", "other", "--reason", "x"];
    let (code, output) = app(&api, &[&start[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("passed over 12 redriven"), "{output}");
    let (code, output) = app(&api, &[&start[..], &["--yes"]].concat()).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("nothing was changed"), "{output}");
    let start = ["operations", "start", "cancel", "--kind", "other", "--yes", "--reason", "x"];
    let (code, output) = app(&api, &start).await;
    assert_eq!(code, Some(0), "{output}");
    let (code, output) = app(&api, &["operations", "cancel", "2", "--reason", "no"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("cancelled by cli:ada: no"), "{output}");
    for (args, expected) in [
        (&["operations", "cancel", "2", "--reason", "no"][..], 5),
        (&["operations", "show", "99"], 3),
        (&["operations", "wait", "2"], 1),
        (&["operations", "start", "explode", "--kind", "a", "--reason", "x"], 2),
        (&["operations", "start", "cancel", "--yes", "--reason", "x"], 2),
        (&["failures", "show", "0123456789abcdef"], 3),
        (&["failures", "show", "x"], 2),
    ] {
        let (code, output) = app(&api, args).await;
        assert_eq!(code, Some(expected), "{args:?}: {output}");
    }
    let (code, output) = app(&api, &["operations", "list", "-o", "json"]).await;
    assert_eq!(code, Some(0), "{output}");
    let listed: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&listed[0]["state"], &listed[1]["done"]), (&json!("cancelled"), &json!(12)));
}
