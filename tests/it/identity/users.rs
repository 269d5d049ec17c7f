//! Users: making, reading and changing them.

use std::time::Duration;

use serde_json::{Value, json};
use surety::identity::Role;
use uuid::Uuid;

use crate::support::ledger::run_jobs;
use crate::support::money::{Customer, between};
use crate::support::{Answer, App, Binary as _, PASSWORD, Person, TestApi, send, sign_in};

#[tokio::test]
async fn a_user_is_made_with_a_normalised_address_and_no_rights() {
    let api = TestApi::start().await;
    let body = json!({ "email": " Ada@Example.COM ", "password": PASSWORD, "currency": "EUR" });

    let made = send(api.request("POST", "/v1/users").json(&body)).await;

    assert_eq!(made.status, 201, "{made:?}");
    let user = made.json();
    let id: Uuid = user["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 7);
    assert_eq!(made.header("location"), format!("/v1/users/{id}"));
    assert_eq!(user["email"], "ada@example.com");
    assert_eq!((&user["role"], &user["status"]), (&json!("user"), &json!("active")));
    assert_eq!(user["default_currency"], "EUR");
    let wallet: Uuid = sqlx::query_scalar(
        "select owner_id from payments.accounts where kind = 'wallet' and currency = 'EUR'",
    )
    .fetch_one(&api.pool)
    .await
    .unwrap();
    assert_eq!(wallet, id);
    assert!(!made.text.contains("argon2") && !made.text.contains(PASSWORD), "{}", made.text);
}

#[tokio::test]
async fn an_address_is_taken_once_however_it_is_written() {
    let api = TestApi::start().await;
    let person = Person::new(&api, Role::User).await;
    let body =
        json!({ "email": person.email.to_uppercase(), "password": PASSWORD, "currency": "USD" });

    let again = send(api.request("POST", "/v1/users").json(&body)).await;

    assert_eq!((again.status, again.code().as_str()), (409, "email-taken"));
    assert_eq!(api.count("select count(*) from identity.users").await, 1);
    let wallets = "select count(*) from payments.accounts where kind = 'wallet'";
    assert_eq!(api.count(wallets).await, 1);
}

#[tokio::test]
async fn what_a_user_may_not_set_is_refused_and_makes_nobody() {
    let api = TestApi::start().await;
    let good = json!({ "email": "eve@example.com", "password": PASSWORD, "currency": "USD" });
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (body, status, code) in [
        (with("id", json!(Uuid::nil())), 400, "invalid-fields"),
        (with("role", json!("admin")), 400, "invalid-fields"),
        (with("status", json!("active")), 400, "invalid-fields"),
        (with("is_admin", json!(true)), 400, "invalid-fields"),
        (with("balance", json!("1000.00")), 400, "invalid-fields"),
        (with("created_at", json!("2020-01-01T00:00:00Z")), 400, "invalid-fields"),
        (with("password_hash", json!("$argon2id$")), 400, "invalid-fields"),
        (with("email", json!("no address")), 422, "unacceptable-values"),
        (with("email", json!("a@b@c")), 422, "unacceptable-values"),
        (with("email", json!(format!("{}@x", "a".repeat(260)))), 422, "unacceptable-values"),
        (with("email", json!("a\u{0}@example.com")), 400, "invalid-fields"),
        (with("email", Value::Null), 400, "missing-fields"),
        (with("password", json!("7 chars")), 422, "unacceptable-values"),
        (with("password", json!("password password")), 422, "unacceptable-values"),
        (with("password", json!("four words ".repeat(12))), 422, "unacceptable-values"),
        (with("currency", json!("XXX")), 422, "unacceptable-values"),
    ] {
        let answer = send(api.request("POST", "/v1/users").json(&body)).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{body}");
        assert!(!answer.text.contains(PASSWORD), "{}", answer.text);
    }
    assert_eq!(api.count("select count(*) from identity.users").await, 0);
}

#[tokio::test]
async fn somebody_elses_user_is_answered_like_nobodys() {
    let api = TestApi::start().await;
    let (me, other) = (Person::new(&api, Role::User).await, Person::new(&api, Role::User).await);
    let without_instance = |answer: crate::support::Answer| {
        let mut body = answer.json();
        body.as_object_mut().unwrap().retain(|key, _| key != "instance" && key != "request_id");
        (answer.status, body)
    };
    let passwords =
        json!({ "current_password": PASSWORD, "new_password": "another fine password" });
    let absent = format!("/v1/users/{}", Uuid::now_v7());

    let foreign = without_instance(me.get(&api, &other.path()).await);
    assert_eq!(foreign.0, 404);
    assert_eq!(foreign, without_instance(me.get(&api, &absent).await));

    for (method, suffix, body) in
        [("PUT", "/password", &passwords), ("PATCH", "", &json!({ "role": "admin" }))]
    {
        let foreign = me.send(&api, method, &(other.path() + suffix), body).await;
        let nobodys = me.send(&api, method, &format!("{absent}{suffix}"), body).await;
        assert!([403, 404].contains(&foreign.status), "{foreign:?}");
        assert_eq!(without_instance(foreign), without_instance(nobodys), "{method}");
    }
    sign_in(&api, &other.email, PASSWORD).await;
}

#[tokio::test]
async fn a_new_password_needs_the_present_one_and_ends_every_session() {
    let api = TestApi::start().await;
    let person = Person::new(&api, Role::User).await;
    let other_session = sign_in(&api, &person.email, PASSWORD).await;
    let path = person.path() + "/password";
    let new = "seven herons over slack water";
    let with =
        |current: &str, new: &str| json!({ "current_password": current, "new_password": new });

    let wrong = person.send(&api, "PUT", &path, &with("not the password", new)).await;
    assert_eq!(wrong.json()["errors"][0]["pointer"], "#/current_password", "{wrong:?}");
    let weak = person.send(&api, "PUT", &path, &with(PASSWORD, "short")).await;
    assert_eq!(weak.json()["errors"][0]["pointer"], "#/new_password", "{weak:?}");
    assert_eq!((wrong.status, weak.status), (422, 422));
    assert_eq!(person.get(&api, &person.path()).await.status, 200);

    let changed = person.send(&api, "PUT", &path, &with(PASSWORD, new)).await;

    assert_eq!(changed.status, 204, "{changed:?}");
    for token in [&person.token, &other_session] {
        let answer = send(api.request("GET", &person.path()).bearer_auth(token)).await;
        assert_eq!(answer.status, 401);
    }
    sign_in(&api, &person.email, new).await;
    let old = json!({ "email": person.email, "password": PASSWORD });
    assert_eq!(send(api.request("POST", "/v1/auth/login").json(&old)).await.status, 401);
}

#[tokio::test]
async fn a_suspended_user_stays_signed_out_when_active_again() {
    let api = TestApi::start().await;
    let admin = Person::new(&api, Role::Admin).await;
    let person = Person::new(&api, Role::User).await;

    for status in ["suspended", "active"] {
        let body = json!({ "status": status });
        let changed = admin.send(&api, "PATCH", &person.path(), &body).await;
        assert_eq!((changed.status, &changed.json()["status"]), (200, &json!(status)));
        assert_eq!(person.get(&api, &person.path()).await.status, 401, "{status}");
    }
    sign_in(&api, &person.email, PASSWORD).await;
}

#[tokio::test]
async fn another_role_holds_from_the_next_request_on() {
    let api = TestApi::start().await;
    let admin = Person::new(&api, Role::Admin).await;
    let person = Person::new(&api, Role::User).await;
    assert_eq!(person.get(&api, "/v1/users").await.status, 403);

    let body = json!({ "role": "operator" });
    assert_eq!(admin.send(&api, "PATCH", &person.path(), &body).await.status, 200);
    assert_eq!(person.get(&api, "/v1/users").await.status, 200);

    let body = json!({ "role": "user" });
    assert_eq!(admin.send(&api, "PATCH", &person.path(), &body).await.status, 200);
    assert_eq!(person.get(&api, "/v1/users").await.status, 403);
}

#[tokio::test]
async fn the_last_admin_stays_one() {
    let api = TestApi::start().await;
    let admin = Person::new(&api, Role::Admin).await;
    for body in [json!({ "role": "user" }), json!({ "status": "suspended" })] {
        let refused = admin.send(&api, "PATCH", &admin.path(), &body).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "last-admin"));
    }
    let second = Person::new(&api, Role::Admin).await;
    let resigned = admin.send(&api, "PATCH", &admin.path(), &json!({ "role": "user" })).await;
    assert_eq!(resigned.status, 200);
    let refused = second.send(&api, "PATCH", &second.path(), &json!({ "status": "closed" })).await;
    assert_eq!(refused.code(), "last-admin");
}

#[tokio::test]
async fn of_two_admins_who_suspend_each_other_one_remains() {
    let api = TestApi::start().await;
    let (one, two) = (Person::new(&api, Role::Admin).await, Person::new(&api, Role::Admin).await);
    let body = json!({ "status": "suspended" });
    let (one_path, two_path) = (one.path(), two.path());
    let answers = tokio::join!(
        one.send(&api, "PATCH", &two_path, &body),
        two.send(&api, "PATCH", &one_path, &body),
    );
    let statuses = [answers.0.status, answers.1.status];
    assert_eq!(statuses.iter().filter(|it| **it == 200).count(), 1, "{statuses:?}");
    let left = "select count(*) from identity.users where role = 'admin' and status = 'active'";
    assert_eq!(api.count(left).await, 1);
}

#[tokio::test]
async fn pages_of_users_hold_each_once_and_their_cursors_keep_to_their_filter() {
    let api = TestApi::start().await;
    let operator = Person::new(&api, Role::Operator).await;
    let mut made = vec![operator.id.to_string()];
    for _ in 0..4 {
        made.push(Person::new(&api, Role::User).await.id.to_string());
    }
    made.reverse();

    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = operator.get(&api, &format!("/v1/users?limit=2{cursor}")).await.json();
        let users = page["users"].as_array().unwrap().clone();
        seen.extend(users.iter().map(|it| it["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, made);

    let first = operator.get(&api, "/v1/users?limit=2&role=user").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let other = operator.get(&api, &format!("/v1/users?limit=2&cursor={cursor}")).await;
    assert_eq!(other.code(), "invalid-cursor");
    let found = operator.get(&api, &format!("/v1/users?email={}", operator.email)).await.json();
    assert_eq!(found["users"].as_array().unwrap().len(), 1);
    assert_eq!(operator.get(&api, "/v1/users?rolle=user").await.code(), "invalid-parameter");
}

async fn set_status(api: &TestApi, admin: &Person, user: &Person, status: &str) -> Answer {
    admin.send(api, "PATCH", &user.path(), &json!({ "status": status })).await
}

#[tokio::test]
async fn a_user_with_money_or_an_order_cannot_be_closed_and_who_is_closed_receives_nothing() {
    let api = TestApi::start().await;
    let admin = Person::new(&api, Role::Admin).await;
    let (ada, bob) = (Customer::with(&api, "30 USD").await, Customer::with(&api, "5 USD").await);
    let refused = set_status(&api, &admin, &ada.person, "closed").await;
    assert_eq!((refused.status, refused.code()), (409, "user-not-settled".to_owned()));
    assert!(refused.text.contains("30.00 USD"), "{refused:?}");

    // All of it is on its way to somebody; then something is on its way back.
    let paid = between(ada.wallet, bob.wallet, "30 USD");
    assert_eq!(ada.order(&api, "/v1/transfers", &paid).await.status, 202);
    let refused = set_status(&api, &admin, &ada.person, "closed").await;
    assert!(refused.text.contains("not finished"), "{refused:?}");
    run_jobs(&api.pool).await;
    let back = between(bob.wallet, ada.wallet, "1 USD");
    assert_eq!(bob.order(&api, "/v1/transfers", &back).await.status, 202);
    let refused = set_status(&api, &admin, &ada.person, "closed").await;
    assert_eq!((refused.status, refused.code()), (409, "user-not-settled".to_owned()));
    run_jobs(&api.pool).await;
    let paid = between(ada.wallet, bob.wallet, "1 USD");
    assert_eq!(ada.order(&api, "/v1/transfers", &paid).await.status, 202);
    run_jobs(&api.pool).await;
    assert_eq!(ada.person.get(&api, &ada.person.path()).await.json()["status"], "active");

    assert_eq!(set_status(&api, &admin, &ada.person, "closed").await.status, 200);
    let late = bob.order(&api, "/v1/transfers", &back).await;
    assert_eq!((late.status, late.code()), (422, "wallet-closed".to_owned()));
    assert_eq!(bob.balance(&api).await.1, "35.00");
}

/// The commit of an order that was being placed when its payee was to be closed comes first, or the
/// order is not placed.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_closed_over_an_order_that_is_being_placed() {
    let api = TestApi::start().await;
    let admin = Person::new(&api, Role::Admin).await;
    let payer = Customer::with(&api, "50 USD").await;
    for round in 0..10_u64 {
        let payee = Customer::new(&api).await;
        let body = between(payer.wallet, payee.wallet, "1 USD");
        let (placed, closed) = tokio::join!(payer.order(&api, "/v1/transfers", &body), async {
            tokio::time::sleep(Duration::from_millis(round)).await;
            set_status(&api, &admin, &payee.person, "closed").await
        });
        match (placed.status, closed.status) {
            (202, 409) | (422 | 503, 200) => {}
            other => panic!("{other:?}: {placed:?} {closed:?}"),
        }
    }
}

#[tokio::test]
async fn what_a_suspended_user_ordered_before_goes_on_and_others_can_pay_him() {
    let api = TestApi::start().await;
    let admin = Person::new(&api, Role::Admin).await;
    let (ada, bob) = (Customer::with(&api, "30 USD").await, Customer::with(&api, "5 USD").await);
    let paid = between(ada.wallet, bob.wallet, "10 USD");
    assert_eq!(ada.order(&api, "/v1/transfers", &paid).await.status, 202);
    assert_eq!(set_status(&api, &admin, &ada.person, "suspended").await.status, 200);
    let back = between(bob.wallet, ada.wallet, "4 USD");
    assert_eq!(bob.order(&api, "/v1/transfers", &back).await.status, 202);
    assert_eq!(ada.order(&api, "/v1/transfers", &paid).await.status, 401);
    run_jobs(&api.pool).await;

    assert_eq!(bob.balance(&api).await, ("11.00".to_owned(), "11.00".to_owned()));
    let left = format!("/v1/wallets/{}", ada.wallet);
    assert_eq!(admin.get(&api, &left).await.json()["balance"], "24.00");
}

#[tokio::test]
async fn one_address_is_one_user_however_it_is_written() {
    let api = TestApi::start().await;
    let admin = Person::new(&api, Role::Admin).await;
    let body = |email: &str| json!({ "email": email, "password": PASSWORD, "currency": "EUR" });
    let spellings = [
        "Zoe\u{308}@B\u{dc}CHER.example",
        "zo\u{eb}@b\u{fc}cher.example",
        " ZO\u{cb}@xn--bcher-kva.example ",
    ];
    for (number, spelling) in spellings.into_iter().enumerate() {
        let made = send(api.request("POST", "/v1/users").json(&body(spelling))).await;
        assert_eq!(made.status, if number == 0 { 201 } else { 409 }, "{spelling}: {made:?}");
        sign_in(&api, spelling, PASSWORD).await;
        let list = api.request("GET", "/v1/users").query(&[("email", spelling)]);
        let list = send(list.bearer_auth(&admin.token)).await.json();
        assert_eq!(list["users"].as_array().unwrap().len(), 1, "{spelling}: {list}");
        let url = &api.db.as_ref().unwrap().url;
        let set_role = App::command(["users", "set-role", spelling, "operator"]);
        let (status, said) = set_role.env("DATABASE_URL", url).run().await;
        assert!(status.success(), "{spelling}: {said}");
    }
    for hidden in ["zo\u{200b}e@example.com", "zoe.@example.com", "zoe@exam\u{ad}ple.com"] {
        let refused = send(api.request("POST", "/v1/users").json(&body(hidden))).await;
        assert!([400, 422].contains(&refused.status), "{hidden:?}: {refused:?}");
    }
}

#[tokio::test]
async fn a_password_of_the_lists_or_of_the_address_is_refused_with_a_reason() {
    let api = TestApi::start().await;
    for password in ["password1", "Passw0rd!", "qwerty123", "lovelace-99", "Ada.Lovelace"] {
        let email = "ada.lovelace@example.com";
        let body = json!({ "email": email, "password": password, "currency": "EUR" });
        let refused = send(api.request("POST", "/v1/users").json(&body)).await;
        assert_eq!(refused.status, 422, "{password}: {refused:?}");
        let error = &refused.json()["errors"][0];
        assert_eq!(error["pointer"], "#/password");
        assert!(error["detail"].as_str().unwrap().contains("too easy to guess"), "{error}");
    }
}
