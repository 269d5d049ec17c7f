//! Signing in and out.

use serde_json::json;
use surety::identity::passwords::{Hasher, Password, PasswordHash};
use surety::identity::{Role, sessions, signing_keys, tokens, users};
use surety::ids::UserId;

use crate::support::{Answer, PASSWORD, Person, TestApi, send};

async fn try_sign_in(api: &TestApi, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "password": password });
    send(api.request("POST", "/v1/auth/login").json(&body)).await
}

/// A refusal without what differs between any two of them.
fn comparable(answer: &Answer) -> serde_json::Value {
    let mut body = answer.json();
    body.as_object_mut().unwrap().remove("request_id");
    json!({ "status": answer.status, "challenge": answer.header("www-authenticate"), "body": body })
}

#[tokio::test]
async fn a_sign_in_gives_a_token_of_half_an_hour() {
    let api = TestApi::start().await;
    let person = Person::new(&api, Role::User).await;

    let answer = try_sign_in(&api, &format!("  {} ", person.email.to_uppercase()), PASSWORD).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 1800);
    assert_eq!(body["user_id"], person.id.to_string());
    assert_eq!(answer.header("cache-control"), "no-store");
    let token = body["access_token"].as_str().unwrap();
    let me = send(api.request("GET", &person.path()).bearer_auth(token)).await;
    assert_eq!(me.status, 200, "{me:?}");
}

#[tokio::test]
async fn whoever_may_not_sign_in_is_answered_the_same_for_every_reason() {
    let api = TestApi::start().await;
    let [active, suspended, closed] = [
        Person::new(&api, Role::User).await,
        Person::new(&api, Role::User).await,
        Person::new(&api, Role::User).await,
    ];
    for (person, status) in [(&suspended, "suspended"), (&closed, "closed")] {
        sqlx::query("update identity.users set status = $2::identity.user_status where id = $1")
            .bind(person.id)
            .bind(status)
            .execute(&api.pool)
            .await
            .unwrap();
    }

    let wrong = try_sign_in(&api, &active.email, "not the password").await;

    assert_eq!((wrong.status, wrong.code().as_str()), (401, "invalid-credentials"));
    assert_eq!(wrong.header("www-authenticate"), "Bearer");
    for (email, password) in [
        ("nobody@example.com", PASSWORD),
        (&suspended.email, PASSWORD),
        (&closed.email, PASSWORD),
        (&suspended.email, "not the password"),
    ] {
        let answer = try_sign_in(&api, email, password).await;
        assert_eq!(comparable(&answer), comparable(&wrong), "{email}");
    }
}

#[tokio::test]
async fn signing_out_ends_this_session_and_no_other() {
    let api = TestApi::start().await;
    let person = Person::new(&api, Role::User).await;
    let other = crate::support::sign_in(&api, &person.email, PASSWORD).await;

    let out = send(api.request("POST", "/v1/auth/logout").bearer_auth(&person.token)).await;

    assert_eq!((out.status, out.text.as_str()), (204, ""));
    assert_eq!(person.get(&api, &person.path()).await.status, 401);
    let again = send(api.request("POST", "/v1/auth/logout").bearer_auth(&person.token)).await;
    assert_eq!((again.status, again.code().as_str()), (401, "unauthenticated"));
    let elsewhere = send(api.request("GET", &person.path()).bearer_auth(&other)).await;
    assert_eq!(elsewhere.status, 200);
}

#[tokio::test]
async fn expired_sessions_go_when_their_user_signs_in_again() {
    let api = TestApi::start().await;
    let person = Person::new(&api, Role::User).await;
    let expire = "update identity.sessions
                  set created_at = created_at - interval '1 hour',
                      expires_at = expires_at - interval '1 hour'";
    sqlx::query(expire).execute(&api.pool).await.unwrap();
    assert_eq!(person.get(&api, &person.path()).await.status, 401);

    crate::support::sign_in(&api, &person.email, PASSWORD).await;

    assert_eq!(api.count("select count(*) from identity.sessions").await, 1);
}

async fn password_hash(api: &TestApi, person: &Person) -> PasswordHash {
    let mut conn = api.pool.acquire().await.unwrap();
    users::find_password(&mut conn, UserId(person.id)).await.unwrap().unwrap().hash
}

/// Waits until a statement of this database waits for a lock.
async fn until_somebody_waits(api: &TestApi) {
    let waiting = "select count(*) from pg_stat_activity
                   where wait_event_type = 'Lock' and datname = current_database()";
    while api.count(waiting).await == 0 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_meets_a_change_of_the_password_fails() {
    let api = TestApi::start().await;
    let person = Person::new(&api, Role::User).await;
    let before = password_hash(&api, &person).await;
    let after = Hasher::default().hash(Password::generate()).await.unwrap();

    let mut tx = api.pool.begin().await.unwrap();
    let id = UserId(person.id);
    users::change_password(&mut tx, id, &before, &after).await.unwrap();
    let (answer, ()) = tokio::join!(try_sign_in(&api, &person.email, PASSWORD), async {
        until_somebody_waits(&api).await;
        tx.commit().await.unwrap();
    });

    assert_eq!((answer.status, answer.code().as_str()), (401, "invalid-credentials"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_password_that_meets_a_sign_in_ends_its_session() {
    let api = TestApi::start().await;
    let person = Person::new(&api, Role::User).await;
    let hash = password_hash(&api, &person).await;

    let mut tx = api.pool.begin().await.unwrap();
    let key = signing_keys::newest(&mut tx).await.unwrap();
    let session = sessions::start(&mut tx, UserId(person.id), &hash, &key).await.unwrap().unwrap();
    let token = tokens::issue(&session, &key).unwrap();
    let path = person.path() + "/password";
    let body = json!({ "current_password": PASSWORD, "new_password": "seven slow herons" });
    let (changed, ()) = tokio::join!(person.send(&api, "PUT", &path, &body), async {
        until_somebody_waits(&api).await;
        tx.commit().await.unwrap();
    });

    assert_eq!(changed.status, 204, "{changed:?}");
    let answer = send(api.request("GET", &person.path()).bearer_auth(&token)).await;
    assert_eq!(answer.status, 401);
}

/// An API behind a proxy of its own, so that tests come from wherever they say.
async fn api_with_few_guesses() -> TestApi {
    TestApi::start_for_everybody(|settings| {
        settings.limits.trusted_proxies = "127.0.0.0/8".parse().unwrap();
        settings.limits.limit_login_account = "5/d".parse().unwrap();
    })
    .await
}

async fn sign_in_from(api: &TestApi, address: &str, email: &str, password: &str) -> u16 {
    let body = json!({ "email": email, "password": password });
    let request = api.request("POST", "/v1/auth/login").header("x-forwarded-for", address);
    send(request.json(&body)).await.status
}

#[tokio::test]
async fn guesses_from_elsewhere_keep_the_owner_out_of_nothing() {
    let api = api_with_few_guesses().await;
    let person = Person::new(&api, Role::User).await;
    for guesser in ["203.0.113.9", "203.0.113.10", "2001:db8:0:1::1"] {
        for guess in 0..8 {
            let expected = if guess < 5 { 401 } else { 429 };
            let got = sign_in_from(&api, guesser, &person.email, "a wrong one").await;
            assert_eq!(got, expected, "{guesser}, guess {guess}");
        }
        // Nor does the right one help who guessed too often, by whichever address of the network.
        let neighbour = if guesser.contains(':') { "2001:db8:0:1:ffff::7" } else { guesser };
        assert_eq!(sign_in_from(&api, neighbour, &person.email, PASSWORD).await, 429);
        // From where the owner was before, and from where nobody was.
        assert_eq!(sign_in_from(&api, "198.51.100.7", &person.email, PASSWORD).await, 200);
    }
    for fresh in ["198.51.100.200", "2001:db8:0:2::1"] {
        assert_eq!(sign_in_from(&api, fresh, &person.email, PASSWORD).await, 200, "{fresh}");
    }
}
