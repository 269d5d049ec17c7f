//! The grammar of idempotency keys.

use tokio::io::AsyncReadExt as _;

use super::{KEY, ask, is_replay, new_key, one_of_each, open_api, request, rows};
use crate::support::money::{Customer, over};
use crate::support::{send, try_write};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_moves_money_wants_a_key() {
    let api = open_api().await;
    let (alice, bob) = (Customer::with(&api, "10 USD").await, Customer::with(&api, "10 USD").await);
    let requests = one_of_each(&api, &alice, &bob).await;
    let before = rows(&api).await;

    for (path, body) in &requests {
        let answer = send(request(&api, &alice, path, body)).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert_eq!(answer.code(), "idempotency-key-missing", "{path}");
    }

    assert_eq!(rows(&api).await, before);
    for (path, body) in &requests {
        let answer = ask(&api, &alice, &new_key(), (path, body)).await;
        assert_eq!(answer.status, 202, "{path}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_refused_and_leaves_nothing() {
    let api = open_api().await;
    let alice = Customer::new(&api).await;
    let deposit = || alice.request(&api, "/v1/deposits", &over(alice.wallet, "1 USD"));
    let too_long = "k".repeat(300);
    let bad: [&[u8]; 11] = [
        b"",
        b"\"\"",
        b"two words",
        b"one, two",
        b"\"open",
        b"\"shut\" and more",
        b"\"bad \\escape\"",
        b"caf\xe9",
        "caf\u{e9}".as_bytes(),
        b"tab\there",
        too_long.as_bytes(),
    ];
    for value in bad {
        let value = reqwest::header::HeaderValue::from_bytes(value).unwrap();
        let answer = send(deposit().header(KEY, value.clone())).await;
        assert_eq!(answer.status, 400, "{value:?}: {answer:?}");
        assert_eq!(answer.code(), "invalid-idempotency-key", "{value:?}");
    }
    let twice = send(deposit().header(KEY, "one").header(KEY, "two")).await;
    assert_eq!((twice.status, twice.code().as_str()), (400, "invalid-idempotency-key"));
    assert_eq!(rows(&api).await, (0, 0, 0));

    let longest = "k".repeat(255);
    assert_eq!(send(deposit().header(KEY, longest)).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_header_is_refused_too() {
    let api = open_api().await;
    let alice = Customer::new(&api).await;
    let body = over(alice.wallet, "1 USD").to_string();
    for value in ["nul\0inside", "bare\rreturn"] {
        let mut stream = api.connect().await;
        let head = format!(
            "POST /v1/deposits HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\nauthorization: Bearer {}\r\n\
             idempotency-key: {value}\r\ncontent-length: {}\r\n\r\n",
            alice.person.token,
            body.len()
        );
        try_write(&mut stream, format!("{head}{body}").as_bytes()).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 400", "{value:?}");
    }
    assert_eq!(rows(&api).await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quoted_key_is_the_same_as_a_bare_one() {
    let api = open_api().await;
    let alice = Customer::new(&api).await;
    let body = over(alice.wallet, "1 USD");
    let (bare, quoted) = ("8e03978e-40d5", "\"8e03978e-40d5\"");

    let first = ask(&api, &alice, bare, ("/v1/deposits", &body)).await;
    let second = ask(&api, &alice, quoted, ("/v1/deposits", &body)).await;

    assert_eq!((first.status, is_replay(&first)), (202, false));
    assert!(is_replay(&second), "{second:?}");
    assert_eq!(second.text, first.text);
}
