//! What browsers are told: CORS and security headers.

use crate::support::{Answer, App, Binary as _, TestApi, TestDb, WEBHOOKS, event, send};

const APP: &str = "https://app.example";
const EVIL: &str = "https://evil.example";

async fn api_for(origins: &str) -> TestApi {
    TestApi::start_with(|settings| settings.cors_origins = origins.parse().unwrap()).await
}

async fn preflight(api: &TestApi, origin: &str, path: &str) -> Answer {
    let request = api.request("OPTIONS", path).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    send(request.header("access-control-request-headers", "authorization,idempotency-key")).await
}

#[tokio::test]
async fn a_preflight_of_an_allowed_origin_is_told_what_it_may_do() {
    let api = api_for("https://app.example, http://localhost:3000").await;
    for origin in [APP, "http://localhost:3000"] {
        for path in [WEBHOOKS, "/v1/transactions", "/nothing"] {
            let answer = preflight(&api, origin, path).await;
            assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{origin} {path}");
            assert_eq!(answer.header("access-control-allow-origin"), origin);
            let methods = answer.header("access-control-allow-methods");
            assert!(methods.contains("POST") && methods.contains("PATCH"), "{methods}");
            let headers = answer.header("access-control-allow-headers");
            for header in ["authorization", "idempotency-key", "if-match", "content-type"] {
                assert!(headers.contains(header), "{header}: {headers}");
            }
            assert!(answer.header("vary").contains("origin"));
            assert_eq!(answer.header("access-control-allow-credentials"), "");
        }
    }
}

#[tokio::test]
async fn a_preflight_of_any_other_origin_is_refused() {
    let api = api_for(APP).await;
    for origin in [
        EVIL,
        "null",
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.example",
        "https://sub.app.example",
        "https://APP.example",
        "",
    ] {
        let answer = preflight(&api, origin, WEBHOOKS).await;
        assert_eq!((answer.status, answer.code()), (403, "origin-not-allowed".to_owned()));
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        assert!(answer.header("vary").contains("origin"), "{origin}");
    }
}

#[tokio::test]
async fn answers_can_be_read_by_allowed_origins_and_by_no_other() {
    let api = api_for(APP).await;
    for (origin, allowed) in [(Some(APP), APP), (Some(EVIL), ""), (None, "")] {
        for path in ["/", "/v1/transactions/none", "/nothing"] {
            let mut request = api.request("GET", path);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let answer = send(request).await;
            assert!([200, 404].contains(&answer.status), "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{path}");
            assert!(answer.header("vary").contains("origin"), "a cache must tell them apart");
            let exposed = answer.header("access-control-expose-headers");
            for header in [
                "etag",
                "location",
                "idempotent-replayed",
                "retry-after",
                "x-request-id",
                "x-ratelimit-remaining",
                "ratelimit-policy",
            ] {
                assert_eq!(exposed.contains(header), !allowed.is_empty(), "{header}: {exposed}");
            }
        }
    }
}

#[tokio::test]
async fn a_page_of_our_own_may_post_although_browsers_name_its_origin() {
    let api = api_for(APP).await;
    let post = api.webhook(event("txn_1")).header("origin", api.url(""));
    assert_eq!(send(post).await.status, 202);
}

#[tokio::test]
async fn without_origins_there_is_no_cors_at_all() {
    let api = api_for("").await;

    assert_eq!(preflight(&api, APP, WEBHOOKS).await.code(), "method-not-allowed");
    let answer = send(api.request("GET", "/").header("origin", APP)).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, ""));
    assert_eq!(answer.header("vary"), "");
}

#[tokio::test]
async fn a_malformed_setting_is_refused_at_start_with_what_would_be_right() {
    let db = TestDb::new().await;
    for (name, value, hint) in [
        ("APP_CORS_ORIGINS", "*", "name each origin"),
        ("APP_CORS_ORIGINS", "https://shop.test/", "without a path"),
        ("APP_CORS_ORIGINS", "shop", "expected https://app.example"),
        ("APP_TRUSTED_PROXIES", "everybody", "expected 10.0.0.0/8"),
        ("APP_LIMIT_BALANCE", "many", "10/min"),
        ("APP_LIMIT_API", "0/min", "at least 1 request"),
    ] {
        let serve = App::command(["serve", "--listen", "127.0.0.1:0"]);
        let serve = serve.env("DATABASE_URL", &db.url).env(name, value);
        let (status, output) = serve.run().await;
        assert_eq!(status.code(), Some(78), "{name}={value}: {output}");
        assert!(output.contains(hint), "{name}={value}: {output}");
    }
}

#[tokio::test]
async fn every_answer_has_its_security_headers() {
    let api = api_for(APP).await;
    let answers = [
        ("success", api.get("/").await, "no-store"),
        ("accepted", api.post(event("txn_1")).await, "no-store"),
        ("problem", api.get("/nothing").await, "no-store"),
        ("bad body", api.post("{").await, "no-store"),
        ("method", send(api.request("DELETE", "/")).await, "no-store"),
        ("metrics", api.get("/metrics").await, "no-store"),
        ("preflight", preflight(&api, APP, "/").await, "no-store"),
        ("refused preflight", preflight(&api, EVIL, "/").await, "no-store"),
        ("document", api.get("/openapi.json").await, "no-cache"),
        ("page", api.get("/docs").await, "no-cache"),
    ];
    for (what, answer, cache_control) in answers {
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{what}");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{what}");
        assert_eq!(answer.header("cache-control"), cache_control, "{what}");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'"), "{what}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{what}: {policy}");
        assert_eq!(policy.contains("script-src"), what == "page", "{what}: {policy}");
        assert_eq!(answer.header("server"), "", "{what}");
        assert!(!answer.header("x-request-id").is_empty(), "{what}");
    }
}

#[tokio::test]
async fn the_pages_need_nothing_that_their_policy_forbids() {
    let api = TestApi::start().await;
    for page in ["/docs", "/redoc"] {
        let answer = api.get(page).await;
        let policy = answer.header("content-security-policy");
        for wanted in [
            // Scripts and styles stand in the page itself.
            "script-src 'unsafe-inline'",
            "style-src 'unsafe-inline'",
            // Trying an operation out.
            "connect-src 'self'",
            // The search of ReDoc.
            "worker-src blob:",
            "img-src 'self' data:",
        ] {
            assert!(policy.contains(wanted), "{page}: {wanted} is not in {policy}");
        }
        let markup = answer.text.split("<script").next().unwrap();
        assert!(!markup.contains("<link ") || !markup.contains("href=\"http"), "{page}");
        for tag in answer.text.match_indices("<script").map(|(at, _)| &answer.text[at..]) {
            let tag = &tag[..tag.find('>').unwrap_or(tag.len())];
            assert!(!tag.contains(" src="), "{page} fetches a script: {tag}");
        }
    }
}
