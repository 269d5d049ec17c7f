//! `app send` against the real API, and against a receiver that has bad days.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{App, Binary as _, TestApi};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

/// Runs `app send … -o json`; its exit code and what it reports.
async fn send(url: &str, args: &[&str]) -> (Option<i32>, Value) {
    let args = [&["send", "--url", url, "-o", "json"], args].concat();
    let (status, output) = App::command(args).run().await;
    let report = serde_json::from_str(&output).unwrap_or_else(|_| panic!("no report: {output}"));
    (status.code(), report)
}

fn counts(report: &Value) -> [u64; 4] {
    ["accepted", "duplicates", "conflicts", "failed"].map(|name| report[name].as_u64().unwrap())
}

#[tokio::test]
async fn what_is_reported_accepted_is_stored_once_and_repeats_add_nothing() {
    let api = TestApi::start().await;
    let (code, report) =
        send(&api.url(""), &["--count", "200", "--duplicates", "20%", "--seed", "7"]).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(counts(&report), [200, 40, 0, 0]);
    assert_eq!(api.count("select count(*) from payments.transactions").await, 200);
    assert_eq!(api.count("select count(*) from queue.jobs").await, 200);
    let [p50, max] = ["p50", "max"].map(|name| report["latency_ms"][name].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= max, "{report}");

    // The same seed is the same transactions, byte by byte.
    let (code, _) = send(&api.url(""), &["--count", "200", "--seed", "7"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(api.count("select count(*) from payments.transactions").await, 200);
    assert_eq!(api.count("select count(*) from payments.transaction_conflicts").await, 0);
}

#[tokio::test]
async fn a_secret_signs_what_the_api_believes() {
    let api = TestApi::start_with(|args| {
        args.webhook_secrets = Some(SECRET.to_owned().into());
    })
    .await;
    let (code, report) = send(&api.url(""), &["--count", "3"]).await;
    assert_eq!((code, counts(&report)), (Some(1), [0, 0, 0, 3]));
    assert_eq!(report["failures"]["401 Unauthorized"]["count"], 3, "{report}");

    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{SECRET}, whsec_dGhlIHByZXZpb3VzIHNlY3JldCBvZiB1cw==").unwrap();
    let path = file.path().to_str().unwrap();
    let (code, report) = send(&api.url(""), &["--count", "3", "--secret-file", path]).await;
    assert_eq!((code, counts(&report)), (Some(0), [3, 0, 0, 0]), "{report}");
}

#[tokio::test]
async fn the_lines_of_a_file_are_sent_as_they_are_and_failures_are_told_apart() {
    let api = TestApi::start().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let body = |amount: &str| {
        format!(
            "{{\"transaction_id\":\"t1\",\"source_account\":\"a\",\"destination_account\":\"b\",\
             \"amount\":{amount}, \"currency\":\"EUR\"}}"
        )
    };
    writeln!(file, "{}\n\n{}\n{}\n{{}}", body("1.50"), body("1.5"), body("2.50")).unwrap();
    let path = file.path().to_str().unwrap();
    let (code, report) = send(&api.url(""), &["--file", path, "--concurrency", "1"]).await;
    assert_eq!(code, Some(1));
    // The second says the same in other bytes: we did not repeat it, so it is no repeat of ours.
    assert_eq!(counts(&report), [2, 0, 1, 1]);
    let failure = &report["failures"]["400 Bad Request"];
    assert!(failure["example"].as_str().unwrap().contains("required"), "{report}");
    let stored = "select count(*) from payments.transactions
                  where position(' \"currency\"' in convert_from(body, 'UTF8')) > 0";
    assert_eq!(api.count(stored).await, 1);
}

#[tokio::test]
async fn a_pace_is_kept() {
    let api = TestApi::start().await;
    let (_, report) = send(&api.url(""), &["--count", "21", "--rate", "100"]).await;
    assert_eq!(counts(&report), [21, 0, 0, 0]);
    // The last of 21 is due 200 ms after the first.
    assert!(report["duration_ms"].as_u64().unwrap() >= 200, "{report}");
}

#[tokio::test]
async fn an_event_is_sent_again_under_the_same_id_until_it_is_taken() {
    let receiver = Receiver::start(vec![Answer::Unavailable, Answer::HangUp, Answer::Accept]).await;
    let (code, report) =
        send(&receiver.url, &["--count", "1", "--concurrency", "1", "--secret", SECRET]).await;
    assert_eq!((code, counts(&report)), (Some(0), [1, 0, 0, 0]), "{report}");
    assert_eq!(report["retries"], 2);
    let seen = receiver.seen();
    assert_eq!(seen.len(), 3);
    for request in &seen {
        assert_eq!(request["webhook-id"], seen[0]["webhook-id"]);
        assert_eq!(request["body"], seen[0]["body"]);
    }
}

#[tokio::test]
async fn without_retries_a_bad_answer_is_final() {
    let receiver = Receiver::start(vec![Answer::Unavailable, Answer::HangUp, Answer::Accept]).await;
    let (code, report) =
        send(&receiver.url, &["--count", "3", "--concurrency", "1", "--no-retry"]).await;
    assert_eq!((code, counts(&report)), (Some(1), [1, 0, 0, 2]), "{report}");
    assert_eq!(report["failures"]["503 Service Unavailable"]["count"], 1);
    assert_eq!(report["failures"]["the connection broke"]["count"], 1);
}

#[tokio::test]
async fn a_refusal_is_not_sent_again() {
    let receiver = Receiver::start(vec![Answer::Refuse]).await;
    let (code, report) = send(&receiver.url, &["--count", "1"]).await;
    assert_eq!((code, counts(&report)), (Some(1), [0, 0, 0, 1]));
    assert_eq!(report["retries"], 0);
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn the_table_has_no_control_characters_when_nobody_watches() {
    let api = TestApi::start().await;
    let (status, output) =
        App::command(["send", "--url", &api.url(""), "--count", "5"]).run().await;
    assert!(status.success(), "{output}");
    assert!(output.contains("accepted          5"), "{output}");
    assert!(!output.contains(|c: char| c.is_control() && c != '\n'), "{output:?}");
}

/// What the receiver does with a request.
#[derive(Clone, Copy)]
enum Answer {
    Accept,
    Refuse,
    Unavailable,
    HangUp,
}

/// Takes webhooks on a socket of its own, one after the other, and answers each as told.
struct Receiver {
    url: String,
    seen: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
}

impl Receiver {
    async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut answers = answers.into_iter();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                while let Some(request) = read_request(&mut stream).await {
                    log.lock().unwrap().push(request);
                    let answer = answers.next().expect("no more requests were expected");
                    let head = match answer {
                        Answer::Accept => "202 Accepted",
                        Answer::Refuse => "422 Unprocessable Content",
                        Answer::Unavailable => "503 Service Unavailable\r\nretry-after: 0",
                        Answer::HangUp => break,
                    };
                    let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<BTreeMap<String, String>> {
        self.seen.lock().unwrap().clone()
    }
}

/// The headers of a request by their names, and its body by the name `body`; none at the end.
async fn read_request(stream: &mut TcpStream) -> Option<BTreeMap<String, String>> {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lines = head.lines().skip(1).map(|line| line.split_once(": ").unwrap());
        let mut request: BTreeMap<_, _> =
            lines.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        if body.len() >= request["content-length"].parse().unwrap() {
            request.insert("body".to_owned(), body.to_owned());
            return Some(request);
        }
    }
}
