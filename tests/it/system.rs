//! The system's own routes, and what is answered where there is no route.

use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{App, Binary as _, Signal, TestApi, TestDb, WEBHOOKS, send};

#[tokio::test]
async fn the_root_says_healthy_and_what_time_it_is() {
    let api = TestApi::start().await;

    let answer = api.get("/").await;

    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["status"], "HEALTHY");
    let text = answer.json()["current_time"].as_str().unwrap().to_owned();
    let time = OffsetDateTime::parse(&text, &Rfc3339).unwrap();
    assert!(text.ends_with('Z'), "{text} is not in UTC");
    assert!((OffsetDateTime::now_utc() - time).abs() < Duration::from_secs(60));
}

#[tokio::test]
async fn a_ready_process_says_so_and_which_build_it_is() {
    let api = TestApi::start().await;

    let ready = json!({ "status": "ready", "bank_breaker": "closed" });
    assert_eq!(api.get("/readyz").await.json(), ready);
    assert_eq!(api.get("/healthz").await.json(), json!({ "status": "ok" }));
    assert_eq!(api.get("/version").await.json()["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn an_outdated_schema_is_not_ready_and_says_how_to_mend_it() {
    let db = TestDb::without_schema().await;
    let api = TestApi::start_on(db.pool.clone(), |_| {}).await;

    let answer = api.get("/readyz").await;

    assert_eq!((answer.status, answer.code()), (503, "not-ready".to_owned()));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("app migrate run"), "{detail}");
    assert_eq!(api.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_schema_of_the_next_release_is_ready_and_serves_whoever_starts_with_it() {
    let db = TestDb::new().await;
    let api = TestApi::start_on(db.pool.clone(), |_| {}).await;
    let of_next = "
        insert into surety.schema_migrations (version, name, checksum, applied_by, works_from)
        select 9998, 'of the next', '', '9.0.0', max(version) from surety.schema_migrations";
    sqlx::query(of_next).execute(&db.pool).await.unwrap();
    assert_eq!(api.get("/readyz").await.status, 200);
    for command in ["serve", "work"] {
        let app = App::command([command, "--migrate"]).env("APP_LISTEN", "127.0.0.1:0");
        let mut app = app.env("DATABASE_URL", &db.url).spawn();
        app.wait_for_line(if command == "serve" { "serving" } else { "working" }).await;
        app.signal(Signal::Terminate);
        assert!(app.wait_for_exit().await.success(), "{}", app.output());
    }

    let of_another = "
        insert into surety.schema_migrations (version, name, checksum, applied_by, works_from)
        values (9999, 'of the one after it', '', '9.1.0', 9998)";
    sqlx::query(of_another).execute(&db.pool).await.unwrap();
    let api = TestApi::start_on(db.pool.clone(), |_| {}).await;
    assert_eq!(api.get("/readyz").await.status, 503);
    let app = App::command(["serve", "--migrate"]).env("APP_LISTEN", "127.0.0.1:0");
    let (status, output) = app.env("DATABASE_URL", &db.url).run().await;
    assert_eq!(status.code(), Some(8), "{output}");
    assert!(output.contains("upgrade this binary"), "{output}");
}

#[tokio::test]
async fn a_process_about_to_stop_is_not_ready_but_still_serves() {
    let mut api =
        TestApi::start_with(|settings| settings.drain_delay = Duration::from_secs(2)).await;
    api.begin_stop();

    let answer = api.get("/readyz").await;

    assert_eq!((answer.status, answer.code()), (503, "not-ready".to_owned()));
    assert_eq!(answer.json()["errors"][0]["code"], "draining");
    assert_eq!(api.post(crate::support::event("txn_1")).await.status, 202);
    assert_eq!(api.stop().await.accepted, 1);
}

#[tokio::test]
async fn where_there_is_no_route_the_answer_is_a_problem() {
    let api = TestApi::start().await;
    for (method, path, status, code, allow) in [
        ("GET", "/nothing", 404, "not-found", ""),
        ("POST", "/v1/transactions/", 404, "not-found", ""),
        ("GET", "/v1/../etc/passwd", 404, "not-found", ""),
        ("GET", WEBHOOKS, 405, "method-not-allowed", "POST"),
        ("DELETE", WEBHOOKS, 405, "method-not-allowed", "POST"),
        ("POST", "/v1/transactions", 405, "method-not-allowed", "GET, HEAD"),
        ("PUT", "/v1/transactions/txn_1", 405, "method-not-allowed", "GET, HEAD"),
        ("POST", "/docs", 405, "method-not-allowed", "GET, HEAD"),
        ("OPTIONS", "/", 405, "method-not-allowed", "GET, HEAD"),
    ] {
        let answer = send(api.request(method, path)).await;
        assert_eq!((answer.status, answer.code()), (status, code.to_owned()), "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
        let body = answer.json();
        assert_eq!(body["type"], format!("urn:surety:problem:{code}"));
        for member in ["title", "detail", "instance", "message"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}");
        }
        assert_eq!(body["request_id"], answer.header("x-request-id"));
    }
}
