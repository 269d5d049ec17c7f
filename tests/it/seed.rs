//! `app seed`: demo users who can sign in, and money that adds up.

use serde_json::Value;

use crate::support::ledger::run_jobs;
use crate::support::{App, Binary as _, TestApi, sign_in};

/// Seeds the database of this API; what the command said.
async fn seed(api: &TestApi, args: &[&str]) -> (bool, String) {
    let url = &api.db.as_ref().unwrap().url;
    let command = App::command([&["seed"], args].concat()).env("DATABASE_URL", url);
    let (status, output) = command.run().await;
    (status.success(), output)
}

#[tokio::test]
async fn seeded_users_sign_in_and_their_money_adds_up() {
    let api = TestApi::start().await;

    let (is_done, output) = seed(&api, &["-o", "json"]).await;

    assert!(is_done, "{output}");
    let seeded: Value = serde_json::from_str(&output).unwrap();
    let users = seeded["users"].as_array().unwrap();
    let roles: Vec<&str> = users.iter().map(|user| user["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "user", "operator", "admin"]);
    for user in users {
        let text = |name: &str| user[name].as_str().unwrap().to_owned();
        let token = sign_in(&api, &text("email"), &text("password")).await;
        let path = format!("/v1/users/{}/transactions", users[0]["id"].as_str().unwrap());
        let answer = crate::support::send(api.request("GET", &path).bearer_auth(token)).await;
        let sees_ada = text("role") != "user" || text("email").starts_with("ada@");
        assert_eq!(answer.status, if sees_ada { 200 } else { 404 }, "{answer:?}");
    }
    assert_eq!(api.count("select count(*) from payments.orders").await, 11);
    let declined = "select count(*) from payments.orders where status = 'FAILED'";
    assert_eq!(api.count(declined).await, 1);
    for kind in ["deposit", "withdrawal", "transfer", "refund"] {
        let done = "select count(*) from payments.orders where kind::text = $1
                    and status = 'COMPLETED'";
        let done: i64 = sqlx::query_scalar(done).bind(kind).fetch_one(&api.pool).await.unwrap();
        assert!(done > 0, "{kind}");
    }
    let url = &api.db.as_ref().unwrap().url;
    let (status, output) = App::command(["verify"]).env("DATABASE_URL", url).run().await;
    assert!(status.success(), "{output}");
    // They have a job, which waits for a bank.
    run_jobs(&api.pool).await;
    assert_eq!(api.count("select count(*) from payments.orders where status = 'PENDING'").await, 2);
}

#[tokio::test]
async fn a_database_is_seeded_once() {
    let api = TestApi::start().await;
    let (is_done, output) = seed(&api, &[]).await;
    assert!(is_done && output.contains("ada@example.com"), "{output}");
    let rows = "select (select count(*) from payments.orders) * 1000
                     + (select count(*) from identity.users)";
    let before = api.count(rows).await;

    let (is_done, output) = seed(&api, &[]).await;

    assert!(!is_done && output.contains("seeded before"), "{output}");
    assert_eq!(api.count(rows).await, before);
}
