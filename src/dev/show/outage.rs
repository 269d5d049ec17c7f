//! A bank that is down for a while, with a deposit on its way.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use opentelemetry::Context;
use serde_json::{Value, json};

use super::stage::{POLL, Stage, begin_trace, end_trace, say};
use crate::ids::OrderId;
use crate::operations::jobs::{ArgsMatch, JobFilter, JobState, reading};
use crate::operations::rehearsal;

const KEY: char = 'b';
/// The time in which a deposit is tried for the first time.
const FIRST_TRY: Duration = Duration::from_secs(10);
/// The time for an outcome once the bank is up again: a retry waits for its time, and an open
/// circuit breaker for its own.
const PATIENCE: Duration = Duration::from_secs(150);

/// Somebody with an account, as the API makes one.
pub(in crate::dev) struct Customer {
    authorization: String,
    wallet: String,
    /// The deposit that waits for the bank.
    waiting: Mutex<Option<Waiting>>,
}

struct Waiting {
    order: String,
    page: Option<String>,
}

/// Takes the bank down, or up again.
pub(super) async fn switch(stage: &Stage) -> anyhow::Result<()> {
    stage.private_url()?;
    let bank = stage.simulated_bank()?;
    if bank.is_up().await {
        stage.open_inbox().await?;
        let customer = customer(stage).await?;
        bank.go_down().await;
        say(KEY, "the bank is down");
        return deposit(stage, customer).await;
    }
    bank.come_up().await?;
    say(KEY, "the bank is up again");
    let waiting = match stage.customer.get() {
        Some(customer) => lock(customer).take(),
        None => None,
    };
    match waiting {
        Some(waiting) => follow(stage, &waiting).await,
        None => Ok(()),
    }
}

/// The customer, made when first needed.
async fn customer(stage: &Stage) -> anyhow::Result<&Customer> {
    if stage.customer.get().is_none() {
        let made = Customer::make(stage).await?;
        // One key is at work at a time, so nobody else has made one meanwhile.
        let _ = stage.customer.set(made);
    }
    stage.customer.get().context("there is no customer")
}

impl Customer {
    async fn make(stage: &Stage) -> anyhow::Result<Self> {
        let api = stage.api();
        let random =
            |letters: usize| -> String { (0..letters).map(|_| fastrand::alphanumeric()).collect() };
        let email = format!("{}@example.com", random(12).to_lowercase());
        let password = random(24);
        let no_trace = Context::new();
        let new = json!({ "email": email, "password": password, "currency": "EUR" });
        api.post("/v1/users", body(&new), &[], &no_trace).await?.success()?;
        let credentials = json!({ "email": email, "password": password });
        let signed_in = api.post("/v1/auth/login", body(&credentials), &[], &no_trace).await?;
        let authorization = format!("Bearer {}", signed_in.success()?.text("access_token"));
        let headers = [("authorization", authorization.as_str())];
        let wallets = api.get("/v1/wallets", &headers).await?.success()?;
        let wallet = wallets.body["wallets"][0]["id"].as_str();
        let wallet = wallet.context("the new customer has no wallet")?.to_owned();
        Ok(Self { authorization, wallet, waiting: Mutex::default() })
    }
}

/// A deposit that is ordered while the bank is down.
async fn deposit(stage: &Stage, customer: &Customer) -> anyhow::Result<()> {
    let new = json!({ "wallet_id": customer.wallet, "amount": "12.34", "currency": "EUR" });
    let key = format!("app-dev-{:016x}", fastrand::u64(..));
    let headers =
        [("authorization", customer.authorization.as_str()), ("idempotency-key", key.as_str())];
    let cx = begin_trace("order a deposit");
    let answer = stage.api().post("/v1/deposits", body(&new), &headers, &cx).await;
    end_trace(&cx);
    let answer = answer?.success()?;
    let order = answer.text("id").to_owned();
    let took = answer.took.as_millis();
    say(KEY, &format!("a deposit of 12.34 EUR is ordered and accepted in {took} ms: {order}"));
    let page = stage.page_of_trace(&cx);
    *lock(customer) = Some(Waiting { order: order.clone(), page });
    let deadline = Instant::now() + FIRST_TRY;
    while Instant::now() < deadline {
        if let Some(reason) = reason_to_wait(stage, &order).await? {
            say(KEY, &format!("nothing is lost. {reason}"));
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    say(KEY, "b brings the bank up again");
    Ok(())
}

/// The reason why the order's job waits; none while it does not.
async fn reason_to_wait(stage: &Stage, order: &str) -> anyhow::Result<Option<String>> {
    let filter = JobFilter {
        states: JobState::UNFINISHED.to_vec(),
        args: vec![ArgsMatch::new("order", order)],
        ..JobFilter::default()
    };
    let mut conn = stage.pool.acquire().await?;
    let page = reading::list(&mut conn, &filter, None, 1).await?;
    let Some(job) = page.jobs.first().filter(|job| job.state != JobState::Running) else {
        return Ok(None);
    };
    let (id, tried) = (job.id, job.error.is_some() || job.attempt > 0);
    let explained = reading::explain(&mut conn, id).await?;
    Ok(explained.filter(|_| tried).map(|job| job.explanation))
}

async fn follow(stage: &Stage, waiting: &Waiting) -> anyhow::Result<()> {
    let (id, began) = (OrderId(waiting.order.parse()?), Instant::now());
    while began.elapsed() < PATIENCE {
        if let Some(outcome) = rehearsal::outcome_of_order(&stage.pool, id).await? {
            let reason = outcome.failure_reason.map(|reason| format!(" ({reason})"));
            let (status, reason) = (outcome.status, reason.unwrap_or_default());
            let secs = began.elapsed().as_secs_f64();
            say(KEY, &format!("the deposit is {status}{reason} {secs:.1} s later"));
            let page = waiting.page.as_ref().map(|page| format!("{page}  or  "));
            let page = page.unwrap_or_default();
            say(KEY, &format!("its whole way: {page}app timeline {}", waiting.order));
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    say(KEY, &format!("the deposit still waits: app timeline {}", waiting.order));
    Ok(())
}

fn lock(customer: &Customer) -> MutexGuard<'_, Option<Waiting>> {
    customer.waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn body(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}
