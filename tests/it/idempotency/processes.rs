//! Two real `app serve` at once, and one that is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use surety::http::edge::rate_limits::Limit;
use surety::operations::verify;
use tokio::task::JoinSet;

use super::{KEY, is_replay, rows};
use crate::support::money::{Customer, over};
use crate::support::{Answer, App, Binary as _, TestApi, TestDb, eventually, send};

/// A process that serves the API.
struct Server {
    app: App,
    url: String,
}

impl Server {
    async fn start(db: &TestDb) -> Self {
        let command = App::command(["serve", "--listen", "127.0.0.1:0"]);
        let mut app = command.env("DATABASE_URL", &db.url).env("APP_LIMIT_API", "off").spawn();
        let line = app.wait_for_line("serving http://").await;
        let url = &line[line.find("http://").unwrap()..];
        let url = url[..url.find(',').unwrap()].to_owned();
        Self { app, url }
    }
}

/// A client that shares its connections with nobody.
fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn post(
    client: &reqwest::Client,
    url: &str,
    customer: &Customer,
    (path, key): (&str, &str),
    body: &Value,
) -> reqwest::RequestBuilder {
    let request = client.post(format!("{url}{path}")).bearer_auth(&customer.person.token);
    request.header(KEY, key).json(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_with_one_key_over_two_processes_have_one_effect() {
    let db = TestDb::new().await;
    let api = TestApi::start_on(db.pool.clone(), |api| api.limits.limit_api = Limit::Off).await;
    let alice = Customer::with(&api, "100 USD").await;
    let before = rows(&api).await;
    let (one, other) = tokio::join!(Server::start(&db), Server::start(&db));
    let client = client();
    let body = over(alice.wallet, "60 USD");
    let mut sending = JoinSet::new();
    for number in 0..1000 {
        let url = if number % 2 == 0 { &one.url } else { &other.url };
        let request = post(&client, url, &alice, ("/v1/withdrawals", "k"), &body);
        sending.spawn(send(request));
    }
    let answers: Vec<Answer> = sending.join_all().await;

    let (orders, jobs, keys) = rows(&api).await;
    assert_eq!((orders - before.0, jobs - before.1, keys - before.2), (1, 1, 1));
    let (taken, early): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == 202);
    assert_eq!(taken.iter().filter(|answer| !is_replay(answer)).count(), 1);
    let bodies: BTreeSet<&str> = taken.iter().map(|answer| answer.text.as_str()).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    for answer in early {
        assert_eq!((answer.status, answer.code().as_str()), (409, "idempotency-key-in-use"));
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(alice.balance(&api).await, ("100.00".into(), "40.00".into()));
}

/// What the clients of the process that is killed know.
#[derive(Default)]
struct Clients {
    /// Every key that was sent.
    sent: Mutex<BTreeSet<String>>,
    /// The body of each answer that came.
    acknowledged: Mutex<BTreeMap<String, String>>,
    answers: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_leaves_no_order_without_its_key_and_no_key_without_its_order() {
    let db = TestDb::new().await;
    let api = TestApi::start_on(db.pool.clone(), |api| api.limits.limit_api = Limit::Off).await;
    let alice = Customer::new(&api).await;
    let clients = Arc::new(Clients::default());
    for round in 0..3 {
        let mut server = Server::start(&db).await;
        let before = clients.answers.load(Ordering::Relaxed);
        let mut sending = JoinSet::new();
        for number in 0..8 {
            let clients = Arc::clone(&clients);
            let (url, alice) = (server.url.clone(), alice.clone());
            sending.spawn(send_until_it_dies(clients, url, alice, format!("{round}-{number}")));
        }
        eventually("the process is busy", || {
            clients.answers.load(Ordering::Relaxed) > before + 100
        })
        .await;

        server.app.kill().await;

        sending.join_all().await;
        assert_kept_together(&api).await;
    }

    // Whoever was not answered sends again, and nothing is done twice.
    let server = Server::start(&db).await;
    let client = client();
    let acknowledged = std::mem::take(&mut *clients.acknowledged.lock().unwrap());
    let sent = std::mem::take(&mut *clients.sent.lock().unwrap());
    assert!(sent.len() > acknowledged.len(), "no request was under way at a kill");
    let body = over(alice.wallet, "1 USD");
    for key in &sent {
        let request = post(&client, &server.url, &alice, ("/v1/deposits", key), &body);
        let answer = send(request).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        if let Some(before) = acknowledged.get(key) {
            assert_eq!((&answer.text, is_replay(&answer)), (before, true), "{key}");
        }
    }
    assert_kept_together(&api).await;
    let orders = api.count("select count(*) from payments.orders").await;
    assert_eq!(orders, sent.len() as i64);
}

/// Deposits under one key after another, each once.
async fn send_until_it_dies(clients: Arc<Clients>, url: String, alice: Customer, prefix: String) {
    let client = client();
    let body = over(alice.wallet, "1 USD");
    for number in 0.. {
        let key = format!("{prefix}-{number}");
        clients.sent.lock().unwrap().insert(key.clone());
        let request = post(&client, &url, &alice, ("/v1/deposits", &key), &body);
        let Ok(response) = request.send().await else { return };
        let status = response.status();
        let Ok(text) = response.text().await else { return };
        assert_eq!(status, 202, "{text}");
        clients.acknowledged.lock().unwrap().insert(key, text);
        clients.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every order has its key and its job, and every key its order.
async fn assert_kept_together(api: &TestApi) {
    let apart = "
        select count(*)
        from payments.orders as given
        full join api.idempotency_keys as kept on kept.order_id = given.id
        where given.id is null or kept.order_id is null";
    assert_eq!(api.count(apart).await, 0);
    let mut conn = api.pool.acquire().await.unwrap();
    for invariant in verify::invariants() {
        let finding = invariant.check(&mut conn).await.unwrap();
        assert_eq!(finding.violations, 0, "{}: {:?}", invariant.claim, finding.samples);
    }
}
