//! Signatures of inbound webhooks, against the reference implementation's own signer.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use standardwebhooks::Webhook;
use surety::serve::ApiArgs;
use surety::standard_webhooks::{
    SignatureError, SignatureHeader, SignatureHeaders, Verifier, WebhookSecret,
};

use crate::support::{Answer, TestApi, event, scratch_dir, send};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
const OTHER_SECRET: &str = "whsec_c2Vjb25kIHNlY3JldCBmb3IgdGhlIHJvdGF0aW9uIQ==";
const NOW: i64 = 1_793_612_400;

fn headers(id: &str, timestamp: &str, signature: &str) -> SignatureHeaders {
    let once = |value: &str| SignatureHeader::Once(value.to_owned());
    SignatureHeaders { id: once(id), timestamp: once(timestamp), signature: once(signature) }
}

/// The signature that the reference implementation makes.
fn sign(secret: &str, id: &str, timestamp: i64, body: &str) -> String {
    Webhook::new(secret).unwrap().sign(id, timestamp, body.as_bytes()).unwrap()
}

fn verifier(secrets: &[&str]) -> Verifier {
    let secrets: Vec<WebhookSecret> = secrets.iter().map(|it| it.parse().unwrap()).collect();
    Verifier::new(&secrets)
}

/// What becomes of a message that was signed at `NOW` and of which these parts arrive.
fn verify(id: &str, timestamp: &str, signature: &str, body: &str) -> Result<(), SignatureError> {
    let headers = headers(id, timestamp, signature);
    verifier(&[SECRET]).verify(&headers, body.as_bytes(), NOW)
}

#[test]
fn what_the_reference_implementation_signs_is_believed() {
    for body in ["{}", "", "{\"a\": \"ä\u{0}\"}", &"x".repeat(100_000)] {
        let signature = sign(SECRET, "msg_1", NOW, body);
        assert_eq!(verify("msg_1", &NOW.to_string(), &signature, body), Ok(()));
    }
}

#[test]
fn bodies_that_are_not_text_can_be_signed_too() {
    use hmac::{KeyInit as _, Mac as _};
    let body = [0xff, 0x00, 0xfe];
    let key = STANDARD.decode(&SECRET[6..]).unwrap();
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("msg_1.{NOW}.").as_bytes());
    mac.update(&body);
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));

    let headers = headers("msg_1", &NOW.to_string(), &signature);

    assert_eq!(verifier(&[SECRET]).verify(&headers, &body, NOW), Ok(()));
}

#[test]
fn one_changed_bit_anywhere_is_noticed() {
    let (body, timestamp) = ("{\"amount\":\"12.50\"}", NOW.to_string());
    let signature = sign(SECRET, "msg_1", NOW, body);
    let no_match = Err(SignatureError::NoMatch);

    assert_eq!(verify("msg_1", &timestamp, &signature, "{\"amount\":\"12.51\"}"), no_match);
    assert_eq!(verify("msg_1", &timestamp, &signature, "{\"amount\": \"12.50\"}"), no_match);
    assert_eq!(verify("msg_2", &timestamp, &signature, body), no_match);
    assert_eq!(verify("msg_1", &(NOW + 1).to_string(), &signature, body), no_match);
    let bytes = STANDARD.decode(&signature[3..]).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let changed = format!("v1,{}", STANDARD.encode(changed));
        assert_eq!(verify("msg_1", &timestamp, &changed, body), no_match);
    }
}

#[test]
fn a_timestamp_may_be_five_minutes_off_either_way() {
    for (off_by, expected) in [
        (0, Ok(())),
        (300, Ok(())),
        (-300, Ok(())),
        (301, Err(SignatureError::TooNew)),
        (-301, Err(SignatureError::TooOld)),
        (-NOW, Err(SignatureError::TooOld)),
    ] {
        let signature = sign(SECRET, "msg_1", NOW + off_by, "{}");
        let got = verify("msg_1", &(NOW + off_by).to_string(), &signature, "{}");
        assert_eq!(got, expected, "{off_by}");
    }
}

#[test]
fn a_timestamp_is_a_plain_number_of_seconds() {
    for timestamp in [
        "",
        " ",
        "1.5",
        "+1793612400",
        "-1",
        "-9223372036854775808",
        "9223372036854775808",
        "99999999999999999999",
        "1793612400 ",
        "１７９３６１２４００",
        "0x6ae9",
        "1e9",
        "NaN",
    ] {
        let signature = sign(SECRET, "msg_1", NOW, "{}");
        let got = verify("msg_1", timestamp, &signature, "{}");
        assert_eq!(got, Err(SignatureError::MalformedTimestamp), "{timestamp:?}");
    }
}

#[test]
fn an_id_cannot_borrow_from_the_timestamp() {
    // Signed as (`a.1`, `2`), the same bytes would be those of (`a`, `1.2`).
    let signature = sign(SECRET, "a.1", NOW, "{}");
    let long = "x".repeat(256);
    for id in ["a.1", "", " ", "a b", "ä", "a\u{7f}", long.as_str()] {
        let got = verify(id, &NOW.to_string(), &signature, "{}");
        assert_eq!(got, Err(SignatureError::MalformedId), "{id:?}");
    }
}

#[test]
fn only_whole_signatures_of_the_known_version_count() {
    let signature = sign(SECRET, "msg_1", NOW, "{}");
    let base64 = &signature[3..];
    let bytes = STANDARD.decode(base64).unwrap();
    let no_padding = signature.trim_end_matches('=').to_owned();
    for bad in [
        "".to_owned(),
        "v1".to_owned(),
        "v1,".to_owned(),
        base64.to_owned(),
        format!("V1,{base64}"),
        format!("v1a,{base64}"),
        format!("v2,{base64}"),
        format!("v1, {base64}"),
        no_padding,
        format!("v1,{}", URL_SAFE.encode(&bytes)).replace('_', "/").to_lowercase(),
        format!("v1,{}", hex::encode_upper(&bytes)),
        format!("v1,{}", STANDARD.encode(&bytes[..31])),
        format!("v1,{base64}{base64}"),
    ] {
        let got = verify("msg_1", &NOW.to_string(), &bad, "{}");
        assert_eq!(got, Err(SignatureError::NoMatch), "{bad:?}");
    }
    let among_others = format!("v1,AAAA v2,xyz {signature} v1a,abc");
    assert_eq!(verify("msg_1", &NOW.to_string(), &among_others, "{}"), Ok(()));
}

#[test]
fn a_thousand_signatures_are_not_even_tried() {
    let signature = sign(SECRET, "msg_1", NOW, "{}");
    let many = format!("{}{signature}", "v1,AAAA ".repeat(1000));
    assert_eq!(verify("msg_1", &NOW.to_string(), &many, "{}"), Err(SignatureError::TooMany));
}

#[test]
fn during_a_rotation_both_secrets_are_valid() {
    let both = verifier(&[SECRET, OTHER_SECRET]);
    let only_new = verifier(&[OTHER_SECRET]);
    let old = headers("msg_1", &NOW.to_string(), &sign(SECRET, "msg_1", NOW, "{}"));
    let new = headers("msg_1", &NOW.to_string(), &sign(OTHER_SECRET, "msg_1", NOW, "{}"));

    assert_eq!(both.verify(&old, b"{}", NOW), Ok(()));
    assert_eq!(both.verify(&new, b"{}", NOW), Ok(()));
    assert_eq!(only_new.verify(&new, b"{}", NOW), Ok(()));
    assert_eq!(only_new.verify(&old, b"{}", NOW), Err(SignatureError::NoMatch));
}

#[test]
fn secrets_are_of_a_safe_length_and_never_shown() {
    for weak in
        ["", "whsec_", "whsec_c2hvcnQ=", "not base64!", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS"]
    {
        assert!(weak.parse::<WebhookSecret>().is_err(), "{weak}");
    }
    let settings = ApiArgs {
        webhook_secrets: Some(format!("{SECRET}, {OTHER_SECRET}").into()),
        ..ApiArgs::default()
    };
    assert_eq!(settings.secrets().unwrap().len(), 2);
    let shown = format!("{settings:?} {:?}", settings.secrets().unwrap());
    assert!(!shown.contains("MfKQ") && !shown.contains("c2Vj"), "{shown}");
}

#[test]
fn secrets_can_come_from_a_file() {
    let dir = scratch_dir();
    let file = dir.join("secrets");
    std::fs::write(&file, format!("{SECRET}\n{OTHER_SECRET}\n")).unwrap();
    let settings = ApiArgs { webhook_secrets_file: Some(file), ..ApiArgs::default() };

    assert_eq!(settings.secrets().unwrap().len(), 2);
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

async fn signed_api() -> TestApi {
    TestApi::start_with(|settings| settings.webhook_secrets = Some(SECRET.to_owned().into())).await
}

fn signed(api: &TestApi, timestamp: i64, body: &str) -> reqwest::RequestBuilder {
    api.webhook(body)
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", timestamp.to_string())
        .header("webhook-signature", sign(SECRET, "msg_1", timestamp, body))
}

#[tokio::test]
async fn a_signed_webhook_is_accepted_and_its_replay_changes_nothing() {
    let api = signed_api().await;
    let (body, timestamp) = (event("txn_1"), now());

    for _ in 0..2 {
        assert_eq!(send(signed(&api, timestamp, &body)).await.status, 202);
    }
    assert_eq!(api.rows().await, (1, 1, 0));
}

#[tokio::test]
async fn whatever_is_wrong_with_a_signature_the_answer_is_the_same() {
    let api = signed_api().await;
    let body = event("txn_1");
    let tampered = body.replace("1500.00", "9500.00");
    let signature = sign(SECRET, "msg_1", now(), &body);
    let with = |id: &str, timestamp: i64, signature: &str, body: &str| {
        api.webhook(body)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", signature)
    };
    let requests = [
        api.webhook(&*body),
        with("msg_1", now(), "v1,", &body),
        with("msg_1", now(), &signature, &tampered),
        with("msg_2", now(), &signature, &body),
        with("msg.1", now(), &signature, &body),
        with("msg_1", now(), &sign(OTHER_SECRET, "msg_1", now(), &body), &body),
        signed(&api, now() - 302, &body),
        signed(&api, now() + 302, &body),
        signed(&api, now(), &body).header("webhook-id", "msg_1"),
        signed(&api, now(), &body).header("webhook-signature", "v1,AAAA"),
        // Not even what is wrong with the body is told to a stranger.
        api.webhook("not json"),
    ];

    let mut answers = Vec::new();
    for request in requests {
        answers.push(send(request).await);
    }

    let words = |answer: &Answer| {
        let mut body = answer.json();
        body.as_object_mut().unwrap().remove("request_id").unwrap();
        body
    };
    for answer in &answers {
        assert_eq!((answer.status, answer.code()), (401, "invalid-signature".to_owned()));
        assert_eq!(words(answer), words(&answers[0]));
    }
    assert_eq!(api.rows().await, (0, 0, 0));
}
