//! What a user has and did, as the user and as operators see it.

use serde_json::json;
use surety::identity::Role;
use uuid::Uuid;

use super::{anonymous, refusal, start};
use crate::support::Person;
use crate::support::ledger::run_jobs;
use crate::support::money::{Customer, between, over};

#[tokio::test]
async fn the_balance_of_a_user_is_that_of_the_first_wallet_and_lists_all() {
    let api = start().await;
    let customer = Customer::with(&api, "12.50 USD").await;
    let person = &customer.person;
    person.send(&api, "POST", "/v1/wallets", &json!({ "currency": "JPY" })).await;
    customer.order(&api, "/v1/withdrawals", &over(customer.wallet, "2 USD")).await;

    let answer = person.get(&api, &format!("{}/balance", person.path())).await;

    let body = answer.json();
    assert_eq!(body["user_id"], json!(person.id));
    assert_eq!((&body["balance"], &body["available"]), (&json!("12.50"), &json!("10.50")));
    assert_eq!(body["currency"], "USD");
    let wallets = body["wallets"].as_array().unwrap();
    assert_eq!(wallets[0]["id"], json!(customer.wallet));
    assert_eq!((&wallets[1]["currency"], &wallets[1]["balance"]), (&json!("JPY"), &json!("0")));
}

#[tokio::test]
async fn the_transactions_of_a_user_are_those_he_gave_and_those_he_received() {
    let api = start().await;
    let (one, two) = (Customer::with(&api, "10 USD").await, Customer::with(&api, "10 USD").await);
    one.order(&api, "/v1/transfers", &between(one.wallet, two.wallet, "1 USD")).await;
    two.order(&api, "/v1/transfers", &between(two.wallet, one.wallet, "2 USD")).await;
    one.order(&api, "/v1/withdrawals", &over(one.wallet, "3 USD")).await;
    run_jobs(&api.pool).await;
    let list = async |person: &Person, query: &str| {
        let answer = person.get(&api, &format!("{}/transactions{query}", one.person.path())).await;
        let page = answer.json();
        let orders = page["orders"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
        let text = |name: &str, order: &serde_json::Value| order[name].as_str().unwrap().to_owned();
        orders.iter().map(|it| text("type", it) + " " + &text("amount", it)).collect::<Vec<_>>()
    };
    let all = ["withdrawal 3.00", "transfer 2.00", "transfer 1.00", "deposit 10.00"];
    assert_eq!(list(&one.person, "").await, all);
    assert_eq!(list(&one.person, "?status=PENDING").await, all[..1]);
    assert_eq!(list(&one.person, "?status=COMPLETED").await, all[1..]);
    assert_eq!(list(&one.person, "?status=FAILED").await, [""; 0]);
    assert_eq!(list(&one.person, "?created_before=2020-01-01T00:00:00Z").await, [""; 0]);
    assert_eq!(list(&one.person, "?created_from=2020-01-01T00:00:00Z").await, all);
    let operator = Person::new(&api, Role::Operator).await;
    assert_eq!(list(&operator, "").await, all);
}

#[tokio::test]
async fn somebody_elses_money_is_answered_like_nobodys() {
    let api = start().await;
    let (me, other) = (Customer::new(&api).await, Customer::with(&api, "1 USD").await);
    let operator = Person::new(&api, Role::Operator).await;
    for suffix in ["balance", "transactions"] {
        let path = |id: Uuid| format!("/v1/users/{id}/{suffix}");
        let foreign = me.person.get(&api, &path(other.person.id)).await;
        assert_eq!(refusal(&foreign), (404, "user-not-found".to_owned()), "{suffix}");
        let absent = me.person.get(&api, &path(Uuid::now_v7())).await;
        assert_eq!(anonymous(&foreign), anonymous(&absent), "{suffix}");
        // Who may see everybody is told that there is nobody.
        let nobody = operator.get(&api, &path(Uuid::now_v7())).await;
        assert_eq!(anonymous(&nobody), anonymous(&absent), "{suffix}");
    }
}

#[tokio::test]
async fn a_cursor_holds_only_for_its_user_its_list_and_its_filter() {
    let api = start().await;
    let one = Customer::with(&api, "10 USD").await;
    let two = Customer::with(&api, "10 USD").await;
    for _ in 0..2 {
        one.order(&api, "/v1/transfers", &between(one.wallet, two.wallet, "1 USD")).await;
    }
    let operator = Person::new(&api, Role::Operator).await;
    let (ones, twos) = (one.person.path(), two.person.path());
    let page = one.person.get(&api, &format!("{ones}/transactions?limit=1&status=PENDING")).await;
    let cursor = page.json()["next_cursor"].as_str().unwrap().to_owned();

    let good = format!("{ones}/transactions?status=PENDING&limit=1&cursor={cursor}");
    let rest = operator.get(&api, &good).await.json();
    assert_eq!(rest["orders"].as_array().unwrap().len(), 1);
    for (person, path) in [
        (&operator, format!("{twos}/transactions?status=PENDING&cursor={cursor}")),
        (&two.person, format!("{twos}/transactions?status=PENDING&cursor={cursor}")),
        (&one.person, format!("{ones}/transactions?cursor={cursor}")),
        (&one.person, format!("{ones}/transactions?status=FAILED&cursor={cursor}")),
        (&one.person, format!("/v1/transfers?status=PENDING&cursor={cursor}")),
        (&one.person, format!("{ones}/transactions?status=PENDING&cursor={}", &cursor[1..])),
        (&one.person, format!("{ones}/transactions?status=PENDING&cursor=%00")),
        (&one.person, format!("{ones}/transactions?status=PENDING&cursor=")),
    ] {
        let answer = person.get(&api, &path).await;
        assert_eq!(refusal(&answer), (400, "invalid-cursor".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn lists_refuse_parameters_that_they_would_not_obey() {
    let api = start().await;
    let customer = Customer::new(&api).await;
    let own = format!("{}/transactions", customer.person.path());
    for path in ["/v1/deposits", "/v1/withdrawals", "/v1/transfers", own.as_str()] {
        for query in [
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=1e1",
            "limit=",
            "limit=70000",
            "limit=1&limit=2",
            "status=DONE",
            "status=completed",
            "status=COMPLETED%00",
            "state=COMPLETED",
            "user_id=1",
            "Status=COMPLETED",
            "status=COMPLETED&st%61tus=FAILED",
        ] {
            let answer = customer.person.get(&api, &format!("{path}?{query}")).await;
            assert_eq!(refusal(&answer), (400, "invalid-parameter".to_owned()), "{path}?{query}");
        }
        let answer = customer.person.get(&api, &format!("{path}?limit=200")).await;
        assert_eq!(
            (answer.status, answer.json()),
            (
                200,
                json!({
                    "orders": [], "next_cursor": null
                })
            )
        );
    }
}
