//! Clients that are slow, silent or too many: each costs its own connection, for a bounded time,
//! and nobody else's.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::{TestApi, WEBHOOKS, event, raw_post, read_to_end, try_write};

const DEADLINE: Duration = Duration::from_millis(600);
/// However busy the machine is, a deadline that works has struck by then, and one that does not
/// never does.
const AT_LAST: Duration = Duration::from_secs(20);

async fn strict() -> TestApi {
    TestApi::start_with(|settings| {
        settings.header_timeout = DEADLINE;
        settings.body_timeout = DEADLINE;
        settings.idle_timeout = DEADLINE;
    })
    .await
}

/// Writes a byte of `bytes` now and then until the server closes, and gives what it answered.
async fn drip(mut stream: TcpStream, bytes: &[u8]) -> String {
    for byte in bytes.iter().cycle() {
        if !try_write(&mut stream, &[*byte]).await {
            break;
        }
        // What the server said may be waiting; the connection's end shows in the read.
        let mut answer = [0; 1];
        match timeout(Duration::from_millis(50), stream.peek(&mut answer)).await {
            Ok(_) => break,
            Err(_) => continue,
        }
    }
    read_to_end(&mut stream).await
}

#[tokio::test]
async fn dripped_headers_are_cut_off() {
    let api = strict().await;
    let mut stream = api.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nx-slow: ").await.unwrap();

    let answer = timeout(AT_LAST, drip(stream, b"x")).await.expect("the connection is closed");

    assert_eq!(answer, "");
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let api = strict().await;
    let mut stream = api.connect().await;

    let answer = timeout(AT_LAST, read_to_end(&mut stream)).await.expect("it is closed");

    assert_eq!(answer, "");
}

#[tokio::test]
async fn a_dripped_body_is_answered_408() {
    let api = strict().await;
    let mut stream = api.connect().await;
    let head = format!(
        "POST {WEBHOOKS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 100000\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();

    let answer = timeout(AT_LAST, drip(stream, b" ")).await.expect("the connection is closed");

    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert!(answer.contains("\"code\":\"request-timeout\""), "{answer}");
    assert_eq!(api.rows().await, (0, 0, 0));
}

#[tokio::test]
async fn a_body_that_never_comes_is_answered_408() {
    let api = strict().await;
    for framing in ["content-length: 10", "transfer-encoding: chunked"] {
        let mut stream = api.connect().await;
        let head = format!(
            "POST {WEBHOOKS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             {framing}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();

        let answer = timeout(AT_LAST, read_to_end(&mut stream)).await.expect("it is closed");

        assert!(answer.starts_with("HTTP/1.1 408 "), "{framing}: {answer}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let api = strict().await;
    let mut busy = api.connect().await;
    let mut idle = api.connect().await;
    let ping = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    idle.write_all(ping).await.unwrap();
    let started = Instant::now();
    let closed = tokio::spawn(async move { read_to_end(&mut idle).await });

    let mut pings = 0;
    while started.elapsed() < 4 * DEADLINE {
        busy.write_all(ping).await.unwrap();
        pings += 1;
        sleep(DEADLINE / 6).await;
    }

    let of_idle = timeout(AT_LAST, closed).await.expect("it is closed").unwrap();
    assert_eq!(of_idle.matches("HTTP/1.1 200 OK").count(), 1, "{of_idle}");
    let of_busy =
        timeout(AT_LAST, read_to_end(&mut busy)).await.expect("it is closed, too, at last");
    assert_eq!(of_busy.matches("HTTP/1.1 200 OK").count(), pings);
}

#[tokio::test]
async fn a_request_that_waits_for_its_commit_is_not_idle() {
    let api = strict().await;
    let mut lock = api.pool.begin().await.unwrap();
    sqlx::query("lock table payments.transactions in exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let mut stream = api.connect().await;
    stream.write_all(&raw_post(&event("txn_1"))).await.unwrap();
    let answer = tokio::spawn(async move { read_to_end(&mut stream).await });

    sleep(3 * DEADLINE).await;
    lock.rollback().await.unwrap();

    let answer = timeout(AT_LAST, answer).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 Accepted"), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_closed() {
    let api = strict().await;
    let mut stream = api.connect().await;
    // Far more than fits into the buffers on the way: the server cannot go on writing.
    for _ in 0..40 {
        if !try_write(&mut stream, b"GET /docs HTTP/1.1\r\nhost: localhost\r\n\r\n").await {
            break;
        }
    }

    // The place is free again only when the server has given up that connection.
    let started = Instant::now();
    while stream.write_all(b"GET / HTTP/1.1\r\n").await.is_ok() {
        assert!(started.elapsed() < AT_LAST, "the connection is still open");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn connections_beyond_the_cap_are_told_so_at_once_and_places_come_back() {
    let api = TestApi::start_with(|settings| settings.max_connections = 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = api.connect().await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut first = [0; 1];
        stream.peek(&mut first).await.unwrap();
        held.push(stream);
    }

    let mut beyond = api.connect().await;
    beyond.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let answer = timeout(AT_LAST, read_to_end(&mut beyond)).await.expect("it is answered");

    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("retry-after: 2\r\n"), "{answer}");
    assert!(answer.contains("\"code\":\"overloaded\""), "{answer}");
    drop(held.pop());
    let started = Instant::now();
    loop {
        let mut stream = api.connect().await;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        if read_to_end(&mut stream).await.starts_with("HTTP/1.1 200 OK") {
            break;
        }
        assert!(started.elapsed() < AT_LAST, "the place did not come back");
    }
}

#[tokio::test]
async fn a_stop_finishes_what_was_begun_and_closes_the_rest() {
    let mut api = TestApi::start().await;
    let mut lock = api.pool.begin().await.unwrap();
    sqlx::query("lock table payments.transactions in exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let mut idle = api.connect().await;
    let mut working = api.connect().await;
    working.write_all(&raw_post(&event("txn_1"))).await.unwrap();
    api.get("/healthz").await;

    api.begin_stop();
    assert_eq!(timeout(AT_LAST, read_to_end(&mut idle)).await.expect("idle ones close"), "");
    let address = api.address;
    // A process that another test is just starting holds a copy of the listener until it executes
    // its program.
    let started = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(started.elapsed() < AT_LAST, "it still accepts");
        sleep(Duration::from_millis(10)).await;
    }
    lock.rollback().await.unwrap();

    let answer = timeout(AT_LAST, read_to_end(&mut working)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 Accepted"), "{answer}");
    assert_eq!(api.stop().await.accepted, 1);
    assert_eq!(api.rows().await, (1, 1, 0));
}

#[tokio::test]
async fn a_stop_waits_for_a_slow_client_only_for_the_grace() {
    let mut api = TestApi::start_with(|settings| settings.serve_grace = DEADLINE).await;
    let mut slow = api.connect().await;
    slow.write_all(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n")
        .await
        .unwrap();
    api.get("/healthz").await;

    timeout(AT_LAST, api.stop()).await.expect("it ends after the grace");
}
