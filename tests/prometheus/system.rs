//! A whole system, which is used: `app dev`, beside a worker and a bank of their own with probes.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{App, Binary as _, PASSWORD, ScratchDir, scratch_dir};

/// The running system.
pub(crate) struct System {
    api: String,
    scraped: Vec<String>,
    client: reqwest::Client,
    token: String,
    wallet: Value,
    sent: AtomicU64,
    _apps: [App; 3],
    _dir: ScratchDir,
}

impl System {
    /// Starts all of it, with a user and an endpoint that wants to be told of everything.
    pub(crate) async fn start() -> Self {
        let dir = scratch_dir();
        let data = dir.join("data").display().to_string();
        let mut dev = App::command(["dev", "--no-download", "--workers", "1"])
            .args(["--listen", "127.0.0.1:0", "--data-dir", &data, "--latency", "1ms"])
            .env("APP_SAMPLE_INTERVAL", "300ms")
            .spawn();
        dev.wait_for_line("Ready in").await;
        let api = word_after(&dev, "API ").replace("/v1/webhooks/transactions", "");
        let database = word_after(&dev, "psql ");
        let probe = ["--probe-listen", "127.0.0.1:0"];
        let mut worker = App::command(["work"])
            .args(probe)
            .env("DATABASE_URL", &database)
            .env("APP_SAMPLE_INTERVAL", "300ms")
            .spawn();
        let of_worker = worker.wait_for_line("metrics at http://").await;
        let mut bank = App::command(["bank", "--listen", "127.0.0.1:0"]).args(probe).spawn();
        let of_bank = bank.wait_for_line("metrics at http://").await;
        let host = api.trim_start_matches("http://").to_owned();
        let scraped = vec![host, address_in(&of_worker), address_in(&of_bank)];

        // Answered with a 4xx, which is an attempt like any other.
        let receiver = format!("{api}/nothing");
        let (status, said) =
            App::command(["endpoints", "create", &receiver, "--webhook-allow-private"])
                .env("DATABASE_URL", &database)
                .run()
                .await;
        assert!(status.success(), "{said}");
        let (status, said) = App::command(["verify"]).env("DATABASE_URL", &database).run().await;
        assert!(status.success(), "{said}");

        let client = reqwest::Client::new();
        let (token, wallet) = user(&client, &api).await;
        let sent = AtomicU64::new(0);
        let apps = [dev, worker, bank];
        Self { api, scraped, client, token, wallet, sent, _apps: apps, _dir: dir }
    }

    /// The addresses of all `/metrics`.
    pub(crate) fn scraped(&self) -> Vec<String> {
        self.scraped.clone()
    }

    /// Sends a webhook, the same again and a broken one, and takes a deposit.
    pub(crate) async fn be_used(&self) {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let event = json!({
            "transaction_id": format!("txn_{number}"), "source_account": "alice",
            "destination_account": "bob", "amount": "12.50", "currency": "USD",
        });
        for body in [event.to_string(), event.to_string(), "no json".to_owned()] {
            let path = format!("{}/v1/webhooks/transactions", self.api);
            let request = self.client.post(path).header("content-type", "application/json");
            request.body(body).send().await.unwrap();
        }
        let deposit = json!({ "wallet_id": self.wallet, "amount": "1.00", "currency": "USD" });
        let placed = self
            .client
            .post(format!("{}/v1/deposits", self.api))
            .bearer_auth(&self.token)
            .header("Idempotency-Key", Uuid::new_v4().to_string())
            .json(&deposit)
            .send();
        assert_eq!(placed.await.unwrap().status(), 202);
    }
}

/// A user's token, and the wallet that came with the account.
async fn user(client: &reqwest::Client, api: &str) -> (String, Value) {
    let email = format!("{}@example.com", Uuid::new_v4().simple());
    let post = async |path: &str, body: Value| -> Value {
        let answer = client.post(format!("{api}{path}")).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    };
    let account = json!({ "email": email, "password": PASSWORD, "currency": "USD" });
    post("/v1/users", account).await;
    let access = post("/v1/auth/login", json!({ "email": email, "password": PASSWORD })).await;
    let token = access["access_token"].as_str().unwrap().to_owned();
    let listed = client.get(format!("{api}/v1/wallets")).bearer_auth(&token).send().await.unwrap();
    let listed: Value = listed.json().await.unwrap();
    (token, listed["wallets"][0]["id"].clone())
}

fn word_after(app: &App, mark: &str) -> String {
    let lines = app.lines();
    let line = lines.iter().find(|line| line.contains(mark)).unwrap();
    line.split_once(mark).unwrap().1.split_whitespace().next().unwrap().to_owned()
}

fn address_in(line: &str) -> String {
    let (_, after) = line.split_once("http://").unwrap();
    after.split('/').next().unwrap().to_owned()
}
