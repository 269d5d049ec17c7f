//! Forms that are sent to us are ours.

use surety::identity::api_keys::ActsAs;

use super::access::key;
use super::visitor::{Visitor, token};
use crate::support::{TestApi, send};

const PAUSE: &str = "/ui/queues/mail/pause";
const REASON: [(&str, &str); 1] = [("reason", "a test")];

async fn pauses(api: &TestApi) -> i64 {
    api.count("select count(*) from queue.pauses").await
}

#[tokio::test]
async fn a_form_that_another_site_sends_does_nothing() {
    let api = TestApi::start_with_open_pages().await;
    let mut visitor = Visitor::new(&api);
    let token = token(&visitor.get("/ui/queues").await.text);
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("host", "rebound.example"),
    ] {
        let form = visitor.request("POST", PAUSE).header(name, value);
        let form = form.header("content-type", "application/x-www-form-urlencoded");
        let answer = send(form.body(format!("reason=x&token={token}"))).await;
        assert_eq!(answer.status, 403, "{name}: {value}");
    }
    assert_eq!(pauses(&api).await, 0);
    assert_eq!(visitor.send_form(PAUSE, &token, &REASON).await.status, 303);
    assert_eq!(pauses(&api).await, 1);
}

#[tokio::test]
async fn a_form_without_a_token_of_the_same_browser_does_nothing() {
    let api = TestApi::start().await;
    let secret = key(&api, ActsAs::Admin).await;
    let mut visitor = Visitor::with_key(&api, &secret).await;
    let mut other = Visitor::with_key(&api, &secret).await;
    let others = token(&other.get("/ui/queues").await.text);
    for token in ["", "00", &others] {
        let answer = visitor.send_form(PAUSE, token, &REASON).await;
        assert_eq!(answer.status, 403, "{token}");
    }
    let without_cookies = Visitor::new(&api).form(PAUSE, &others, &REASON);
    assert_eq!(send(without_cookies).await.status, 401);
    assert_eq!(pauses(&api).await, 0);
}

#[tokio::test]
async fn what_is_no_form_is_refused() {
    let api = TestApi::start_with_open_pages().await;
    let visitor = Visitor::new(&api);
    for (content_type, body, status) in
        [("application/json", "{}", 415), ("application/x-www-form-urlencoded", "reason=%00", 400)]
    {
        let request = visitor.request("POST", PAUSE).header("content-type", content_type);
        assert_eq!(send(request.body(body)).await.status, status, "{content_type}");
    }
    assert_eq!(send(visitor.request("POST", PAUSE)).await.status, 415);
    assert_eq!(visitor.request("GET", PAUSE).send().await.unwrap().status().as_u16(), 405);
}
