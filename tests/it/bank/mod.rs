//! The client of the bank, its circuit breaker and its log, against the real simulator and against
//! servers that are worse than it.

mod breaker;
mod call_log;
mod hostile;
pub(crate) mod process;
mod protocol;
mod simulator;

use std::time::Duration;

use serde_json::{Value, json};
use surety::bank::client::ClientLimits;
use surety::bank::simulator::{Simulator, SimulatorArgs};
use surety::bank::{BankClient, BankInstruction, Direction, EffectKey};
use surety::money::{Amount, Currency, Money};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{Answer, PATIENCE, send};

/// For calls that are to be answered.
const LONG: Duration = PATIENCE;
/// For calls that are to be given up.
const SHORT: Duration = Duration::from_secs(1);

/// A simulator in this process, over real sockets. It stops with this value.
pub(crate) struct TestBank {
    pub(crate) url: String,
    http: reqwest::Client,
    shutdown: CancellationToken,
}

impl TestBank {
    /// One that answers at once, turned to these dials.
    pub(crate) async fn start(dials: Value) -> Self {
        Self::start_with(dials, SimulatorArgs { seed: Some(1), ..SimulatorArgs::default() }).await
    }

    pub(crate) async fn start_with(mut dials: Value, mut args: SimulatorArgs) -> Self {
        let fields = dials.as_object_mut().unwrap();
        fields.entry("latency").or_insert_with(|| json!("0s"));
        args.behaviour = serde_json::from_value(dials).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shutdown = CancellationToken::new();
        let simulator = Simulator::start(listener, &args, shutdown.clone()).unwrap();
        Self { url: format!("http://{}", simulator.address), http: plain_http(), shutdown }
    }

    /// Its client, which is as patient as that.
    pub(crate) fn client(&self, total_timeout: Duration) -> BankClient {
        client(&self.url, total_timeout)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.http.get(format!("{}{path}", self.url))).await
    }

    pub(crate) async fn turn(&self, dials: Value) -> Answer {
        send(self.http.put(format!("{}/dials", self.url)).json(&dials)).await
    }

    /// All that it booked.
    pub(crate) async fn statement(&self) -> Vec<Value> {
        let statement = self.get("/statement").await.json();
        assert_eq!(statement["next"], Value::Null, "there are more pages");
        statement["bookings"].as_array().unwrap().clone()
    }
}

impl Drop for TestBank {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn plain_http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub(crate) fn client(url: &str, total_timeout: Duration) -> BankClient {
    let limits = ClientLimits {
        // On a busy machine it may take long; that is not what these tests are about.
        connect_timeout: LONG,
        total_timeout,
        max_answer_bytes: 64 << 10,
    };
    BankClient::new(url.parse().unwrap(), limits).unwrap()
}

fn key(text: &str) -> EffectKey {
    EffectKey::parse(text).unwrap()
}

fn money(amount: &str) -> Money {
    Money::new(Amount::parse(amount).unwrap(), Currency::parse("EUR").unwrap()).unwrap()
}

fn deposit(effect_key: &str, amount: &str) -> BankInstruction {
    BankInstruction {
        effect_key: key(effect_key),
        direction: Direction::Deposit,
        money: money(amount),
        account: "DE02120300000000202051".to_owned(),
    }
}
