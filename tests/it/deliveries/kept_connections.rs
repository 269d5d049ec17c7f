//! Connections that are kept: when they are used again, and what happens when they have ended.

use surety::deliveries::{AttemptError, Guard, Reach};
use tokio::net::TcpListener;

use super::receiver::{HANG_UP, OK, Receiver};
use super::{PATIENT, ScriptedNames, client, client_of, deliver};
use crate::support::eventually;

#[tokio::test]
async fn a_connection_is_used_again_after_an_answer_that_was_read_to_its_end() {
    let receiver = Receiver::start(&[OK, OK, OK]).await;
    let client = client();
    for _ in 0..3 {
        let sent = deliver(&client, &receiver.url, "msg_1", PATIENT).await;
        assert_eq!(sent.attempt.status, Some(200), "{sent:?}");
        assert_eq!(sent.attempt.answer, "ok");
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_connection_is_not_kept_after_an_answer_that_is_too_long() {
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n{}", "x".repeat(200_000));
    let receiver = Receiver::start(&[long.as_str(), OK]).await;
    let client = client();
    for _ in 0..2 {
        let sent = deliver(&client, &receiver.url, "msg_1", PATIENT).await;
        assert_eq!(sent.attempt.status, Some(200), "{sent:?}");
    }
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_kept_connection_that_ends_at_the_request_is_recorded_and_the_request_sent_once_more() {
    let receiver = Receiver::start(&[OK, HANG_UP, OK]).await;
    let client = client();
    deliver(&client, &receiver.url, "msg_1", PATIENT).await;
    let sent = deliver(&client, &receiver.url, "msg_2", PATIENT).await;
    let stale = sent.stale.unwrap();
    assert_eq!((stale.status, stale.error), (None, Some(AttemptError::Cut)));
    assert_eq!(sent.attempt.status, Some(200));
    assert_eq!(receiver.connections(), 2);
    let seen = receiver.seen();
    assert_eq!(seen.len(), 3, "every one on the wire is in the record");
    assert_eq!((&*seen[1]["webhook-id"], &*seen[2]["webhook-id"]), ("msg_2", "msg_2"));
}

#[tokio::test]
async fn a_new_connection_that_ends_at_the_request_is_not_tried_again() {
    let receiver = Receiver::start(&[HANG_UP]).await;
    let sent = deliver(&client(), &receiver.url, "msg_1", PATIENT).await;
    assert_eq!((sent.stale, sent.attempt.error), (None, Some(AttemptError::Cut)));
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn a_connection_that_the_receiver_has_closed_is_no_attempt() {
    let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let receiver = Receiver::start(&[closing, OK]).await;
    let client = client();
    deliver(&client, &receiver.url, "msg_1", PATIENT).await;
    let sent = deliver(&client, &receiver.url, "msg_2", PATIENT).await;
    assert_eq!((sent.stale, sent.attempt.status), (None, Some(200)));
    assert_eq!((receiver.connections(), receiver.seen().len()), (2, 2));
}

#[tokio::test]
async fn a_connection_is_not_used_again_for_a_name_that_has_moved() {
    let first_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = first_listener.local_addr().unwrap().port();
    let Ok(second_listener) = TcpListener::bind(("127.0.0.2", port)).await else {
        panic!("127.0.0.2:{port} is taken, although nobody uses that address")
    };
    let first = Receiver::on(first_listener, &[OK, OK]);
    let second = Receiver::on(second_listener, &[OK]);
    let moved = ScriptedNames::new(&[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.1"]]);
    let client = client_of(Guard::with_names(Reach::PrivateToo, moved));
    let url = format!("http://moving.example:{port}/");
    for expected in ["127.0.0.1", "127.0.0.2", "127.0.0.1"] {
        let attempt = deliver(&client, &url, "msg_1", PATIENT).await.attempt;
        assert_eq!(attempt.status, Some(200), "{attempt:?}");
        assert_eq!(attempt.address.unwrap().ip().to_string(), expected);
    }
    // The first one was still kept when the name came back.
    assert_eq!((first.connections(), second.connections()), (1, 1));
}

#[tokio::test]
async fn what_is_sent_beyond_an_answer_is_not_the_answer_to_the_next() {
    let two = format!("{OK}HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n");
    let receiver = Receiver::start(&[two.as_str(), OK]).await;
    let client = client();
    deliver(&client, &receiver.url, "msg_1", PATIENT).await;
    // It has come by then, and ended the connection.
    eventually("the first request was seen", || receiver.seen().len() == 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let sent = deliver(&client, &receiver.url, "msg_2", PATIENT).await;
    assert_eq!(sent.attempt.status, Some(200), "{sent:?}");
    assert_eq!(receiver.connections(), 2);
}
