//! What becomes of deliveries that are not taken at once.

use serde_json::json;

use super::*;
use crate::support::eventually_async;

#[tokio::test]
async fn a_failed_attempt_is_repeated_under_the_same_id_and_all_of_them_are_recorded() {
    let world = World::start().await;
    let inbox = Inbox::answering(|n, _| Some(if n < 2 { 500 } else { 200 })).await;
    let (id, _) = world.endpoint(&world.operator, &inbox.url, json!({})).await;
    let event = test_event(&world, &id).await;

    let found = world.delivery(&id, &event, "delivered").await;

    let seen = inbox.seen();
    assert!(seen.len() == 3 && seen.iter().all(|seen| seen.id() == event), "{seen:?}");
    let attempts = found["attempts"].as_array().unwrap();
    let statuses: Vec<_> = attempts.iter().map(|it| it["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [500, 500, 200]);
    for attempt in attempts {
        assert_eq!(attempt["answer"], format!("answer {}", attempt["status"]));
        assert!(inbox.url.contains(attempt["address"].as_str().unwrap()), "{attempt}");
    }
}

#[tokio::test]
async fn what_is_never_taken_is_given_up_and_can_be_asked_for_again() {
    let world = World::with_retries("10ms").await;
    let inbox = Inbox::answering(|n, _| Some(if n < 2 { 503 } else { 200 })).await;
    let (id, _) = world.endpoint(&world.operator, &inbox.url, json!({})).await;
    let event = test_event(&world, &id).await;

    let failed = world.delivery(&id, &event, "failed").await;
    assert_eq!(failed["delivery"]["reason"], "attempts-exhausted");
    assert_eq!(failed["attempts"].as_array().unwrap().len(), 2);

    let path = format!("/v1/webhook-endpoints/{id}/deliveries/{event}/retry");
    let answer = post(&world.api, &world.operator, &path, &json!({})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let delivered = world.delivery(&id, &event, "delivered").await;
    assert_eq!(delivered["attempts"].as_array().unwrap().len(), 3);
    assert!(inbox.seen().iter().all(|seen| seen.id() == event));
}

#[tokio::test]
async fn a_410_disables_the_endpoint() {
    let world = World::start().await;
    let inbox = Inbox::answering(|_, _| Some(410)).await;
    let (id, _) = world.endpoint(&world.operator, &inbox.url, json!({})).await;
    let event = test_event(&world, &id).await;

    let failed = world.delivery(&id, &event, "failed").await;

    assert_eq!(failed["delivery"]["reason"], "endpoint-gone");
    let path = format!("/v1/webhook-endpoints/{id}");
    let endpoint = world.operator.get(&world.api, &path).await.json();
    assert_eq!(
        (&endpoint["enabled"], &endpoint["disabled_reason"]),
        (&json!(false), &json!("gone"))
    );
    let refused = post(&world.api, &world.operator, &format!("{path}/test"), &json!({})).await;
    assert_eq!(refused.code(), "endpoint-disabled");
}

#[tokio::test]
async fn an_endpoint_that_fails_for_days_is_disabled() {
    let world = World::start().await;
    let inbox = Inbox::answering(|_, _| Some(500)).await;
    let ada = Person::new(&world.api, Role::User).await;
    let (id, _) = world.endpoint(&ada, &inbox.url, json!({})).await;
    sqlx::query(
        "update deliveries.health set failures = 1, failing_since = now() - interval '121 h'",
    )
    .execute(&world.api.pool)
    .await
    .unwrap();
    let event = test_event(&world, &id).await;

    let failed = world.delivery(&id, &event, "failed").await;

    assert_eq!(failed["delivery"]["reason"], "endpoint-disabled");
    let endpoint = world.operator.get(&world.api, &format!("/v1/webhook-endpoints/{id}")).await;
    assert_eq!(endpoint.json()["disabled_reason"], "failing");
    // The owner hears of it by mail, and the audit log by an entry.
    let told: (i64, i64) = sqlx::query_as(
        "select
           (select count(*) from queue.all_jobs where kind = 'send_notice'),
           (select count(*) from audit.entries where action = 'endpoint.disable')",
    )
    .fetch_one(&world.api.pool)
    .await
    .unwrap();
    assert_eq!(told, (1, 1));
}

#[tokio::test]
async fn an_endpoint_that_fails_again_and_again_is_left_alone_and_then_probed() {
    let world = World::with_retries("1m,1m").await;
    let inbox = Inbox::answering(|n, _| Some(if n < 5 { 500 } else { 200 })).await;
    let (id, _) = world.endpoint(&world.operator, &inbox.url, json!({})).await;
    let mut events = Vec::new();
    for failed in 1..=5 {
        events.push(test_event(&world, &id).await);
        inbox.after(failed).await;
    }
    let path = format!("/v1/webhook-endpoints/{id}");
    eventually_resting(&world, &path).await;

    // Neither those that failed nor new ones are sent.
    sqlx::query("update queue.jobs set run_at = now(), hold = null where not running")
        .execute(&world.api.pool)
        .await
        .unwrap();
    events.push(test_event(&world, &id).await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(inbox.seen().len(), 5, "it is left alone");

    for statement in [
        "update deliveries.health set open_until = now()",
        "update queue.jobs set run_at = now(), hold = null where not running",
    ] {
        sqlx::query(statement).execute(&world.api.pool).await.unwrap();
    }
    // One of them was the probe; the others follow once their time comes.
    inbox.after(6).await;
    let deadline = Instant::now() + PATIENCE;
    while world.operator.get(&world.api, &path).await.json()["failures"] != 0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sqlx::query("update queue.jobs set run_at = now(), hold = null where not running")
        .execute(&world.api.pool)
        .await
        .unwrap();
    for event in events {
        world.delivery(&id, &event, "delivered").await;
    }
}

async fn eventually_resting(world: &World, path: &str) {
    let deadline = Instant::now() + PATIENCE;
    while world.operator.get(&world.api, path).await.json()["resting_until"].is_null() {
        assert!(Instant::now() < deadline, "it is not left alone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let world = World::with_retries("10ms").await;
    let inbox = Inbox::answering(|_, _| Some(302)).await;
    let (id, _) = world.endpoint(&world.operator, &inbox.url, json!({})).await;
    let event = test_event(&world, &id).await;

    world.delivery(&id, &event, "failed").await;
    assert_eq!(inbox.seen().len(), 2);
}

#[tokio::test]
async fn a_worker_that_dies_in_mid_delivery_costs_nothing() {
    let mut world = World::start().await;
    let inbox = Inbox::answering(|n, _| (n > 0).then_some(200)).await;
    let (id, _) = world.endpoint(&world.operator, &inbox.url, json!({})).await;
    let event = test_event(&world, &id).await;
    inbox.after(1).await;

    drop(world.worker.take());
    world.worker = Some(worker(&world.api, "50ms"));
    sqlx::query("update queue.jobs set lease_expires_at = now() where running")
        .execute(&world.api.pool)
        .await
        .unwrap();

    world.delivery(&id, &event, "delivered").await;
    assert!(inbox.seen().iter().all(|seen| seen.id() == event));
}

#[tokio::test]
async fn a_replay_sends_what_failed_or_all_since_a_moment_and_counts_first() {
    let world = World::with_retries("10ms").await;
    let payer = Customer::with(&world.api, "100 USD").await;
    let payee = Customer::new(&world.api).await;
    let before = time::OffsetDateTime::now_utc() - Duration::from_secs(60);
    let is_well = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let state = std::sync::Arc::clone(&is_well);
    let inbox = Inbox::answering(move |_, _| {
        Some(if state.load(std::sync::atomic::Ordering::Relaxed) { 200 } else { 500 })
    })
    .await;
    // Of before the endpoint.
    let path = world.transfer(&payer, &payee, "1 USD").await;
    payer.finished(&world.api, &path).await;
    eventually_async("nobody is left to be told of it", async || {
        let left = "select count(*) from queue.jobs where kind = 'announce_outcomes'";
        world.api.count(left).await == 0
    })
    .await;
    let (id, _) = world.endpoint(&payer.person, &inbox.url, json!({})).await;
    let path = world.transfer(&payer, &payee, "2 USD").await;
    payer.finished(&world.api, &path).await;
    let event = inbox.after(1).await[0].id().to_owned();
    world.delivery(&id, &event, "failed").await;
    is_well.store(true, std::sync::atomic::Ordering::Relaxed);
    let replays = format!("/v1/webhook-endpoints/{id}/replays");
    let replay = async |body: Value| post(&world.api, &payer.person, &replays, &body).await;

    let counted = replay(json!({ "what": "failed", "dry_run": true })).await;
    assert_eq!((counted.status, &counted.json()["count"]), (200, &json!(1)));
    let begun = replay(json!({ "what": "failed" })).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    world.delivery(&id, &event, "delivered").await;

    let since = before.format(&time::format_description::well_known::Rfc3339).unwrap();
    let counted = replay(json!({ "what": "all", "since": since, "dry_run": true })).await;
    // The transfer of before, and the one that was delivered; the payer's own deposit is of no
    // event, because it was made by hand.
    assert_eq!(counted.json()["count"], 2, "{counted:?}");
    let seen = inbox.seen().len();
    let begun = replay(json!({ "what": "all", "since": since })).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    inbox.after(seen + 2).await;
    let path = format!("{replays}/{}", begun.json()["replay_id"]);
    let deadline = Instant::now() + PATIENCE;
    while payer.person.get(&world.api, &path).await.json()["state"] != "completed" {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
