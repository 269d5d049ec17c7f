//! What the second of two requests with one key is answered.

use serde_json::{Value, json};
use surety::http::api::orders::{PlaceOrders, Placed};
use surety::http::edge::idempotency;
use surety::http::wire::problem::Code;
use surety::identity::api_keys::{self, ActsAs};
use surety::payments::orders::Instruction;

use super::{KEY, ask, is_replay, new_key, one_of_each, open_api, request, rows};
use crate::support::ledger::{money, run_jobs};
use crate::support::money::{Customer, between, fund, order_request, over};
use crate::support::{Answer, PASSWORD, TestApi, TestDb, send, sign_in};

/// All of an answer that a client may act on.
fn gist(answer: &Answer) -> (u16, String, String, String) {
    let header = |name| answer.header(name).to_owned();
    (answer.status, answer.text.clone(), header("location"), header("content-type"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_is_answered_the_same_and_done_once() {
    let api = open_api().await;
    let (alice, bob) = (Customer::with(&api, "10 USD").await, Customer::with(&api, "10 USD").await);
    for (path, body) in one_of_each(&api, &alice, &bob).await {
        let key = new_key();
        let first = ask(&api, &alice, &key, (&path, &body)).await;
        assert_eq!((first.status, is_replay(&first)), (202, false), "{first:?}");
        assert!(first.header("location").ends_with(first.json()["id"].as_str().unwrap()));
        let before = rows(&api).await;

        let again = ask(&api, &alice, &key, (&path, &body)).await;

        assert!(is_replay(&again), "{again:?}");
        assert_eq!(gist(&again), gist(&first));
        assert_eq!(rows(&api).await, before);
        // Also when the order has come on meanwhile.
        run_jobs(&api.pool).await;
        let later = ask(&api, &alice, &key, (&path, &body)).await;
        assert_eq!((gist(&later), is_replay(&later)), (gist(&first), true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_spelling_of_an_amount_is_the_same_request() {
    let api = open_api().await;
    let alice = Customer::new(&api).await;
    let bodies = ["\"12.5\"", "\"12.50\"", "12.5", "12.50"].map(|amount| {
        format!(r#"{{"wallet_id": "{}", "currency": "USD", "amount": {amount}}}"#, alice.wallet)
    });
    let mut answers = Vec::new();
    for body in bodies {
        let request = api.request("POST", "/v1/deposits").bearer_auth(&alice.person.token);
        let request = request.header("content-type", "application/json").header(KEY, "k");
        answers.push(send(request.body(body)).await);
    }
    assert!(answers.iter().all(|answer| gist(answer) == gist(&answers[0])), "{answers:?}");
    assert_eq!(rows(&api).await, (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_under_a_used_key_is_refused_and_not_done() {
    let api = open_api().await;
    let alice = Customer::with(&api, "10 USD").await;
    let (bob, carol) = (Customer::new(&api).await, Customer::new(&api).await);
    let with = |change: &str, value: Value| {
        let mut body = between(alice.wallet, bob.wallet, "1 USD");
        body[change] = value;
        body
    };
    let path = "/v1/transfers";
    let first = ask(&api, &alice, "k", (path, &with("description", json!("rent")))).await;
    assert_eq!(first.status, 202);
    let before = rows(&api).await;
    for other in [
        with("amount", json!("1.01")),
        with("currency", json!("EUR")),
        with("destination_wallet_id", json!(carol.wallet)),
        with("description", json!("Rent")),
        between(alice.wallet, bob.wallet, "1 USD"),
    ] {
        let answer = ask(&api, &alice, "k", (path, &other)).await;
        assert_eq!(answer.status, 422, "{other}");
        assert_eq!(answer.code(), "idempotency-key-reused", "{other}");
        assert!(!is_replay(&answer));
    }
    assert_eq!(rows(&api).await, before);
    let again = ask(&api, &alice, "k", (path, &with("description", json!("rent")))).await;
    assert_eq!((gist(&again), is_replay(&again)), (gist(&first), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_means_nothing_on_another_route_or_to_another_caller() {
    let api = open_api().await;
    let (alice, bob) = (Customer::with(&api, "10 USD").await, Customer::with(&api, "10 USD").await);
    let mut ids = std::collections::BTreeSet::new();
    let requests = one_of_each(&api, &alice, &bob).await;
    for (path, body) in &requests {
        let answer = ask(&api, &alice, "k", (path, body)).await;
        assert_eq!((answer.status, is_replay(&answer)), (202, false), "{path}: {answer:?}");
        ids.insert(answer.json()["id"].as_str().unwrap().to_owned());
    }
    let own = over(bob.wallet, "1 USD");
    let answer = ask(&api, &bob, "k", ("/v1/deposits", &own)).await;
    assert_eq!((answer.status, is_replay(&answer)), (202, false));
    ids.insert(answer.json()["id"].as_str().unwrap().to_owned());
    assert_eq!(ids.len(), 5);

    // Who guesses a key of somebody else's, and the request, learns nothing by it.
    let (path, body) = &requests[0];
    let answer = ask(&api, &bob, "k2", (path, body)).await;
    let guessed = ask(&api, &Customer::new(&api).await, "k", (path, body)).await;
    assert_eq!((guessed.status, guessed.code()), (answer.status, answer.code()));
    assert_eq!((guessed.status, is_replay(&guessed)), (404, false));
}

async fn api_key(api: &TestApi, owner: &Customer) -> String {
    let mut conn = api.pool.acquire().await.unwrap();
    let acts_as = ActsAs::User(owner.id());
    let (_, secret) = api_keys::create(&mut conn, "till", acts_as, None).await.unwrap();
    secret.reveal().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_the_users_whichever_of_his_credentials_it_comes_by() {
    let api = open_api().await;
    let alice = Customer::with(&api, "10 USD").await;
    let (first, second) = (api_key(&api, &alice).await, api_key(&api, &alice).await);
    let again = sign_in(&api, &alice.person.email, PASSWORD).await;
    let body = over(alice.wallet, "1 USD");
    let mut answers = Vec::new();
    for credential in [alice.person.token.clone(), first, second, again] {
        let request = api.request("POST", "/v1/withdrawals").bearer_auth(credential);
        answers.push(send(request.header(KEY, "k").json(&body)).await);
    }

    assert_eq!((answers[0].status, is_replay(&answers[0])), (202, false), "{answers:?}");
    for replay in &answers[1..] {
        assert_eq!((gist(replay), is_replay(replay)), (gist(&answers[0]), true));
    }
    assert_eq!(alice.balance(&api).await.1, "9.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_transfer_is_not_completed_yet_is_not_kept() {
    let api = open_api().await;
    let (alice, bob) = (Customer::with(&api, "10 USD").await, Customer::new(&api).await);
    let transfer = between(alice.wallet, bob.wallet, "5 USD");
    let paid = ask(&api, &alice, "pay", ("/v1/transfers", &transfer)).await.json();
    let path = format!("/v1/transfers/{}/refund", paid["id"].as_str().unwrap());
    let before = rows(&api).await;

    let early = ask(&api, &bob, "k", (&path, &json!({}))).await;

    assert_eq!((early.status, early.code().as_str()), (409, "not-refundable"));
    assert_eq!(rows(&api).await, before);
    run_jobs(&api.pool).await;
    let refunded = ask(&api, &bob, "k", (&path, &json!({}))).await;
    assert_eq!((refunded.status, is_replay(&refunded)), (202, false), "{refunded:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn insufficient_funds_stays_the_answer_after_a_top_up() {
    let api = open_api().await;
    let (alice, bob) = (Customer::with(&api, "1 USD").await, Customer::new(&api).await);
    for (path, body) in [
        ("/v1/withdrawals", over(alice.wallet, "5 USD")),
        ("/v1/transfers", between(alice.wallet, bob.wallet, "5 USD")),
    ] {
        let first = ask(&api, &alice, "k", (path, &body)).await;
        assert_eq!((first.status, first.code().as_str()), (422, "insufficient-funds"));
        fund(&api.pool, alice.id(), alice.wallet, "100 USD").await;
        let before = rows(&api).await;

        let again = ask(&api, &alice, "k", (path, &body)).await;

        assert_eq!((gist(&again), is_replay(&again)), (gist(&first), true));
        assert_eq!(rows(&api).await, before);
        assert_eq!(ask(&api, &alice, &new_key(), (path, &body)).await.status, 202);
        let withdraw = over(alice.wallet, &format!("{} USD", alice.balance(&api).await.1));
        assert_eq!(alice.order(&api, "/v1/withdrawals", &withdraw).await.status, 202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_has_passed_is_not_kept() {
    let api = open_api().await;
    let alice = Customer::with(&api, "10 USD").await;
    let body = over(alice.wallet, "1 USD");
    let wallet = alice.person.get(&api, &format!("/v1/wallets/{}", alice.wallet)).await;
    let etag = wallet.header("etag");
    let withdraw = |if_match: &str| {
        request(&api, &alice, "/v1/withdrawals", &body)
            .header(KEY, "k")
            .header("if-match", if_match)
    };
    let before = rows(&api).await;

    let stale = send(withdraw("\"999\"")).await;

    assert_eq!((stale.status, stale.code().as_str()), (412, "precondition-failed"));
    assert_eq!(rows(&api).await, before);
    let fresh = send(withdraw(etag)).await;
    assert_eq!((fresh.status, is_replay(&fresh)), (202, false), "{fresh:?}");
    // What was done stays done, whatever version the wallet has by now.
    let again = send(withdraw(etag)).await;
    assert_eq!((gist(&again), is_replay(&again)), (gist(&fresh), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_got_so_far_is_not_kept() {
    let mut api = open_api().await;
    let alice = Customer::new(&api).await;
    let body = over(alice.wallet, "1 USD");
    let deposit = |body: &Value| alice.request(&api, "/v1/deposits", body).header(KEY, "k");

    let malformed = send(deposit(&json!({ "amount": "1" }))).await;
    assert_eq!((malformed.status, malformed.code().as_str()), (400, "missing-fields"));
    let negative = send(deposit(&over(alice.wallet, "-1 USD"))).await;
    assert_eq!(negative.status / 100, 4, "{negative:?}");
    let unknown = api.request("POST", "/v1/deposits").bearer_auth("nobody").json(&body);
    assert_eq!(send(unknown.header(KEY, "k")).await.status, 401);
    let limited = TestApi::start_on(api.pool.clone(), |api| {
        api.limits.limit_api = "1/24h".parse().unwrap();
    })
    .await;
    while alice.person.get(&limited, "/v1/wallets").await.status != 429 {}
    let refused = send(alice.request(&limited, "/v1/deposits", &body).header(KEY, "k")).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(rows(&api).await, (0, 0, 0));

    let done = send(deposit(&body)).await;

    assert_eq!((done.status, is_replay(&done)), (202, false), "{done:?}");
    api.stop().await;
}

#[tokio::test]
async fn of_two_in_one_commit_the_second_comes_too_early() {
    let db = TestDb::new().await;
    let owner = surety::ids::UserId(uuid::Uuid::now_v7());
    let wallet = crate::support::money::open_wallet(&db.pool, owner, "USD").await;
    let deposit = Instruction::Deposit { wallet, money: money("1 USD") };
    let one = order_request(owner, "one", deposit);
    let mut tx = db.pool.begin().await.unwrap();
    let placed = PlaceOrders.write(&mut tx, &[one.clone(), one]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(placed[0], Placed::Answered(_)), "{placed:?}");
    assert!(matches!(placed[1], Placed::Refused(Code::IdempotencyKeyInUse)), "{placed:?}");
    let orders = "select count(*) from payments.orders";
    assert_eq!(crate::support::ledger::count(&db.pool, orders).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_kept_for_72_hours_and_then_deleted_in_batches() {
    let api = open_api().await;
    let alice = Customer::new(&api).await;
    let deposit = ("/v1/deposits", &over(alice.wallet, "1 USD"));
    for key in ["young", "old"] {
        assert_eq!(ask(&api, &alice, key, deposit).await.status, 202);
    }
    sqlx::raw_sql(
        "update api.idempotency_keys
         set created_at = now() - case key when 'old' then interval '72 hours 1 minute'
           else interval '71 hours 59 minutes' end;
         insert into api.idempotency_keys
           (caller, route, key, fingerprint, status, content_type, body, created_at)
         select 'user:x', 'POST /v1/deposits', 'old ' || number, '', 422, '', '',
           now() - interval '73 hours'
         from generate_series(1, 2499) as number",
    )
    .execute(&api.pool)
    .await
    .unwrap();
    // The API's own process prunes as well; whoever finds a row deletes it.
    let mut batches = Vec::new();
    while api.count("select count(*) from api.idempotency_keys").await > 1 {
        batches.push(idempotency::prune(&api.pool).await.unwrap());
    }

    assert!(batches.iter().all(|batch| *batch <= 1000), "{batches:?}");
    assert_eq!(idempotency::prune(&api.pool).await.unwrap(), 0);
    assert!(is_replay(&ask(&api, &alice, "young", deposit).await));
    let renewed = ask(&api, &alice, "old", deposit).await;
    assert_eq!((renewed.status, is_replay(&renewed)), (202, false));
}
