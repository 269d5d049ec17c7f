//! `app listen` as a receiver that behaves: what it prints, passes on and refuses.

use std::collections::BTreeSet;

use serde_json::Value;
use surety::deliveries::AttemptError;

use super::receiver::{HANG_UP, Receiver};
use super::{BODY, PATIENT, SECRET, client, deliver, listen, url_of};
use crate::support::{App, Binary as _, Signal, eventually, scratch_dir};

const OTHER_SECRET: &str = "whsec_c2Vjb25kIHNlY3JldCBmb3IgdGhlIHJvdGF0aW9uIQ==";

/// The deliveries that it has printed, once there are so many.
async fn printed(app: &App, count: usize) -> Vec<Value> {
    let read = || app.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    eventually("the deliveries are printed", || {
        let printed: Vec<Value> = read();
        printed.len() >= count
    })
    .await;
    read()
}

#[tokio::test]
async fn a_delivery_is_verified_printed_and_numbered() {
    let (mut app, url) = listen(&["--secret", SECRET]).await;
    let client = client();
    for id in ["msg_1", "msg_2", "msg_1"] {
        let sent = deliver(&client, &format!("{url}hooks?a=b"), id, PATIENT).await;
        assert_eq!(sent.attempt.status, Some(200));
    }
    let printed = printed(&app, 3).await;
    let attempts: Vec<_> = printed.iter().map(|delivery| delivery["attempt"].clone()).collect();
    assert_eq!(attempts, [1, 1, 2]);
    let first = &printed[0];
    for (name, value) in [
        ("id", "msg_1"),
        ("path", "/hooks?a=b"),
        ("event_type", "transfer.completed"),
        ("verdict", "verified"),
        ("answer", "200"),
        ("body", BODY),
    ] {
        assert_eq!(first[name], value, "{name}");
    }
    assert_eq!(first["body_bytes"], BODY.len());

    app.signal(Signal::Interrupt);
    assert!(app.wait_for_exit().await.success(), "{}", app.output());
    assert!(app.output().ends_with("3 received"), "{}", app.output());
    assert!(!app.output().contains(&SECRET[6..]));
}

#[tokio::test]
async fn a_delivery_that_is_not_believed_is_answered_401_and_not_passed_on() {
    let behind = Receiver::start(&[HANG_UP]).await;
    let (app, url) = listen(&["--secret", OTHER_SECRET, "--forward-to", &behind.url]).await;
    let attempt = deliver(&client(), &url, "msg_1", PATIENT).await.attempt;
    assert_eq!((attempt.status, &*attempt.answer), (Some(401), "not believed\n"));
    let printed = printed(&app, 1).await;
    assert_eq!(printed[0]["verdict"], "refused");
    assert_eq!(printed[0]["doubt"], "no signature fits");
    assert_eq!(behind.connections(), 0);
}

#[tokio::test]
async fn secrets_can_come_from_a_file_and_several_are_valid() {
    let dir = scratch_dir();
    let file = dir.join("secrets");
    std::fs::write(&file, format!("{OTHER_SECRET}\n{SECRET}\n")).unwrap();
    let (app, url) = listen(&["--secret-file", file.to_str().unwrap()]).await;
    assert_eq!(deliver(&client(), &url, "msg_1", PATIENT).await.attempt.status, Some(200));
    assert_eq!(printed(&app, 1).await[0]["verdict"], "verified");
}

#[tokio::test]
async fn a_secret_that_is_empty_is_not_taken_for_none() {
    for secret in ["", " ", "whsec_", "whsec_c2hvcnQ=", "not base64!"] {
        let app = App::command(["listen", "--listen", "127.0.0.1:0"]);
        let (status, output) = app.env("APP_LISTEN_SECRET", secret).run().await;
        assert!(!status.success(), "{secret:?}: {output}");
    }
}

#[tokio::test]
async fn without_a_secret_all_is_believed_and_that_is_said() {
    let mut app = App::command(["listen", "--listen", "127.0.0.1:0"]).spawn();
    let url = url_of(&mut app).await;
    assert!(app.output().contains("no secret is given"), "{}", app.output());
    assert_eq!(deliver(&client(), &url, "msg_1", PATIENT).await.attempt.status, Some(200));
    let line = app.wait_for_line("transfer.completed").await;
    assert!(line.ends_with("  msg_1  74 bytes  unverified  → 200"), "{line}");
    // Whoever posts chooses this text, and a terminal would act on it.
    let body = r#"{"type":"a\u001b[2Jb\nc"}"#;
    let response = reqwest::Client::new().post(&url).body(body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let line = app.wait_for_line("25 bytes").await;
    assert!(line.contains("a\\u001b[2Jb\\u000ac"), "{line}");
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 405);
}

#[tokio::test]
async fn what_is_believed_is_passed_on_with_its_signature_and_the_answer_comes_back() {
    let answer = "HTTP/1.1 418 Teapot\r\ncontent-length: 5\r\n\r\nshort";
    let behind = Receiver::start(&[answer]).await;
    // A proxy of the environment is not asked.
    let proxy = Receiver::start(&[HANG_UP]).await;
    let flags = ["listen", "--listen", "127.0.0.1:0", "--secret", SECRET, "--forward-to"];
    let mut app = App::command([&flags[..], &[&behind.url]].concat())
        .env("HTTP_PROXY", &proxy.url)
        .env("http_proxy", &proxy.url)
        .env("ALL_PROXY", &proxy.url)
        .spawn();
    let url = url_of(&mut app).await;
    let attempt = deliver(&client(), &url, "msg_1", PATIENT).await.attempt;
    assert_eq!((attempt.status, &*attempt.answer), (Some(418), "short"));
    let seen = &behind.seen()[0];
    assert_eq!(seen["body"], BODY);
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: hyper::HeaderMap =
        headers.iter().map(|name| (name.parse().unwrap(), seen[*name].parse().unwrap())).collect();
    let reference = standardwebhooks::Webhook::new(SECRET).unwrap();
    reference.verify(BODY.as_bytes(), &headers).unwrap();
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn a_receiver_behind_it_that_does_not_answer_is_a_502() {
    let behind = Receiver::start(&[HANG_UP]).await;
    let (_app, url) = listen(&["--forward-to", &behind.url]).await;
    let attempt = deliver(&client(), &url, "msg_1", PATIENT).await.attempt;
    assert_eq!((attempt.status, attempt.error), (Some(502), None::<AttemptError>));
    assert!(attempt.answer.contains("does not answer"), "{}", attempt.answer);
}

#[tokio::test]
async fn a_share_of_the_deliveries_fails_and_the_seed_says_which() {
    let mut failed_of_each_run = BTreeSet::new();
    for _ in 0..2 {
        let (_app, url) = listen(&["--fail-rate", "0.5"]).await;
        let client = client();
        let mut failed = Vec::new();
        for number in 0..100 {
            let sent = deliver(&client, &url, &format!("msg_{number}"), PATIENT).await;
            match sent.attempt.status {
                Some(200) => {}
                Some(500) => failed.push(number),
                other => panic!("{other:?}"),
            }
        }
        assert!((30..70).contains(&failed.len()), "{failed:?}");
        failed_of_each_run.insert(failed);
    }
    assert_eq!(failed_of_each_run.len(), 1);
}

#[tokio::test]
async fn what_it_is_asked_for_must_make_sense() {
    for flags in [
        &["--misbehave", "politely"][..],
        &["--fail-rate", "2"],
        &["--fail-rate", "NaN"],
        &["--forward-to", "ftp://example.com"],
        &["--public-key", "whsk_AAAA"],
    ] {
        let args = [&["listen", "--listen", "127.0.0.1:0"], flags].concat();
        let (status, output) = App::command(args).run().await;
        assert!(!status.success(), "{flags:?}: {output}");
    }
}

#[tokio::test]
async fn a_signal_ends_it_with_a_request_in_the_middle() {
    let (mut app, url) = listen(&["--misbehave", "hang"]).await;
    let client = client();
    let waiting = deliver(&client, &url, "msg_1", PATIENT);
    let ended = async {
        app.wait_for_line("msg_1").await;
        app.signal(Signal::Terminate);
        assert!(app.wait_for_exit().await.success(), "{}", app.output());
    };
    let (sent, ()) = tokio::join!(waiting, ended);
    assert_eq!(sent.attempt.error, Some(AttemptError::Cut));
}
