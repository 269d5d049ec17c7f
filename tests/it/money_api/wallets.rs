//! Wallets: opening and closing, versions, balances at a moment, entries.

use serde_json::{Value, json};
use surety::identity::Role;
use surety::ids::AccountId;
use surety::money::{Amount, Currency, Money};
use surety::payments::accounts::{self, ExternalAccount};
use surety::payments::transfers::{NewTransfer, Reason};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{all_money, anonymous, refusal, start};
use crate::support::ledger::{post, run_jobs};
use crate::support::money::{Customer, between, fund, over};
use crate::support::{Answer, Person, TestApi, send};

async fn open(api: &TestApi, person: &Person, currency: &str) -> Answer {
    person.send(api, "POST", "/v1/wallets", &json!({ "currency": currency })).await
}

async fn close(api: &TestApi, person: &Person, wallet: &Value) -> Answer {
    let path = format!("/v1/wallets/{}/close", wallet.as_str().unwrap());
    send(api.request("POST", &path).bearer_auth(&person.token)).await
}

#[tokio::test]
async fn a_wallet_is_opened_once_per_currency_and_can_be_closed_and_opened_again() {
    let api = start().await;
    let person = Person::new(&api, Role::User).await;

    let made = open(&api, &person, "EUR").await;
    assert_eq!(made.status, 201, "{made:?}");
    let wallet = made.json();
    assert_eq!(made.header("location"), format!("/v1/wallets/{}", wallet["id"].as_str().unwrap()));
    assert_eq!((&wallet["balance"], &wallet["available"]), (&json!("0.00"), &json!("0.00")));
    assert_eq!(wallet["user_id"], json!(person.id));
    let known = open(&api, &person, "EUR").await;
    assert_eq!((known.status, known.json()), (200, wallet.clone()));
    assert_eq!(known.header("etag"), made.header("etag"));

    let closed = close(&api, &person, &wallet["id"]).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    assert!(closed.json()["closed_at"].is_string());
    assert_ne!(closed.header("etag"), made.header("etag"), "closing is seen in the ETag");
    let again = close(&api, &person, &wallet["id"]).await;
    assert_eq!((again.status, again.json()), (200, closed.json()));

    let reopened = open(&api, &person, "EUR").await;
    assert_eq!((reopened.status, &reopened.json()["id"]), (200, &wallet["id"]));
    assert_eq!(reopened.json()["closed_at"], Value::Null);
    assert_ne!(reopened.header("etag"), closed.header("etag"));
    let all = person.get(&api, "/v1/wallets").await.json();
    assert_eq!(all["wallets"].as_array().unwrap().len(), 2, "the first one and this");
}

#[tokio::test]
async fn wallets_show_the_decimals_of_their_currency() {
    let api = start().await;
    let person = Person::new(&api, Role::User).await;
    for (currency, zero) in [("JPY", "0"), ("KWD", "0.000"), ("CLF", "0.0000")] {
        assert_eq!(open(&api, &person, currency).await.json()["balance"], zero, "{currency}");
    }
}

#[tokio::test]
async fn a_wallet_with_money_or_with_a_hold_is_not_closed() {
    let api = start().await;
    let (payer, payee) = (Customer::with(&api, "5 USD").await, Customer::new(&api).await);
    let id = json!(payer.wallet);
    let before = all_money(&api).await;
    let with_money = close(&api, &payer.person, &id).await;
    assert_eq!(refusal(&with_money), (409, "wallet-not-empty".to_owned()));
    assert_eq!(all_money(&api).await, before);

    let body = between(payer.wallet, payee.wallet, "5 USD");
    assert_eq!(payer.order(&api, "/v1/transfers", &body).await.status, 202);
    let with_hold = close(&api, &payer.person, &id).await;
    assert_eq!(refusal(&with_hold), (409, "wallet-not-empty".to_owned()));

    run_jobs(&api.pool).await;
    assert_eq!(close(&api, &payer.person, &id).await.status, 200);
}

#[tokio::test]
async fn the_etag_changes_with_every_hold_and_every_entry() {
    let api = start().await;
    let (payer, payee) = (Customer::with(&api, "5 USD").await, Customer::new(&api).await);
    let path = format!("/v1/wallets/{}", payer.wallet);
    let mut etags = Vec::new();
    let mut look = async || {
        let wallet = payer.person.get(&api, &path).await;
        assert_eq!(wallet.header("etag"), format!("\"{}\"", wallet.json()["version"]));
        etags.push(wallet.header("etag").to_owned());
    };
    look().await;
    payer.order(&api, "/v1/transfers", &between(payer.wallet, payee.wallet, "1 USD")).await;
    look().await;
    run_jobs(&api.pool).await;
    look().await;
    fund(&api.pool, payer.id(), payer.wallet, "1 USD").await;
    look().await;
    let count = etags.len();
    etags.dedup();
    assert_eq!(etags.len(), count, "{etags:?}");
}

#[tokio::test]
async fn an_order_with_if_match_is_taken_for_that_version_only() {
    let api = start().await;
    let (payer, payee) = (Customer::with(&api, "50 USD").await, Customer::new(&api).await);
    let etag = async || {
        let wallet = payer.person.get(&api, &format!("/v1/wallets/{}", payer.wallet)).await;
        wallet.header("etag").to_owned()
    };
    let transfer = between(payer.wallet, payee.wallet, "1 USD");
    let withdrawal = over(payer.wallet, "1 USD");
    for (path, body) in [("/v1/transfers", &transfer), ("/v1/withdrawals", &withdrawal)] {
        let order = async |values: &[&str]| {
            let mut request = payer.request(&api, path, body);
            request = request.header("idempotency-key", Uuid::new_v4().to_string());
            for value in values {
                request = request.header("if-match", *value);
            }
            send(request).await
        };
        let seen = etag().await;
        let before = all_money(&api).await;
        for bad in ["7", "\"x\"", "\"07\"", "W/\"1\"", "\"1\", \"2\"", ""] {
            assert_eq!(
                refusal(&order(&[bad]).await),
                (400, "invalid-if-match".to_owned()),
                "{bad}"
            );
        }
        assert_eq!(refusal(&order(&[&seen, &seen]).await), (400, "invalid-if-match".to_owned()));
        let stale = order(&["\"9999\""]).await;
        assert_eq!(refusal(&stale), (412, "precondition-failed".to_owned()));
        assert_eq!(all_money(&api).await, before);

        assert_eq!(order(&[&seen]).await.status, 202, "{path}");
        assert_eq!(refusal(&order(&[&seen]).await), (412, "precondition-failed".to_owned()));
        assert_eq!(order(&["*"]).await.status, 202, "{path}");
    }
}

/// The version is a condition of the request, not its answer: whoever looked again sends the same
/// key.
#[tokio::test]
async fn a_refusal_for_a_passed_version_does_not_use_up_the_key() {
    let api = start().await;
    let payer = Customer::with(&api, "50 USD").await;
    let body = over(payer.wallet, "1 USD");
    let with = |version: &str| {
        let request = payer.request(&api, "/v1/withdrawals", &body);
        request.header("idempotency-key", "one").header("if-match", version)
    };
    assert_eq!(send(with("\"9999\"")).await.status, 412);
    let wallet = payer.person.get(&api, &format!("/v1/wallets/{}", payer.wallet)).await;
    assert_eq!(send(with(wallet.header("etag"))).await.status, 202);
    // It was done: the version is not asked any more.
    let replay = send(with("\"9999\"")).await;
    assert_eq!((replay.status, replay.header("idempotent-replayed")), (202, "true"));
}

#[tokio::test]
async fn the_balance_at_a_moment_is_that_after_the_last_entry_until_then() {
    let api = start().await;
    let customer = Customer::with(&api, "1 USD").await;
    fund(&api.pool, customer.id(), customer.wallet, "2 USD").await;
    let times: Vec<OffsetDateTime> = sqlx::query_scalar(
        "select created_at from payments.entries where account_id = $1 order by account_version",
    )
    .bind(customer.wallet)
    .fetch_all(&api.pool)
    .await
    .unwrap();
    let just = Duration::microseconds(1);
    let path = format!("/v1/wallets/{}/balance", customer.wallet);
    for (at, balance) in [
        (times[0] - just, "0.00"),
        (times[0], "1.00"),
        (times[1] - just, "1.00"),
        (times[1], "3.00"),
    ] {
        let text = at.format(&Rfc3339).unwrap();
        let answer = customer.person.get(&api, &format!("{path}?at={text}")).await;
        assert_eq!((answer.status, &answer.json()["balance"]), (200, &json!(balance)), "{at}");
        assert_eq!(answer.json()["at"], text);
    }
    let now = customer.person.get(&api, &path).await.json();
    assert_eq!((&now["balance"], &now["currency"]), (&json!("3.00"), &json!("USD")));
}

/// The last ones were a panic: there is no such moment in UTC.
#[tokio::test]
async fn a_moment_that_is_none_is_refused_wherever_one_is_asked_for() {
    let api = start().await;
    let customer = Customer::new(&api).await;
    let wallet = format!("/v1/wallets/{}", customer.wallet);
    let moments = [
        "yesterday",
        "2026-11-20",
        "2026-13-01T00:00:00Z",
        "1e9",
        "",
        "9999-12-31T23:59:59-23:59",
        "0000-01-01T00:00:00%2B23:59",
    ];
    for moment in moments {
        for path in [
            format!("{wallet}/balance?at={moment}"),
            format!("{wallet}/statement?from={moment}"),
            format!("{wallet}/statement?from=2026-01-01T00:00:00Z&until={moment}"),
            format!("/v1/transfers?created_from={moment}"),
            format!("/v1/deposits?created_before={moment}"),
            format!("/v1/transactions?created_from={moment}"),
        ] {
            let answer = customer.person.get(&api, &path).await;
            assert_eq!(refusal(&answer), (400, "invalid-parameter".to_owned()), "{path}");
        }
    }
    for moment in ["0000-01-01T00:00:00Z", "2026-11-20T12:00:00%2B14:00"] {
        let answer = customer.person.get(&api, &format!("{wallet}/balance?at={moment}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn entries_come_newest_first_with_the_balance_that_each_left() {
    let api = start().await;
    let customer = Customer::with(&api, "1 USD").await;
    for text in ["2 USD", "3 USD", "4 USD", "5 USD"] {
        fund(&api.pool, customer.id(), customer.wallet, text).await;
    }
    let path = format!("/v1/wallets/{}/entries", customer.wallet);
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = customer.person.get(&api, &format!("{path}?limit=2{cursor}")).await.json();
        for entry in page["entries"].as_array().unwrap() {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            seen.push((entry["number"].as_i64().unwrap(), text("amount"), text("balance_after")));
        }
        // New entries do not move the pages.
        fund(&api.pool, customer.id(), customer.wallet, "9 USD").await;
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let expected = [(5, "5.00", "15.00"), (4, "4.00", "10.00"), (3, "3.00", "6.00")];
    let rest = [(2, "2.00", "3.00"), (1, "1.00", "1.00")];
    let expected = expected
        .iter()
        .chain(&rest)
        .map(|(number, amount, after)| (*number, (*amount).to_owned(), (*after).to_owned()));
    assert_eq!(seen, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cursor_of_another_wallet_is_refused() {
    let api = start().await;
    let customer = Customer::with(&api, "1 USD").await;
    fund(&api.pool, customer.id(), customer.wallet, "1 USD").await;
    let other = open(&api, &customer.person, "EUR").await.json()["id"].clone();
    let path = format!("/v1/wallets/{}/entries?limit=1", customer.wallet);
    let cursor = customer.person.get(&api, &path).await.json()["next_cursor"].clone();
    let path = format!("/v1/wallets/{}/entries", other.as_str().unwrap());
    let with = format!("{path}?cursor={}", cursor.as_str().unwrap());
    let answer = customer.person.get(&api, &with).await;
    assert_eq!(refusal(&answer), (400, "invalid-cursor".to_owned()));
}

#[tokio::test]
async fn a_foreign_wallet_is_answered_like_an_absent_one() {
    let api = start().await;
    let (me, other) = (Customer::new(&api).await, Customer::with(&api, "9 USD").await);
    let before = all_money(&api).await;
    let from = "statement?from=2020-01-01T00:00:00Z";
    for suffix in ["", "/balance", "/entries", &format!("/{from}")] {
        let ask = async |id: Uuid| me.person.get(&api, &format!("/v1/wallets/{id}{suffix}")).await;
        let foreign = ask(other.wallet.0).await;
        assert_eq!(refusal(&foreign), (404, "wallet-not-found".to_owned()), "{suffix}");
        assert_eq!(anonymous(&foreign), anonymous(&ask(Uuid::now_v7()).await), "{suffix}");
        // Neither is an account that is no wallet.
        let bank: Uuid = sqlx::query_scalar("select id from payments.accounts where kind = 'bank'")
            .fetch_one(&api.pool)
            .await
            .unwrap();
        assert_eq!(anonymous(&foreign), anonymous(&ask(bank).await), "{suffix}");
    }
    let foreign = close(&api, &me.person, &json!(other.wallet)).await;
    let absent = close(&api, &me.person, &json!(Uuid::now_v7())).await;
    assert_eq!(anonymous(&foreign), anonymous(&absent));
    assert_eq!(all_money(&api).await, before);
}

#[tokio::test]
async fn an_operator_reads_every_wallet_and_moves_none() {
    let api = start().await;
    let customer = Customer::with(&api, "9 USD").await;
    let operator = Person::new(&api, Role::Operator).await;
    let wallet = format!("/v1/wallets/{}", customer.wallet);
    for suffix in ["", "/balance", "/entries", "/statement?from=2020-01-01T00:00:00Z"] {
        assert_eq!(operator.get(&api, &format!("{wallet}{suffix}")).await.status, 200, "{suffix}");
    }
    let before = all_money(&api).await;
    let own = operator.get(&api, "/v1/wallets").await.json()["wallets"][0]["id"].clone();
    let transfer = json!({
        "source_wallet_id": customer.wallet, "destination_wallet_id": own,
        "amount": "1", "currency": "USD",
    });
    let withdrawal = over(customer.wallet, "1 USD");
    for (path, body) in [("/v1/transfers", transfer), ("/v1/withdrawals", withdrawal)] {
        let request = api.request("POST", path).bearer_auth(&operator.token).json(&body);
        let answer = send(request.header("idempotency-key", "one")).await;
        assert_eq!(refusal(&answer), (404, "wallet-not-found".to_owned()), "{path}");
    }
    assert_eq!(close(&api, &operator, &json!(customer.wallet)).await.status, 404);
    assert_eq!(all_money(&api).await, before);
}

/// A currency that was retired is refused where new money is taken, and nowhere else: what is there
/// is read, listed, moved and taken out.
#[tokio::test]
async fn money_in_a_retired_currency_is_read_moved_and_taken_out() {
    let api = start().await;
    let (alice, bob) = (Customer::new(&api).await, Customer::new(&api).await);
    for customer in [&alice, &bob] {
        let retire = "update payments.accounts set currency = 'BGN' where id = $1";
        let mut tx = api.pool.begin().await.unwrap();
        sqlx::query("alter table payments.accounts disable trigger all")
            .execute(&mut *tx)
            .await
            .unwrap();
        sqlx::query(retire).bind(customer.wallet).execute(&mut *tx).await.unwrap();
        sqlx::query("alter table payments.accounts enable trigger all")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    let payer = external_in_retired_currency(&api).await;
    let amount = Amount::parse("10").unwrap();
    let money = Money::new(amount, Currency::from_stored("BGN").unwrap()).unwrap();
    let (source, destination) = (payer, alice.wallet);
    let paid_in = NewTransfer { reason: Reason::Unrecorded, source, destination, money };
    post(&api.pool, &[paid_in]).await.unwrap()[0].unwrap();

    let wallet = format!("/v1/wallets/{}", alice.wallet);
    for path in [
        "/v1/wallets".to_owned(),
        wallet.clone(),
        format!("{wallet}/balance"),
        format!("{wallet}/entries"),
        format!("{wallet}/statement?from=2020-01-01T00:00:00Z"),
        "/v1/transactions?currency=BGN".to_owned(),
        format!("/v1/users/{}/balance", alice.person.id),
    ] {
        let answer = alice.person.get(&api, &path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    let moved = between(alice.wallet, bob.wallet, "4 BGN");
    assert_eq!(alice.order(&api, "/v1/transfers", &moved).await.status, 202);
    let taken = over(alice.wallet, "5 BGN");
    assert_eq!(alice.order(&api, "/v1/withdrawals", &taken).await.status, 202);
    let listed = alice.person.get(&api, "/v1/withdrawals").await.json();
    assert_eq!(listed["orders"][0]["currency"], "BGN");
    for (path, body) in [
        ("/v1/deposits", over(alice.wallet, "1 BGN")),
        ("/v1/wallets", json!({ "currency": "BGN" })),
    ] {
        let refused = alice.order(&api, path, &body).await;
        assert_eq!(refused.status, 422, "{path}: {refused:?}");
    }
}

async fn external_in_retired_currency(api: &TestApi) -> AccountId {
    let currency = Currency::from_stored("BGN").unwrap();
    let account = ExternalAccount { external_ref: "payer".to_owned(), currency };
    let mut conn = api.pool.acquire().await.unwrap();
    accounts::open_external(&mut conn, &[account]).await.unwrap()[0]
}
