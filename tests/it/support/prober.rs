//! A provider that posts webhooks through an outage, and how long that lasted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::PgPool;

use super::load::count;
use super::{App, Binary as _};

/// Within so much time everything must be back.
pub(crate) const RECOVERY: Duration = Duration::from_secs(5);

/// Within so much time each request must be answered, whatever happens.
const ANSWER: Duration = Duration::from_secs(6);

pub(crate) fn work(url: &str, settings: &[&str]) -> App {
    App::command(["work"].iter().chain(settings)).env("DATABASE_URL", url).spawn()
}

/// A provider that posts one webhook after the other, and checks that each is answered in time, and
/// well.
pub(crate) struct Prober {
    stop: Arc<AtomicBool>,
    posting: tokio::task::JoinHandle<Vec<Answer>>,
}

/// Between accounts that no other has: one transaction that is cut off holds up no other.
fn body_of(id: &str) -> String {
    format!(
        r#"{{"transaction_id":"{id}","source_account":"from {id}","destination_account":"to {id}",
            "amount":"1.25","currency":"USD"}}"#
    )
}

pub(crate) struct Answer {
    id: String,
    at: Instant,
    pub(crate) accepted: bool,
}

impl Prober {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let posting = tokio::spawn(async move {
            let mut answers = Vec::new();
            let http = reqwest::Client::new();
            while !stopped.load(Ordering::Relaxed) {
                let id = format!("probe {}", answers.len());
                let began = Instant::now();
                let sent = http
                    .post(format!("http://{address}/v1/webhooks/transactions"))
                    .header("content-type", "application/json")
                    .body(body_of(&id))
                    .send()
                    .await
                    .unwrap();
                assert!(began.elapsed() < ANSWER, "answered after {:?}", began.elapsed());
                let status = sent.status().as_u16();
                let comes_back = sent.headers().contains_key("retry-after");
                assert!(status == 202 || status == 503 && comes_back, "answered {status}");
                answers.push(Answer { id, at: Instant::now(), accepted: status == 202 });
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answers
        });
        Self { stop, posting }
    }

    pub(crate) async fn stop(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::Relaxed);
        self.posting.await.unwrap()
    }
}

/// How long after `since` webhooks were accepted again for good; and that there were enough to
/// tell.
pub(crate) fn outage(answers: &[Answer], since: Instant) -> Duration {
    let last_refused = answers.iter().rposition(|answer| !answer.accepted);
    let again = last_refused.map_or(0, |at| at + 1);
    assert!(answers.len() > again + 10, "not accepted again, or hardly");
    let back_at = answers[again].at;
    back_at.saturating_duration_since(since)
}

pub(crate) async fn assert_stored(pool: &PgPool, answers: &[Answer]) {
    let ids: Vec<&str> =
        answers.iter().filter(|answer| answer.accepted).map(|answer| &*answer.id).collect();
    let stored: i64 = sqlx::query_scalar(
        "select count(*) from payments.transactions where transaction_id = any ($1)",
    )
    .bind(&ids)
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(stored as usize, ids.len(), "acknowledged, but not in the database");
}

/// Waits until some transaction was settled that was taken after `since`; how long that took.
pub(crate) async fn settled_again(pool: &PgPool, since: Instant) -> Duration {
    let before: i64 = count(pool, SETTLED).await;
    // More than what may just have been on its way.
    while count(pool, SETTLED).await < before + 5 {
        assert!(since.elapsed() < Duration::from_secs(30), "nothing is settled any more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    since.elapsed()
}

pub(crate) const SETTLED: &str =
    "select count(*) from payments.transactions where status = 'COMPLETED'";
