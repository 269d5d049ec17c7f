//! Tokens, real ones and forged ones.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Sha256, Sha384};
use surety::identity::{Role, signing_keys};

use crate::support::{Answer, PASSWORD, Person, TestApi, send, sign_in};

/// Somebody who knows the secret, a real token, and how to make others.
struct Forger {
    api: TestApi,
    person: Person,
    secret: Vec<u8>,
    header: Value,
    claims: Value,
}

impl Forger {
    async fn new() -> Self {
        let api = TestApi::start().await;
        let person = Person::new(&api, Role::User).await;
        let secret = sqlx::query_scalar("select secret from identity.signing_keys")
            .fetch_one(&api.pool)
            .await
            .unwrap();
        let mut parts = person.token.split('.').map(|part| {
            let bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
            serde_json::from_slice(&bytes).unwrap_or_default()
        });
        let (header, claims) = (parts.next().unwrap(), parts.next().unwrap());
        Self { api, person, secret, header, claims }
    }

    /// The real header with one field changed; null removes it.
    fn header(&self, field: &str, value: Value) -> String {
        with(&self.header, field, value).to_string()
    }

    /// The real claims with one changed; null removes it.
    fn claims(&self, field: &str, value: Value) -> String {
        with(&self.claims, field, value).to_string()
    }

    /// A token of these, signed with the real secret.
    fn sign(&self, header: &str, claims: &str) -> String {
        sign(header, claims, &self.secret)
    }

    fn sign_claims(&self, claims: &str) -> String {
        self.sign(&self.header.to_string(), claims)
    }

    async fn try_token(&self, token: &str) -> Answer {
        let request = self.api.request("GET", &self.person.path());
        send(request.header("authorization", format!("Bearer {token}"))).await
    }

    async fn assert_refused(&self, what: &str, token: &str) {
        let answer = self.try_token(token).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"), "{what}");
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"", "{what}");
        let anonymous = send(self.api.request("GET", &self.person.path())).await;
        let without_id = |answer: &Answer| with(&answer.json(), "request_id", Value::Null);
        assert_eq!(without_id(&answer), without_id(&anonymous), "{what}");
    }
}

fn with(object: &Value, field: &str, value: Value) -> Value {
    let mut object = object.clone();
    match value {
        Value::Null => drop(object.as_object_mut().unwrap().remove(field)),
        value => object[field] = value,
    }
    object
}

fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

fn sign(header: &str, claims: &str, secret: &[u8]) -> String {
    let message = unsigned(header, claims);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn the_forger_can_make_good_tokens_so_that_refusals_below_have_their_own_reason() {
    let forger = Forger::new().await;
    let same = forger.sign_claims(&forger.claims.to_string());
    assert_eq!(forger.try_token(&same).await.status, 200);
    // What a header says of keys elsewhere is not even looked at.
    for field in ["jku", "x5u"] {
        let header = forger.header(field, json!("https://evil.example/keys"));
        let token = forger.sign(&header, &forger.claims.to_string());
        assert_eq!(forger.try_token(&token).await.status, 200, "{field}");
    }
    for scheme in ["bearer", "BEARER"] {
        let request = forger.api.request("GET", &forger.person.path());
        let answer = send(request.header("authorization", format!("{scheme} {same}"))).await;
        assert_eq!(answer.status, 200, "{scheme}");
    }
}

#[tokio::test]
async fn no_other_algorithm_is_accepted() {
    let forger = Forger::new().await;
    let claims = forger.claims.to_string();
    for name in ["none", "None", "nOnE", "NONE", "", "HS384", "HS512", "RS256", "ES256", "hs256"] {
        let header = forger.header("alg", json!(name));
        forger.assert_refused(name, &forger.sign(&header, &claims)).await;
        forger.assert_refused(name, &format!("{}.", unsigned(&header, &claims))).await;
        forger.assert_refused(name, &unsigned(&header, &claims)).await;
    }
    // Signed as it says, with the right secret and another algorithm of the family.
    let message = unsigned(&forger.header("alg", json!("HS384")), &claims);
    let mut mac = Hmac::<Sha384>::new_from_slice(&forger.secret).unwrap();
    mac.update(message.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    forger.assert_refused("HS384", &format!("{message}.{signature}")).await;
}

#[tokio::test]
async fn a_header_that_is_not_ours_is_refused() {
    let forger = Forger::new().await;
    let claims = forger.claims.to_string();
    for kid in [
        json!("2"),
        json!("0"),
        json!("-1"),
        json!("01"),
        json!(""),
        json!("../../dev/null"),
        json!("' or 1 = 1 --"),
        json!("\u{0}"),
        json!(1),
        json!("k".repeat(10_000)),
        Value::Null,
    ] {
        let token = forger.sign(&forger.header("kid", kid.clone()), &claims);
        forger.assert_refused(&format!("kid {:.20}", kid.to_string()), &token).await;
    }
    for (field, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("typ", json!("at+jwt")),
        ("typ", Value::Null),
        ("alg", Value::Null),
    ] {
        let token = forger.sign(&forger.header(field, value.clone()), &claims);
        forger.assert_refused(&format!("{field} {value}"), &token).await;
    }
}

#[tokio::test]
async fn claims_that_are_not_ours_are_refused() {
    let forger = Forger::new().await;
    let now = forger.claims["iat"].as_i64().unwrap();
    let other = Person::new(&forger.api, Role::Admin).await;
    for (field, value) in [
        ("exp", Value::Null),
        ("exp", json!(now)),
        ("exp", json!(now - 1)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!((now + 60).to_string())),
        ("exp", json!(now as f64 + 60.5)),
        ("exp", json!(u64::MAX)),
        ("exp", json!([now + 60])),
        ("iat", Value::Null),
        ("iat", json!(now + 60)),
        ("nbf", Value::Null),
        ("nbf", json!(now + 60)),
        ("iss", Value::Null),
        ("iss", json!("Surety")),
        ("iss", json!(["surety"])),
        ("aud", Value::Null),
        ("aud", json!("surety")),
        ("aud", json!(["surety-api"])),
        ("sub", Value::Null),
        ("sub", json!(other.id)),
        ("sub", json!("admin")),
        ("jti", Value::Null),
        ("jti", json!(uuid::Uuid::now_v7())),
        ("jti", json!(1)),
    ] {
        let token = forger.sign_claims(&forger.claims(field, value.clone()));
        forger.assert_refused(&format!("{field} {value}"), &token).await;
    }
    // What serde_json's own numbers cannot even hold, and what stands there twice.
    let text = forger.claims.to_string();
    let exp = format!("\"exp\":{}", forger.claims["exp"]);
    for odd in ["\"exp\":1e400", "\"exp\":99999999999999999999", "\"exp\":4e9"] {
        forger.assert_refused(odd, &forger.sign_claims(&text.replace(&exp, odd))).await;
    }
    let twice = text.replace(&exp, &format!("\"exp\":1,{exp}"));
    forger.assert_refused("exp twice", &forger.sign_claims(&twice)).await;
}

/// By the database's clock, and to the second.
#[tokio::test]
async fn a_token_that_expired_a_second_ago_is_refused_though_its_session_goes_on() {
    let forger = Forger::new().await;
    let now: i64 = sqlx::query_scalar("select extract(epoch from clock_timestamp())::bigint")
        .fetch_one(&forger.api.pool)
        .await
        .unwrap();
    let expired = with(&forger.claims, "iat", json!(now - 100));
    let expired = with(&with(&expired, "nbf", json!(now - 100)), "exp", json!(now - 1));
    forger.assert_refused("a second ago", &forger.sign_claims(&expired.to_string())).await;

    let valid = with(&expired, "exp", json!(now + 60));
    assert_eq!(forger.try_token(&forger.sign_claims(&valid.to_string())).await.status, 200);
}

#[tokio::test]
async fn a_token_that_was_changed_or_signed_by_another_is_refused() {
    let forger = Forger::new().await;
    let (header, claims) = (forger.header.to_string(), forger.claims.to_string());
    forger.assert_refused("another key", &sign(&header, &claims, &[7; 32])).await;
    forger.assert_refused("an empty key", &sign(&header, &claims, b"")).await;

    let [head, body, signature] = forger.person.token.split('.').collect::<Vec<_>>()[..] else {
        panic!("a token has three parts");
    };
    let other = URL_SAFE_NO_PAD.encode(forger.claims("exp", json!(4_000_000_000_i64)));
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[0] ^= 1;
    let flipped = URL_SAFE_NO_PAD.encode(flipped);
    for (what, token) in [
        ("another payload", format!("{head}.{other}.{signature}")),
        ("a flipped bit", format!("{head}.{body}.{flipped}")),
        ("half a signature", format!("{head}.{body}.{}", &signature[..20])),
        ("no signature", format!("{head}.{body}.")),
        ("two parts", format!("{head}.{body}")),
        ("four parts", format!("{head}.{body}.{signature}.{signature}")),
        ("five parts", format!("{head}....{signature}")),
        ("padding", format!("{head}.{body}.{signature}=")),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("no base64", "a%.b%.c%".to_owned()),
        ("a space inside", format!("{head}.{body} .{signature}")),
    ] {
        forger.assert_refused(what, &token).await;
    }
}

#[tokio::test]
async fn a_token_of_more_than_8_kb_is_refused_though_it_is_signed() {
    let forger = Forger::new().await;
    let with_padding =
        |bytes: usize| forger.sign_claims(&forger.claims("padding", json!("x".repeat(bytes))));
    assert_eq!(forger.try_token(&with_padding(5_000)).await.status, 200);
    forger.assert_refused("9 KB", &with_padding(6_500)).await;
}

#[tokio::test]
async fn an_authorization_that_is_none_of_ours_is_refused() {
    let forger = Forger::new().await;
    let token = &forger.person.token;
    for value in [
        format!("Basic {token}"),
        format!("Bearer{token}"),
        format!("Bearer\t{token}"),
        format!("Token {token}"),
        format!("Bearer {token} {token}"),
        token.clone(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
    ] {
        let request = forger.api.request("GET", &forger.person.path());
        let answer = send(request.header("authorization", &value)).await;
        assert_eq!(answer.status, 401, "{value:.20}");
    }
    let request = forger.api.request("GET", &forger.person.path());
    let twice = request.bearer_auth(token).header("authorization", format!("Bearer {token}"));
    assert_eq!(send(twice).await.status, 401);
}

#[tokio::test]
async fn the_newest_two_keys_verify_and_the_third_newest_dies_at_once() {
    let api = TestApi::start().await;
    let person = Person::new(&api, Role::User).await;
    let rotate = async || {
        let mut tx = api.pool.begin().await.unwrap();
        signing_keys::rotate(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    };

    rotate().await;
    assert_eq!(person.get(&api, &person.path()).await.status, 200);
    let second = sign_in(&api, &person.email, PASSWORD).await;
    rotate().await;

    assert_eq!(person.get(&api, &person.path()).await.status, 401);
    let answer = send(api.request("GET", &person.path()).bearer_auth(&second)).await;
    assert_eq!(answer.status, 200);
    let secrets = "select count(*) from identity.signing_keys where secret is not null";
    assert_eq!(api.count(secrets).await, 2);
    assert_eq!(api.count("select count(*) from identity.signing_keys").await, 3);
}

#[tokio::test]
async fn nodes_that_sign_for_the_first_time_together_make_one_key() {
    let db = crate::support::TestDb::new().await;
    let make = async || {
        let mut tx = db.pool.begin().await.unwrap();
        let key = signing_keys::newest(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        key.number
    };
    let (a, b, c, d) = tokio::join!(make(), make(), make(), make());
    assert_eq!([a, b, c, d], [a; 4]);
}
