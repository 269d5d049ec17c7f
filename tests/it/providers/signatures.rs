//! Signatures of providers, against what they publish, or what their own libraries do.

use base64::Engine as _;
use serde_json::{Value, json};
use surety::providers::{SourceVerifier, Unverified};
use surety::standard_webhooks::SignatureHeader;

use super::{ADYEN, ADYEN_KEY, SHOPIFY, STRIPE, STRIPE_SECRET, SourcesFile, mac, stripe_header};

const NOW: i64 = 1_793_612_400;
const REST: &str = r#"
[sources.it.transaction]
id = "/id"
source_account = { text = "a" }
destination_account = { text = "b" }
amount = { at = "/amount", unit = "major" }
currency = { text = "EUR" }
"#;

fn verifier(text: &str, secrets: &[(&str, &str)]) -> SourceVerifier {
    let file = SourcesFile::new(text);
    for (name, secret) in secrets {
        file.write(name, secret);
    }
    file.read().unwrap().into_iter().next().unwrap().verifier
}

/// A source with these keys, and one secret.
fn with_secret(keys: &str, secret: &str) -> SourceVerifier {
    let text = format!("[sources.it]\nsecrets_file = \"secret\"\n{keys}\n{REST}");
    verifier(&text, &[("secret", secret)])
}

fn verify(
    verifier: &SourceVerifier,
    headers: &[(&str, &str)],
    body: &str,
    now: i64,
) -> Result<(), Unverified> {
    let given = |name: &str| {
        let values: Vec<&str> =
            headers.iter().filter(|(known, _)| *known == name).map(|(_, it)| *it).collect();
        match values[..] {
            [] => SignatureHeader::Missing,
            [value] => SignatureHeader::Once(value.to_owned()),
            _ => SignatureHeader::Repeated,
        }
    };
    verifier.verify(given, body.as_bytes(), now)
}

#[test]
fn the_example_of_github_is_believed() {
    let github = with_secret("scheme = \"github\"", "It's a Secret to Everybody");
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let headers = [("x-hub-signature-256", signature)];

    assert_eq!(verify(&github, &headers, "Hello, World!", NOW), Ok(()));
    assert_eq!(verify(&github, &headers, "Hello, World?", NOW), Err(Unverified::NoMatch));
    let without_prefix = [("x-hub-signature-256", &signature[7..])];
    assert_eq!(verify(&github, &without_prefix, "Hello, World!", NOW), Err(Unverified::Malformed));
    // Of SHA-1 nothing is believed.
    let old = [("x-hub-signature", "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59")];
    assert_eq!(verify(&github, &old, "Hello, World!", NOW), Err(Unverified::Missing));
}

/// The event and the signatures of the tests of Adyen's own libraries.
fn adyen_event(signature: &str) -> Value {
    json!({ "live": "false", "notificationItems": [{ "NotificationRequestItem": {
        "additionalData": { "hmacSignature": signature },
        "amount": { "value": 1130, "currency": "EUR" },
        "pspReference": "7914073381342284",
        "eventCode": "AUTHORISATION",
        "merchantAccountCode": "TestMerchant",
        "merchantReference": "TestPayment-1407325143704",
        "paymentMethod": "visa",
        "success": "true",
    } }] })
}

#[test]
fn the_examples_of_adyens_libraries_are_believed() {
    for (key, signature) in [
        (ADYEN_KEY, "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="),
        (
            "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00",
            "Ny9gS2veKo5E4w8/OL6xz1/wvT/hYkAXy1xNc/QvO4I=",
        ),
    ] {
        let adyen = verifier(ADYEN, &[("adyen", key)]);
        assert_eq!(verify(&adyen, &[], &adyen_event(signature).to_string(), NOW), Ok(()));
    }
}

#[test]
fn every_signed_field_of_adyen_counts() {
    let adyen = verifier(ADYEN, &[]);
    let event = adyen_event("coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=");
    for (field, value) in [
        ("pspReference", json!("7914073381342285")),
        ("originalReference", json!("1")),
        ("merchantAccountCode", json!("Other")),
        ("merchantReference", json!("TestPayment")),
        ("amount", json!({ "value": 11300, "currency": "EUR" })),
        ("amount", json!({ "value": 1130, "currency": "USD" })),
        ("eventCode", json!("REFUND")),
        ("success", json!("false")),
    ] {
        let mut changed = event.clone();
        changed["notificationItems"][0]["NotificationRequestItem"][field] = value;
        let verified = verify(&adyen, &[], &changed.to_string(), NOW);
        assert_eq!(verified, Err(Unverified::NoMatch), "{field}");
    }
}

/// The signature is over joined fields: it must not fit others that are joined to the same text.
#[test]
fn adyens_fields_cannot_be_cut_elsewhere() {
    let adyen = verifier(ADYEN, &[]);
    let signed = |reference: &str| {
        let text = format!("1::Shop:{reference}:100:EUR:AUTHORISATION:true");
        super::STANDARD.encode(mac(&hex::decode(ADYEN_KEY).unwrap(), text.as_bytes()))
    };
    let event = |account: &str, reference: &str, signature: &str| {
        let mut event = adyen_event(signature);
        let item = &mut event["notificationItems"][0]["NotificationRequestItem"];
        item["pspReference"] = json!("1");
        item["merchantAccountCode"] = json!(account);
        item["merchantReference"] = json!(reference);
        item["amount"]["value"] = json!(100);
        event.to_string()
    };
    let signature = signed("a:b");
    assert_eq!(verify(&adyen, &[], &event("Shop", "a:b", &signature), NOW), Ok(()));
    let cut = event("Shop:a", "b", &signature);
    assert_eq!(verify(&adyen, &[], &cut, NOW), Err(Unverified::Malformed));
}

#[test]
fn an_event_of_adyen_without_a_signature_with_two_items_or_no_json_is_not_believed() {
    let adyen = verifier(ADYEN, &[]);
    let mut unsigned = adyen_event("");
    unsigned["notificationItems"][0]["NotificationRequestItem"]["additionalData"] = json!({});
    assert_eq!(verify(&adyen, &[], &unsigned.to_string(), NOW), Err(Unverified::Missing));
    let mut two = adyen_event("coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=");
    let item = two["notificationItems"][0].clone();
    two["notificationItems"].as_array_mut().unwrap().push(item);
    assert_eq!(verify(&adyen, &[], &two.to_string(), NOW), Err(Unverified::TooMany));
    assert_eq!(verify(&adyen, &[], "no", NOW), Err(Unverified::Unreadable));
}

/// Adyen's webhooks for platforms sign the body; the example is that of its library.
#[test]
fn the_example_of_adyen_for_platforms_is_believed_by_a_plain_hmac() {
    let keys = "scheme = \"hmac\"\nheader = \"HmacSignature\"\nencoding = \"base64\"\n\
                secret_encoding = \"hex\"";
    let key = "D7DD5BA6146493707BF0BE7496F6404EC7A63616B7158EC927B9F54BB436765F";
    let body = concat!(
        r#"{"data":{"balancePlatform":"Integration_tools_test","#,
        r#""accountId":"BA32272223222H5HVKTBK4MLB","#,
        r#""sweep":{"id":"SWPC42272223222H5HVKV6H8C64DP5","#,
        r#""schedule":{"type":"balance"},"status":"active","#,
        r#""targetAmount":{"currency":"EUR","value":0},"#,
        r#""triggerAmount":{"currency":"EUR","value":0},"type":"pull","#,
        r#""counterparty":{"balanceAccountId":"BA3227C223222H5HVKT3H9WLC"},"currency":"EUR"}},"#,
        r#""environment":"test","type":"balancePlatform.balanceAccountSweep.updated"}"#,
    );
    let headers = [("hmacsignature", "9Qz9S/0xpar1klkniKdshxpAhRKbiSAewPpWoxKefQA=")];

    assert_eq!(verify(&with_secret(keys, key), &headers, body, NOW), Ok(()));
}

const SLACK: &str = "scheme = \"hmac\"\nheader = \"X-Slack-Signature\"\nprefix = \"v0=\"\n\
    encoding = \"hex\"\ntimestamp_header = \"X-Slack-Request-Timestamp\"\n\
    signed = \"v0:{timestamp}:{body}\"";

/// Slack publishes an example whose time is signed.
#[test]
fn the_example_of_slack_is_believed_while_it_is_fresh() {
    let slack = with_secret(SLACK, "8f742231b10e8888abcd99yyyzzz85a5");
    let body = concat!(
        "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow",
        "&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner",
        "&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com",
        "%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN",
        "&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
    );
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let headers = [("x-slack-signature", signature), ("x-slack-request-timestamp", "1531420618")];
    let sent = 1_531_420_618;

    assert_eq!(verify(&slack, &headers, body, sent), Ok(()));
    assert_eq!(verify(&slack, &headers, body, sent + 300), Ok(()));
    assert_eq!(verify(&slack, &headers, body, sent + 301), Err(Unverified::TooOld));
    assert_eq!(verify(&slack, &headers, body, sent - 301), Err(Unverified::TooNew));
    let later = [headers[0], ("x-slack-request-timestamp", "1531420619")];
    assert_eq!(verify(&slack, &later, body, sent), Err(Unverified::NoMatch));
    assert_eq!(verify(&slack, &headers[..1], body, sent), Err(Unverified::Missing));
    let twice = [headers[0], headers[1], headers[1]];
    assert_eq!(verify(&slack, &twice, body, sent), Err(Unverified::Repeated));
}

/// Made by another implementation of HMAC, as Stripe publishes no example.
#[test]
fn what_is_signed_as_stripe_does_is_believed() {
    let stripe = verifier(STRIPE, &[("stripe", "whsec_test_secret")]);
    let body = "{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\"\n}";
    let v1 = "c7a7aab53a6fa9dfb6cff50a795fea90217218c0ae0ed2f798cc8515192051fd";
    let check = |header: &str, now| verify(&stripe, &[("stripe-signature", header)], body, now);

    assert_eq!(check(&format!("t=1793612400,v1={v1}"), NOW), Ok(()));
    // Other schemes and other secrets beside it.
    let other = "0".repeat(64);
    assert_eq!(check(&format!("t=1793612400,v1={other},v1={v1},v0={other}"), NOW), Ok(()));
    assert_eq!(check(&format!("t=1793612400,v0={v1}"), NOW), Err(Unverified::Missing));
    assert_eq!(check(&format!("v1={v1}"), NOW), Err(Unverified::Malformed));
    assert_eq!(check(&format!("t=1793612401,v1={v1}"), NOW), Err(Unverified::NoMatch));
    assert_eq!(check(&format!("t=,v1={v1}"), NOW), Err(Unverified::Malformed));
    assert_eq!(check(&format!("t=-1,v1={v1}"), NOW), Err(Unverified::Malformed));
    assert_eq!(check(&format!("t=1,t=1793612400,v1={v1}"), NOW), Err(Unverified::Repeated));
    assert_eq!(check(&format!("t=1793612400,v1={v1}"), NOW + 301), Err(Unverified::TooOld));
    assert_eq!(check(&format!("t=1793612400,v1={v1}"), NOW - 301), Err(Unverified::TooNew));
    let many = format!("t=1793612400{}", format!(",v1={v1}").repeat(11));
    assert_eq!(check(&many, NOW), Err(Unverified::TooMany));
    for header in ["", "t", "t=1793612400,v1=xyz", "t=1793612400 v1=aa"] {
        assert!(check(header, NOW).is_err(), "{header}");
    }
}

/// Made by another implementation of HMAC, as Shopify publishes no example.
#[test]
fn what_is_signed_as_shopify_does_is_believed() {
    let shopify = verifier(SHOPIFY, &[("shop", "test-webhook-secret")]);
    let body = r#"{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}"#;
    let signature = "QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw=";
    let check =
        |signature: &str| verify(&shopify, &[("x-shopify-hmac-sha256", signature)], body, NOW);
    assert_eq!(check(signature), Ok(()));
    assert_eq!(check(&signature.to_lowercase()), Err(Unverified::NoMatch));
    assert_eq!(check(""), Err(Unverified::NoMatch));
    assert_eq!(check("not base64!"), Err(Unverified::Malformed));
}

#[test]
fn both_secrets_are_believed_during_a_rotation_and_no_third() {
    let both = format!("{STRIPE_SECRET}\nwhsec_the_next_one_of_theirs\n");
    let stripe = verifier(STRIPE, &[("stripe", &both)]);
    let check = |secret: &str| {
        let header = stripe_header(secret, NOW, "{}");
        verify(&stripe, &[("stripe-signature", &header)], "{}", NOW)
    };
    assert_eq!(check(STRIPE_SECRET), Ok(()));
    assert_eq!(check("whsec_the_next_one_of_theirs"), Ok(()));
    assert_eq!(check("whsec_neither_of_them_both"), Err(Unverified::NoMatch));
}

#[test]
fn sources_can_sign_by_standard_webhooks_with_a_tolerance_of_their_own() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
    let keys = "scheme = \"standard-webhooks\"\ntolerance = \"10s\"";
    let source = with_secret(keys, secret);
    let signature = standardwebhooks::Webhook::new(secret).unwrap();
    let signature = signature.sign("msg_1", NOW, b"{}").unwrap();
    let time = NOW.to_string();
    let headers = [
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", time.as_str()),
        ("webhook-signature", signature.as_str()),
    ];
    assert_eq!(verify(&source, &headers, "{}", NOW + 10), Ok(()));
    assert_eq!(verify(&source, &headers, "{}", NOW + 11), Err(Unverified::TooOld));
    assert_eq!(verify(&source, &headers, "{} ", NOW), Err(Unverified::NoMatch));
}

#[test]
fn a_secret_is_in_no_debug_output() {
    let stripe = super::only_source(STRIPE);
    let shown = format!("{stripe:?}");
    assert!(!shown.contains(STRIPE_SECRET), "{shown}");
    let bytes = format!("{:?}", STRIPE_SECRET.as_bytes());
    assert!(!shown.contains(&bytes[1..bytes.len() - 1]), "{shown}");
}
