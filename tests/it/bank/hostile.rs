//! The client against servers that are no bank at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use surety::bank::client::ClientLimits;
use surety::bank::{BankClient, BankError, InvalidAnswer, PaymentStatus, Unavailable};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{LONG, SHORT, client, deposit, key};

/// A server that does what it is told with every connection, after the request has begun.
struct Hostile {
    url: String,
    connections: Arc<AtomicUsize>,
}

impl Hostile {
    async fn start<F>(treat: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                tokio::spawn(treat(stream));
            }
        });
        Self { url, connections }
    }

    /// One that writes this and closes.
    async fn saying(text: impl Into<String>) -> Self {
        let text: Arc<str> = text.into().into();
        Self::start(move |mut stream| {
            let text = Arc::clone(&text);
            async move {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
                // Closed with bytes unread, it would be reset.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await
    }
}

fn http(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n\
         {body}"
    )
}

fn booked(effect_key: &str, amount: &str) -> String {
    format!(
        r#"{{"status":"booked","bank_reference":"b-1","effect_key":"{effect_key}",
            "direction":"deposit","amount":"{amount}","currency":"EUR",
            "booked_at":"2026-11-20T16:00:00Z"}}"#
    )
}

#[tokio::test]
async fn nobody_there_means_that_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&url, LONG).send(&deposit("surety-1", "1")).await.unwrap_err();

    assert_eq!(error, BankError::Unavailable(Unavailable::NotConnected));
    assert!(!error.may_have_acted() && error.counts_against_breaker());
    let enquiry = client(&url, LONG).enquire(&key("surety-1")).await;
    assert_eq!(enquiry, Err(BankError::Unavailable(Unavailable::NotConnected)));
}

#[tokio::test]
async fn a_connection_that_is_closed_without_an_answer_may_have_acted() {
    let bank = Hostile::saying("").await;
    let error = client(&bank.url, LONG).send(&deposit("surety-1", "1")).await.unwrap_err();

    assert_eq!(error, BankError::Malformed(InvalidAnswer::Cut));
    assert!(error.may_have_acted());
    // Nothing is sent a second time by itself.
    assert_eq!(bank.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_hundred_megabytes_are_not_read() {
    for head in [
        "HTTP/1.1 201 Created\r\ncontent-length: 104857600\r\n\r\n",
        "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        let written = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&written);
        let bank = Hostile::start(move |mut stream| {
            let counter = Arc::clone(&counter);
            async move {
                let _ = stream.write_all(head.as_bytes()).await;
                let piece = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
                for _ in 0..1600 {
                    if stream.write_all(piece.as_bytes()).await.is_err() {
                        return;
                    }
                    counter.fetch_add(piece.len(), Ordering::SeqCst);
                }
            }
        })
        .await;
        let error = client(&bank.url, LONG).send(&deposit("surety-1", "1")).await.unwrap_err();

        assert_eq!(error, BankError::Malformed(InvalidAnswer::TooLarge), "{head}");
        assert!(error.may_have_acted());
        // What lies in the buffers of the sockets does not count.
        assert!(written.load(Ordering::SeqCst) < 16 << 20, "{head}");
    }
}

#[tokio::test]
async fn an_answer_that_drips_ends_at_the_deadline() {
    for head in ["", "HTTP/1.1 201 Created\r\ncontent-length: 1000\r\n\r\n"] {
        let bank = Hostile::start(move |mut stream| async move {
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(b"H").await.is_ok() {
                tokio::time::sleep(SHORT / 8).await;
            }
        })
        .await;
        let begun = Instant::now();
        let error = client(&bank.url, SHORT).send(&deposit("surety-1", "1")).await.unwrap_err();

        // Without a status line, hyper sees early that this will be no HTTP.
        assert!(
            error == BankError::TimedOut || (head.is_empty() && error.may_have_acted()),
            "{error}"
        );
        assert!(begun.elapsed() < SHORT + Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let thief = Hostile::saying(http("201 Created", &booked("surety-1", "1.00"))).await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"] {
        let location = format!("{}/payments", thief.url);
        let answer =
            format!("HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let bank = Hostile::saying(answer).await;
        let error = client(&bank.url, LONG).send(&deposit("surety-1", "1")).await.unwrap_err();

        let code = status[..3].parse().unwrap();
        assert_eq!(error, BankError::Malformed(InvalidAnswer::Status(code)), "{status}");
        assert!(error.may_have_acted());
    }
    assert_eq!(thief.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_about_something_else_is_not_believed() {
    for (body, expected) in [
        (booked("surety-2", "1.00"), InvalidAnswer::OtherKey),
        (
            booked("surety-1", "1.00").replace("deposit", "withdrawal"),
            InvalidAnswer::OtherDirection,
        ),
        (booked("surety-1", "1e0"), InvalidAnswer::Unreadable),
        (booked("surety-1", "1.00").replace(r#""1.00""#, "1.00"), InvalidAnswer::Unreadable),
        (booked("surety-1", "1.00") + "{}", InvalidAnswer::Unreadable),
        ("[".repeat(60_000), InvalidAnswer::Unreadable),
        ("<html>It worked!</html>".to_owned(), InvalidAnswer::Unreadable),
        (String::new(), InvalidAnswer::Unreadable),
    ] {
        let bank = Hostile::saying(http("201 Created", &body)).await;
        let error = client(&bank.url, LONG).send(&deposit("surety-1", "1")).await.unwrap_err();
        assert_eq!(error, BankError::Malformed(expected), "{body:.80}");
        assert!(error.may_have_acted());
    }
}

#[tokio::test]
async fn a_503_means_not_accepted_only_when_it_says_so() {
    let bank = Hostile::saying(http("503 Service Unavailable", "upstream went away")).await;
    let error = client(&bank.url, LONG).send(&deposit("surety-1", "1")).await.unwrap_err();
    assert_eq!(error, BankError::Malformed(InvalidAnswer::Status(503)));
    assert!(error.may_have_acted());

    // Nor does a 404 of somebody else's mean that the bank does not know the key.
    let bank = Hostile::saying(http("404 Not Found", "no such page")).await;
    let enquiry = client(&bank.url, LONG).enquire(&key("surety-1")).await;
    assert_eq!(enquiry, Err(BankError::Malformed(InvalidAnswer::Unreadable)));
}

#[tokio::test]
async fn what_a_connection_holds_too_much_is_never_read_as_the_next_answer() {
    // The second answer on each connection names what the next question will ask for.
    let honest = http("404 Not Found", r#"{"status":"unknown","effect_key":"surety-1"}"#);
    let bank = Hostile::saying(honest + &http("200 OK", &booked("surety-1", "1000.00"))).await;
    let client = client(&bank.url, LONG);
    for _ in 0..10 {
        assert_eq!(client.enquire(&key("surety-1")).await, Ok(PaymentStatus::Unknown));
    }
    assert_eq!(bank.connections.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn each_call_has_a_connection_of_its_own() {
    let unknown = http("404 Not Found", r#"{"status":"unknown","effect_key":"surety-1"}"#);
    let bank = Hostile::start(move |mut stream| {
        let unknown = unknown.clone();
        async move {
            // As long as it is used, it stays open.
            let mut request = [0; 4096];
            while stream.write_all(unknown.as_bytes()).await.is_ok() {
                if stream.read(&mut request).await.unwrap_or(0) == 0 {
                    return;
                }
            }
        }
    })
    .await;
    let client = client(&bank.url, LONG);
    for _ in 0..5 {
        assert_eq!(client.enquire(&key("surety-1")).await, Ok(PaymentStatus::Unknown));
    }
    assert_eq!(bank.connections.load(Ordering::SeqCst), 5);
}

/// An address whose queue of new connections is full, so that the system answers no more of them,
/// and what keeps it full.
async fn unanswered() -> (String, Vec<TcpStream>, TcpListener) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
    }
    (format!("http://{address}"), waiting, listener)
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_means_that_nothing_was_sent() {
    let (url, _waiting, _listener) = unanswered().await;
    let limits =
        ClientLimits { connect_timeout: SHORT, total_timeout: LONG, max_answer_bytes: 1024 };
    let client = BankClient::new(url.parse().unwrap(), limits).unwrap();
    let error = client.send(&deposit("surety-1", "1")).await.unwrap_err();
    assert_eq!(error, BankError::Unavailable(Unavailable::NotConnected));
}
