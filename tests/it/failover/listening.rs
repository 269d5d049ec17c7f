//! The connection that a worker listens by.

use std::time::{Duration, Instant};

use crate::support::load::{Server, end_listeners, wait_until_listening, wait_until_settled};
use crate::support::load::{post, serve, webhook};
use crate::support::prober::work;
use crate::support::{Proxy, TestDb};

/// So rarely that only a notification can be in time.
const RARELY: [&str; 2] = ["--poll", "60s"];
/// Long before a worker that looks so rarely would find a job by itself.
const SOON: Duration = Duration::from_secs(20);

/// The `n`th webhook is accepted, and settled long before the next poll.
async fn assert_settles_soon(db: &TestDb, server: &Server, n: i64) {
    let began = Instant::now();
    assert_eq!(post(server.address, &webhook(&format!("txn_{n}"))).await.0, 202);
    wait_until_settled(&db.pool, n).await;
    assert!(began.elapsed() < SOON, "the {n}th: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_whose_backend_is_killed_listens_again() {
    let db = TestDb::new().await;
    let server = serve(&db.url, None).await;
    // By an address of its own: at the same one, both being in this process, it needs no listener.
    let network = Proxy::start(&db.url).await;
    let _worker = work(&network.url(&db.url), &RARELY);
    for n in 1..=3 {
        wait_until_listening(&db.pool).await;
        end_listeners(&db.pool).await;
        // At once: it is told to nobody.
        assert_settles_soon(&db, &server, n).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_comes_back_slowly_missed_what_was_told_meanwhile() {
    let db = TestDb::new().await;
    let server = serve(&db.url, None).await;
    let network = Proxy::start(&db.url).await;
    let _worker = work(&network.url(&db.url), &RARELY);
    network.delay_new(Duration::from_millis(700));
    // One of these moments is within 700 ms before the listener asks its connection for a word, as
    // it does every two seconds: a new one is not there yet when it would.
    for (n, moment) in [(1, 1_000), (2, 1_650), (3, 2_300)] {
        wait_until_listening(&db.pool).await;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        end_listeners(&db.pool).await;
        assert_settles_soon(&db, &server, n).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_cut_off_without_a_word_listens_again() {
    let db = TestDb::new().await;
    let network = Proxy::start(&db.url).await;
    let server = serve(&db.url, None).await;
    let _worker = work(&network.url(&db.url), &RARELY);
    wait_until_listening(&db.pool).await;
    // Idle, as at night.
    tokio::time::sleep(Duration::from_secs(1)).await;

    network.cut_silently();
    assert_settles_soon(&db, &server, 1).await;
}
