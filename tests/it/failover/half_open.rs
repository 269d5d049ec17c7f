//! Connections whose other end is gone without a word.

use std::time::{Duration, Instant};

use crate::support::load::{assert_verified, count, wait_until_settled};
use crate::support::load::{post, serve, webhook};
use crate::support::prober::{Prober, RECOVERY, assert_stored, outage, settled_again, work};
use crate::support::{Proxy, TestDb};

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_without_a_word_are_replaced_within_five_seconds() {
    let db = TestDb::new().await;
    let network = Proxy::start(&db.url).await;
    let server = serve(&network.url(&db.url), None).await;
    let worker = work(&network.url(&db.url), &[]);
    let prober = Prober::start(server.address);
    settled_again(&db.pool, Instant::now()).await;

    let mut worst = Duration::ZERO;
    for _ in 0..3 {
        network.cut_silently();
        worst = worst.max(settled_again(&db.pool, Instant::now()).await);
    }
    let cut_at = Instant::now();
    network.cut_silently();
    tokio::time::sleep(RECOVERY + Duration::from_secs(1)).await;
    let answers = prober.stop().await;

    eprintln!("settled again after {worst:?}, accepted after {:?}", outage(&answers, cut_at));
    assert!(worst < RECOVERY, "settled again after {worst:?}\n{}", worker.output());
    assert!(outage(&answers, cut_at) < RECOVERY, "{:?}", outage(&answers, cut_at));
    assert_stored(&db.pool, &answers).await;
    assert_verified(&db.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_gone_for_a_while_is_answered_503_and_found_again() {
    let db = TestDb::new().await;
    let network = Proxy::start(&db.url).await;
    let server = serve(&network.url(&db.url), None).await;
    let worker = work(&network.url(&db.url), &[]);
    let prober = Prober::start(server.address);
    settled_again(&db.pool, Instant::now()).await;

    network.go_dark();
    tokio::time::sleep(Duration::from_secs(8)).await;
    let healed_at = Instant::now();
    network.heal();
    let settled = settled_again(&db.pool, healed_at).await;
    tokio::time::sleep(RECOVERY).await;
    let answers = prober.stop().await;

    eprintln!("settled again after {settled:?}, accepted after {:?}", outage(&answers, healed_at));
    assert!(answers.iter().any(|answer| !answer.accepted), "it was never dark");
    assert!(settled < RECOVERY, "settled again after {settled:?}\n{}", worker.output());
    assert!(outage(&answers, healed_at) < RECOVERY, "{:?}", outage(&answers, healed_at));
    assert_stored(&db.pool, &answers).await;
    assert_verified(&db.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_after_a_quiet_hour_does_not_pay_for_what_died_meanwhile() {
    let db = TestDb::new().await;
    let network = Proxy::start(&db.url).await;
    let server = serve(&network.url(&db.url), None).await;
    assert_eq!(post(server.address, &webhook("before")).await.0, 202);
    network.cut_silently();

    let began = Instant::now();
    let answer = post(server.address, &webhook("after")).await;

    assert_eq!(answer.0, 202);
    assert!(began.elapsed() < RECOVERY, "{:?}", began.elapsed());
    let _worker = work(&db.url, &[]);
    wait_until_settled(&db.pool, 2).await;
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, 2);
}
