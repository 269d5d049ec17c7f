//! Connections that are of no use any more and do not say so: to a server that was demoted, cut off
//! without a word, ended while they listened. Everything is back within five seconds, and nothing
//! is started again.

mod half_open;
mod leftovers;
mod listening;
mod poolers;
mod standby;
mod switchover;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::PgPool;

use crate::faults::count;
use crate::support::{App, Binary as _};

/// Within so much time everything must be back.
const RECOVERY: Duration = Duration::from_secs(5);

/// Within so much time each request must be answered, whatever happens.
const ANSWER: Duration = Duration::from_secs(6);

fn work(url: &str, settings: &[&str]) -> App {
    App::command(["work"].iter().chain(settings)).env("DATABASE_URL", url).spawn()
}

/// A provider that posts one webhook after the other, and checks that each is answered in time, and
/// well.
struct Prober {
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

struct Answer {
    id: String,
    at: Instant,
    accepted: bool,
}

impl Prober {
    fn start(address: SocketAddr) -> Self {
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

    async fn stop(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::Relaxed);
        self.posting.await.unwrap()
    }
}

/// How long after `since` webhooks were accepted again for good; and that there were enough to
/// tell.
fn outage(answers: &[Answer], since: Instant) -> Duration {
    let last_refused = answers.iter().rposition(|answer| !answer.accepted);
    let again = last_refused.map_or(0, |at| at + 1);
    assert!(answers.len() > again + 10, "not accepted again, or hardly");
    let back_at = answers[again].at;
    back_at.saturating_duration_since(since)
}

async fn assert_stored(pool: &PgPool, answers: &[Answer]) {
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
async fn settled_again(pool: &PgPool, since: Instant) -> Duration {
    let before: i64 = count(pool, SETTLED).await;
    // More than what may just have been on its way.
    while count(pool, SETTLED).await < before + 5 {
        assert!(since.elapsed() < Duration::from_secs(30), "nothing is settled any more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    since.elapsed()
}

const SETTLED: &str = "select count(*) from payments.transactions where status = 'COMPLETED'";
