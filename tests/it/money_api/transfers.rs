//! Transfers and refunds: what is refused and changes nothing, and what is done once.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{all_money, anonymous, refusal, start};
use crate::support::ledger::run_jobs;
use crate::support::money::{Customer, between, open_wallet};
use crate::support::{Answer, Person, TestApi, send};

async fn refund(api: &TestApi, person: &Person, transfer: &Value) -> Answer {
    let path = format!("/v1/transfers/{}/refund", transfer.as_str().unwrap());
    let key = Uuid::new_v4().to_string();
    send(api.request("POST", &path).bearer_auth(&person.token).header("idempotency-key", key)).await
}

#[tokio::test]
async fn a_transfer_holds_its_amount_until_it_is_executed() {
    let api = start().await;
    let (payer, payee) = (Customer::with(&api, "10 USD").await, Customer::new(&api).await);
    let mut body = between(payer.wallet, payee.wallet, "4.50 USD");
    body["description"] = json!("dinner");

    let taken = payer.order(&api, "/v1/transfers", &body).await;

    assert_eq!(taken.status, 202, "{taken:?}");
    let order = taken.json();
    let path = format!("/v1/transfers/{}", order["id"].as_str().unwrap());
    assert_eq!(taken.header("location"), path);
    assert_eq!((&order["status"], &order["type"]), (&json!("PENDING"), &json!("transfer")));
    assert_eq!(order["source_wallet_id"], json!(payer.wallet));
    assert_eq!(order["destination_wallet_id"], json!(payee.wallet));
    assert_eq!(payer.balance(&api).await, ("10.00".to_owned(), "5.50".to_owned()));
    assert_eq!(payee.balance(&api).await, ("0.00".to_owned(), "0.00".to_owned()));

    run_jobs(&api.pool).await;

    assert_eq!(payer.balance(&api).await, ("5.50".to_owned(), "5.50".to_owned()));
    assert_eq!(payee.balance(&api).await, ("4.50".to_owned(), "4.50".to_owned()));
    for customer in [&payer, &payee] {
        let order = customer.person.get(&api, &path).await.json();
        assert_eq!(
            (&order["status"], &order["description"]),
            (&json!("COMPLETED"), &json!("dinner"))
        );
        assert!(order["finished_at"].is_string());
        let list = customer.person.get(&api, "/v1/transfers").await.json();
        assert_eq!(list["orders"], json!([order]));
    }
}

#[tokio::test]
async fn a_refused_transfer_changes_no_row() {
    let api = start().await;
    let (payer, payee) = (Customer::with(&api, "10 USD").await, Customer::new(&api).await);
    let euros = open_wallet(&api.pool, payee.id(), "EUR").await;
    let own_euros = open_wallet(&api.pool, payer.id(), "EUR").await;
    let closed = open_wallet(&api.pool, payee.id(), "CHF").await;
    let own_closed = open_wallet(&api.pool, payer.id(), "CHF").await;
    sqlx::query("update payments.accounts set closed_at = now() where currency = 'CHF'")
        .execute(&api.pool)
        .await
        .unwrap();
    let bank: Uuid = sqlx::query_scalar("select id from payments.accounts where kind = 'bank'")
        .fetch_one(&api.pool)
        .await
        .unwrap();
    let (absent, bank) = (surety::ids::AccountId(Uuid::now_v7()), surety::ids::AccountId(bank));
    let (own, other) = (payer.wallet, payee.wallet);
    let before = all_money(&api).await;

    for (source, destination, money, status, code) in [
        (own, other, "10.01 USD", 422, "insufficient-funds"),
        (own, other, "99999999999999 USD", 422, "insufficient-funds"),
        (own, other, "1 EUR", 422, "currency-mismatch"),
        (own, euros, "1 USD", 422, "currency-mismatch"),
        (own, euros, "1 EUR", 422, "currency-mismatch"),
        (own_euros, own, "1 EUR", 422, "currency-mismatch"),
        (own_euros, euros, "1 EUR", 422, "insufficient-funds"),
        (own, own, "1 USD", 422, "same-wallet"),
        (own_closed, closed, "1 CHF", 422, "wallet-closed"),
        (own, closed, "1 USD", 422, "wallet-closed"),
        (absent, other, "1 USD", 404, "wallet-not-found"),
        (other, own, "1 USD", 404, "wallet-not-found"),
        (bank, own, "1 USD", 404, "wallet-not-found"),
        (own, absent, "1 USD", 404, "wallet-not-found"),
        (own, bank, "1 USD", 404, "wallet-not-found"),
    ] {
        let body = between(source, destination, money);
        let answer = payer.order(&api, "/v1/transfers", &body).await;
        assert_eq!(refusal(&answer), (status, code.to_owned()), "{body}");
        assert_eq!(all_money(&api).await, before, "{body}");
    }
    let foreign = payer.order(&api, "/v1/transfers", &between(other, own, "1 USD")).await;
    let nobodys = payer.order(&api, "/v1/transfers", &between(absent, own, "1 USD")).await;
    assert_eq!(anonymous(&foreign), anonymous(&nobodys));
}

/// What was promised is not available any more.
#[tokio::test]
async fn what_is_held_cannot_be_spent_again() {
    let api = start().await;
    let (payer, payee) = (Customer::with(&api, "10 USD").await, Customer::new(&api).await);
    let body = between(payer.wallet, payee.wallet, "6 USD");
    assert_eq!(payer.order(&api, "/v1/transfers", &body).await.status, 202);
    let second = payer.order(&api, "/v1/transfers", &body).await;
    assert_eq!(refusal(&second), (422, "insufficient-funds".to_owned()));
}

#[tokio::test]
async fn a_refusal_for_lack_of_funds_stays_the_answer_to_its_key() {
    let api = start().await;
    let (payer, payee) = (Customer::with(&api, "1 USD").await, Customer::new(&api).await);
    let body = between(payer.wallet, payee.wallet, "2 USD");
    let first = payer.order_as(&api, "/v1/transfers", "key", &body).await;
    crate::support::money::fund(&api.pool, payer.id(), payer.wallet, "5 USD").await;
    let again = payer.order_as(&api, "/v1/transfers", "\"key\"", &body).await;
    assert_eq!((again.status, &again.text), (422, &first.text));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(payer.order_as(&api, "/v1/transfers", "other", &body).await.status, 202);
}

#[tokio::test]
async fn a_key_stands_for_one_meaning_of_one_caller_on_one_route() {
    let api = start().await;
    let (payer, payee) =
        (Customer::with(&api, "50 USD").await, Customer::with(&api, "9 USD").await);
    let body = between(payer.wallet, payee.wallet, "2 USD");
    let first = payer.order_as(&api, "/v1/transfers", "key", &body).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (202, ""));

    let mut spelt_otherwise = body.clone();
    spelt_otherwise["amount"] = json!(2.0);
    for body in [&body, &spelt_otherwise] {
        let again = payer.order_as(&api, "/v1/transfers", "key", body).await;
        assert_eq!((again.status, &again.text), (202, &first.text));
        assert_eq!(again.header("idempotent-replayed"), "true");
        assert_eq!(again.header("location"), first.header("location"));
    }
    let other = payer
        .order_as(&api, "/v1/transfers", "key", &between(payer.wallet, payee.wallet, "3 USD"))
        .await;
    assert_eq!(refusal(&other), (422, "idempotency-key-reused".to_owned()));

    let back = between(payee.wallet, payer.wallet, "2 USD");
    assert_eq!(payee.order_as(&api, "/v1/transfers", "key", &back).await.status, 202);
    let withdrawal = crate::support::money::over(payer.wallet, "2 USD");
    assert_eq!(payer.order_as(&api, "/v1/withdrawals", "key", &withdrawal).await.status, 202);
    assert_eq!(api.count("select count(*) from payments.orders where kind <> 'deposit'").await, 3);
}

#[tokio::test]
async fn without_one_good_key_nothing_is_done() {
    let api = start().await;
    let (payer, payee) = (Customer::with(&api, "50 USD").await, Customer::new(&api).await);
    let body = between(payer.wallet, payee.wallet, "2 USD");
    let before = all_money(&api).await;
    let request = || payer.request(&api, "/v1/transfers", &body);
    let missing = send(request()).await;
    assert_eq!(refusal(&missing), (400, "idempotency-key-missing".to_owned()));
    for bad in ["", "a b", "\"open", "a,b", &"k".repeat(256), "caf\u{e9}"] {
        let answer = send(request().header("idempotency-key", bad)).await;
        assert_eq!(refusal(&answer), (400, "invalid-idempotency-key".to_owned()), "{bad:?}");
    }
    let two = request().header("idempotency-key", "a").header("idempotency-key", "a");
    assert_eq!(refusal(&send(two).await), (400, "invalid-idempotency-key".to_owned()));
    assert_eq!(all_money(&api).await, before);
}

#[tokio::test]
async fn a_completed_transfer_is_refunded_once_by_its_recipient() {
    let api = start().await;
    let (payer, payee) = (Customer::with(&api, "10 USD").await, Customer::new(&api).await);
    let stranger = Customer::new(&api).await;
    let body = between(payer.wallet, payee.wallet, "4 USD");
    let transfer = payer.order(&api, "/v1/transfers", &body).await.json()["id"].clone();

    let early = refund(&api, &payee.person, &transfer).await;
    assert_eq!(refusal(&early), (409, "not-refundable".to_owned()));
    run_jobs(&api.pool).await;
    let before = all_money(&api).await;
    let by_payer = refund(&api, &payer.person, &transfer).await;
    assert_eq!(refusal(&by_payer), (403, "forbidden".to_owned()));
    let by_stranger = refund(&api, &stranger.person, &transfer).await;
    assert_eq!(refusal(&by_stranger), (404, "order-not-found".to_owned()));
    let of_nothing = refund(&api, &stranger.person, &json!(Uuid::now_v7())).await;
    assert_eq!(anonymous(&by_stranger), anonymous(&of_nothing));
    assert_eq!(all_money(&api).await, before);

    let refunded = refund(&api, &payee.person, &transfer).await;
    assert_eq!(refunded.status, 202, "{refunded:?}");
    let order = refunded.json();
    assert_eq!((&order["type"], &order["refund_of"]), (&json!("refund"), &transfer));
    assert_eq!(order["source_wallet_id"], json!(payee.wallet));
    let held = all_money(&api).await;
    let twice = refund(&api, &payee.person, &transfer).await;
    assert_eq!(refusal(&twice), (409, "already-refunded".to_owned()));
    assert_eq!(all_money(&api).await, held);
    run_jobs(&api.pool).await;
    assert_eq!(payer.balance(&api).await.0, "10.00");
    assert_eq!(payee.balance(&api).await.0, "0.00");

    // Neither a refund nor a deposit is a transfer that could be refunded.
    let deposit: Uuid = sqlx::query_scalar("select id from payments.orders where kind = 'deposit'")
        .fetch_one(&api.pool)
        .await
        .unwrap();
    for other in [&order["id"], &json!(deposit)] {
        let answer = refund(&api, &payer.person, other).await;
        assert_eq!(refusal(&answer), (404, "order-not-found".to_owned()));
    }
}

#[tokio::test]
async fn what_was_spent_cannot_be_refunded() {
    let api = start().await;
    let (payer, payee) = (Customer::with(&api, "10 USD").await, Customer::new(&api).await);
    let body = between(payer.wallet, payee.wallet, "4 USD");
    let transfer = payer.order(&api, "/v1/transfers", &body).await.json()["id"].clone();
    run_jobs(&api.pool).await;
    let third = Customer::new(&api).await;
    payee.order(&api, "/v1/transfers", &between(payee.wallet, third.wallet, "1 USD")).await;
    let before = all_money(&api).await;
    let answer = refund(&api, &payee.person, &transfer).await;
    assert_eq!(refusal(&answer), (422, "insufficient-funds".to_owned()));
    assert_eq!(all_money(&api).await, before);
}

/// By no route is an order of another kind, or of other people, there.
#[tokio::test]
async fn a_foreign_order_is_answered_like_an_absent_one() {
    let api = start().await;
    let (payer, payee) = (Customer::with(&api, "10 USD").await, Customer::new(&api).await);
    let stranger = Customer::new(&api).await;
    let body = between(payer.wallet, payee.wallet, "4 USD");
    let transfer = payer.order(&api, "/v1/transfers", &body).await.json()["id"].clone();
    let transfer = transfer.as_str().unwrap();
    let absent = Uuid::now_v7().to_string();
    for list in ["transfers", "deposits", "withdrawals"] {
        let get = async |who: &Customer, id: &str| {
            who.person.get(&api, &format!("/v1/{list}/{id}")).await
        };
        let foreign = get(&stranger, transfer).await;
        assert_eq!(refusal(&foreign), (404, "order-not-found".to_owned()));
        assert_eq!(anonymous(&foreign), anonymous(&get(&stranger, &absent).await));
        let own = get(&payer, transfer).await;
        assert_eq!(own.status, if list == "transfers" { 200 } else { 404 });
        for bad in ["x", "0", "%00", "..", "%2e%2e"] {
            let answer = get(&payer, bad).await;
            assert!([400, 404].contains(&answer.status), "{list} {bad}: {answer:?}");
        }
    }
}
