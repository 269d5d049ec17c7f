//! The whole way of a payment, by real processes.

use std::time::{Duration, Instant};

use crate::support::load::{Load, post, serve, webhook};
use crate::support::load::{assert_verified, count, listeners};
use crate::support::load::{wait_until_listening, wait_until_settled};
use crate::support::{App, Binary as _, PgBouncer, PgBouncerSettings, Signal, TestDb};

const SETTINGS: PgBouncerSettings = PgBouncerSettings { servers: Some(4), ignored_parameters: "" };

fn work(url: &str, direct_url: Option<&str>) -> App {
    let command = App::command(["work", "--poll", "200ms", "--lease", "3s", "--heartbeat", "1s"])
        .env("APP_LOG", "info,surety::queue=debug")
        .env("DATABASE_URL", url);
    match direct_url {
        Some(direct) => command.env("APP_DATABASE_DIRECT_URL", direct),
        None => command,
    }
    .spawn()
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_settled_by_workers_that_poll() {
    const WEBHOOKS: usize = 2_000;
    let db = TestDb::new().await;
    let bouncer = PgBouncer::start(&db.url, SETTINGS).await;
    let mut server = serve(&bouncer.url, None).await;
    let mut workers = [work(&bouncer.url, None), work(&bouncer.url, None)];

    let load = Load::start(server.address, 16, Some(WEBHOOKS));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        workers[0].kill().await;
        workers[0] = work(&bouncer.url, None);
    }
    let accepted = load.finish().await;
    wait_until_settled(&db.pool, WEBHOOKS as i64).await;

    assert_eq!(accepted.len(), WEBHOOKS);
    assert_eq!(count(&db.pool, "select count(*) from payments.transfers").await, WEBHOOKS as i64);
    // Through the pooler, as an operator would.
    assert_verified(&bouncer.url).await;
    // Notified or not, a job is picked up by the next poll.
    let began = Instant::now();
    assert_eq!(post(server.address, &webhook("alone")).await.0, 202);
    wait_until_settled(&db.pool, WEBHOOKS as i64 + 1).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for worker in &mut workers {
        worker.wait_for_line("new jobs are found by polling").await;
    }
    assert_eq!(listeners(&db.pool).await, 0);
    let [first, second] = &mut workers;
    for app in [&mut server.app, first, second] {
        app.signal(Signal::Terminate);
        assert!(app.wait_for_exit().await.success(), "{}", app.output());
        assert!(!app.output().contains("prepared statement"), "{}", app.output());
        assert!(!app.output().contains("ERROR"), "{}", app.output());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_direct_url_workers_are_notified_past_the_pooler() {
    let db = TestDb::new().await;
    let bouncer = PgBouncer::start(&db.url, SETTINGS).await;
    let server = serve(&bouncer.url, None).await;
    // So rarely that only a notification can be in time.
    let mut worker = App::command(["work", "--poll", "60s"])
        .env("DATABASE_URL", &bouncer.url)
        .env("APP_DATABASE_DIRECT_URL", &db.url)
        .spawn();
    worker.wait_for_line("working").await;
    wait_until_listening(&db.pool).await;

    for n in 1..=5 {
        let began = Instant::now();
        assert_eq!(post(server.address, &webhook(&format!("txn_{n}"))).await.0, 202);
        wait_until_settled(&db.pool, n).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    assert_verified(&bouncer.url).await;
}
