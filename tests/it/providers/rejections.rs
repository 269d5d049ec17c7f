//! Rejected deliveries: kept for operators, bounded, and with no more than may be shown.

use serde_json::Value;
use sqlx::PgPool;
use surety::identity::Role;
use surety::operations::webhook_rejections::{self, NewRejections};

use super::{SHOPIFY, STRIPE, STRIPE_SECRET, SourcesFile, post, send_stripe, stripe_event};
use crate::support::{App, Binary as _, Person, TestApi, TestDb, eventually_async, send};

/// The rejections, once there are so many.
async fn listed(api: &TestApi, reader: &Person, query: &str, count: usize) -> Vec<Value> {
    let path = format!("/v1/webhook-rejections{query}");
    let mut found = Vec::new();
    eventually_async("the rejections are stored", async || {
        let answer = reader.get(api, &path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        found = answer.json()["rejections"].as_array().unwrap().clone();
        found.len() >= count
    })
    .await;
    assert_eq!(found.len(), count, "{found:?}");
    found
}

#[tokio::test]
async fn rejections_are_listed_with_their_reason_and_how_often_they_came() {
    let api = SourcesFile::new(&[STRIPE, SHOPIFY].concat()).serve().await;
    let viewer = Person::new(&api, Role::Viewer).await;
    let forged = stripe_event("pi_forged", 1, "eur");
    for _ in 0..3 {
        assert_eq!(send(post(&api, "stripe", &forged)).await.status, 401);
    }
    let wrong = stripe_event("pi_1", 1250, "eur").replace("customer", "buyer");
    assert_eq!(send_stripe(&api, &wrong).await.status, 400);
    assert_eq!(send(post(&api, "shop", "{}")).await.status, 401);

    let all = listed(&api, &viewer, "", 3).await;
    let find = |source: &str, verified: bool| {
        let is_it = |it: &&Value| it["source"] == source && it["is_verified"] == verified;
        all.iter().find(is_it).unwrap_or_else(|| panic!("{all:?}")).clone()
    };
    let of_forged = find("stripe", false);
    assert_eq!(of_forged["reason"], "signature-missing");
    assert_eq!(of_forged["received_count"], 3);
    assert_eq!(of_forged["body_bytes"], forged.len());
    assert_eq!(of_forged["body_sha256"].as_str().unwrap().len(), 64);
    // Of what anybody can send nothing is shown.
    assert_eq!(of_forged["excerpt"], Value::Null);
    let of_wrong = find("stripe", true);
    assert_eq!(of_wrong["reason"], "missing-fields");
    assert_eq!(of_wrong["detail"], "/data/object/customer is required.");
    assert!(of_wrong["excerpt"].as_str().unwrap().contains("\"pi_1\""));
    assert_eq!(of_wrong["address"], "127.0.0.1");

    let of_shop = listed(&api, &viewer, "?source=shop", 1).await;
    assert_eq!(of_shop[0]["reason"], "signature-missing");
    listed(&api, &viewer, "?verified=true", 1).await;
    let page = viewer.get(&api, "/v1/webhook-rejections?limit=2").await.json();
    assert_eq!(page["rejections"].as_array().unwrap().len(), 2);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = listed(&api, &viewer, &format!("?limit=2&cursor={cursor}"), 1).await;
    assert_eq!(rest[0]["id"], all[2]["id"]);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_listed_without_its_hash() {
    let file = SourcesFile::new(STRIPE);
    let api = TestApi::start_with(|api| {
        api.webhook_sources = Some(file.path());
        api.max_body = 1_000;
    })
    .await;
    let viewer = Person::new(&api, Role::Viewer).await;
    assert_eq!(send_stripe(&api, &"x".repeat(1_001)).await.status, 413);
    let all = listed(&api, &viewer, "", 1).await;
    assert_eq!(
        (&all[0]["reason"], &all[0]["body_sha256"]),
        (&"body-too-large".into(), &Value::Null)
    );
}

async fn record(pool: &PgPool, count: usize, is_verified: bool) {
    let one = |n: usize| NewRejections {
        source: "stripe".to_owned(),
        reason: "signature-mismatch".to_owned(),
        detail: "no signature fits".to_owned(),
        is_verified,
        body_sha256: format!("{:064x}", n + if is_verified { 1_000_000 } else { 0 }),
        body_bytes: 7,
        excerpt: is_verified.then(|| "{}".to_owned()),
        address: None,
        received_count: 1,
        first_age_secs: (count - n) as f64,
        last_age_secs: (count - n) as f64,
    };
    let all: Vec<NewRejections> = (0..count).map(one).collect();
    let mut conn = pool.acquire().await.unwrap();
    webhook_rejections::record(&mut conn, &all).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_forgeries_is_bounded_and_pushes_out_nothing_that_was_signed() {
    let db = TestDb::new().await;
    record(&db.pool, 5, true).await;
    for _ in 0..2 {
        record(&db.pool, 700, false).await;
    }
    let count = |verified: bool| {
        sqlx::query_scalar::<_, i64>(
            "select count(*) from api.webhook_rejections where is_verified = $1",
        )
        .bind(verified)
        .fetch_one(&db.pool)
    };
    assert_eq!((count(true).await.unwrap(), count(false).await.unwrap()), (5, 200));
    let newest: i64 = sqlx::query_scalar(
        "select count(*) from api.webhook_rejections
        where not is_verified and encode(body_sha256, 'hex') >= lpad(to_hex(500), 64, '0')",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(newest, 200);
}

#[tokio::test]
async fn a_process_keeps_no_more_of_a_flood_than_fits() {
    let api = SourcesFile::new(STRIPE).serve().await;
    for n in 0..400 {
        assert_eq!(send(post(&api, "stripe", &n.to_string())).await.status, 401);
    }
    let viewer = Person::new(&api, Role::Viewer).await;
    listed(&api, &viewer, "?limit=200", 200).await;
}

#[tokio::test]
async fn rejections_are_listed_in_a_terminal() {
    let db = TestDb::new().await;
    record(&db.pool, 1, true).await;
    let app = App::command(["webhooks", "rejected"]).env("DATABASE_URL", &db.url);
    let (status, output) = app.run().await;
    assert!(status.success(), "{output}");
    assert!(output.contains("signature-mismatch"), "{output}");
    let app = App::command(["webhooks", "rejected", "--source", "shop", "-o", "json"]);
    let (status, output) = app.env("DATABASE_URL", &db.url).run().await;
    assert!(status.success() && output.contains("[]"), "{output}");
}

#[tokio::test]
async fn no_secret_is_in_the_log_or_in_what_is_kept() {
    let db = TestDb::new().await;
    let file = SourcesFile::new(STRIPE);
    let mut app = App::command(["serve", "--listen", "127.0.0.1:0"])
        .env("DATABASE_URL", &db.url)
        .env("APP_WEBHOOK_SOURCES", file.path())
        .env("APP_LOG", "trace,sqlx=info")
        .spawn();
    let line = app.wait_for_line("serving http://").await;
    let address = line.split("http://").nth(1).unwrap().split(['/', ',']).next().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{address}/v1/webhooks/sources/stripe");
    let request = client.post(url).header("content-type", "application/json").body("{}");
    assert_eq!(request.send().await.unwrap().status().as_u16(), 401);
    app.wait_for_line("webhook of source stripe refused").await;
    app.signal(crate::support::Signal::Terminate);
    app.wait_for_exit().await;
    assert!(!app.output().contains(STRIPE_SECRET));
}
