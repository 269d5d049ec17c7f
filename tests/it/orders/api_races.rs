//! Many clients of the real API at once, with a real worker: no update is lost, nobody is shown a
//! deadlock, and nobody has less than nothing.
//!
//! `SURETY_TEST_ROUNDS` is how many rounds of a thousand transfers are made, for a longer run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use surety::bank::BankArgs;
use surety::bank::simulator::{Simulator, SimulatorArgs};
use surety::http::edge::rate_limits::Limit;
use surety::jobs::Bank;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::assert_all_holds;
use crate::support::money::{Customer, TestWorker, between, over};
use crate::support::{Answer, PATIENCE, TestApi, send};

const ROUNDS: usize = 20;
/// A thousand connections would need more files than a process may open by default.
const CONNECTIONS: usize = 200;

async fn unlimited_api() -> TestApi {
    TestApi::start_with(|api| api.limits.limit_api = Limit::Off).await
}

/// Sends all of these at once; how often each status and code was answered.
async fn send_all(requests: Vec<reqwest::RequestBuilder>) -> BTreeMap<String, usize> {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let mut sending = JoinSet::new();
    for request in requests {
        let connections = Arc::clone(&connections);
        let request = request.header("idempotency-key", Uuid::new_v4().to_string());
        sending.spawn(async move {
            let _connection = connections.acquire().await.unwrap();
            send(request).await
        });
    }
    let mut answers = BTreeMap::new();
    for answer in sending.join_all().await {
        *answers.entry(summary(&answer)).or_default() += 1;
    }
    answers
}

fn summary(answer: &Answer) -> String {
    match answer.status {
        202 => "202".to_owned(),
        status => format!("{status} {}", answer.code()),
    }
}

/// Waits until every order has its outcome.
async fn settled(api: &TestApi) {
    let unfinished =
        "select count(*) from payments.orders where status in ('PENDING', 'PROCESSING')";
    let deadline = Instant::now() + 2 * PATIENCE;
    while api.count(unfinished).await > 0 {
        assert!(Instant::now() < deadline, "{} are not finished", api.count(unfinished).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_deposits_at_once_into_one_wallet_none_is_lost() {
    let api = unlimited_api().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shutdown = CancellationToken::new();
    let behaviour = serde_json::from_value(json!({ "success_rate": 1, "latency": "0s" })).unwrap();
    let args = SimulatorArgs { behaviour, ..SimulatorArgs::default() };
    let simulator = Simulator::start(listener, &args, shutdown.clone()).unwrap();
    let bank_url = Some(format!("http://{}", simulator.address));
    let bank = Bank::new(&BankArgs { bank_url, ..BankArgs::default() }).unwrap();
    let worker = TestWorker::start(&api.pool, bank);
    let alice = Customer::new(&api).await;

    let deposit = || alice.request(&api, "/v1/deposits", &over(alice.wallet, "1.25 USD"));
    let answers = send_all((0..100).map(|_| deposit()).collect()).await;

    assert_eq!(answers, BTreeMap::from([("202".to_owned(), 100)]));
    settled(&api).await;
    assert_eq!(alice.balance(&api).await, ("125.00".into(), "125.00".into()));
    worker.stop().await;
    shutdown.cancel();
    assert_all_holds(&api.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_transfers_at_once_among_ten_wallets_conserve_money() {
    let rounds = std::env::var("SURETY_TEST_ROUNDS")
        .map_or(ROUNDS, |text| text.parse().expect("SURETY_TEST_ROUNDS is a number"));
    let api = unlimited_api().await;
    let mut customers = Vec::new();
    for _ in 0..10 {
        customers.push(Customer::with(&api, "100 USD").await);
    }
    let worker = TestWorker::start(&api.pool, None);
    for round in 0..rounds {
        let mut requests = Vec::new();
        for _ in 0..1000 {
            let payer = fastrand::usize(0..10);
            let payee = (payer + fastrand::usize(1..10)) % 10;
            let (payer, payee) = (&customers[payer], &customers[payee]);
            let amount = format!("{}.{:02} USD", fastrand::u32(0..30), fastrand::u32(1..100));
            let body = between(payer.wallet, payee.wallet, &amount);
            requests.push(payer.request(&api, "/v1/transfers", &body));
        }

        let answers = send_all(requests).await;

        let expected = ["202", "422 insufficient-funds"];
        let is_expected = answers.keys().all(|answer| expected.contains(&answer.as_str()));
        assert!(is_expected, "round {round}: {answers:?}");
        assert!(answers["202"] > 50, "round {round}: {answers:?}");
        settled(&api).await;
        let wallets = "select (sum(balance) * 100)::bigint from payments.accounts
                       where kind = 'wallet'";
        assert_eq!(api.count(wallets).await, 100_000, "round {round}");
        let failed = "select count(*) from payments.orders where status = 'FAILED'";
        assert_eq!(api.count(failed).await, 0, "what was taken is executed");
        let held = "select count(*) from payments.accounts where held <> 0";
        assert_eq!(api.count(held).await, 0, "round {round}");
    }
    worker.stop().await;
    assert_all_holds(&api.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_refunds_asked_for_at_once_one_is_taken_and_the_others_are_told_why() {
    let api = unlimited_api().await;
    let worker = TestWorker::start(&api.pool, None);
    let (alice, bob) = (Customer::with(&api, "10 USD").await, Customer::new(&api).await);
    for _ in 0..5 {
        let body = between(alice.wallet, bob.wallet, "10 USD");
        let transfer = alice.order(&api, "/v1/transfers", &body).await;
        assert_eq!(transfer.status, 202, "{transfer:?}");
        let path = transfer.header("location").to_owned();
        alice.finished(&api, &path).await;

        let path = format!("{path}/refund");
        let refund = || api.request("POST", &path).bearer_auth(&bob.person.token);
        let answers = send_all((0..50).map(|_| refund()).collect()).await;

        let (taken, refused) = ("202".to_owned(), "409 already-refunded".to_owned());
        assert_eq!(answers, BTreeMap::from([(taken, 1), (refused, 49)]));
        settled(&api).await;
        assert_eq!(alice.balance(&api).await, ("10.00".into(), "10.00".into()));
    }
    worker.stop().await;
    assert_all_holds(&api.pool).await;
}
