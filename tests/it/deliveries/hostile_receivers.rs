//! Receivers that treat us badly: `app listen --misbehave`, as a process of its own.

use std::time::{Duration, Instant};

use surety::deliveries::{Attempt, AttemptError, Outcome, retry};

use super::receiver::{HANG_UP, Receiver};
use super::{PATIENT, SHORT, client, deliver, listen};

/// What comes of a delivery to a receiver that misbehaves in this way.
async fn attempt(misbehaviour: &str, timeout: Duration) -> Attempt {
    let (app, url) = listen(&["--misbehave", misbehaviour]).await;
    let begun = Instant::now();
    let sent = deliver(&client(), &url, "msg_1", timeout).await;
    assert!(begun.elapsed() < timeout + Duration::from_secs(2), "{misbehaviour}: {sent:?}");
    assert_eq!(sent.stale, None, "{misbehaviour}");
    assert!(sent.attempt.address.is_some(), "{misbehaviour}: {sent:?}");
    drop(app);
    sent.attempt
}

fn outcome(attempt: &Attempt) -> (Option<u16>, Option<AttemptError>) {
    (attempt.status, attempt.error)
}

#[tokio::test]
async fn a_status_is_told_with_the_beginning_of_its_body() {
    for status in [204, 404, 410, 418, 500, 999] {
        let attempt = attempt(&format!("status={status}"), PATIENT).await;
        assert_eq!(outcome(&attempt), (Some(status), None));
        let expected = if status == 204 { "" } else { "as it was told to" };
        assert_eq!(attempt.answer, expected);
    }
}

#[tokio::test]
async fn redirects_are_failures_and_not_followed() {
    let elsewhere = Receiver::start(&[HANG_UP]).await;
    let attempt = attempt(&format!("redirect={}", elsewhere.url), PATIENT).await;
    assert_eq!(outcome(&attempt), (Some(307), None));
    assert_eq!(retry::outcome(&attempt), Outcome::Failed);
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_body_that_drips_ends_at_the_deadline_and_its_status_counts() {
    let attempt = attempt("slow-drip", SHORT).await;
    assert_eq!(outcome(&attempt), (Some(200), Some(AttemptError::Timeout)));
    assert_eq!(retry::outcome(&attempt), Outcome::Delivered);
    assert!(attempt.answer.len() <= 2, "{attempt:?}");
}

#[tokio::test]
async fn a_body_that_drips_does_not_have_all_the_time_of_a_delivery() {
    let attempt = attempt("slow-drip", PATIENT).await;
    assert_eq!(outcome(&attempt), (Some(200), Some(AttemptError::Timeout)));
    assert!(attempt.duration < Duration::from_secs(8), "{attempt:?}");
}

#[tokio::test]
async fn a_head_that_drips_and_no_answer_at_all_end_at_the_deadline() {
    for misbehaviour in ["slow-head", "hang"] {
        let attempt = attempt(misbehaviour, SHORT).await;
        assert_eq!(outcome(&attempt), (None, Some(AttemptError::Timeout)), "{misbehaviour}");
        assert!(attempt.duration >= SHORT, "{attempt:?}");
    }
}

#[tokio::test]
async fn connections_that_break_are_told_from_answers_that_do() {
    assert_eq!(outcome(&attempt("reset", PATIENT).await), (None, Some(AttemptError::Cut)));
    let cut = attempt("cut", PATIENT).await;
    assert_eq!(outcome(&cut), (Some(200), Some(AttemptError::Cut)));
    assert_eq!(cut.answer, "x".repeat(50));
}

#[tokio::test]
async fn of_a_body_without_an_end_the_beginning_is_kept() {
    let attempt = attempt("huge", PATIENT).await;
    assert_eq!(outcome(&attempt), (Some(200), None));
    assert_eq!(attempt.answer, "x".repeat(16 << 10));
    assert!(attempt.duration < Duration::from_secs(5), "{attempt:?}");
}

#[tokio::test]
async fn a_bomb_is_not_unpacked_and_not_read_to_its_end() {
    let attempt = attempt("gzip-bomb", PATIENT).await;
    assert_eq!(outcome(&attempt), (Some(200), None));
    let size = attempt.answer.strip_prefix("(more than ").unwrap();
    let (bytes, rest) = size.split_once(' ').unwrap();
    assert!((64 << 10..128 << 10).contains(&bytes.parse().unwrap()), "{}", attempt.answer);
    assert_eq!(rest, "bytes of gzip, which is not shown)");
}

#[tokio::test]
async fn a_wait_that_is_none_is_not_believed() {
    for (value, expected_secs) in [
        ("1e300", None),
        ("inf", None),
        ("NaN", None),
        ("-1", None),
        ("", None),
        ("99999999999999999999", Some(365 * 86_400)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(365 * 86_400)),
        ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
        ("30", Some(30)),
    ] {
        let attempt = attempt(&format!("bad-retry-after={value}"), PATIENT).await;
        assert_eq!(outcome(&attempt), (Some(503), None));
        assert_eq!(attempt.retry_after, expected_secs.map(Duration::from_secs), "{value}");
    }
}

#[tokio::test]
async fn interim_answers_without_an_end_are_cut_short() {
    let attempt = attempt("interim-flood", PATIENT).await;
    assert_eq!(outcome(&attempt), (None, Some(AttemptError::InvalidAnswer)));
    assert!(attempt.duration < Duration::from_secs(5), "{attempt:?}");
    assert_eq!(attempt.detail.unwrap(), "more than 16 interim answers (1xx)");
}

#[tokio::test]
async fn a_few_interim_answers_are_passed_over() {
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n".repeat(3);
    let answer = format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let receiver = Receiver::start(&[answer.as_str()]).await;
    let attempt = deliver(&client(), &receiver.url, "msg_1", PATIENT).await.attempt;
    assert_eq!(outcome(&attempt), (Some(200), None));
}

#[tokio::test]
async fn headers_that_are_not_text_break_nothing() {
    assert_eq!(outcome(&attempt("latin-1", PATIENT).await), (Some(200), None));
}

#[tokio::test]
async fn what_is_not_http_is_an_invalid_answer() {
    let endless_head = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(64 << 10));
    for answer in ["SSH-2.0-OpenSSH_9.6\r\n\r\n", "\0\0\0\0\r\n\r\n", endless_head.as_str()] {
        let receiver = Receiver::start(&[answer]).await;
        let attempt = deliver(&client(), &receiver.url, "msg_1", PATIENT).await.attempt;
        assert_eq!(outcome(&attempt), (None, Some(AttemptError::InvalidAnswer)), "{answer:.30}");
    }
}

#[tokio::test]
async fn nobody_there_is_told_with_the_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let attempt = deliver(&client(), &format!("http://{address}/"), "msg_1", PATIENT).await.attempt;
    assert_eq!(outcome(&attempt), (None, Some(AttemptError::Connect)));
    assert_eq!(attempt.address, Some(address));
}
