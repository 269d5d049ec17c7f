//! Who is answered by a server without a webhook secret: its own machine only.

use surety::http::api::openapi::Document;
use surety::http::edge::audience::Audience;
use surety::identity::Role;

use crate::support::{
    App, Binary as _, Person, TestApi, TestDb, WEBHOOKS, event, scratch_dir, send,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
/// A header that a request of this machine does not have, or not with this value.
const FOREIGN: [(&str, &str); 5] = [
    ("host", "rebound.example:8000"),
    ("host", "192.168.0.7"),
    ("x-forwarded-for", "127.0.0.1"),
    ("forwarded", "for=127.0.0.1"),
    ("via", "1.1 tunnel"),
];
/// Paths that are answered to anybody.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

#[tokio::test]
async fn every_operation_but_health_is_refused_to_who_comes_from_elsewhere() {
    let api = TestApi::start().await;
    let document = Document::new();
    let paths = document.described()["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, methods)| {
        methods
            .as_object()
            .unwrap()
            .keys()
            .map(move |method| (method.to_uppercase(), path.as_str()))
    });
    let others = ["/docs", "/redoc", "/openapi.json", "/nothing"].map(|it| ("GET".to_owned(), it));
    for (method, path) in operations.chain(others) {
        for (name, value) in FOREIGN {
            let answer = send(api.request(&method, path).header(name, value)).await;
            match HEALTH.contains(&path) {
                true => assert_eq!(answer.status, 200, "{method} {path} {name}: {value}"),
                false => assert_eq!(answer.code(), "not-local", "{method} {path} {name}: {value}"),
            }
        }
    }
}

#[tokio::test]
async fn an_unsigned_webhook_through_a_proxy_leaves_nothing() {
    let api = TestApi::start().await;
    for (name, value) in FOREIGN {
        let answer = send(api.webhook(event("txn_1")).header(name, value)).await;
        assert_eq!((answer.status, answer.code()), (403, "not-local".to_owned()));
    }
    assert_eq!(api.rows().await, (0, 0, 0));
    for host in ["localhost", "LOCALHOST:99", "127.0.0.1:1", "[::1]:8000"] {
        let answer = send(api.webhook(event("txn_1")).header("host", host)).await;
        assert_eq!(answer.status, 202, "{host}");
    }
}

#[tokio::test]
async fn with_a_secret_everybody_is_answered_and_the_list_is_for_operators() {
    let set = |settings: &mut surety::serve::ApiArgs| {
        settings.webhook_secrets = Some(SECRET.to_owned().into());
    };
    let api = TestApi::start_with(set).await;
    for (name, value) in FOREIGN {
        let unsigned = send(api.webhook(event("txn_1")).header(name, value)).await;
        assert_eq!(unsigned.code(), "invalid-signature", "{name}: {value}");
        let list = send(api.request("GET", "/v1/transactions").header(name, value)).await;
        assert_eq!(list.code(), "unauthenticated", "{name}: {value}");
    }
    // A proxy that sends a loopback host and no header looks like a program of this machine.
    assert_eq!(api.get("/v1/transactions").await.code(), "unauthenticated");
    let operator = Person::new(&api, Role::Operator).await;
    assert_eq!(operator.get(&api, "/v1/transactions").await.status, 200);
}

#[tokio::test]
async fn who_is_told_to_answer_everybody_does() {
    let api = TestApi::start_for_everybody(|_| {}).await;
    for (name, value) in FOREIGN {
        assert_eq!(send(api.webhook(event("txn_1")).header(name, value)).await.status, 202);
    }
    assert_ne!(Audience::Everybody, Audience::ThisMachine);
}

#[tokio::test]
async fn a_secret_that_is_set_and_empty_is_an_error_and_not_signatures_off() {
    let db = TestDb::new().await;
    let scratch = scratch_dir();
    let file = scratch.join("secrets");
    let serve = || App::command(["serve", "--listen", "127.0.0.1:0"]).env("DATABASE_URL", &db.url);
    let data_dir = scratch.join("data");
    let dev = || {
        App::command(["dev", "--no-download", "--listen", "127.0.0.1:0", "--data-dir"])
            .args([&data_dir])
    };
    for empty in ["", " ", ",", " ,\t, ", "\n", "\r\n", "\u{a0}", "\u{3000},"] {
        std::fs::write(&file, empty).unwrap();
        for command in [
            serve().env("APP_WEBHOOK_SECRETS", empty),
            serve().env("APP_WEBHOOK_SECRETS_FILE", &file),
            dev().env("APP_WEBHOOK_SECRETS", empty),
            dev().env("APP_WEBHOOK_SECRETS_FILE", &file),
        ] {
            let (status, said) = command.run().await;
            assert_eq!(status.code(), Some(78), "{empty:?}: {said}");
            assert!(said.contains("holds no secret"), "{empty:?}: {said}");
        }
        let (status, said) =
            App::command(["send", "--url", &format!("http://127.0.0.1:1{WEBHOOKS}")])
                .env("APP_WEBHOOK_SECRETS", empty)
                .run()
                .await;
        assert!(!status.success() && said.contains("webhook secret is"), "{empty:?}: {said}");
    }
    assert!(!data_dir.exists());
}
