//! What answers tell of the limits.

use std::collections::HashMap;

use poem::http::StatusCode;
use poem::{Endpoint, Request, Response};

use super::{Limited, api_with, limit, post};
use crate::support::{TestDb, send};

/// The headers of the older kind: limit, remaining, reset.
fn older(response: &Response) -> [u32; 3] {
    ["limit", "remaining", "reset"].map(|name| {
        let value = response.header(format!("x-ratelimit-{name}"));
        value.unwrap_or_else(|| panic!("no {name}: {response:?}")).parse().unwrap()
    })
}

/// A header of the draft, by its grammar: `"name";k=v;k=v, "name";k=v`.
fn draft(response: &Response, header: &str) -> HashMap<String, HashMap<String, u64>> {
    let text = response.header(header).unwrap();
    let members = text.split(", ").map(|member| {
        let (name, parameters) = member.split_once(';').unwrap();
        let name = name.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        let parameters = parameters.split(';').map(|parameter| {
            let (key, value) = parameter.split_once('=').unwrap();
            (key.to_owned(), value.parse().unwrap())
        });
        (name.to_owned(), parameters.collect())
    });
    members.collect()
}

async fn get(endpoint: &impl Endpoint<Output = Response>, path: &'static str) -> Response {
    let request = Request::builder().uri_str(path).header("x-caller", "user:1");
    endpoint.call(request.finish()).await.unwrap()
}

#[tokio::test]
async fn answers_refusals_and_errors_alike_tell_what_is_left() {
    let db = TestDb::new().await;
    let limited = Limited::start(&db.pool, |args| {
        args.limit_api = limit("3/min");
        args.limit_balance = limit("2/min");
    });
    let endpoint = limited.endpoint();

    let first = get(&endpoint, "/").await;
    assert_eq!((first.status(), older(&first)), (StatusCode::OK, [3, 2, 20]));
    assert_eq!(first.header("ratelimit-policy"), Some("\"api\";q=3;w=60"));
    assert_eq!(first.header("ratelimit"), Some("\"api\";r=2;t=20"));

    let absent = get(&endpoint, "/v1/users/7").await;
    assert_eq!((absent.status(), older(&absent)), (StatusCode::NOT_FOUND, [3, 1, 20]));

    assert_eq!(get(&endpoint, "/").await.status(), StatusCode::OK);
    let refused = get(&endpoint, "/").await;
    assert_eq!((refused.status(), older(&refused)), (StatusCode::TOO_MANY_REQUESTS, [3, 0, 20]));
    let retry_after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(retry_after >= draft(&refused, "ratelimit")["api"]["t"]);
    assert_eq!(refused.content_type(), Some("application/problem+json"));
    let body = refused.into_body().into_json::<serde_json::Value>().await.unwrap();
    assert_eq!((&body["code"], &body["status"]), (&"rate-limited".into(), &429.into()));
    assert!(body["detail"].as_str().unwrap().contains("'api' of 3 requests per 1m"), "{body}");

    let other = get(&endpoint, "/v1/users/7/balance").await;
    assert_eq!((other.status(), older(&other)), (StatusCode::NOT_FOUND, [2, 1, 30]));
    assert_eq!(
        draft(&other, "ratelimit-policy")["balance"],
        [("q", 2), ("w", 60)].map(named).into()
    );
}

fn named((key, value): (&str, u64)) -> (String, u64) {
    (key.to_owned(), value)
}

#[tokio::test]
async fn of_several_limits_the_older_headers_tell_the_tightest() {
    let db = TestDb::new().await;
    let limited = Limited::start(&db.pool, |limits| {
        limits.limit_login_account = "5/min".parse().unwrap();
        limits.limit_login_address = "20/min".parse().unwrap();
    });
    let asked = limited.endpoint();

    let response = get(&asked, "/v1/auth/login").await;
    assert_eq!(older(&response), [5, 4, 12]);
    let policies = "\"login-address\";q=20;w=60, \"login-account\";q=5;w=60";
    assert_eq!(response.header("ratelimit-policy"), Some(policies));
    let left = draft(&response, "ratelimit");
    assert_eq!((left["login-address"]["r"], left["login-address"]["t"]), (19, 3));
    assert_eq!((left["login-account"]["r"], left["login-account"]["t"]), (4, 12));
    for _ in 0..4 {
        get(&asked, "/v1/auth/login").await;
    }
    let refused = get(&asked, "/v1/auth/login").await;
    assert_eq!((refused.status().as_u16(), older(&refused)[..2].to_vec()), (429, vec![5, 0]));
    assert_eq!(draft(&refused, "ratelimit")["login-address"]["r"], 14);
}

#[tokio::test]
async fn who_was_not_measured_is_told_nothing() {
    let db = TestDb::new().await;
    let limited = Limited::start(&db.pool, |_| {});
    let request = Request::builder().uri_str("/").finish();
    let response = limited.endpoint().call(request).await.unwrap();
    for name in ["x-ratelimit-limit", "ratelimit", "ratelimit-policy"] {
        assert_eq!(response.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_webhook_tells_its_limit_also_when_something_else_is_wrong_with_it() {
    let api = api_with("4/d").await;

    assert_eq!(post(&api).await.header("x-ratelimit-remaining"), "3");
    let malformed = api.post("{").await;
    assert_eq!((malformed.status, malformed.header("x-ratelimit-remaining")), (400, "2"));
    let unsupported = send(api.request("POST", crate::support::WEBHOOKS).body("x")).await;
    assert_eq!((unsupported.status, unsupported.header("x-ratelimit-remaining")), (415, "1"));
    post(&api).await;
    let refused = post(&api).await;
    assert_eq!((refused.status, refused.header("x-ratelimit-remaining")), (429, "0"));
    assert_eq!(refused.header("ratelimit-policy"), "\"inbound-webhooks\";q=4;w=86400");
    assert_eq!(refused.header("retry-after"), refused.header("x-ratelimit-reset"));
}

#[tokio::test]
async fn without_a_limit_for_webhooks_there_are_no_headers() {
    let api = api_with("off").await;
    assert_eq!(post(&api).await.header("x-ratelimit-limit"), "");
}
