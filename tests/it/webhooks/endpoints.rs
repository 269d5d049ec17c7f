//! Endpoints over HTTP.

use serde_json::json;

use super::*;

#[tokio::test]
async fn an_endpoint_is_made_read_changed_and_deleted_and_its_secret_is_told_once() {
    let api = TestApi::start().await;
    let ada = Person::new(&api, Role::User).await;
    let body = json!({
        "url": "http://127.0.0.1:9/hooks?key=k",
        "description": "the shop",
        "event_types": ["transfer.failed", "transfer.completed", "transfer.failed"],
        "metadata": { "team": "payments" },
        "headers": { "Authorization": "Bearer s3cr3t" },
        "timeout_ms": 2000,
        "rate": 50,
        "ordered": true,
        "signs_with_key": true,
    });
    let made = post(&api, &ada, "/v1/webhook-endpoints", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "{secret}");
    let endpoint = made.json()["endpoint"].clone();
    assert_eq!(endpoint["event_types"], json!(["transfer.completed", "transfer.failed"]));
    assert_eq!(endpoint["header_names"], json!(["Authorization"]));
    assert_eq!(endpoint["owner_id"], json!(ada.id));
    assert!(endpoint["public_key"].as_str().unwrap().starts_with("whpk_"));

    let path = made.header("location").to_owned();
    let read = ada.get(&api, &path).await;
    assert_eq!(read.json(), endpoint);
    let change = json!({ "description": null, "rate": null, "event_types": ["*"], "ordered": false,
        "signs_with_key": false, "enabled": false });
    let changed = patch(&api, &ada, &path, &change).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    for name in ["description", "rate", "public_key"] {
        assert!(changed.json()[name].is_null(), "{name}");
    }
    assert_eq!(changed.json()["event_types"], json!(["*"]));
    assert_eq!(changed.json()["disabled_reason"], "by-hand");
    assert_eq!(changed.json()["timeout_ms"], 2000);
    let listed = ada.get(&api, "/v1/webhook-endpoints").await;
    assert_eq!(listed.json()["endpoints"], json!([changed.json()]));
    for answer in [read, changed, listed] {
        assert!(!answer.text.contains(&secret) && !answer.text.contains("s3cr3t"), "{answer:?}");
    }

    assert_eq!(delete(&api, &ada, &path).await.status, 204);
    assert_eq!(ada.get(&api, &path).await.code(), "endpoint-not-found");
    assert_eq!(delete(&api, &ada, &path).await.code(), "endpoint-not-found");
}

#[tokio::test]
async fn others_endpoints_do_not_exist_but_for_operators() {
    let api = TestApi::start().await;
    let ada = Person::new(&api, Role::User).await;
    let ben = Person::new(&api, Role::User).await;
    let operator = Person::new(&api, Role::Operator).await;
    let body = json!({ "url": "http://127.0.0.1:9/" });
    let made = post(&api, &ada, "/v1/webhook-endpoints", &body).await;
    let path = made.header("location").to_owned();

    assert_eq!(operator.get(&api, &path).await.status, 200);
    assert_eq!(ben.get(&api, &path).await.code(), "endpoint-not-found");
    assert_eq!(patch(&api, &ben, &path, &json!({})).await.code(), "endpoint-not-found");
    assert_eq!(delete(&api, &ben, &path).await.code(), "endpoint-not-found");
    for (tail, body) in [
        ("secret", json!({})),
        ("test", json!({})),
        ("replays", json!({ "what": "failed" })),
        ("deliveries/evt_00000000000000000000000000000000/retry", json!({})),
    ] {
        let answer = post(&api, &ben, &format!("{path}/{tail}"), &body).await;
        assert_eq!(answer.code(), "endpoint-not-found", "{tail}");
    }
    assert_eq!(ben.get(&api, &format!("{path}/deliveries")).await.code(), "endpoint-not-found");
    assert_eq!(ben.get(&api, "/v1/webhook-endpoints").await.json()["endpoints"], json!([]));
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_by_their_names() {
    let api = TestApi::start().await;
    let ada = Person::new(&api, Role::User).await;
    let good = json!({ "url": "http://127.0.0.1:9/" });
    for (field, value) in [
        ("url", json!("ftp://127.0.0.1/")),
        ("url", json!("http://user:pw@127.0.0.1/")),
        ("event_types", json!([])),
        ("event_types", json!(["*", "transfer.completed"])),
        ("event_types", json!(["transfer.*"])),
        ("metadata", json!({ "": "x" })),
        ("metadata", json!({ "a": "x".repeat(501) })),
        ("headers", json!({ "host": "x" })),
        ("headers", json!({ "webhook-id": "x" })),
        ("headers", json!({ "x": "a\r\nb: c" })),
        ("timeout_ms", json!(999)),
        ("timeout_ms", json!(30_001)),
        ("rate", json!(0)),
        ("rate", json!(10_001)),
    ] {
        let mut body = good.clone();
        body[field] = value.clone();
        let answer = post(&api, &ada, "/v1/webhook-endpoints", &body).await;
        assert_eq!(answer.code(), "unacceptable-values", "{field} {value}");
        assert_eq!(answer.json()["errors"][0]["pointer"], format!("#/{field}"));
    }
    for (field, value) in
        [("rate", json!("5")), ("ordered", json!("yes")), ("event_types", json!([1]))]
    {
        let mut body = good.clone();
        body[field] = value;
        let answer = post(&api, &ada, "/v1/webhook-endpoints", &body).await;
        assert_eq!(answer.code(), "invalid-fields", "{field}");
    }
}

#[tokio::test]
async fn a_user_has_at_most_twenty_endpoints_however_many_they_ask_for_at_once() {
    let api = TestApi::start().await;
    let ada = Person::new(&api, Role::User).await;
    let body = json!({ "url": "http://127.0.0.1:9/" });
    let asked = (0..25).map(|_| post(&api, &ada, "/v1/webhook-endpoints", &body));
    let answers = futures_util::future::join_all(asked).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 20);
    assert!(
        answers.iter().any(|answer| answer.status != 201 && answer.code() == "too-many-endpoints")
    );
}

#[tokio::test]
async fn the_catalogue_names_all_types() {
    let api = TestApi::start().await;
    let answer = api.get("/v1/webhook-event-types").await;
    let names: Vec<String> = answer.json()["event_types"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap().to_owned())
        .collect();
    for name in ["transaction.completed", "withdrawal.failed", "refund.completed", "webhook.test"] {
        assert!(names.iter().any(|it| it == name), "{name}");
    }
}
