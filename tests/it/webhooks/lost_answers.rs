//! Commands of transactions that are never answered, because their connection is cut off.

use super::kills::{accept, worker_process};
use super::*;
use crate::support::load::{assert_verified, count};
use crate::support::{Proxy, TestDb};

#[tokio::test]
async fn no_command_whose_answer_never_comes_keeps_a_worker_from_telling() {
    const OUTCOMES: usize = 60;
    let db = TestDb::new().await;
    let api = TestApi::start_on(db.pool.clone(), |_| {}).await;
    let operator = Person::new(&api, Role::Operator).await;
    let inbox = Inbox::answering(|_, _| Some(200)).await;
    let body = json!({ "url": inbox.url });
    assert_eq!(post(&api, &operator, "/v1/webhook-endpoints", &body).await.status, 201);
    let network = Proxy::start(&db.url).await;
    let worker = worker_process(&network.url(&db.url));

    for (round, command) in ["BEGIN", "BEGIN", "COMMIT"].into_iter().cycle().take(6).enumerate() {
        accept(&api, round * OUTCOMES..(round + 1) * OUTCOMES).await;
        // When the first are told, most transactions to come record what was told.
        while inbox.seen().len() <= round * OUTCOMES {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        network.swallow(command);
        let (all, deadline) = ((round + 1) * OUTCOMES, Instant::now() + PATIENCE);
        let told = "select count(*) from deliveries.deliveries where state = 'delivered'";
        while count(&api.pool, told).await < all as i64 {
            assert!(Instant::now() < deadline, "{command} {round}: {}", worker.output());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_verified(&db.url).await;
}
