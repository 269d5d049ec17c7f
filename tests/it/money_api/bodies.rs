//! What the bodies of the operations on money may be: amounts, currencies, and nothing that nobody
//! knows.

use serde_json::{Value, json};
use surety::http::api::openapi::Document;
use surety::identity::Role;
use uuid::Uuid;

use super::{all_money, refusal, start};
use crate::support::money::{Customer, open_wallet};
use crate::support::{Answer, Person, TestApi, send};

/// Every body that moves money, with this text of an amount and this currency.
fn bodies(customer: &Customer, amount: &str, currency: &str) -> [(&'static str, String); 3] {
    let (wallet, other, currency) = (customer.wallet, Uuid::now_v7(), json!(currency));
    let over = format!(r#"{{"wallet_id":"{wallet}","amount":{amount},"currency":{currency}}}"#);
    let between = format!(
        r#"{{"source_wallet_id":"{wallet}","destination_wallet_id":"{other}",
             "amount":{amount},"currency":{currency}}}"#
    );
    [("/v1/deposits", over.clone()), ("/v1/withdrawals", over), ("/v1/transfers", between)]
}

async fn post(api: &TestApi, customer: &Customer, path: &str, body: String) -> Answer {
    let request = api.request("POST", path).bearer_auth(&customer.person.token).body(body);
    let request = request.header("idempotency-key", Uuid::new_v4().to_string());
    send(request.header("content-type", "application/json")).await
}

#[tokio::test]
async fn amounts_that_are_none_are_refused_and_change_nothing() {
    let api = start().await;
    let customer = Customer::with(&api, "5 USD").await;
    let before = all_money(&api).await;
    let malformed = [
        "null",
        "true",
        "[]",
        "{}",
        r#""""#,
        r#"" 1""#,
        r#""+1""#,
        r#""1_000""#,
        r#""1__0""#,
        r#""1_""#,
        r#""1.""#,
        r#"".5""#,
        r#""1,000""#,
        r#""0x10""#,
        "\"\u{ff11}\"",
        "\"\u{661}\"",
        r#""1e2""#,
        "1e2",
        "1E2",
        "1e400",
        "1e-400",
        r#""NaN""#,
        r#""Infinity""#,
        r#""1\u0000""#,
    ];
    for amount in malformed {
        for (path, body) in bodies(&customer, amount, "USD") {
            let answer = post(&api, &customer, path, body).await;
            assert_eq!(answer.status, 400, "{path} {amount}: {answer:?}");
        }
    }
    for amount in ["NaN", "Infinity", "01", "1.", ".5", "+1", "0x10"] {
        for (path, body) in bodies(&customer, amount, "USD") {
            let answer = post(&api, &customer, path, body).await;
            assert_eq!(refusal(&answer), (400, "malformed-body".to_owned()), "{path} {amount}");
        }
    }
    let unacceptable = [
        "-1",
        r#""-1""#,
        "-0",
        "-0.0",
        "0",
        "0.00",
        r#""0""#,
        "1.005",
        r#""1.005""#,
        "12345678901234567.89",
        "9223372036854775807",
        "9223372036854775808",
        "100000000000000",
        r#""0.000000000000000000000000000001""#,
    ];
    for amount in unacceptable {
        for (path, body) in bodies(&customer, amount, "USD") {
            let answer = post(&api, &customer, path, body).await;
            let expected = (422, "unacceptable-values".to_owned());
            assert_eq!(refusal(&answer), expected, "{path} {amount}");
            assert_eq!(answer.json()["errors"][0]["pointer"], "#/amount", "{path} {amount}");
        }
    }
    assert_eq!(all_money(&api).await, before);
}

#[tokio::test]
async fn currencies_that_are_none_are_refused_everywhere() {
    let api = start().await;
    let customer = Customer::with(&api, "5 USD").await;
    let before = all_money(&api).await;
    for currency in ["usd", " usd", "USD ", "US", "USDD", "US\u{d0}", "DEM", "XXX", "XTS", ""] {
        let mut all = bodies(&customer, "1", currency).to_vec();
        all.push(("/v1/wallets", json!({ "currency": currency }).to_string()));
        for (path, body) in all {
            let answer = post(&api, &customer, path, body).await;
            let expected = (422, "unacceptable-values".to_owned());
            assert_eq!(refusal(&answer), expected, "{path} {currency:?}");
            assert_eq!(answer.json()["errors"][0]["pointer"], "#/currency", "{path}");
        }
    }
    for (path, body) in bodies(&customer, "1", "USD\u{0}") {
        let answer = post(&api, &customer, path, body).await;
        assert!([400, 422].contains(&answer.status), "{path}: {answer:?}");
    }
    assert_eq!(all_money(&api).await, before);
}

#[tokio::test]
async fn amounts_have_the_decimals_of_their_currency() {
    let api = start().await;
    let customer = Customer::new(&api).await;
    for (currency, amount, shown) in [
        ("JPY", "1500", Some("1500")),
        ("JPY", "1500.0", None),
        ("JPY", "1500.5", None),
        ("KWD", "1.234", Some("1.234")),
        ("KWD", "\"1.2\"", Some("1.200")),
        ("KWD", "1.2345", None),
        ("CLF", "1.2345", Some("1.2345")),
        ("USD", "1", Some("1.00")),
        ("USD", "19.99", Some("19.99")),
        ("USD", "9007199254740.99", Some("9007199254740.99")),
    ] {
        let wallet = open_wallet(&api.pool, customer.id(), currency).await;
        let body =
            format!(r#"{{"wallet_id":"{wallet}","amount":{amount},"currency":"{currency}"}}"#);
        let answer = post(&api, &customer, "/v1/deposits", body).await;
        match shown {
            Some(shown) => {
                assert_eq!(answer.status, 202, "{currency} {amount}: {answer:?}");
                assert_eq!(answer.json()["amount"], shown, "{currency}");
            }
            None => {
                assert_eq!(answer.status, 422, "{currency} {amount}: {answer:?}");
                assert_eq!(answer.json()["errors"][0]["code"], "too-many-decimals");
            }
        }
    }
}

/// What a wallet can have is bounded by the column, not by what is asked.
#[tokio::test]
async fn the_largest_amounts_add_up() {
    let api = start().await;
    let customer = Customer::new(&api).await;
    for _ in 0..3 {
        let text = "99999999999999 USD";
        crate::support::money::fund(&api.pool, customer.id(), customer.wallet, text).await;
    }
    assert_eq!(customer.balance(&api).await.0, "299999999999997.00");
    let body = crate::support::money::over(customer.wallet, "99999999999999 USD");
    assert_eq!(customer.order(&api, "/v1/withdrawals", &body).await.status, 202);
    assert_eq!(customer.balance(&api).await.1, "199999999999998.00");
}

#[tokio::test]
async fn descriptions_are_short_texts() {
    let api = start().await;
    let customer = Customer::new(&api).await;
    let with = |description: Value| {
        json!({
            "wallet_id": customer.wallet, "amount": "1", "currency": "USD",
            "description": description,
        })
    };
    for (description, status) in [
        (json!("\u{1f980}".repeat(140)), 202),
        (Value::Null, 202),
        (json!("d".repeat(141)), 422),
        (json!(""), 422),
        (json!("a\tb"), 422),
        (json!("a\u{0}b"), 400),
        (json!(7), 400),
        (json!(["a"]), 400),
    ] {
        let answer = customer.order(&api, "/v1/deposits", &with(description.clone())).await;
        assert_eq!(answer.status, status, "{description}: {answer:?}");
    }
}

/// Generated from the document, so that no operation can forget it.
#[tokio::test]
async fn no_operation_takes_a_field_that_it_does_not_know() {
    let api = start().await;
    let admin = Person::new(&api, Role::Admin).await;
    let document: Value = serde_json::from_str(&Document::new().to_json()).unwrap();
    let mut bodies = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Some(example) = operation.pointer("/requestBody/content/application~1json/example")
            else {
                continue;
            };
            // Its body has the shape that the provider gives it.
            if operation["operationId"] == "receive_provider_event" {
                continue;
            }
            let own_id = admin.id.to_string();
            let path = path.replace("{user_id}", &own_id).replace("{job_id}", "1");
            let path = path.replace("{endpoint_id}", &own_id).replace("{worker_id}", &own_id);
            // Before anybody looks for it, the body is read.
            let path = ["{operation_id}", "{conflict_id}", "{queue}", "{schedule}"]
                .iter()
                .fold(path, |path, name| path.replace(name, "1"));
            assert!(!path.contains('{'), "say what stands for the parameter of {path}");
            bodies += 1;
            let fields =
                ["id", "status", "balance", "role", "is_admin", "created_at", "verified", "x"];
            for field in fields.iter().filter(|field| example.get(**field).is_none()) {
                // A role and a status are what `change_user` is for.
                if operation["operationId"] == "change_user" && ["role", "status"].contains(field) {
                    continue;
                }
                let mut body = example.clone();
                body[*field] = json!("1");
                let request = api.request(&method.to_uppercase(), &path).json(&body);
                let request = request.header("idempotency-key", Uuid::new_v4().to_string());
                let answer = send(request.bearer_auth(&admin.token)).await;
                let at = format!("{method} {path} {field}");
                assert_eq!(refusal(&answer), (400, "invalid-fields".to_owned()), "{at}");
                let pointer = format!("#/{field}");
                let errors = answer.json()["errors"].as_array().unwrap().clone();
                assert!(errors.iter().any(|it| it["pointer"] == pointer), "{at}: {errors:?}");
            }
        }
    }
    assert_eq!(bodies, 38);
    assert_eq!(api.count("select count(*) from payments.orders").await, 0);
}
