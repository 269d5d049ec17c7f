//! API keys.

use std::time::Duration;

use serde_json::json;
use surety::identity::Role;
use surety::identity::api_keys::{self, ActsAs};
use surety::ids::{ApiKeyId, UserId};

use crate::support::{Answer, Person, TestApi, send};

/// A key and its secret.
async fn key(api: &TestApi, acts_as: ActsAs) -> (ApiKeyId, String) {
    let mut conn = api.pool.acquire().await.unwrap();
    let (key, secret) = api_keys::create(&mut conn, "till", acts_as, None).await.unwrap();
    (key.id, secret.reveal().to_owned())
}

async fn get(api: &TestApi, path: &str, secret: &str) -> Answer {
    send(api.request("GET", path).bearer_auth(secret)).await
}

#[tokio::test]
async fn a_key_acts_for_its_user_and_nobody_else() {
    let api = TestApi::start().await;
    let (me, other) = (Person::new(&api, Role::User).await, Person::new(&api, Role::User).await);
    let (_, secret) = key(&api, ActsAs::User(UserId(me.id))).await;

    assert_eq!(get(&api, &me.path(), &secret).await.status, 200);
    assert_eq!(get(&api, &other.path(), &secret).await.status, 404);
    assert_eq!(get(&api, "/v1/users", &secret).await.status, 403);
    // It has no session to end and no password to change.
    let out = send(api.request("POST", "/v1/auth/logout").bearer_auth(&secret)).await;
    assert_eq!(out.status, 403);
    let body = json!({ "current_password": "x", "new_password": "x" });
    let request = api.request("PUT", &(me.path() + "/password")).bearer_auth(&secret);
    assert_eq!(send(request.json(&body)).await.status, 403);
}

#[tokio::test]
async fn a_key_of_a_user_has_no_more_rights_than_users_have() {
    let api = TestApi::start().await;
    let admin = Person::new(&api, Role::Admin).await;
    let (_, secret) = key(&api, ActsAs::User(UserId(admin.id))).await;
    assert_eq!(get(&api, "/v1/users", &secret).await.status, 403);
}

#[tokio::test]
async fn a_key_for_nobody_reads_as_its_role_says() {
    let api = TestApi::start().await;
    let person = Person::new(&api, Role::User).await;
    let suspend = json!({ "status": "suspended" });
    for (acts_as, status) in [(ActsAs::Operator, 403), (ActsAs::Admin, 200)] {
        let (_, secret) = key(&api, acts_as).await;
        assert_eq!(get(&api, &person.path(), &secret).await.status, 200);
        let request = api.request("PATCH", &person.path()).bearer_auth(&secret);
        assert_eq!(send(request.json(&suspend)).await.status, status);
    }
}

#[tokio::test]
async fn a_key_ends_when_it_is_revoked_or_expires_or_its_user_is_suspended() {
    let api = TestApi::start().await;
    let person = Person::new(&api, Role::User).await;
    let ends = [
        "update identity.api_keys set revoked_at = clock_timestamp() where id = $1",
        "update identity.api_keys set expires_at = clock_timestamp() where id = $1",
        "update identity.users set status = 'suspended'
           where id = (select user_id from identity.api_keys where id = $1)",
    ];
    for end in ends {
        let (id, secret) = key(&api, ActsAs::User(UserId(person.id))).await;
        assert_eq!(get(&api, &person.path(), &secret).await.status, 200, "{end}");
        sqlx::query(end).bind(id).execute(&api.pool).await.unwrap();
        let answer = get(&api, &person.path(), &secret).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"), "{end}");
    }
}

#[tokio::test]
async fn what_is_no_secret_of_ours_is_refused() {
    let api = TestApi::start().await;
    let (_, secret) = key(&api, ActsAs::Operator).await;
    let other_end = if secret.ends_with('A') { "E" } else { "A" };
    for wrong in [
        secret.replace("surety_", ""),
        secret.replace("surety_", "SURETY_"),
        secret.replace("surety_", "sk_live_"),
        format!("{}{other_end}", &secret[..secret.len() - 1]),
        secret[..secret.len() - 2].to_owned(),
        format!("{secret}AA"),
        format!("surety_{secret}"),
        "surety_".to_owned(),
        format!("surety_{}", "A".repeat(43)),
        format!("surety_{}", "A".repeat(7_000)),
        format!("surety_{}", "%".repeat(43)),
    ] {
        let answer = get(&api, "/v1/users", &wrong).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"), "{wrong}");
    }
    assert_eq!(get(&api, "/v1/users", &secret).await.status, 200);
}

#[tokio::test]
async fn a_rotation_keeps_the_id_and_lets_the_old_secret_live_only_as_long_as_asked() {
    let api = TestApi::start().await;
    let (id, first) = key(&api, ActsAs::Operator).await;
    let rotate = async |grace: u64| {
        let mut conn = api.pool.acquire().await.unwrap();
        let rotated = api_keys::rotate(&mut conn, id, Duration::from_secs(grace)).await.unwrap();
        let (key, secret) = rotated.expect("the key is there");
        assert_eq!(key.id, id);
        secret.reveal().to_owned()
    };

    let second = rotate(3600).await;
    assert_eq!(get(&api, "/v1/users", &first).await.status, 200);
    assert_eq!(get(&api, "/v1/users", &second).await.status, 200);
    let third = rotate(0).await;
    assert_eq!(get(&api, "/v1/users", &first).await.status, 401);
    assert_eq!(get(&api, "/v1/users", &second).await.status, 401);
    assert_eq!(get(&api, "/v1/users", &third).await.status, 200);
}

#[tokio::test]
async fn the_last_use_is_written_down_at_most_once_a_minute() {
    let api = TestApi::start().await;
    let (id, secret) = key(&api, ActsAs::Operator).await;
    let last_used = async || -> Option<time::OffsetDateTime> {
        let query = sqlx::query_scalar("select last_used_at from identity.api_keys where id = $1");
        query.bind(id).fetch_one(&api.pool).await.unwrap()
    };
    let wait_for_other_than = async |before: Option<time::OffsetDateTime>| {
        for _ in 0..1000 {
            let now = last_used().await;
            if now != before {
                return now;
            }
            tokio::task::yield_now().await;
        }
        panic!("the use is not written down");
    };
    assert_eq!(last_used().await, None);

    get(&api, "/v1/users", &secret).await;
    let first = wait_for_other_than(None).await;
    for _ in 0..5 {
        get(&api, "/v1/users", &secret).await;
    }
    assert_eq!(last_used().await, first);

    let age = "update identity.api_keys set last_used_at = last_used_at - interval '61 s'";
    sqlx::query(age).execute(&api.pool).await.unwrap();
    let aged = last_used().await;
    get(&api, "/v1/users", &secret).await;
    assert!(wait_for_other_than(aged).await > first);
}

#[tokio::test]
async fn no_secret_is_stored() {
    let api = TestApi::start().await;
    let (_, secret) = key(&api, ActsAs::Operator).await;
    let mut seen = String::new();
    let rows: Vec<String> = sqlx::query_scalar("select api_keys::text from identity.api_keys")
        .fetch_all(&api.pool)
        .await
        .unwrap();
    rows.iter().for_each(|row| seen.push_str(row));
    assert!(seen.contains(&secret[..13]) && !seen.contains(&secret[13..]), "{seen}");
}
