//! What happens while the database cannot be asked.

use std::time::{Duration, Instant};

use surety::http::edge::rate_limits::LimitClass;
use surety::http::wire::problem::Code;

use super::{Limited, limit};
use crate::support::{PATIENCE, Signal, TestApi, TestCluster, event, migrated, send_signal};

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_webhooks_pass_and_all_else_is_refused_until_it_is_back() {
    let mut cluster = TestCluster::start().await;
    let pool = migrated(&cluster, "surety").await;
    let limited = Limited::start(&pool, |args| args.limit_inbound_webhooks = limit("10/min"));
    limited.admit(LimitClass::Api, "user:1").await.unwrap();
    limited.admit(LimitClass::InboundWebhook, "address:1").await.unwrap();

    cluster.stop_immediate().await;
    for _ in 0..100 {
        limited.admit(LimitClass::InboundWebhook, "address:1").await.unwrap();
    }
    for class in [LimitClass::Api, LimitClass::Balance, LimitClass::LoginByAccount] {
        let started = Instant::now();
        let refused = limited.limits.admit(class, "user:1").await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(2));
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.response("/").header("retry-after").is_some());
    }

    cluster.start_again().await;
    let deadline = Instant::now() + PATIENCE;
    while limited.admit(LimitClass::Api, "user:1").await.is_err() {
        assert!(Instant::now() < deadline, "it does not heal");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A server that has just recovered may keep one lease waiting for too long, whose tokens are
    // lost then.
    let passed = limited.passes(LimitClass::Balance, "user:2", 20).await;
    assert!((1..=10).contains(&passed), "{passed} passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_keeps_nobody_waiting_for_long() {
    let cluster = TestCluster::start().await;
    let pool = migrated(&cluster, "surety").await;
    let limited = Limited::start(&pool, |args| args.limit_inbound_webhooks = limit("10/min"));
    // The server takes connections and never says a word.
    send_signal(cluster.pid(), Signal::Stop);

    let started = Instant::now();
    limited.admit(LimitClass::InboundWebhook, "address:1").await.unwrap();
    let open = started.elapsed();
    let started = Instant::now();
    let closed = limited.admit(LimitClass::Api, "user:1").await;
    let closed_after = started.elapsed();
    send_signal(cluster.pid(), Signal::Continue);

    assert!(open < Duration::from_millis(750), "open after {open:?}");
    assert_eq!(closed, Err(Code::Unavailable));
    assert!(closed_after < Duration::from_secs(3), "closed after {closed_after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_that_the_database_is_away_and_not_that_it_comes_too_often() {
    let mut cluster = TestCluster::start().await;
    let pool = migrated(&cluster, "surety").await;
    let api = TestApi::start_on(pool, |settings| {
        settings.limits.limit_inbound_webhooks = limit("3/min");
    })
    .await;
    cluster.stop_immediate().await;
    for _ in 0..6 {
        assert_eq!(api.post(event("txn_1")).await.code(), "unavailable");
    }
}
