//! Deposits and withdrawals, through a real worker and a real bank simulator.

use serde_json::{Value, json};
use surety::bank::BankArgs;
use surety::bank::simulator::{Simulator, SimulatorArgs};
use surety::ids::AccountId;
use surety::jobs::Bank;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{all_money, anonymous, refusal, start};
use crate::support::money::{Customer, TestWorker, open_wallet, over};
use crate::support::{TestApi, send};

/// A bank with these dials, and a worker that asks it. Both stop with this value.
struct Banking {
    url: String,
    worker: TestWorker,
    _stop: DropGuard,
}

impl Banking {
    async fn start(api: &TestApi, mut dials: Value) -> Self {
        dials["latency"] = json!("0s");
        let mut args = SimulatorArgs { seed: Some(1), ..SimulatorArgs::default() };
        args.behaviour = serde_json::from_value(dials).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        let simulator = Simulator::start(listener, &args, stop.clone()).unwrap();
        let url = format!("http://{}", simulator.address);
        let settings = BankArgs { bank_url: Some(url.clone()), ..BankArgs::default() };
        let worker = TestWorker::start(&api.pool, Bank::new(&settings).unwrap());
        Self { url, worker, _stop: stop.drop_guard() }
    }

    /// All that the bank booked, by effect key.
    async fn booked(&self) -> Vec<String> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let statement = send(client.get(format!("{}/statement", self.url))).await.json();
        let bookings = statement["bookings"].as_array().unwrap();
        bookings.iter().map(|it| it["effect_key"].as_str().unwrap().to_owned()).collect()
    }
}

fn declining() -> Value {
    json!({ "success_rate": 0.0, "insufficient_funds_rate": 1.0 })
}

fn path(list: &str, order: &Value) -> String {
    format!("/v1/{list}/{}", order["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_deposit_arrives_when_the_bank_has_booked_it() {
    let api = start().await;
    let customer = Customer::new(&api).await;
    let taken = customer.order(&api, "/v1/deposits", &over(customer.wallet, "12.50 USD")).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    let order = taken.json();
    assert_eq!(
        (&order["status"], &order["wallet_id"]),
        (&json!("PENDING"), &json!(customer.wallet))
    );
    assert_eq!(taken.header("location"), path("deposits", &order));
    assert_eq!(customer.balance(&api).await.0, "0.00");

    let banking = Banking::start(&api, json!({ "success_rate": 1.0 })).await;
    let done = customer.finished(&api, &path("deposits", &order)).await;

    assert_eq!((&done["status"], &done["failure_reason"]), (&json!("COMPLETED"), &Value::Null));
    assert!(done["bank_reference"].is_string(), "{done}");
    assert_eq!(customer.balance(&api).await, ("12.50".to_owned(), "12.50".to_owned()));
    assert_eq!(banking.booked().await, [format!("surety-{}", order["id"].as_str().unwrap())]);
    banking.worker.stop().await;
}

#[tokio::test]
async fn a_declined_deposit_leaves_nothing() {
    let api = start().await;
    let customer = Customer::new(&api).await;
    let banking = Banking::start(&api, declining()).await;
    let taken = customer.order(&api, "/v1/deposits", &over(customer.wallet, "5 USD")).await.json();
    let done = customer.finished(&api, &path("deposits", &taken)).await;
    assert_eq!(done["status"], "FAILED");
    assert!(done["failure_reason"].is_string() && done["finished_at"].is_string(), "{done}");
    assert_eq!(customer.balance(&api).await, ("0.00".to_owned(), "0.00".to_owned()));
    assert_eq!(api.count("select count(*) from payments.entries").await, 0);
    banking.worker.stop().await;
}

#[tokio::test]
async fn a_withdrawal_holds_its_amount_until_it_is_gone() {
    let api = start().await;
    let customer = Customer::with(&api, "20 USD").await;
    let body = over(customer.wallet, "7.25 USD");
    let taken = customer.order(&api, "/v1/withdrawals", &body).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    assert_eq!(customer.balance(&api).await, ("20.00".to_owned(), "12.75".to_owned()));

    let banking = Banking::start(&api, json!({ "success_rate": 1.0 })).await;
    let done = customer.finished(&api, &path("withdrawals", &taken.json())).await;

    assert_eq!(done["status"], "COMPLETED");
    assert_eq!(customer.balance(&api).await, ("12.75".to_owned(), "12.75".to_owned()));
    banking.worker.stop().await;
}

#[tokio::test]
async fn a_declined_withdrawal_releases_its_hold() {
    let api = start().await;
    let customer = Customer::with(&api, "20 USD").await;
    let banking = Banking::start(&api, declining()).await;
    let body = over(customer.wallet, "20 USD");
    let taken = customer.order(&api, "/v1/withdrawals", &body).await.json();
    let done = customer.finished(&api, &path("withdrawals", &taken)).await;
    assert_eq!(done["status"], "FAILED");
    assert_eq!(customer.balance(&api).await, ("20.00".to_owned(), "20.00".to_owned()));
    banking.worker.stop().await;
}

#[tokio::test]
async fn what_is_refused_changes_no_row() {
    let api = start().await;
    let (me, other) = (Customer::with(&api, "5 USD").await, Customer::with(&api, "5 USD").await);
    let closed = open_wallet(&api.pool, me.id(), "CHF").await;
    sqlx::query("update payments.accounts set closed_at = now() where id = $1")
        .bind(closed)
        .execute(&api.pool)
        .await
        .unwrap();
    let absent = AccountId(Uuid::now_v7());
    let before = all_money(&api).await;
    for (list, wallet, money, status, code) in [
        ("deposits", other.wallet, "1 USD", 404, "wallet-not-found"),
        ("deposits", absent, "1 USD", 404, "wallet-not-found"),
        ("deposits", me.wallet, "1 EUR", 422, "currency-mismatch"),
        ("deposits", closed, "1 CHF", 422, "wallet-closed"),
        ("withdrawals", other.wallet, "1 USD", 404, "wallet-not-found"),
        ("withdrawals", absent, "1 USD", 404, "wallet-not-found"),
        ("withdrawals", me.wallet, "1 EUR", 422, "currency-mismatch"),
        ("withdrawals", closed, "1 CHF", 422, "wallet-closed"),
        ("withdrawals", me.wallet, "5.01 USD", 422, "insufficient-funds"),
    ] {
        let answer = me.order(&api, &format!("/v1/{list}"), &over(wallet, money)).await;
        assert_eq!(refusal(&answer), (status, code.to_owned()), "{list} {money}");
        assert_eq!(all_money(&api).await, before, "{list} {money}");
    }
    for list in ["/v1/deposits", "/v1/withdrawals"] {
        let foreign = me.order(&api, list, &over(other.wallet, "1 USD")).await;
        let nobodys = me.order(&api, list, &over(absent, "1 USD")).await;
        assert_eq!(anonymous(&foreign), anonymous(&nobodys));
    }
}

#[tokio::test]
async fn lists_are_one_kind_of_ones_own_orders_in_pages() {
    let api = start().await;
    let (me, other) = (Customer::with(&api, "50 USD").await, Customer::with(&api, "5 USD").await);
    for amount in ["1 USD", "2 USD", "3 USD"] {
        me.order(&api, "/v1/withdrawals", &over(me.wallet, amount)).await;
    }
    other.order(&api, "/v1/withdrawals", &over(other.wallet, "4 USD")).await;
    let amounts = |page: &Value| -> Vec<String> {
        let orders = page["orders"].as_array().unwrap();
        orders.iter().map(|it| it["amount"].as_str().unwrap().to_owned()).collect()
    };
    let first = me.person.get(&api, "/v1/withdrawals?limit=2").await.json();
    assert_eq!(amounts(&first), ["3.00", "2.00"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = me.person.get(&api, &format!("/v1/withdrawals?limit=2&cursor={cursor}")).await;
    assert_eq!(amounts(&rest.json()), ["1.00"]);
    assert_eq!(rest.json()["next_cursor"], Value::Null);
    let elsewhere = me.person.get(&api, &format!("/v1/deposits?limit=2&cursor={cursor}")).await;
    assert_eq!(refusal(&elsewhere), (400, "invalid-cursor".to_owned()));
    let others = other.person.get(&api, &format!("/v1/withdrawals?limit=2&cursor={cursor}")).await;
    assert_eq!(refusal(&others), (400, "invalid-cursor".to_owned()));
    assert_eq!(amounts(&me.person.get(&api, "/v1/deposits").await.json()), ["50.00"]);
    let pending = me.person.get(&api, "/v1/deposits?status=PENDING").await.json();
    assert_eq!(amounts(&pending), [""; 0]);
}
