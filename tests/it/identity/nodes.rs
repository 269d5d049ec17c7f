//! More than one node, a database that goes away, and what all of them say in their logs.

use serde_json::{Value, json};
use sqlx::Connection as _;
use surety::http::edge::sign_ins::SignIns;
use surety::identity::Role;
use surety::identity::api_keys::{self, ActsAs};
use surety::identity::credentials::Credential;
use surety::ids::{SessionId, UserId};

use crate::support::{
    Answer, App, Binary as _, PASSWORD, Person, TestApi, TestCluster, migrated, send, sign_in,
};

/// `app serve` as a process of its own.
struct Node {
    app: App,
    url: String,
    client: reqwest::Client,
}

impl Node {
    async fn start(database_url: &str, log: &str) -> Self {
        let command = App::command(["serve", "--listen", "127.0.0.1:0"]);
        let off = ["APP_LIMIT_LOGIN_ACCOUNT", "APP_LIMIT_LOGIN_ADDRESS"];
        let command = off.into_iter().fold(command, |command, name| command.env(name, "off"));
        let mut app = command.env("DATABASE_URL", database_url).env("APP_LOG", log).spawn();
        let line = app.wait_for_line("serving http://").await;
        let at = line.find("http://").unwrap();
        let url = line[at..].split([',', '"', ' ']).next().unwrap().to_owned();
        Self { app, url, client: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    async fn status(&self, person: &Person) -> u16 {
        send(self.request("GET", &person.path()).bearer_auth(&person.token)).await.status
    }
}

fn database_url(api: &TestApi) -> String {
    api.db.as_ref().unwrap().url.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_on_one_node_has_ended_on_another_with_the_next_request() {
    let here = TestApi::start().await;
    let there = Node::start(&database_url(&here), "info").await;
    let admin = Person::new(&here, Role::Admin).await;
    let change = json!({ "current_password": PASSWORD, "new_password": "seven slow herons" });
    let logout = ("POST", "/v1/auth/logout".to_owned(), Value::Null);

    let [out, changed, suspended] = [
        Person::new(&here, Role::User).await,
        Person::new(&here, Role::User).await,
        Person::new(&here, Role::User).await,
    ];
    for (person, by, (method, path, body)) in [
        (&out, &out, logout),
        (&changed, &changed, ("PUT", changed.path() + "/password", change)),
        (&suspended, &admin, ("PATCH", suspended.path(), json!({ "status": "suspended" }))),
    ] {
        assert_eq!(there.status(person).await, 200, "{path}");
        let ended = by.send(&here, method, &path, &body).await;
        assert!(ended.status < 300, "{ended:?}");
        assert_eq!(there.status(person).await, 401, "{path}");
    }

    let promoted = Person::new(&here, Role::User).await;
    let list = async || {
        let request = there.request("GET", "/v1/users").bearer_auth(&promoted.token);
        send(request).await.status
    };
    for (role, status) in [("user", 403), ("operator", 200), ("user", 403)] {
        admin.send(&here, "PATCH", &promoted.path(), &json!({ "role": role })).await;
        assert_eq!(list().await, status, "{role}");
    }

    for status in [200, 401] {
        let rotate = App::command(["keys", "rotate-signing"]);
        let (ended, output) = rotate.env("DATABASE_URL", database_url(&here)).run().await;
        assert!(ended.success(), "{output}");
        assert_eq!(there.status(&admin).await, status);
    }
    // And a token that one node signs is good on the other.
    let token = sign_in(&here, &admin.email, PASSWORD).await;
    assert_eq!(there.status(&Person { token, ..admin }).await, 200);
}

#[tokio::test]
async fn those_who_ask_while_a_lookup_is_under_way_share_the_next() {
    let api = TestApi::start().await;
    let person = Person::new(&api, Role::User).await;
    let session: SessionId =
        sqlx::query_scalar("select id from identity.sessions").fetch_one(&api.pool).await.unwrap();
    let (sign_ins, _loader) = SignIns::start(&api.pool.connect_options());
    let find = || {
        let sign_ins = sign_ins.clone();
        async move { sign_ins.find(Credential::Session(session)).await.unwrap().is_some() }
    };

    // The first lookup waits for this lock, and meanwhile 199 others ask.
    let mut locker = sqlx::PgConnection::connect_with(&api.pool.connect_options()).await.unwrap();
    let mut lock = locker.begin().await.unwrap();
    sqlx::query("lock table identity.sessions in access exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let first = tokio::spawn(find());
    let waiting = "select count(*) from pg_stat_activity
                   where wait_event_type = 'Lock' and datname = current_database()";
    while api.count(waiting).await == 0 {}
    let others: Vec<_> = (0..199).map(|_| tokio::spawn(find())).collect();
    tokio::task::yield_now().await;
    lock.rollback().await.unwrap();

    assert!(first.await.unwrap());
    for other in others {
        assert!(other.await.unwrap());
    }
    assert_eq!(sign_ins.lookups(), 2);
    drop(person);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_callers_are_told_so_and_then_known_again() {
    let mut cluster = TestCluster::start().await;
    let pool = migrated(&cluster, "surety").await;
    let api = TestApi::start_on(pool, |_| {}).await;
    let person = Person::new(&api, Role::User).await;

    for _ in 0..2 {
        assert_eq!(person.get(&api, &person.path()).await.status, 200);
        cluster.stop_immediate().await;
        let began = std::time::Instant::now();
        let away = person.get(&api, &person.path()).await;
        assert_eq!((away.status, away.code().as_str()), (503, "unavailable"));
        assert!(!away.header("retry-after").is_empty());
        assert!(began.elapsed().as_secs() < 6, "{:?}", began.elapsed());
        cluster.start_again().await;
    }
    // With nothing to wait for: the lookups find their way back by themselves.
    let back = send(api.request("POST", "/v1/auth/logout").bearer_auth("no.such.token")).await;
    assert_eq!(back.status, 401);
}

async fn try_sign_in(node: &Node, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "password": password });
    send(node.request("POST", "/v1/auth/login").json(&body)).await
}

/// Counted and not timed, since a count does not depend on the machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_costs_one_hash_whoever_it_is_for() {
    let api = TestApi::start().await;
    let person = Person::new(&api, Role::User).await;
    let suspended = Person::new(&api, Role::User).await;
    sqlx::query("update identity.users set status = 'suspended' where id = $1")
        .bind(suspended.id)
        .execute(&api.pool)
        .await
        .unwrap();
    let node = Node::start(&database_url(&api), "surety=debug").await;
    let hashes = || node.app.output().matches("computing an Argon2id hash").count();

    let mut expected = 0;
    for (email, password, status) in [
        (&*person.email, PASSWORD, 200),
        (&person.email, "not the password", 401),
        ("nobody@example.com", PASSWORD, 401),
        (&suspended.email, PASSWORD, 401),
        (&suspended.email, "not the password", 401),
    ] {
        assert_eq!(try_sign_in(&node, email, password).await.status, status, "{email}");
        expected += 1;
        crate::support::eventually("the hash is in the log", || hashes() >= expected).await;
        assert_eq!(hashes(), expected, "{email}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_logs() {
    let api = TestApi::start().await;
    let person = Person::new(&api, Role::Admin).await;
    let mut conn = api.pool.acquire().await.unwrap();
    let acts_as = ActsAs::User(UserId(person.id));
    let (_, key) = api_keys::create(&mut conn, "test", acts_as, None).await.unwrap();
    let mut node = Node::start(&database_url(&api), "debug").await;
    let new_password = "a canary in a coal mine";

    let body = json!({ "email": "eve@example.com", "password": PASSWORD, "currency": "USD" });
    assert_eq!(send(node.request("POST", "/v1/users").json(&body)).await.status, 201);
    let token = try_sign_in(&node, &person.email, PASSWORD).await.json()["access_token"].clone();
    let token = token.as_str().unwrap().to_owned();
    try_sign_in(&node, &person.email, "a wrong canary").await;
    let bad_token = format!("{}x", &token[..token.len() - 1]);
    for credentials in [&token, key.reveal(), &bad_token, "surety_canary", "canary.token.x"] {
        send(node.request("GET", &person.path()).bearer_auth(credentials)).await;
    }
    let body = json!({ "current_password": PASSWORD, "new_password": new_password });
    let request = node.request("PUT", &(person.path() + "/password")).bearer_auth(&token);
    assert_eq!(send(request.json(&body)).await.status, 204);
    node.app.signal(crate::support::Signal::Terminate);
    node.app.wait_for_exit().await;

    let log = node.app.output();
    assert!(log.contains("computing an Argon2id hash"), "it logs what it does: {log}");
    let hashes: Vec<String> = sqlx::query_scalar("select password_hash from identity.users")
        .fetch_all(&api.pool)
        .await
        .unwrap();
    let mut secrets: Vec<&str> = vec![PASSWORD, new_password, "canary", &token, key.reveal()];
    secrets.extend(token.split('.').skip(1));
    secrets.extend(hashes.iter().map(|hash| hash.rsplit('$').next().unwrap()));
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret:?} is in: {line:?}");
    }
}

#[tokio::test]
async fn strangers_use_up_nobodys_quota() {
    let api = TestApi::start_with(|api| api.limits.limit_api = "3/min".parse().unwrap()).await;
    let person = Person::new(&api, Role::User).await;
    let forged = format!("{}x", &person.token[..person.token.len() - 1]);
    for _ in 0..6 {
        let answer = send(api.request("GET", &person.path()).bearer_auth(&forged)).await;
        assert_eq!(answer.status, 401);
    }
    for expected in [200, 200, 200, 429] {
        assert_eq!(person.get(&api, &person.path()).await.status, expected);
    }
}

#[tokio::test]
async fn guessing_is_throttled_by_account_and_by_address() {
    let api = TestApi::start_with(|api| {
        api.limits.limit_login_account = "3/min".parse().unwrap();
        api.limits.limit_login_address = "8/min".parse().unwrap();
    })
    .await;
    let attempt = async |email: &str, password: &str| {
        let body = json!({ "email": email, "password": password });
        send(api.request("POST", "/v1/auth/login").json(&body)).await.status
    };
    // Signing in takes one of the address's eight.
    let person = Person::new(&api, Role::User).await;
    let spelled = person.email.to_uppercase();
    for (email, password, expected) in [
        (&*person.email, "not the password", 401),
        (&spelled, "not the password", 401),
        (&person.email, PASSWORD, 429),
        ("nobody@example.com", "x", 401),
        ("nobody2@example.com", "x", 401),
        ("nobody3@example.com", "x", 401),
        ("nobody4@example.com", "x", 401),
        ("nobody5@example.com", "x", 429),
    ] {
        assert_eq!(attempt(email, password).await, expected, "{email}");
    }
}
