//! Bodies that are not to be accepted: each is refused with a 4xx that says why, and none leaves a
//! row.

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::support::{TestApi, WEBHOOKS, event, send};

/// The event that is spoilt: its `"amount":…` or another field is replaced.
fn with(field: &str, value: &str) -> Vec<u8> {
    let mut fields: Vec<(&str, &str)> = vec![
        ("transaction_id", r#""txn_1""#),
        ("source_account", r#""a""#),
        ("destination_account", r#""b""#),
        ("amount", "12.50"),
        ("currency", r#""USD""#),
    ];
    match fields.iter_mut().find(|(name, _)| *name == field) {
        Some(known) => known.1 = value,
        None => fields.push((field, value)),
    }
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(",")).into_bytes()
}

fn without(field: &str) -> Vec<u8> {
    let body: Value = serde_json::from_slice(&with("", "0")).unwrap();
    let mut fields = body.as_object().unwrap().clone();
    fields.remove("");
    fields.remove(field).unwrap();
    serde_json::to_vec(&fields).unwrap()
}

fn amount(value: &str) -> Vec<u8> {
    with("amount", value)
}

fn quoted(value: &str) -> Vec<u8> {
    with("amount", &format!("\"{value}\""))
}

const MALFORMED: (u16, &str) = (400, "malformed-body");
const MISSING: (u16, &str) = (400, "missing-fields");
const INVALID: (u16, &str) = (400, "invalid-fields");
const UNACCEPTABLE: (u16, &str) = (422, "unacceptable-values");

#[tokio::test]
async fn a_bad_body_is_refused_with_a_reason_and_leaves_nothing() {
    let api = TestApi::start().await;
    assert_eq!(api.post(with("", "0")).await.status, 400, "an unknown field");
    let table = [not_json(), wrong_fields(), wrong_amounts(), unacceptable_values()].concat();
    assert!(table.len() >= 60, "{} bodies", table.len());

    for (body, (status, code)) in table {
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        let answer = api.post(body).await;
        assert_eq!((answer.status, answer.code()), (status, code.to_owned()), "{shown:?}");
        assert_eq!(answer.json()["status"], status, "{shown:?}");
        assert_eq!(answer.json()["instance"], WEBHOOKS, "{shown:?}");
        let has_field_errors = answer.json()["errors"].is_array();
        assert_eq!(has_field_errors, (status, code) != MALFORMED, "{shown:?}: {answer:?}");
    }
    assert_eq!(api.rows().await, (0, 0, 0));
}

fn not_json() -> Vec<(Vec<u8>, (u16, &'static str))> {
    let good = String::from_utf8(amount("12.50")).unwrap();
    let bodies: Vec<Vec<u8>> = vec![
        b"".into(),
        b" \n".into(),
        b"nothing".into(),
        b"null".into(),
        b"true".into(),
        b"12".into(),
        br#""text""#.into(),
        b"[]".into(),
        format!("[{good}]").into(),
        b"{".into(),
        good[..good.len() - 1].into(),
        format!("{good}{good}").into(),
        format!("{good} x").into(),
        good.replace("}", ",}").into(),
        good.replace('"', "'").into(),
        format!("\u{feff}{good}").into(),
        [good.as_bytes(), b"\0"].concat(),
        good.replace("txn_1", "txn\n1").into(),
        [&b"{\"transaction_id\":\""[..], &[0xff, 0xfe], b"\"}"].concat(),
        // UTF-16, and a surrogate written in UTF-8.
        good.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        with("source_account", "\"X\"").into_iter().flat_map(surrogate_for_x).collect(),
        with("source_account", r#""\x""#),
        with("source_account", r#""\u12""#),
        amount("01"),
        amount("+1"),
        amount(".5"),
        amount("1."),
        amount("1_000"),
        amount("0x10"),
        amount("NaN"),
        amount("Infinity"),
        amount("1e"),
        amount("--1"),
        "[".repeat(500_000).into(),
        "{\"a\":".repeat(100_000).into(),
        format!("{{\"a\":{}", "[".repeat(900_000)).into(),
    ];
    bodies.into_iter().map(|body| (body, MALFORMED)).collect()
}

fn surrogate_for_x(byte: u8) -> Vec<u8> {
    if byte == b'X' { vec![0xed, 0xa0, 0x80] } else { vec![byte] }
}

fn wrong_fields() -> Vec<(Vec<u8>, (u16, &'static str))> {
    let good = String::from_utf8(amount("12.50")).unwrap();
    let many_keys: Vec<String> =
        (0..20_000).map(|number| format!("\"k{number}\":{number}")).collect();
    vec![
        (b"{}".into(), MISSING),
        (without("transaction_id"), MISSING),
        (without("source_account"), MISSING),
        (without("destination_account"), MISSING),
        (without("amount"), MISSING),
        (without("currency"), MISSING),
        (with("transaction_id", "null"), MISSING),
        (amount("null"), MISSING),
        (good.replace("currency", "Currency").into(), MISSING),
        (with("unknown", "1"), INVALID),
        (with("status", r#""COMPLETED""#), INVALID),
        (with("__proto__", "{}"), INVALID),
        (good.replace("}", ",\"amount\":12.50}").into(), INVALID),
        (good.replace("}", ",\"\\u0061mount\":1}").into(), INVALID),
        (format!("{{{},{}", many_keys.join(","), &good[1..]).into(), INVALID),
        (with("deep", &format!("{}{}", "[".repeat(300_000), "]".repeat(300_000))), INVALID),
        (with("transaction_id", "1"), INVALID),
        (with("transaction_id", "[]"), INVALID),
        (with("transaction_id", r#"{"$ne":null}"#), INVALID),
        (with("transaction_id", r#""a\u0000b""#), INVALID),
        (with("transaction_id", r#""\ud800""#), INVALID),
        (with("source_account", r#""\udc00\ud800""#), INVALID),
        (with("source_account", "true"), INVALID),
        (with("destination_account", "0.1"), INVALID),
        (with("currency", "840"), INVALID),
        (with("currency", r#"["USD"]"#), INVALID),
    ]
}

fn wrong_amounts() -> Vec<(Vec<u8>, (u16, &'static str))> {
    let numbers = ["1e2", "1E2", "1e400", "1e-400", "-1e2", "0e0", "true", "[]", "{}", "[1]"];
    let texts = [
        "", " ", " 1", "1 ", "+1", "1_000", "1__0", "1_", "1.", ".5", "1,000", "0x10", "１", "١",
        "1.５", "1e2", "00012.50", "01", "--1", "NaN", "Infinity", "null", "1.2.3", "1\\u0000",
        "$1", "1 USD", "½",
    ];
    let bodies = numbers.map(amount).into_iter().chain(texts.map(quoted));
    bodies.map(|body| (body, INVALID)).collect()
}

fn unacceptable_values() -> Vec<(Vec<u8>, (u16, &'static str))> {
    let long = "x".repeat(256);
    let huge = format!("\"{}\"", "x".repeat(900_000));
    let many_decimals = format!("1.{}", "3".repeat(30));
    let many_digits = "9".repeat(400_000);
    let in_yen = |value: &str| {
        let body = String::from_utf8(amount(value)).unwrap();
        body.replace("USD", "JPY").into_bytes()
    };
    let mut bodies: Vec<Vec<u8>> = [
        "0",
        "-0",
        "0.00",
        "-0.0",
        "-1",
        "-12.50",
        "1.005",
        "1.500",
        "0.001",
        "1.00000",
        "123456789012345",
        "9223372036854775807",
        "9223372036854775808",
        "12345678901234567.89",
        &many_decimals,
        &many_digits,
    ]
    .into_iter()
    .flat_map(|value| [amount(value), quoted(value)])
    .collect();
    bodies.extend([in_yen("1.5"), in_yen("1.0"), in_yen("1.00")]);
    for code in ["usd", " USD", "USD ", "", "US", "USDT", "USÐ", "ZZZ", "DEM", "XXX", "XTS", "XAU"]
    {
        bodies.push(with("currency", &format!("\"{code}\"")));
    }
    for name in ["transaction_id", "source_account", "destination_account"] {
        for value in ["\"\"", "\"  \"", r#""a\nb""#, r#""\u007f""#, &format!("\"{long}\""), &huge] {
            bodies.push(with(name, value));
        }
    }
    bodies.into_iter().map(|body| (body, UNACCEPTABLE)).collect()
}

#[tokio::test]
async fn names_at_the_limit_are_accepted_in_any_script() {
    let api = TestApi::start().await;
    for name in ["x".repeat(255), "ä".repeat(255), "日本語".to_owned(), "👩‍👩‍👧".to_owned()]
    {
        let body = event("txn_1").replace("txn_1", &name);
        assert_eq!(api.post(body).await.status, 202, "{name}");
        let path = format!("/v1/transactions/{}", urlencode(&name));
        assert_eq!(api.get(&path).await.json()["transaction_id"], name.as_str());
    }
}

fn urlencode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn amounts_are_stored_exactly_as_they_were_sent() {
    let api = TestApi::start().await;
    for (id, (sent, currency, shown)) in [
        ("1", "USD", "1.00"),
        ("1.5", "USD", "1.50"),
        ("\"1.50\"", "USD", "1.50"),
        ("100.00", "USD", "100.00"),
        ("99999999999999.99", "USD", "99999999999999.99"),
        ("\"90071992547409.93\"", "EUR", "90071992547409.93"),
        ("1", "JPY", "1"),
        ("\"1.234\"", "KWD", "1.234"),
        ("1.2345", "CLF", "1.2345"),
        ("0.0001", "CLF", "0.0001"),
    ]
    .into_iter()
    .enumerate()
    {
        let body = with("transaction_id", &format!("\"t{id}\""));
        let body = String::from_utf8(body).unwrap().replace("12.50", sent).replace("USD", currency);
        assert_eq!(api.post(body).await.status, 202, "{sent} {currency}");
        let stored = api.get(&format!("/v1/transactions/t{id}")).await.json();
        assert_eq!(stored["amount"], shown, "{sent} {currency}");
    }
}

#[tokio::test]
async fn a_body_without_required_fields_is_told_all_of_them_at_once() {
    let api = TestApi::start().await;

    let answer = api.post(r#"{"amount": -1, "currency": 7}"#).await.json();

    assert_eq!(answer["message"], "Missing required fields");
    let told: Vec<(&str, &str)> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["pointer"].as_str().unwrap(), it["code"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("#/transaction_id", "missing"),
            ("#/source_account", "missing"),
            ("#/destination_account", "missing"),
            ("#/amount", "not-positive"),
            ("#/currency", "wrong-type"),
        ]
    );
}

#[tokio::test]
async fn only_json_in_utf8_is_taken() {
    let api = TestApi::start().await;
    let post = |content_type: &str| {
        let request = api.request("POST", WEBHOOKS).header("content-type", content_type);
        send(request.body(event("txn_1")))
    };

    for refused in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/json; charset=latin1",
        "application/cloudevents+json",
        "json",
        "application/json, text/plain",
    ] {
        let answer = post(refused).await;
        assert_eq!(
            (answer.status, answer.code()),
            (415, "unsupported-media-type".into()),
            "{refused}"
        );
    }
    let twice = api.webhook(event("txn_1")).header("content-type", "text/plain");
    assert_eq!(send(twice).await.status, 415);
    let compressed = api.webhook(event("txn_1")).header("content-encoding", "gzip");
    assert_eq!(send(compressed).await.status, 415);
    let without = api.request("POST", WEBHOOKS).body(event("txn_1"));
    assert_eq!(send(without).await.status, 415);
    assert_eq!(api.rows().await, (0, 0, 0));

    for accepted in [
        "application/json",
        "APPLICATION/JSON;charset=UTF-8",
        "application/json; charset=\"utf-8\"",
    ] {
        assert_eq!(post(accepted).await.status, 202, "{accepted}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413_announced_or_not() {
    let api = TestApi::start_with(|settings| settings.max_body = 4096).await;
    let padded = |bytes: usize| {
        let body = event("txn_1");
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    let chunked = |body: String| {
        let chunks: Vec<_> =
            body.into_bytes().chunks(1000).map(|it| Ok::<_, std::io::Error>(it.to_vec())).collect();
        let stream = futures_util::stream::iter(chunks);
        api.webhook("").body(reqwest::Body::wrap_stream(stream))
    };

    for bytes in [4097, 10_000_000, 40_000_000] {
        let answer = api.post(padded(bytes)).await;
        assert_eq!((answer.status, answer.code()), (413, "body-too-large".into()), "{bytes}");
    }
    for bytes in [4097, 10_000_000] {
        let answer = send(chunked(padded(bytes))).await;
        assert_eq!((answer.status, answer.code()), (413, "body-too-large".into()), "{bytes}");
    }
    assert_eq!(api.rows().await, (0, 0, 0));
    assert_eq!(api.post(padded(4096)).await.status, 202);
    assert_eq!(send(chunked(padded(4096))).await.status, 202);
}

#[tokio::test]
async fn large_bodies_have_a_bounded_number_of_places_and_small_ones_do_not_need_one() {
    let api = TestApi::start().await;
    let start = format!(
        "POST {WEBHOOKS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 1000000\r\n\r\n{}",
        " ".repeat(100_000)
    );
    let mut waiting = Vec::new();
    for _ in 0..64 {
        let mut stream = api.connect().await;
        stream.write_all(start.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    // Server and clients share this thread: with these answered, all that was sent is read.
    for _ in 0..20 {
        api.get("/healthz").await;
    }

    let large = format!("{}{}", event("txn_1"), " ".repeat(100_000));
    let refused = api.post(large.clone()).await;

    assert_eq!((refused.status, refused.code()), (503, "overloaded".to_owned()));
    assert_eq!(api.post(event("txn_2")).await.status, 202);
    drop(waiting);
    for _ in 0..20 {
        api.get("/healthz").await;
    }
    assert_eq!(api.post(large).await.status, 202);
}
