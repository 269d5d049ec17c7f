//! What operators do leaves one entry each: who, from where, why, before and after.

use serde_json::{Value, json};
use surety::identity::Role;

use super::{app, listed};
use crate::support::ledger::count;
use crate::support::{Person, TestApi, TestDb, send};

/// The only entry, and no other.
async fn only(db: &TestDb) -> Value {
    let mut entries = listed(db).await;
    assert_eq!(entries.len(), 1, "{entries:#?}");
    entries.remove(0)
}

#[tokio::test]
async fn an_action_by_the_command_line_leaves_one_entry_with_who_why_before_and_after() {
    let db = TestDb::new().await;
    let pause = ["queues", "pause", "bank", "--reason", "the bank moves"];
    assert_eq!(app(&db, &pause).await.0, Some(0));
    let entry = only(&db).await;
    assert_eq!((&entry["actor"], &entry["action"]), (&json!("cli:ada"), &json!("queue.pause")));
    assert_eq!((&entry["subject_kind"], &entry["subject_id"]), (&json!("queue"), &json!("bank")));
    assert_eq!(entry["reason"], "the bank moves");
    assert_eq!(
        (&entry["before"]["paused"], &entry["after"]["paused"]),
        (&false.into(), &true.into())
    );
    assert_eq!((&entry["address"], &entry["request_id"]), (&Value::Null, &Value::Null));
    // Nothing has changed, so there is nothing to tell.
    assert_eq!(app(&db, &pause).await.0, Some(5));
    only(&db).await;
    assert_eq!(app(&db, &["queues", "resume", "bank", "--by", "bob"]).await.0, Some(0));
    let entries = listed(&db).await;
    assert_eq!(
        (&entries[1]["actor"], &entries[1]["action"]),
        (&json!("cli:bob"), &json!("queue.resume"))
    );
    assert_eq!(entries[1]["before"]["pause"]["reason"], "the bank moves");
}

#[tokio::test]
async fn an_action_over_http_leaves_one_entry_with_the_address_and_the_request() {
    let api = TestApi::start().await;
    let db = api.db.as_ref().unwrap();
    let admin = Person::new(&api, Role::Admin).await;
    let user = Person::new(&api, Role::User).await;
    assert_eq!(listed(db).await.len(), 0, "users who make themselves are no operators");
    let request = api.request("PATCH", &user.path()).bearer_auth(&admin.token);
    let request = request.header("x-request-id", "case-4711");
    assert_eq!(send(request.json(&json!({ "status": "suspended" }))).await.status, 200);
    let entry = only(db).await;
    assert_eq!(entry["actor"], format!("user:{}", admin.id));
    assert_eq!((&entry["action"], &entry["subject_id"]), (&json!("user.change"), &json!(user.id)));
    assert_eq!(
        (&entry["address"], &entry["request_id"]),
        (&json!("127.0.0.1"), &json!("case-4711"))
    );
    assert_eq!(entry["before"], json!({ "role": "user", "status": "active" }));
    assert_eq!(entry["after"], json!({ "role": "user", "status": "suspended" }));

    // The last admin stays one, and of what did not happen nothing is told.
    let demote = admin.send(&api, "PATCH", &admin.path(), &json!({ "role": "user" })).await;
    assert_eq!(demote.code(), "last-admin");
    only(db).await;
}

#[tokio::test]
async fn every_command_that_changes_something_leaves_its_entry_and_a_dry_run_none() {
    let db = TestDb::new().await;
    let run = async |args: &[&str]| {
        let (code, output) = app(&db, args).await;
        assert_eq!(code, Some(0), "{args:?}: {output}");
        output
    };
    let reason = ["--reason", "a test"];
    run(&["users", "create", "eva@example.com"]).await;
    run(&["users", "set-role", "eva@example.com", "operator"]).await;
    run(&["users", "set-password", "eva@example.com"]).await;
    let key = run(&["keys", "create", "--name", "till", "--role", "operator", "-o", "json"]).await;
    let key: Value = serde_json::from_str(&key).unwrap();
    let id = key["id"].as_str().unwrap();
    run(&["keys", "rotate", id]).await;
    run(&["keys", "revoke", id]).await;
    run(&["keys", "rotate-signing"]).await;
    run(&["queues", "limits", "bank", "--max-running", "3"]).await;
    run(&["queues", "limits", "bank", "--clear"]).await;
    run(&["jobs", "enqueue", "of_tomorrow", "{\"secret\": 1}", "--allow-unknown-kind"]).await;
    let job = count(&db.pool, "select max(id) from queue.jobs").await.to_string();
    run(&[&["jobs", "cancel", &job, "--dry-run"], &reason[..]].concat()).await;
    run(&[&["jobs", "cancel", &job], &reason[..]].concat()).await;
    let add = ["schedules", "add", "nightly", "--every", "1h", "--kind", "of_tomorrow"];
    run(&[&add[..], &["--dry-run"]].concat()).await;
    run(&add).await;
    run(&[&["schedules", "pause", "nightly"], &reason[..]].concat()).await;
    run(&["schedules", "resume", "nightly"]).await;
    run(&["schedules", "run", "nightly"]).await;
    run(&["schedules", "remove", "nightly", "--yes"]).await;

    let entries = listed(&db).await;
    let actions: Vec<&str> =
        entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    let expected = [
        "user.create",
        "user.change",
        "user.set_password",
        "api_key.create",
        "api_key.rotate",
        "api_key.revoke",
        "signing_key.rotate",
        "queue.limit",
        "queue.limit",
        "job.enqueue",
        "job.cancel",
        "schedule.define",
        "schedule.pause",
        "schedule.resume",
        "schedule.run",
        "schedule.remove",
    ];
    assert_eq!(actions, expected);
    assert!(entries.iter().all(|entry| entry["actor"] == "cli:ada"));
    let all = serde_json::to_string(&entries).unwrap();
    let secret = key["secret"].as_str().unwrap();
    for hidden in [secret, "\"secret\"", "eva@example.com", "password_hash", "argon2"] {
        assert!(!all.contains(hidden), "{hidden} is in the log");
    }
}

#[tokio::test]
async fn operators_list_the_log_by_filters_and_pages_and_nobody_else_does() {
    let api = TestApi::start().await;
    let db = api.db.as_ref().unwrap();
    for queue in ["a", "b", "c"] {
        let pause = ["queues", "pause", queue, "--reason", "a test"];
        assert_eq!(app(db, &pause).await.0, Some(0));
    }
    super::write(&db.pool, 0, 2).await;
    let operator = Person::new(&api, Role::Operator).await;
    let get = async |path: &str| operator.get(&api, path).await.json();
    let subjects = |page: &Value| -> Vec<String> {
        let entries = page["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["subject_id"].as_str().unwrap().to_owned()).collect()
    };
    let page = get("/v1/audit?actor=cli:ada&limit=2").await;
    assert_eq!(subjects(&page), ["c", "b"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = get(&format!("/v1/audit?actor=cli:ada&limit=2&cursor={cursor}")).await;
    assert_eq!((subjects(&page), &page["next_cursor"]), (vec!["a".to_owned()], &Value::Null));
    assert_eq!(subjects(&get("/v1/audit?action=queue.").await), ["c", "b", "a"]);
    assert_eq!(subjects(&get("/v1/audit?subject_kind=queue&subject_id=b").await), ["b"]);
    assert_eq!(subjects(&get("/v1/audit?until=2020-01-01T00:00:00Z").await).len(), 0);
    assert_eq!(subjects(&get("/v1/audit?since=2020-01-01T00:00:00Z").await).len(), 5);
    surety::jobs::audit_keeper::seal_all(&db.pool).await.unwrap();
    assert_eq!(
        subjects(&get("/v1/audit?subject_kind=transaction&subject_id=txn_1").await),
        ["txn_1"]
    );
    let wrong = format!("/v1/audit?actor=cli:bob&limit=2&cursor={cursor}");
    assert_eq!(operator.get(&api, &wrong).await.code(), "invalid-cursor");
    assert_eq!(operator.get(&api, "/v1/audit?actors=x").await.code(), "invalid-parameter");
    let user = Person::new(&api, Role::User).await;
    assert_eq!(user.get(&api, "/v1/audit").await.code(), "forbidden");

    let list = ["audit", "list", "--subject", "queue/b", "--since", "1h", "-o", "jsonl"];
    let (code, output) = app(db, &list).await;
    assert_eq!((code, output.lines().count()), (Some(0), 1), "{output}");
    let entry: Value = serde_json::from_str(&output).unwrap();
    let seq = entry["seq"].to_string();
    let (code, output) = app(db, &["audit", "show", &seq]).await;
    assert!(code == Some(0) && output.contains("a test"), "{output}");
    assert_eq!(app(db, &["audit", "show", "999"]).await.0, Some(3));
}
