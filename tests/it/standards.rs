//! What HTTP, its authentication and the W3C's trace contexts ask of a server, at the socket.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::support::{TestApi, WEBHOOKS, event, event_of, raw_post, read_to_end, send};

/// However busy the machine is, an answer that comes has come by then.
const AT_LAST: Duration = Duration::from_secs(20);

/// The answer to these bytes, after which the client says that it has no more to say.
async fn answer_to(api: &TestApi, bytes: &[u8]) -> String {
    let mut stream = api.connect().await;
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    timeout(AT_LAST, read_to_end(&mut stream)).await.expect("the connection is closed")
}

/// The status and the body of an answer.
fn parts(answer: &str) -> (u16, Value) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (status.unwrap_or_else(|| panic!("{answer:?}")), serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn whatever_is_no_request_is_answered_like_every_other_refusal() {
    let api = TestApi::start().await;
    let long = "a".repeat(70_000);
    let many: String = (0..300).map(|n| format!("x-{n}: a\r\n")).collect();
    for (request, status, code) in [
        ("no request at all\r\n\r\n".to_owned(), 400, "bad-request"),
        ("GET / HTTP/3.7\r\nhost: localhost\r\n\r\n".to_owned(), 400, "bad-request"),
        ("GET / HTTP/1.1\r\nhost: localhost\r\na b: c\r\n\r\n".to_owned(), 400, "bad-request"),
        (format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"), 414, "uri-too-long"),
        (format!("GET / HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"), 431, "headers-too-large"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "bad-request"),
        ("GET / HTTP/1.1\r\nhost: localhost\r\nhost: b\r\n\r\n".to_owned(), 400, "bad-request"),
        ("GET / HTTP/1.1\r\nhost: local host\r\n\r\n".to_owned(), 400, "bad-request"),
        (
            format!(
                "POST {WEBHOOKS} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip, chunked\
                 \r\n\r\n0\r\n\r\n"
            ),
            501,
            "not-implemented",
        ),
    ] {
        let answer = answer_to(&api, request.as_bytes()).await;
        let shown = &request[..request.len().min(80)];
        let (answered, body) = parts(&answer);
        assert_eq!((answered, &body["code"]), (status, &code.into()), "{shown:?}: {answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{shown:?}: {answer}");
        let id = body["request_id"].as_str().expect("it is told");
        assert!(answer.contains(&format!("x-request-id: {id}")), "{shown:?}: {answer}");
    }
}

#[tokio::test]
async fn a_client_that_has_said_all_gets_its_answer() {
    let api = TestApi::start().await;
    let get = b"GET /v1/transactions HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert_eq!(parts(&answer_to(&api, get).await).0, 200);
    assert_eq!(parts(&answer_to(&api, &raw_post(&event("txn_1"))).await).0, 202);
    assert_eq!(api.rows().await, (1, 1, 0));
}

#[tokio::test]
async fn a_query_that_is_no_utf8_matches_nothing_else() {
    let api = TestApi::start().await;
    for query in ["source_account=acc%FF", "source_account=acc%F", "%FF=a"] {
        let answer = api.get(&format!("/v1/transactions?{query}")).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "invalid-parameter".to_owned()),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_refused_parameter_is_told_what_would_be_right() {
    let api = TestApi::start().await;
    for (query, right) in [
        ("limit=0", "must be at least 1"),
        ("limit=201", "must be at most 200"),
        ("limit=abc", "must be a whole number"),
        ("status=abc", "must be one of PENDING, PROCESSING, "),
        ("created_from=2026-11-21T08:00:00+01:00", "write %2B"),
        ("nothing=1", "there are "),
    ] {
        let answer = api.get(&format!("/v1/transactions?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
        assert!(answer.text.contains(right), "{query}: {}", answer.text);
        assert!(!answer.text.contains("occurred while parsing"), "{query}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_boundary_finer_than_a_microsecond_leaves_out_what_is_before_it() {
    let api = TestApi::start().await;
    api.post(event("txn_1")).await;
    let list = "/v1/transactions?created_from=";
    let first = api.get("/v1/transactions").await.json()["transactions"][0]["created_at"].clone();
    let at = first.as_str().unwrap().trim_end_matches('Z').to_owned();
    let digits = 6 - at.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let at = format!("{at}{}{}", if at.contains('.') { "" } else { "." }, "0".repeat(digits));
    for (boundary, found) in
        [(format!("{at}Z"), 1), (format!("{at}000Z"), 1), (format!("{at}001Z"), 0)]
    {
        let answer = api.get(&format!("{list}{boundary}")).await.json();
        let transactions = answer["transactions"].as_array().expect("a list").len();
        assert_eq!(transactions, found, "{boundary}: {answer}");
    }
}

#[tokio::test]
async fn a_credential_that_does_not_hold_is_called_invalid_and_none_is_asked_for() {
    let api = TestApi::start().await;
    let users = |value: Option<&str>| {
        let request = api.request("GET", "/v1/users");
        send(match value {
            Some(value) => request.header("authorization", value),
            None => request,
        })
    };
    assert_eq!(users(None).await.header("www-authenticate"), "Bearer");
    for value in ["Bearer abc", "Bearer sk_abc", "Bearer"] {
        let answer = users(Some(value)).await;
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"", "{value}");
    }
}

#[tokio::test]
async fn a_body_of_another_kind_is_told_which_one_is_read() {
    let api = TestApi::start().await;
    let compressed = api.webhook(event("txn_1")).header("content-encoding", "gzip");
    assert_eq!(send(compressed).await.header("accept-encoding"), "identity");
    let text = api.request("POST", WEBHOOKS).header("content-type", "text/plain").body("{}");
    let answer = send(text).await;
    assert_eq!((answer.status, answer.header("accept")), (415, "application/json"));
}

#[tokio::test]
async fn an_id_that_no_path_can_name_is_refused() {
    let api = TestApi::start().await;
    for id in [".", ".."] {
        let answer = api.post(event_of(id, "1.00")).await;
        assert_eq!(answer.status, 422, "{id}: {}", answer.text);
    }
    for id in ["...", ".a", "a/..", "%2e"] {
        let answer = api.post(event_of(id, "1.00")).await;
        assert_eq!(answer.status, 202, "{id}: {}", answer.text);
    }
    assert_eq!(api.rows().await.0, 4);
}
