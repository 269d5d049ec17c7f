//! Endpoints and deliveries.

use std::time::Duration;

use serde_json::{Value, json};
use surety::deliveries::{Client, Guard, Limits, Reach, Transport};
use surety::identity::api_keys::ActsAs;
use surety::jobs::{Services, Webhooks};
use surety::queue::WorkerSettings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::access::key;
use super::pages_shown::{HOSTILE, is_sound};
use super::visitor::Visitor;
use crate::support::money::TestWorker;
use crate::support::{Answer, TestApi, event, eventually_async, send};

/// A receiver that answers everything with 500 and a page that would be a script.
async fn hostile_receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let length = HOSTILE.len();
            let head = format!("HTTP/1.1 500 x\r\ncontent-length: {length}\r\nconnection: close");
            let _ = stream.write_all(format!("{head}\r\n\r\n{HOSTILE}").as_bytes()).await;
        }
    });
    url
}

/// Sends webhooks to this machine, and tries each once more.
fn worker(api: &TestApi) -> TestWorker {
    let transport = Transport::new(Guard::new(Reach::PrivateToo), Limits::default()).unwrap();
    let webhooks = Webhooks::start(&api.pool, Client::new(transport), "20ms".parse().unwrap());
    let services = Services { webhooks: Some(webhooks), ..Services::of_database(api.pool.clone()) };
    let poll = Duration::from_millis(50);
    TestWorker::start_with_services(services, WorkerSettings { poll, ..WorkerSettings::default() })
}

/// An endpoint of the operators' with this address and more settings; gives its id and its secret.
async fn endpoint(api: &TestApi, url: &str, more: Value) -> (String, String) {
    let secret = key(api, ActsAs::Operator).await;
    let mut body = json!({ "url": url });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request = api.request("POST", "/v1/webhook-endpoints").bearer_auth(secret).json(&body);
    let made = send(request).await;
    assert_eq!(made.status, 201, "{made:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made.json()["endpoint"]["id"]), text(&made.json()["secret"]))
}

fn has(page: &Answer, parts: &[&str]) {
    assert_eq!(page.status, 200, "{page:?}");
    for part in parts {
        assert!(page.text.contains(part), "{part} is missing in {}", page.text);
    }
}

async fn actions(api: &TestApi) -> Vec<String> {
    let sql =
        "select action from audit.entries where left(actor, 4) in ('key:', 'page') order by seq";
    sqlx::query_scalar(sql).fetch_all(&api.pool).await.unwrap()
}

#[tokio::test]
async fn what_an_endpoint_answered_is_shown_as_text_and_sent_again() {
    let api = TestApi::start_with_open_pages().await;
    let url = hostile_receiver().await;
    let settings = json!({ "description": HOSTILE, "metadata": { "note": HOSTILE } });
    let (id, secret) = endpoint(&api, &url, settings).await;
    let worker = worker(&api);
    api.post(event("txn_1")).await;
    let failed = "select count(*) from deliveries.deliveries where state = 'failed'";
    eventually_async("it is given up", async || api.count(failed).await == 1).await;
    worker.stop().await;

    let mut visitor = Visitor::new(&api);
    let list = visitor.get("/ui/deliveries?state=failed").await;
    let (_, rest) = list.text.split_once(r#"href="/ui/deliveries/"#).expect("a delivery");
    let delivery = format!("/ui/deliveries/{}", rest.split('"').next().unwrap());
    for path in [
        "/ui/endpoints".to_owned(),
        format!("/ui/endpoints/{id}"),
        "/ui/deliveries".to_owned(),
        format!("/ui/deliveries?endpoint={id}"),
        delivery.clone(),
    ] {
        let page = visitor.get(&path).await;
        is_sound(&page, &path);
        assert!(!page.text.contains("<img"), "{path}: {}", page.text);
        assert!(!page.text.contains(&secret), "{path} has the secret");
    }
    has(&visitor.get("/ui/endpoints").await, &["Failing", "127.0.0.1"]);
    let shown = visitor.get(&delivery).await;
    has(&shown, &["HTTP 500", "transaction.completed", "&#60;img", "127.0.0.1:"]);

    let back = [("back", delivery.as_str())];
    let sent = visitor.act(&delivery, &format!("{delivery}/retry"), &back).await;
    assert_eq!((sent.status, sent.header("location")), (303, delivery.as_str()), "{sent:?}");
    has(&visitor.get(&delivery).await, &["The delivery is sent again.", "Pending"]);
    let again = visitor.act("/ui/endpoints", &format!("{delivery}/retry"), &back).await;
    assert!((400..500).contains(&again.status), "it is on its way: {again:?}");
}

#[tokio::test]
async fn an_endpoint_is_switched_tested_and_gets_a_secret_that_is_shown_once() {
    let api = TestApi::start().await;
    let (id, old) = endpoint(&api, "http://127.0.0.1:9/hooks", json!({})).await;
    let path = format!("/ui/endpoints/{id}");
    let mut operator = Visitor::with_key(&api, &key(&api, ActsAs::Operator).await).await;
    let back = [("back", path.as_str())];
    for (action, told) in [
        ("test", "is on its way."),
        ("disable", "Nothing is sent to it since"),
        ("enable", "The endpoint is enabled."),
    ] {
        let done = operator.act(&path, &format!("{path}/{action}"), &back).await;
        assert_eq!((done.status, done.header("location")), (303, path.as_str()), "{done:?}");
        has(&operator.get(&path).await, &[told]);
    }
    has(&operator.get(&path).await, &["webhook.test"]);
    let refused = operator.act(&path, &format!("{path}/rotate-secret"), &[]).await;
    assert_eq!(refused.status, 403);

    let mut admin = Visitor::with_key(&api, &key(&api, ActsAs::Admin).await).await;
    let shown = admin.act(&path, &format!("{path}/rotate-secret"), &[]).await;
    has(&shown, &["whsec_", "shown once"]);
    assert_eq!(shown.header("cache-control"), "no-store");
    let (_, rest) = shown.text.split_once("whsec_").unwrap();
    let secret = format!("whsec_{}", rest.split('<').next().unwrap());
    assert_ne!(secret, old);
    let stored = "select count(*) from deliveries.secrets";
    assert_eq!(api.count(stored).await, 2);
    for page in [path.as_str(), "/ui/audit", "/ui/endpoints"] {
        let page = admin.get(page).await;
        assert!(!page.text.contains(&secret[6..]), "it is told once: {}", page.text);
    }
    let done = actions(&api).await;
    for action in ["endpoint.disable", "endpoint.enable", "endpoint.rotate_secret"] {
        assert!(done.iter().any(|it| it == action), "{action} is missing in {done:?}");
    }
}

#[tokio::test]
async fn a_replay_is_counted_before_it_is_begun() {
    let api = TestApi::start_with_open_pages().await;
    let url = hostile_receiver().await;
    let (id, _) = endpoint(&api, &url, json!({})).await;
    let worker = worker(&api);
    // Fewer failures than those after which the endpoint is left alone.
    for index in 0..2 {
        api.post(event(&format!("txn_{index}"))).await;
    }
    let failed = "select count(*) from deliveries.deliveries where state = 'failed'";
    eventually_async("all are given up", async || api.count(failed).await == 2).await;
    worker.stop().await;

    let path = format!("/ui/endpoints/{id}");
    let mut visitor = Visitor::new(&api);
    has(
        &visitor.get(&format!("{path}?replay=failed")).await,
        &["<b>2</b> deliveries", "Send 2 again"],
    );
    has(&visitor.get(&format!("{path}?replay=since&since=1h")).await, &["<b>2</b> deliveries"]);
    assert_eq!(visitor.get(&format!("{path}?replay=since")).await.status, 400);
    assert_eq!(visitor.get(&format!("{path}?replay=x")).await.status, 400);
    let fields = [("replay", "failed"), ("back", path.as_str())];
    let begun = visitor.act(&path, &format!("{path}/replay"), &fields).await;
    assert_eq!(begun.status, 303, "{begun:?}");
    has(&visitor.get(&path).await, &["The replay has begun as job"]);
    let jobs = "select count(*) from queue.jobs where kind = 'replay_deliveries'";
    assert_eq!(api.count(jobs).await, 1);
    assert!(actions(&api).await.contains(&"delivery.replay".to_owned()));
}
