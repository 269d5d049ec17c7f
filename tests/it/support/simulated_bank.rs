//! The bank behind deposits and withdrawals: the simulator, and a worker that calls it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use surety::bank::BankArgs;
use surety::bank::simulator::{Simulator, SimulatorArgs};
use surety::ids::OrderId;
use surety::jobs::{self, Bank, Services};
use surety::queue::{Worker, WorkerSettings, WorkerSummary};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Answer, send};

/// How long the worker waits for the bank. Whoever turns a dial to time-outs waits that long.
const TIMEOUT: Duration = Duration::from_millis(400);

/// A simulator in this process, over real sockets. It stops with this value.
pub(crate) struct SimulatedBank {
    pub(crate) url: String,
    http: reqwest::Client,
    shutdown: CancellationToken,
    simulator: Option<Simulator>,
}

impl SimulatedBank {
    /// One that answers at once, turned to these dials.
    pub(crate) async fn start(dials: Value) -> Self {
        Self::start_on(dials, None).await
    }

    /// The same, with what this file says that it has decided.
    pub(crate) async fn start_on(mut dials: Value, data: Option<PathBuf>) -> Self {
        dials.as_object_mut().unwrap().entry("latency").or_insert_with(|| json!("0s"));
        let behaviour = serde_json::from_value(dials).unwrap();
        let args = SimulatorArgs { behaviour, seed: Some(1), data };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shutdown = CancellationToken::new();
        let simulator = Simulator::start(listener, &args, shutdown.clone()).unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}", simulator.address);
        Self { url, http, shutdown, simulator: Some(simulator) }
    }

    /// Nobody listens any more once this returns.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        self.simulator.take().expect("it runs").stopped().await;
    }

    /// Turns the dials.
    pub(crate) async fn turn(&self, dials: Value) {
        let answer = send(self.http.put(format!("{}/dials", self.url)).json(&dials)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Has it told to move money, by somebody who need not be us.
    pub(crate) async fn pay(&self, key: &str, direction: &str, text: &str) -> Answer {
        let (amount, currency) = text.split_once(' ').unwrap();
        let payment = json!({
            "direction": direction, "amount": amount, "currency": currency, "account": "somewhere",
        });
        let request = self.http.post(format!("{}/payments", self.url));
        send(request.header("idempotency-key", key).json(&payment)).await
    }

    /// What it has booked for an order: direction and amount of each booking.
    pub(crate) async fn booked(&self, order: OrderId) -> Vec<(String, String)> {
        let key = format!("surety-{order}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let statement = send(self.http.get(format!("{}/statement", self.url))).await.json();
        assert_eq!(statement["next"], Value::Null, "there are more pages");
        let bookings = statement["bookings"].as_array().unwrap().iter();
        let of_order = bookings.filter(|booking| booking["effect_key"] == key);
        of_order.map(|booking| (text(&booking["direction"]), text(&booking["amount"]))).collect()
    }

    /// The way to it. Its breaker never opens.
    pub(crate) fn bank(&self) -> Bank {
        let args = BankArgs {
            bank_url: Some(self.url.clone()),
            bank_connect_timeout: TIMEOUT / 2,
            bank_timeout: TIMEOUT,
            // Jobs run when the test says so.
            bank_retry_delay: Duration::from_secs(3600),
            // What timed out has arrived by then, or never will.
            bank_lost_after: TIMEOUT,
            bank_breaker_threshold: u16::MAX,
            ..BankArgs::default()
        };
        Bank::new(&args).unwrap().unwrap()
    }

    /// Runs all jobs that wait, whenever they are due, and what becomes due by that.
    pub(crate) async fn run_jobs(&self, pool: &PgPool) -> WorkerSummary {
        sqlx::query("update queue.jobs set run_at = now() where not running")
            .execute(pool)
            .await
            .unwrap();
        self.run_due_jobs(pool).await
    }

    /// Runs the jobs that are due, and what becomes due by that.
    pub(crate) async fn run_due_jobs(&self, pool: &PgPool) -> WorkerSummary {
        let state = Services { pool: pool.clone(), bank: Some(self.bank()), mailer: None };
        let registry = jobs::registry(state);
        let worker = Worker::new(pool.clone(), registry, WorkerSettings::default()).unwrap();
        worker.run_until_idle().await.unwrap()
    }

    /// Runs all jobs until one is given up.
    pub(crate) async fn run_until_given_up(&self, pool: &PgPool) {
        for _attempt in 0..10 {
            if self.run_jobs(pool).await.discarded > 0 {
                return;
            }
        }
        panic!("no job was given up");
    }
}

impl Drop for SimulatedBank {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
