//! `app trigger`: each scenario ends as it is called, whoever else works.

use serde_json::Value;
use surety::events::{self, EventType};

use crate::support::load::assert_verified;
use crate::support::prober::work;
use crate::support::{App, Binary as _, TestApi, TestDb};

/// Makes it happen on the database of this URL; what the command said.
async fn trigger(database_url: &str, event: &str) -> Value {
    let command = App::command(["trigger", event, "-o", "json"]).env("DATABASE_URL", database_url);
    let (status, output) = command.run().await;
    assert!(status.success(), "{event}: {output}");
    serde_json::from_str(&output).unwrap()
}

/// The subject of the events about what was made.
async fn subject(db: &TestDb, made: &Value) -> String {
    let id = made["id"].as_str().unwrap();
    if made["scenario"].as_str().unwrap().starts_with("transaction.") {
        let number = "select id from payments.transactions where transaction_id = $1";
        let number: i64 = sqlx::query_scalar(number).bind(id).fetch_one(&db.pool).await.unwrap();
        return format!("transaction:{number}");
    }
    format!("order:{id}")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_can_be_made_to_happen_while_others_work() {
    let db = TestDb::new().await;
    let _others = work(&db.url, &[]);
    for event_type in EventType::ALL {
        let name = event_type.as_str();
        if ["refund.failed", "webhook.test"].contains(&name) {
            continue;
        }
        let made = trigger(&db.url, name).await;
        let (_, ending) = name.split_once('.').unwrap();
        assert_eq!(made["status"], ending.to_uppercase(), "{made}");
        let is_failed = ending == "failed";
        assert_eq!(made["failure_reason"].is_string(), is_failed, "{made}");
        let mut conn = db.pool.acquire().await.unwrap();
        let told = events::of_subject(&mut conn, &subject(&db, &made).await).await.unwrap();
        let types: Vec<&str> = told.iter().map(|event| event.event_type.as_str()).collect();
        assert_eq!(types, [name], "{made}");
    }
    assert_verified(&db.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_kept_and_a_late_bank_comes_to_a_decision() {
    let db = TestDb::new().await;
    let _others = work(&db.url, &[]);
    let made = trigger(&db.url, "transaction.conflict").await;
    let kept = "select count(*) from payments.transaction_conflicts";
    let kept: i64 = sqlx::query_scalar(kept).fetch_one(&db.pool).await.unwrap();
    assert_eq!((kept, made["status"].as_str()), (1, Some("COMPLETED")));

    let began = std::time::Instant::now();
    let made = trigger(&db.url, "bank.late").await;
    assert!(began.elapsed() >= std::time::Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(["COMPLETED", "FAILED"].contains(&made["status"].as_str().unwrap()), "{made}");
    assert_verified(&db.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_is_where_it_is_said_to_be() {
    let api = TestApi::start().await;
    let url = &api.db.as_ref().unwrap().url;
    let made = trigger(url, "transaction.failed").await;
    let path = made["paths"][0].as_str().unwrap();
    let answer = crate::support::send(api.request("GET", path)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["status"], "FAILED");
}

#[tokio::test]
async fn all_of_them_are_told_without_a_database_and_others_are_refused() {
    let (status, output) = App::command(["trigger", "--list"]).run().await;
    assert!(status.success(), "{output}");
    for event in ["transaction.conflict", "transfer.failed", "bank.late"] {
        assert!(output.contains(event), "{output}");
    }
    let (status, output) = App::command(["trigger", "refund.failed"]).run().await;
    assert_eq!(status.code(), Some(2), "{output}");
}
