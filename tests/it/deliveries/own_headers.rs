//! The headers that an endpoint's owner may add.

use surety::deliveries::OwnHeaders;
use surety::deliveries::own_headers::{MAX_HEADERS, MAX_VALUE_BYTES, OwnHeadersError};

use super::receiver::{OK, Receiver};
use super::{BODY, PATIENT, SECRET, client, deliver_with};

fn read(headers: &[(&str, &str)]) -> Result<OwnHeaders, OwnHeadersError> {
    OwnHeaders::read(headers.iter().copied())
}

#[tokio::test]
async fn they_go_out_beside_ours() {
    let receiver = Receiver::start(&[OK]).await;
    let own = read(&[("Authorization", "Bearer secret"), ("X-Tenant", "a b")]).unwrap();
    deliver_with(&client(), &receiver.url, "msg_1", PATIENT, &own).await;
    let seen = &receiver.seen()[0];
    for (name, value) in [
        ("line", "POST /hooks HTTP/1.1"),
        ("authorization", "Bearer secret"),
        ("x-tenant", "a b"),
        ("content-type", "application/json"),
        ("accept-encoding", "identity"),
        ("webhook-id", "msg_1"),
        ("body", BODY),
    ] {
        assert_eq!(seen[name], value, "{name}");
    }
    assert!(seen["user-agent"].starts_with("surety/"));
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: hyper::HeaderMap =
        headers.iter().map(|name| (name.parse().unwrap(), seen[*name].parse().unwrap())).collect();
    let reference = standardwebhooks::Webhook::new(SECRET).unwrap();
    reference.verify(seen["body"].as_bytes(), &headers).unwrap();
}

#[test]
fn what_is_ours_or_of_http_or_of_proxies_is_refused_in_any_case() {
    for name in [
        "Host",
        "CONNECTION",
        "content-length",
        "Content-Type",
        "content-encoding",
        "Transfer-Encoding",
        "te",
        "trailer",
        "Upgrade",
        "keep-alive",
        "expect",
        "webhook-id",
        "Webhook-Signature",
        "traceparent",
        "tracestate",
        "baggage",
        "Cookie",
        "set-cookie",
        "proxy-authorization",
        "Proxy-Anything",
        "sec-fetch-mode",
        "X-Forwarded-For",
        "x-forwarded-anything",
        "forwarded",
        "via",
        "x-real-ip",
        "x-request-id",
        "user-agent",
        "Accept-Encoding",
        "if-none-match",
        "range",
        "date",
        "x-http-method-override",
    ] {
        let refused = OwnHeadersError::RefusedName(name.to_lowercase());
        assert_eq!(read(&[(name, "x")]), Err(refused));
    }
    for name in ["authorization", "X-API-Key", "x-tenant", "api_key", "x-hub-token"] {
        assert!(read(&[(name, "x")]).is_ok(), "{name}");
    }
}

#[test]
fn nothing_can_be_smuggled_in_by_a_name_or_a_value() {
    let long_name = "x".repeat(65);
    for name in ["", " ", "a b", "a:b", "a\r\nb", "ä", "a\0", "(a)", long_name.as_str()] {
        assert_eq!(read(&[(name, "x")]), Err(OwnHeadersError::MalformedName), "{name:?}");
    }
    let long = "x".repeat(MAX_VALUE_BYTES + 1);
    for value in ["", " ", " a", "a ", "a\r\nhost: b", "a\nb", "a\rb", "a\0", "a\tb", "café", &long]
    {
        let malformed = Err(OwnHeadersError::MalformedValue("x-a".to_owned()));
        assert_eq!(read(&[("x-a", value)]), malformed, "{value:?}");
    }
    assert!(read(&[("x-a", &long[1..])]).is_ok());
    let repeated = Err(OwnHeadersError::RepeatedName("x-a".to_owned()));
    assert_eq!(read(&[("x-a", "1"), ("X-A", "2")]), repeated);
    let names: Vec<String> = (0..=MAX_HEADERS).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    assert_eq!(read(&many), Err(OwnHeadersError::TooMany));
    assert!(read(&many[1..]).is_ok());
}

#[test]
fn their_values_are_kept_and_not_shown() {
    let own = read(&[("authorization", "Bearer canary")]).unwrap();
    assert!(!format!("{own:?}").contains("canary"));
    let json = serde_json::to_string(&own).unwrap();
    assert_eq!(json, r#"{"authorization":"Bearer canary"}"#);
    assert_eq!(serde_json::from_str::<OwnHeaders>(&json).unwrap(), own);
    let error = read(&[("x-a", "canary\n")]).unwrap_err();
    assert!(!error.to_string().contains("canary"));
    // What is stored is checked again when it is read.
    assert!(serde_json::from_str::<OwnHeaders>(r#"{"host":"a"}"#).is_err());
}
