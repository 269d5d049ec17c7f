//! Conflicts: both contents, and what a decision over them does to the money.

use std::time::Duration;

use serde_json::{Value, json};
use surety::identity::Role;
use surety::operations::verify;

use crate::support::ledger::{balance, external, run_jobs};
use crate::support::{Answer, App, Binary as _, Person, TestApi, event_of};

/// An API with a transaction of 1500 dollars that came again with 1050, and an admin.
async fn world() -> (TestApi, Person) {
    let api = TestApi::start().await;
    let admin = Person::new(&api, Role::Admin).await;
    assert_eq!(api.post(event_of("txn_1", "1500.00")).await.status, 202);
    assert_eq!(api.post(event_of("txn_1", "1050.00")).await.status, 409);
    (api, admin)
}

async fn only(api: &TestApi, admin: &Person) -> Value {
    let listed = admin.get(api, "/v1/conflicts").await.json();
    assert_eq!(listed["conflicts"].as_array().unwrap().len(), 1, "{listed}");
    listed["conflicts"][0].clone()
}

async fn resolve(api: &TestApi, admin: &Person, id: &Value, resolution: &str) -> Answer {
    let body = json!({ "resolution": resolution, "reason": "case 4711" });
    admin.send(api, "POST", &format!("/v1/conflicts/{id}/resolve"), &body).await
}

/// The balances of the two accounts.
async fn balances(api: &TestApi) -> (String, String) {
    let mut both = Vec::new();
    for name in ["acc_user_789", "acc_merchant_456"] {
        let account = external(&api.pool, name, "USD").await;
        both.push(balance(&api.pool, account).await.0);
    }
    (both[0].clone(), both[1].clone())
}

fn are(from: &str, to: &str) -> (String, String) {
    (from.to_owned(), to.to_owned())
}

async fn holds(api: &TestApi) {
    let mut conn = api.pool.acquire().await.unwrap();
    let report = verify::verify(&mut conn, verify::Scope::Everything, Duration::from_secs(60))
        .await
        .unwrap();
    assert!(report.holds(), "{:?}", report.findings());
}

#[tokio::test]
async fn both_contents_are_shown_with_what_differs_and_how_often_it_came() {
    let (api, admin) = world().await;
    assert_eq!(api.post(event_of("txn_1", "1050.00")).await.status, 409);
    let conflict = only(&api, &admin).await;
    assert_eq!(
        conflict["differences"],
        json!([{ "field": "amount", "ours": "1500.00", "theirs": "1050.00" }])
    );
    assert_eq!(conflict["received_count"], json!(2));
    assert!(conflict["our_body"].as_str().unwrap().contains("1500.00"));
    assert!(conflict["their_body"].as_str().unwrap().contains("1050.00"));
    assert_eq!(conflict["resolution"], Value::Null);
    let path = format!("/v1/conflicts/{}", conflict["id"]);
    assert_eq!(admin.get(&api, &path).await.json(), conflict);
    assert_eq!(admin.get(&api, "/v1/conflicts/4711").await.code(), "conflict-not-found");
    let others = admin.get(&api, "/v1/conflicts?transaction_id=txn_2").await.json();
    assert_eq!(others["conflicts"], json!([]));
}

#[tokio::test]
async fn keeping_ours_moves_no_money_and_is_decided_once() {
    let (api, admin) = world().await;
    run_jobs(&api.pool).await;
    let id = only(&api, &admin).await["id"].clone();
    let kept = resolve(&api, &admin, &id, "kept").await;
    assert_eq!(kept.status, 200, "{kept:?}");
    assert_eq!(kept.json()["resolution"], json!("kept"));
    let again = resolve(&api, &admin, &id, "corrected").await;
    assert_eq!((again.status, again.code()), (409, "conflict-resolved".to_owned()));
    assert_eq!(admin.get(&api, "/v1/conflicts").await.json()["conflicts"], json!([]));
    let all = admin.get(&api, "/v1/conflicts?all=true").await.json();
    assert_eq!(all["conflicts"][0]["resolve_reason"], json!("case 4711"));
    run_jobs(&api.pool).await;
    assert_eq!(balances(&api).await, are("-1500.0000", "1500.0000"));
    let audited: (String, String) = sqlx::query_as(
        "select action, reason from audit.entries
         where subject_id = 'txn_1' and action like 'conflict.%'",
    )
    .fetch_one(&api.pool)
    .await
    .unwrap();
    assert_eq!(audited, ("conflict.keep".to_owned(), "case 4711".to_owned()));
    holds(&api).await;
}

#[tokio::test]
async fn a_correction_moves_ours_back_and_theirs_forth_by_transactions_of_their_own() {
    let (api, admin) = world().await;
    let id = only(&api, &admin).await["id"].clone();
    let early = resolve(&api, &admin, &id, "corrected").await;
    assert_eq!((early.status, early.code()), (409, "not-correctable".to_owned()));
    run_jobs(&api.pool).await;
    let dry = json!({ "resolution": "corrected", "reason": "case 4711", "dry_run": true });
    let path = format!("/v1/conflicts/{id}/resolve");
    assert_eq!(admin.send(&api, "POST", &path, &dry).await.status, 200);
    assert_eq!(only(&api, &admin).await["resolution"], Value::Null);

    let corrected = resolve(&api, &admin, &id, "corrected").await;
    assert_eq!(corrected.status, 200, "{corrected:?}");
    run_jobs(&api.pool).await;

    assert_eq!(balances(&api).await, are("-1050.0000", "1050.0000"));
    for field in ["reversal", "correction"] {
        let linked = corrected.json()[field].as_str().unwrap().to_owned();
        let linked = admin.get(&api, &format!("/v1/transactions/{linked}")).await.json();
        assert_eq!(linked["status"], json!("COMPLETED"), "{field}: {linked}");
    }
    let first = admin.get(&api, "/v1/transactions/txn_1").await.json();
    assert_eq!((&first["status"], &first["amount"]), (&json!("COMPLETED"), &json!("1500.00")));
    holds(&api).await;

    // Another content of the same transaction: ours was moved back once, and is not again.
    assert_eq!(api.post(event_of("txn_1", "7.00")).await.status, 409);
    let other = only(&api, &admin).await["id"].clone();
    let second = resolve(&api, &admin, &other, "corrected").await;
    assert_eq!((second.status, second.code()), (409, "not-correctable".to_owned()));
    assert_eq!(resolve(&api, &admin, &other, "kept").await.status, 200);
    run_jobs(&api.pool).await;
    assert_eq!(balances(&api).await, are("-1050.0000", "1050.0000"));
}

#[tokio::test]
async fn two_corrections_at_once_move_ours_back_once() {
    let (api, admin) = world().await;
    assert_eq!(api.post(event_of("txn_1", "7.00")).await.status, 409);
    run_jobs(&api.pool).await;
    let listed = admin.get(&api, "/v1/conflicts").await.json();
    let (one, other) = (&listed["conflicts"][0]["id"], &listed["conflicts"][1]["id"]);
    let (first, second) = tokio::join!(
        resolve(&api, &admin, one, "corrected"),
        resolve(&api, &admin, other, "corrected"),
    );
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{first:?} {second:?}");
    run_jobs(&api.pool).await;
    let transfers: i64 = sqlx::query_scalar("select count(*) from payments.transfers")
        .fetch_one(&api.pool)
        .await
        .unwrap();
    assert_eq!(transfers, 3);
    holds(&api).await;
}

#[tokio::test]
async fn a_correction_of_what_failed_moves_only_theirs() {
    let api = TestApi::start().await;
    let admin = Person::new(&api, Role::Admin).await;
    let mut to_itself: Value = serde_json::from_str(&event_of("txn_1", "5.00")).unwrap();
    to_itself["destination_account"] = to_itself["source_account"].clone();
    assert_eq!(api.post(to_itself.to_string()).await.status, 202);
    assert_eq!(api.post(event_of("txn_1", "5.00")).await.status, 409);
    run_jobs(&api.pool).await;
    let id = only(&api, &admin).await["id"].clone();
    let corrected = resolve(&api, &admin, &id, "corrected").await.json();
    assert_eq!(corrected["reversal"], Value::Null);
    run_jobs(&api.pool).await;
    assert_eq!(balances(&api).await, are("-5.0000", "5.0000"));
}

#[tokio::test]
async fn commands_list_show_and_resolve_conflicts_and_find_the_jobs_of_a_transaction() {
    let (api, _admin) = world().await;
    assert_eq!(api.post(event_of("txn_2", "1.00")).await.status, 202);
    let app = async |args: &[&str]| -> (Option<i32>, String) {
        let url = &api.db.as_ref().unwrap().url;
        let command = App::command(args).env("DATABASE_URL", url).env("USER", "ada");
        let (status, output) = command.run().await;
        (status.code(), output)
    };
    let (code, output) = app(&["conflicts", "list"]).await;
    assert!(code == Some(0) && output.contains("txn_1") && output.contains("amount"), "{output}");
    let (_, output) = app(&["conflicts", "show", "1"]).await;
    assert!(output.contains("1500.00") && output.contains("1050.00"), "{output}");
    for (args, expected) in [
        (&["conflicts", "show", "9"][..], 3),
        (&["conflicts", "resolve", "1", "--reason", "x"], 2),
        (&["conflicts", "resolve", "1", "--correct", "--reason", "x"], 5),
        (&["conflicts", "resolve", "1", "--keep", "--reason", "x"], 0),
        (&["conflicts", "resolve", "1", "--keep", "--reason", "x"], 5),
    ] {
        let (code, output) = app(args).await;
        assert_eq!(code, Some(expected), "{args:?}: {output}");
    }

    let (code, output) = app(&["jobs", "list", "--transaction", "txn_2", "-o", "id"]).await;
    assert_eq!((code, output.lines().count()), (Some(0), 1), "{output}");
    let (_, output) = app(&["jobs", "show", &output]).await;
    assert!(output.contains("about:       transaction txn_2"), "{output}");
    let (code, output) = app(&["jobs", "list", "--transaction", "txn_3", "-o", "json"]).await;
    assert_eq!((code, output.as_str()), (Some(0), "[]"));
}
