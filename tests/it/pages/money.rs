//! Transactions, orders, the ledger and conflicts.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use surety::identity::api_keys::ActsAs;

use super::access::key;
use super::pages_shown::{HOSTILE, is_sound};
use super::visitor::Visitor;
use crate::support::ledger::run_jobs;
use crate::support::money::{Customer, between, discard_job, over};
use crate::support::{Answer, SimulatedBank, TestApi, event, event_of, eventually_async};

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The page has all of these.
fn has(page: &Answer, parts: &[&str]) {
    assert_eq!(page.status, 200, "{page:?}");
    for part in parts {
        assert!(page.text.contains(part), "{part} is missing in {}", page.text);
    }
}

#[tokio::test]
async fn a_transaction_is_shown_with_all_that_happened_to_it() {
    let api = TestApi::start_with_open_pages().await;
    api.post(event("txn_1")).await;
    has(&api.get("/ui/transactions/txn_1").await, &["Processing", "No money has moved."]);
    run_jobs(&api.pool).await;
    let page = api.get("/ui/transactions/txn_1").await;
    is_sound(&page, "a transaction");
    has(
        &page,
        &[
            "1500.00 USD",
            "Accepted",
            "Enqueued as settle_transaction",
            "Attempt 1 completed",
            "Entry: -1500.00 USD out",
            "Completed",
            "transaction.completed",
            r#"href="/ui/jobs/"#,
            r#"href="/ui/transactions?account=acc_user_789""#,
            ">acc_merchant_456</a> <span class=\"dim\">entry 1</span>",
        ],
    );
    assert_eq!(api.get("/ui/transactions/nothing").await.status, 404);
    let list = api.get("/ui/transactions").await;
    has(&list, &[r#"href="/ui/transactions/txn_1""#, "1500.00 USD", "Completed"]);
}

#[tokio::test]
async fn the_proof_of_a_transaction_is_that_of_the_command_line() {
    let api = TestApi::start_with_open_pages().await;
    api.post(event("txn_1")).await;
    run_jobs(&api.pool).await;
    has(&api.get("/ui/transactions/txn_1/proof").await, &["ealed yet"]);
    let mut tx = api.pool.begin().await.unwrap();
    surety::audit::sealing::seal(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let page = api.get("/ui/transactions/txn_1/proof").await;
    has(&page, &["app audit check-proof", "Root"]);
    assert_eq!(api.get("/ui/transactions/nothing/proof").await.status, 404);
}

#[tokio::test]
async fn an_order_is_shown_with_its_hold_its_calls_and_its_entries() {
    let api = TestApi::start_with_open_pages().await;
    let bank = SimulatedBank::start(json!({ "success_rate": 1 })).await;
    let ada = Customer::new(&api).await;
    let body = over(ada.wallet, "100 USD");
    let deposit = ada.order(&api, "/v1/deposits", &body).await.json()["id"].clone();
    bank.run_jobs(&api.pool).await;
    let path = format!("/ui/orders/{}", deposit.as_str().unwrap());
    let page = api.get(&path).await;
    is_sound(&page, &path);
    has(
        &page,
        &[
            "Deposit of 100.00 USD",
            "Sent to the bank: booked",
            "Calls to the bank",
            "Entry: 100.00 USD in",
            "<dt>Held</dt><dd>nothing</dd>",
            &ada.person.email,
        ],
    );
    let payee = Customer::new(&api).await;
    let transfer = between(ada.wallet, payee.wallet, "30 USD");
    let transfer = ada.order(&api, "/v1/transfers", &transfer).await.json()["id"].clone();
    let path = format!("/ui/orders/{}", transfer.as_str().unwrap());
    has(&api.get(&path).await, &["30.00 USD of", "is held for it.", "No money has moved."]);
    let wallet = format!("/ui/ledger/{}", ada.wallet);
    has(&api.get(&wallet).await, &["100.00", "30.00", "70.00", deposit.as_str().unwrap()]);
    assert_eq!(api.get("/ui/orders/0").await.status, 404);
    assert_eq!(api.get("/ui/ledger/0").await.status, 404);
}

#[tokio::test]
async fn an_order_that_was_given_up_is_decided_over_from_its_page() {
    let api = TestApi::start().await;
    let ada = Customer::with(&api, "100 USD").await;
    let ben = Customer::new(&api).await;
    let body = between(ada.wallet, ben.wallet, "30 USD");
    let answer = ada.order(&api, "/v1/transfers", &body).await.json();
    let id = answer["id"].as_str().unwrap();
    let order = surety::ids::OrderId(id.parse().unwrap());
    let job = discard_job(&mut api.pool.acquire().await.unwrap(), order).await;
    let (page, path) = (format!("/ui/orders/{id}"), format!("/ui/jobs/{job}/write-off"));
    let fields = [("reason", "paid by hand"), ("back", page.as_str())];

    let mut operator = Visitor::with_key(&api, &key(&api, ActsAs::Operator).await).await;
    has(&operator.get(&page).await, &["was given up and waits for a decision", "another role"]);
    assert_eq!(operator.act(&page, &path, &fields).await.status, 403);
    assert_eq!(ada.balance(&api).await, ("100.00".to_owned(), "70.00".to_owned()));

    let mut admin = Visitor::with_key(&api, &key(&api, ActsAs::Admin).await).await;
    let decided = admin.act(&page, &path, &fields).await;
    assert_eq!((decided.status, decided.header("location")), (303, page.as_str()));
    assert_eq!(ada.balance(&api).await, ("100.00".to_owned(), "100.00".to_owned()));
    let after = admin.get(&page).await;
    has(&after, &["written-off", "dead_letter.write_off", "paid by hand"]);
    assert!(!after.text.contains("waits for a decision"), "{}", after.text);
}

#[tokio::test]
async fn the_ledger_is_verified_from_its_page() {
    let api = TestApi::start_with_open_pages().await;
    api.post(event("txn_1")).await;
    run_jobs(&api.pool).await;
    let mut visitor = Visitor::new(&api);
    has(&visitor.get("/ui/ledger").await, &["Not checked yet", "acc_user_789", "-1500.00 USD"]);
    let verified = visitor.act("/ui/ledger", "/ui/ledger/verify", &[("back", "/ui/ledger")]).await;
    assert_eq!((verified.status, verified.header("location")), (303, "/ui/ledger"));
    let held = "select count(*) from audit.verifications where holds";
    eventually_async("it is verified", async || api.count(held).await == 1).await;
    has(&visitor.get("/ui/ledger").await, &["Every guarantee held"]);
    has(&visitor.get("/ui/audit?by_whom=all").await, &["verification.start", "page:local"]);
}

#[tokio::test]
async fn a_conflict_shows_both_bodies_and_is_resolved_by_an_admin_with_a_reason() {
    let api = TestApi::start().await;
    api.post(event("txn_1")).await;
    run_jobs(&api.pool).await;
    assert_eq!(api.post(event_of("txn_1", "1500.01")).await.status, 409);
    let mut operator = Visitor::with_key(&api, &key(&api, ActsAs::Operator).await).await;
    has(&operator.get("/ui/conflicts").await, &["txn_1", "1500.00 → 1500.01", "Open"]);
    has(&operator.get("/ui/transactions/txn_1").await, &["Came again with other content"]);
    let page = operator.get("/ui/conflicts/1").await;
    is_sound(&page, "a conflict");
    has(
        &page,
        &["1500.00", "1500.01", "as received first, and recorded", "<mark>", "another role"],
    );
    let reason = [("reason", "the provider says so"), ("back", "/ui/conflicts/1")];
    let refused = operator.act("/ui/conflicts/1", "/ui/conflicts/1/keep", &reason).await;
    assert_eq!(refused.status, 403);

    let mut admin = Visitor::with_key(&api, &key(&api, ActsAs::Admin).await).await;
    let without = admin.act("/ui/conflicts/1", "/ui/conflicts/1/keep", &[]).await;
    assert_eq!(without.status, 422, "a decision has a reason");
    let kept = admin.act("/ui/conflicts/1", "/ui/conflicts/1/keep", &reason).await;
    assert_eq!(kept.status, 303, "{kept:?}");
    has(&admin.get("/ui/conflicts/1").await, &["Ours kept", "the provider says so"]);
    has(&admin.get("/ui/conflicts").await, &["No open conflicts"]);
    has(&admin.get("/ui/conflicts?show=all").await, &["Ours kept"]);
    has(&admin.get("/ui/audit").await, &["conflict.keep", "the provider says so"]);
    let again = admin.act("/ui/conflicts/1", "/ui/conflicts/1/keep", &reason).await;
    assert!((400..500).contains(&again.status), "{again:?}");
}

#[tokio::test]
async fn a_correction_moves_the_money_by_transactions_that_the_page_links() {
    let api = TestApi::start_with_open_pages().await;
    api.post(event("txn_1")).await;
    run_jobs(&api.pool).await;
    api.post(event_of("txn_1", "1400.00")).await;
    let mut visitor = Visitor::new(&api);
    let reason = [("reason", "theirs is right"), ("back", "/ui/conflicts/1")];
    let corrected = visitor.act("/ui/conflicts/1", "/ui/conflicts/1/correct", &reason).await;
    assert_eq!(corrected.status, 303, "{corrected:?}");
    run_jobs(&api.pool).await;
    let page = visitor.get("/ui/conflicts/1").await;
    has(&page, &["Corrected", "surety-correction-1-reversal", "surety-correction-1<"]);
    has(&visitor.get("/ui/transactions/surety-correction-1").await, &["1400.00 USD", "Completed"]);
}

#[tokio::test]
async fn what_providers_and_users_wrote_is_text_on_every_page_about_money() {
    let api = TestApi::start_with_open_pages().await;
    let body = |amount: &str| {
        json!({
            "transaction_id": HOSTILE, "source_account": HOSTILE, "destination_account": "b",
            "amount": amount, "currency": "USD",
        })
    };
    assert_eq!(api.post(body("1.00").to_string()).await.status, 202);
    assert_eq!(api.post(body("2.00").to_string()).await.status, 409);
    run_jobs(&api.pool).await;
    let ada = Customer::with(&api, "100 USD").await;
    let ben = Customer::new(&api).await;
    let mut transfer = between(ada.wallet, ben.wallet, "5 USD");
    transfer["description"] = json!(HOSTILE);
    let order = ada.order(&api, "/v1/transfers", &transfer).await;
    assert_eq!(order.status, 202, "{order:?}");
    let account: uuid::Uuid =
        sqlx::query_scalar("select id from payments.accounts where external_ref = $1")
            .bind(HOSTILE)
            .fetch_one(&api.pool)
            .await
            .unwrap();
    for path in [
        "/ui/transactions".to_owned(),
        format!("/ui/transactions?account={0}", encoded(HOSTILE)),
        format!("/ui/transactions/{}", encoded(HOSTILE)),
        format!("/ui/transactions/{}/proof", encoded(HOSTILE)),
        "/ui/orders".to_owned(),
        format!("/ui/orders/{}", order.json()["id"].as_str().unwrap()),
        "/ui/ledger".to_owned(),
        format!("/ui/ledger?name={}", encoded(HOSTILE)),
        format!("/ui/ledger/{account}"),
        "/ui/conflicts".to_owned(),
        "/ui/conflicts/1".to_owned(),
        "/ui/audit?by_whom=all".to_owned(),
        format!("/ui/audit?actor={}", encoded(HOSTILE)),
    ] {
        let page = api.get(&path).await;
        is_sound(&page, &path);
        assert!(!page.text.contains("<img"), "{path}: {}", page.text);
    }
}
