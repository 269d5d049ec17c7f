//! Secrets of endpoints, sealed before they are stored.

use serde_json::json;

use super::*;
use crate::support::{App, Binary as _};

const OLD: &str = "old:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const CANARY: &str = "Bearer canary-41d7";

fn keys(keys: &[&str]) -> EndpointSecrets {
    EndpointSecrets::new(Some(keys.join(",").parse().unwrap()))
}

/// A world whose API and worker know these keys; none stores in plain.
async fn world(keys_of_api: Option<&str>, keys_of_worker: EndpointSecrets) -> World {
    let api = match keys_of_api {
        Some(keys) => TestApi::start_sealing(keys).await,
        None => TestApi::start().await,
    };
    let operator = Person::new(&api, Role::Operator).await;
    let worker = Some(worker_with(&api, "50ms", keys_of_worker));
    World { api, worker, operator }
}

/// The settings of an endpoint with every kind of secret.
fn with_secrets() -> Value {
    json!({ "headers": { "authorization": CANARY }, "signs_with_key": true })
}

/// All that a dump shows of endpoints.
async fn dump(api: &TestApi) -> String {
    sqlx::query_scalar(
        "select string_agg(rows.text, ' ')
         from (
           select row_to_json(endpoints)::text from deliveries.endpoints
           union all select row_to_json(secrets)::text from deliveries.secrets
           union all select row_to_json(entries)::text from audit.entries
         ) as rows (text)",
    )
    .fetch_one(&api.pool)
    .await
    .unwrap()
}

fn shows_secrets(dump: &str) -> bool {
    ["whsec_", "whsk_", "canary"].iter().any(|secret| dump.contains(secret))
}

async fn is_told(world: &World, inbox: &Inbox, (id, secret): &(String, String)) {
    let event = test_event(world, id).await;
    world.delivery(id, &event, "delivered").await;
    let seen = inbox.seen().pop().unwrap();
    assert_eq!((seen.id(), seen.header("authorization")), (event.as_str(), CANARY));
    assert!(seen.is_signed_by(secret), "{seen:?}");
    assert!(seen.header("webhook-signature").contains("v1a,"), "{seen:?}");
}

#[tokio::test]
async fn a_dump_shows_no_secret_and_receivers_believe_what_is_signed() {
    let world = world(Some(OLD), keys(&[OLD])).await;
    let inbox = Inbox::start().await;
    let (id, secret) = world.endpoint(&world.operator, &inbox.url, with_secrets()).await;
    assert!(!shows_secrets(&dump(&world.api).await));
    is_told(&world, &inbox, &(id.clone(), secret)).await;

    // What is changed is sealed, what is not stays readable, and the public key is shown.
    let path = format!("/v1/webhook-endpoints/{id}");
    let before = world.operator.get(&world.api, &path).await.json();
    assert!(before["public_key"].as_str().unwrap().starts_with("whpk_"), "{before}");
    let change = json!({ "description": "ours" });
    let changed = patch(&world.api, &world.operator, &path, &change).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.json()["public_key"], before["public_key"]);
    assert_eq!(changed.json()["header_names"], json!(["authorization"]));
    let rotated =
        post(&world.api, &world.operator, &format!("{path}/secret"), &json!({})).await.json();
    assert!(!shows_secrets(&dump(&world.api).await));
    let secret = rotated["secret"].as_str().unwrap().to_owned();
    is_told(&world, &inbox, &(id, secret)).await;
}

#[tokio::test]
async fn a_worker_without_the_key_waits_for_one_that_has_it_at_no_cost() {
    let mut world = world(Some(OLD), EndpointSecrets::default()).await;
    let inbox = Inbox::start().await;
    let endpoint = world.endpoint(&world.operator, &inbox.url, with_secrets()).await;
    let event = test_event(&world, &endpoint.0).await;
    let deadline = Instant::now() + PATIENCE;
    let waits = "select wait_reason from queue.jobs where wait_reason like '%sealed%'";
    loop {
        let reason: Option<String> =
            sqlx::query_scalar(waits).fetch_optional(&world.api.pool).await.unwrap();
        if let Some(reason) = reason {
            assert!(reason.contains("key old is not known here"), "{reason}");
            break;
        }
        assert!(Instant::now() < deadline, "it does not wait");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(inbox.seen().is_empty());
    world.worker.take().unwrap().stop().await;

    world.worker = Some(worker_with(&world.api, "50ms", keys(&[NEW, OLD])));
    sqlx::query("update queue.jobs set run_at = now(), hold = null where not running")
        .execute(&world.api.pool)
        .await
        .unwrap();
    let delivered = world.delivery(&endpoint.0, &event, "delivered").await;
    assert_eq!(delivered["attempts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_rotation_seals_what_was_in_plain_and_lets_an_old_key_be_retired() {
    let mut world = world(None, EndpointSecrets::default()).await;
    let inbox = Inbox::start().await;
    let endpoint = world.endpoint(&world.operator, &inbox.url, with_secrets()).await;
    let path = format!("/v1/webhook-endpoints/{}", endpoint.0);
    let before = world.operator.get(&world.api, &path).await.json();
    // As the version before has stored it.
    sqlx::query("update deliveries.endpoints set public_key = null")
        .execute(&world.api.pool)
        .await
        .unwrap();
    assert!(shows_secrets(&dump(&world.api).await));
    is_told(&world, &inbox, &endpoint).await;
    world.worker.take().unwrap().stop().await;

    let url = world.api.db.as_ref().unwrap().url.clone();
    let rotate = async |keys: &[&str], args: &[&str]| {
        let command = App::command([&["rotate-job-keys"], args].concat());
        let command = command.env("DATABASE_URL", &url).env("APP_JOB_KEYS", keys.join(","));
        let (status, output) = command.run().await;
        (status.code(), output)
    };
    let (code, output) = rotate(&[OLD], &["--dry-run"]).await;
    assert!(code == Some(0) && output.contains("to be sealed"), "{output}");
    let (code, output) = rotate(&[OLD], &[]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("the secrets of 1 endpoints have key old now"), "{output}");
    assert!(!shows_secrets(&dump(&world.api).await));
    assert_eq!(world.operator.get(&world.api, &path).await.json(), before, "nothing has changed");

    // Not with the old key: nothing is lost.
    let (code, output) = rotate(&[NEW], &[]).await;
    assert_eq!(code, Some(1), "{output}");
    let (code, output) = rotate(&[NEW, OLD], &["-o", "json"]).await;
    let said: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((code, &said["can_be_retired"]), (Some(0), &json!(["old"])), "{output}");
    assert_eq!(said["secrets"], json!([{ "key": "new", "secrets": 3 }]));

    world.worker = Some(worker_with(&world.api, "50ms", keys(&[NEW])));
    is_told(&world, &inbox, &endpoint).await;
}

#[tokio::test]
async fn a_sealed_secret_that_was_altered_fails_its_delivery_and_no_other() {
    let world = world(Some(OLD), keys(&[OLD])).await;
    let inbox = Inbox::start().await;
    let altered = world.endpoint(&world.operator, &inbox.url, with_secrets()).await;
    let other = world.endpoint(&world.operator, &inbox.url, with_secrets()).await;
    // One of another endpoint's.
    sqlx::query(
        "update deliveries.secrets
         set secret = (select secret from deliveries.secrets where endpoint_id = $2::uuid)
         where endpoint_id = $1::uuid",
    )
    .bind(&altered.0)
    .bind(&other.0)
    .execute(&world.api.pool)
    .await
    .unwrap();

    let event = test_event(&world, &altered.0).await;
    let failed = world.delivery(&altered.0, &event, "failed").await;
    assert_eq!(failed["delivery"]["reason"], "endpoint-unusable");
    is_told(&world, &inbox, &other).await;
}

#[tokio::test]
async fn the_command_line_seals_too() {
    let world = world(None, keys(&[OLD])).await;
    let inbox = Inbox::start().await;
    let url = &world.api.db.as_ref().unwrap().url;
    let run = async |args: &[&str]| {
        let command = App::command(args).env("DATABASE_URL", url).env("APP_JOB_KEYS", OLD);
        let (status, output) = command.run().await;
        assert!(status.success(), "{output}");
        output
    };
    let header = format!("authorization={CANARY}");
    let create = ["endpoints", "create", &inbox.url, "--webhook-allow-private"];
    let made = run(&[&create[..], &["--header", &header, "-o", "json"]].concat()).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    assert!(!shows_secrets(&dump(&world.api).await));
    let id = made["endpoint"]["id"].as_str().unwrap();
    run(&["endpoints", "rotate-secret", id]).await;
    assert!(!shows_secrets(&dump(&world.api).await));
}
