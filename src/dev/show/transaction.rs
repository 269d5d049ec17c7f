//! A transaction that is sent as a provider sends it, and followed to its outcome.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry::Context;
use serde_json::json;

use super::stage::{POLL, Stage, begin_trace, end_trace, say};
use crate::operations::rehearsal::{self, Outcome};
use crate::standard_webhooks::{ID_HEADER, MessageId, SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER};

const WEBHOOKS: &str = "/v1/webhooks/transactions";
/// The time for an outcome, beyond what settlement is delayed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A transaction that is settled.
pub(super) async fn send(stage: &Stage) -> anyhow::Result<()> {
    send_and_follow(stage, 't', "acc_ben").await
}

/// A transaction that fails: both sides are the same account.
pub(super) async fn send_failing(stage: &Stage) -> anyhow::Result<()> {
    send_and_follow(stage, 'f', "acc_anna").await
}

async fn send_and_follow(stage: &Stage, key: char, destination: &str) -> anyhow::Result<()> {
    stage.private_url()?;
    stage.open_inbox().await?;
    let id = format!("txn_dev_{:08x}", fastrand::u32(..));
    let cx = begin_trace("send a transaction");
    let began = Instant::now();
    let sent = post(stage, &id, destination, &cx).await;
    end_trace(&cx);
    let took = sent?;
    say(key, &format!("{id}: 12.34 EUR from acc_anna to {destination}, accepted in {took} ms"));
    match follow(stage, &id).await? {
        Some(outcome) => say(key, &told(&id, &outcome, began.elapsed())),
        None => say(key, &format!("{id} has no outcome yet: app jobs list tells why")),
    }
    let page = stage.page_of_trace(&cx);
    let page = page.map(|page| format!("{page}  or  ")).unwrap_or_default();
    say(key, &format!("its whole way: {page}app timeline {id}"));
    Ok(())
}

/// Posts it, and gives the milliseconds until the answer.
async fn post(stage: &Stage, id: &str, to: &str, cx: &Context) -> anyhow::Result<u128> {
    let body = json!({
        "transaction_id": id, "source_account": "acc_anna", "destination_account": to,
        "amount": "12.34", "currency": "EUR",
    });
    let body = Bytes::from(body.to_string());
    let (timestamp, signature) = match &stage.secret {
        None => (String::new(), String::new()),
        Some(secret) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let signer = Signer::new(vec![secret.clone()]);
            (now.to_string(), signer.sign(&MessageId::parse(id)?, now, &body))
        }
    };
    let signed = [(ID_HEADER, id), (TIMESTAMP_HEADER, &timestamp), (SIGNATURE_HEADER, &signature)];
    let headers = if stage.secret.is_some() { &signed[..] } else { &[] };
    let answer = stage.api().post(WEBHOOKS, body, headers, cx).await?.success()?;
    Ok(answer.took.as_millis())
}

/// Waits for the outcome; none if it does not come in time.
async fn follow(stage: &Stage, id: &str) -> anyhow::Result<Option<Outcome>> {
    let deadline = Instant::now() + PATIENCE + stage.settle_delay;
    while Instant::now() < deadline {
        if let Some(outcome) = rehearsal::outcome_of_transaction(&stage.pool, id).await? {
            return Ok(Some(outcome));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(None)
}

fn told(id: &str, outcome: &Outcome, after: Duration) -> String {
    let reason = outcome.failure_reason.as_deref();
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{id} is {}{reason} after {} ms", outcome.status, after.as_millis())
}
