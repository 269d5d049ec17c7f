//! The whole way of a provider's event, from its signature to the ledger.

use serde_json::json;
use surety::identity::Role;

use super::{
    ADYEN, SHOPIFY, STRIPE, STRIPE_SECRET, SourcesFile, now, post, send_shop, send_stripe, stored,
    stripe_event, stripe_header,
};
use crate::support::ledger::{balance, external, run_jobs};
use crate::support::{Person, TestApi, eventually_async, send};

async fn api() -> TestApi {
    SourcesFile::new(&[STRIPE, SHOPIFY, ADYEN].concat()).serve().await
}

#[tokio::test]
async fn an_event_is_stored_once_however_often_it_comes_and_settled() {
    let api = api().await;
    let body = stripe_event("pi_1", 1250, "eur");
    for _ in 0..3 {
        let answer = send_stripe(&api, &body).await;
        assert_eq!((answer.status, answer.json()), (202, json!({ "message": "accepted" })));
    }
    // The provider's other message about the same payment.
    let again = body.replace("evt_1SxkQ2LkdIwHu7ixT0Yh", "evt_2");
    assert_eq!(send_stripe(&api, &again).await.status, 202);

    assert_eq!(api.rows().await, (1, 1, 0));
    run_jobs(&api.pool).await;
    let stored = stored(&api, "stripe:pi_1").await;
    assert_eq!(stored["status"], "COMPLETED");
    assert_eq!((&stored["amount"], &stored["currency"]), (&json!("12.50"), &json!("EUR")));
    let kept: Vec<u8> = sqlx::query_scalar("select body from payments.transactions")
        .fetch_one(&api.pool)
        .await
        .unwrap();
    assert_eq!(kept, body.as_bytes());
}

#[tokio::test]
async fn amounts_add_up_to_the_cent() {
    let api = api().await;
    for (id, price) in [(1, "0.1"), (2, "\"0.2\"")] {
        let body = format!(
            "{{\"id\": {id}, \"financial_status\": \"paid\", \"customer\": {{\"id\": 7}}, \
             \"total_price\": {price}, \"currency\": \"EUR\"}}"
        );
        assert_eq!(send_shop(&api, &body).await.status, 202);
    }
    run_jobs(&api.pool).await;
    let shop = external(&api.pool, "shop", "EUR").await;
    assert_eq!(balance(&api.pool, shop).await.0, "0.3000");
}

#[tokio::test]
async fn an_event_that_is_not_ours_is_answered_and_not_stored() {
    let api = api().await;
    let answer = send_stripe(&api, r#"{"type": "customer.created"}"#).await;
    assert_eq!((answer.status, answer.json()), (202, json!({ "message": "ignored" })));
    assert_eq!(api.rows().await, (0, 0, 0));
    let figures = api.get("/metrics").await.text;
    let counted = r#"app_webhook_events_total{source="stripe",outcome="ignored"} 1"#;
    assert!(figures.contains(counted), "{figures}");
}

#[tokio::test]
async fn what_is_not_signed_is_not_taken_whatever_it_is() {
    let api = api().await;
    let body = stripe_event("pi_1", 1250, "eur");
    let signed = |secret, at| stripe_header(secret, at, &body);
    let mut details = Vec::new();
    for header in [
        None,
        Some(signed("whsec_of_somebody_else", now())),
        Some(signed(STRIPE_SECRET, now() - 400)),
        Some(signed(STRIPE_SECRET, now() + 400)),
        Some("t=1,v1=".to_owned()),
    ] {
        let request = post(&api, "stripe", &body);
        let request = match &header {
            Some(header) => request.header("stripe-signature", header),
            None => request,
        };
        let answer = send(request).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid-signature"));
        assert_eq!(answer.header("www-authenticate"), "Stripe-Signature");
        details.push(answer.json()["detail"].clone());
    }
    // Which of them it was is not told.
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");
    // The signature of one source is none for another.
    let header = signed(STRIPE_SECRET, now());
    let answer = send(post(&api, "shop", &body).header("stripe-signature", header)).await;
    assert_eq!(answer.status, 401);
    assert_eq!(api.rows().await, (0, 0, 0));
}

#[tokio::test]
async fn a_source_that_is_not_there_is_not_found() {
    let api = api().await;
    for source in ["paypal", "STRIPE", "transactions", "stripe%00"] {
        let answer = send(post(&api, source, "{}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "source-not-found"), "{source}");
    }
    let without = TestApi::start().await;
    assert_eq!(send(post(&without, "stripe", "{}")).await.status, 404);
}

#[tokio::test]
async fn a_missing_field_is_told_by_its_place() {
    let api = api().await;
    let body = stripe_event("pi_1", 1250, "eur").replace("customer", "buyer");
    let answer = send_stripe(&api, &body).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "missing-fields"));
    assert_eq!(answer.json()["message"], "Missing required fields");
    assert_eq!(answer.json()["errors"][0]["pointer"], "#/data/object/customer");
    let refund = send_stripe(&api, &stripe_event("pi_1", -1250, "eur")).await;
    assert_eq!((refund.status, refund.code().as_str()), (422, "unacceptable-values"));
    let broken = send_stripe(&api, "{").await;
    assert_eq!((broken.status, broken.code().as_str()), (400, "malformed-body"));
    assert_eq!(api.rows().await, (0, 0, 0));
}

#[tokio::test]
async fn other_media_types_and_bodies_that_are_too_large_are_refused() {
    let file = SourcesFile::new(STRIPE);
    let api = TestApi::start_with(|api| {
        api.webhook_sources = Some(file.path());
        api.max_body = 2_000;
    })
    .await;
    let request = api.request("POST", "/v1/webhooks/sources/stripe").body("a=b");
    let form = request.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(send(form).await.status, 415);
    assert_eq!(send_stripe(&api, &"x".repeat(2_001)).await.status, 413);
}

#[tokio::test]
async fn another_content_under_a_known_id_is_kept_as_a_conflict_that_can_be_corrected() {
    let api = api().await;
    let admin = Person::new(&api, Role::Admin).await;
    assert_eq!(send_stripe(&api, &stripe_event("pi_1", 1250, "eur")).await.status, 202);
    let other = send_stripe(&api, &stripe_event("pi_1", 1300, "eur")).await;
    assert_eq!((other.status, other.code().as_str()), (409, "transaction-conflict"));
    run_jobs(&api.pool).await;

    let conflict = admin.get(&api, "/v1/conflicts").await.json()["conflicts"][0].clone();
    let differs = json!([{ "field": "amount", "ours": "12.50", "theirs": "13.00" }]);
    assert_eq!(conflict["differences"], differs);
    let path = format!("/v1/conflicts/{}/resolve", conflict["id"]);
    let decision = json!({ "resolution": "corrected", "reason": "the later one was right" });
    let resolved = admin.send(&api, "POST", &path, &decision).await;
    assert_eq!(resolved.status, 200, "{resolved:?}");
    run_jobs(&api.pool).await;
    let shop = external(&api.pool, "shop", "EUR").await;
    assert_eq!(balance(&api.pool, shop).await.0, "13.0000");
}

#[tokio::test]
async fn a_source_may_have_conflicts_accepted() {
    let text = STRIPE.replace("[sources.stripe]", "[sources.stripe]\non_conflict = \"accept\"");
    let api = SourcesFile::new(&text).serve().await;
    assert_eq!(send_stripe(&api, &stripe_event("pi_1", 1250, "eur")).await.status, 202);
    let other = send_stripe(&api, &stripe_event("pi_1", 1300, "eur")).await;
    assert_eq!((other.status, &other.json()["flag"]), (202, &json!("conflict")));
    assert_eq!(api.rows().await, (1, 1, 1));
}

#[tokio::test]
async fn a_source_has_a_limit_that_forgeries_cannot_use_up() {
    let text = STRIPE.replace("[sources.stripe]", "[sources.stripe]\nlimit = \"2/1h\"");
    let api = SourcesFile::new(&[text.as_str(), SHOPIFY].concat()).serve().await;
    for _ in 0..5 {
        assert_eq!(send(post(&api, "stripe", "{}")).await.status, 401);
    }
    for _ in 0..2 {
        assert_eq!(send_stripe(&api, "{}").await.status, 202);
    }
    let beyond = send_stripe(&api, "{}").await;
    assert_eq!((beyond.status, beyond.code().as_str()), (429, "rate-limited"));
    assert!(!beyond.header("retry-after").is_empty());
    // Others go on.
    assert_eq!(send_shop(&api, "{}").await.status, 202);
}

#[tokio::test]
async fn a_source_that_is_silent_for_longer_than_it_may_be_needs_attention() {
    let text = STRIPE.replace("[sources.stripe]", "[sources.stripe]\nsilent_after = \"1s\"");
    let api = SourcesFile::new(&[text.as_str(), SHOPIFY].concat()).serve().await;
    let viewer = Person::new(&api, Role::Viewer).await;
    let mut overview = json!(null);
    eventually_async("the silence is noticed", async || {
        overview = viewer.get(&api, "/v1/overview").await.json();
        let sources = overview["sources"].as_array().unwrap();
        sources.iter().any(|it| it["source"] == "stripe" && it["is_silent"] == true)
    })
    .await;
    let shop = &overview["sources"].as_array().unwrap()[0];
    assert_eq!((&shop["source"], &shop["is_silent"]), (&json!("shop"), &json!(false)));
    assert_eq!(shop["last_at"], json!(null));
    let attention = overview["needs_attention"].to_string();
    assert!(attention.contains("stripe is silent"), "{attention}");
}
