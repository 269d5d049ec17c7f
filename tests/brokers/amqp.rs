//! The relay to RabbitMQ.

use std::time::Duration;

use surety::events;

use crate::nats::caught_up;
use crate::rabbitmq::RabbitMq;
use crate::support::{App, Binary as _, TestDb};
use crate::told::assert_all_told_in_order;
use crate::writers::{self, Writers};

fn relay(database_url: &str, broker_url: &str, args: &[&str]) -> App {
    App::command(["relay", "--from", "beginning", "--lease", "1s", "--poll", "20ms"])
        .args(args)
        .env("DATABASE_URL", database_url)
        .env("APP_RELAY_TO", broker_url)
        .spawn()
}

#[tokio::test(flavor = "multi_thread")]
async fn none_is_lost_and_order_is_kept_whoever_is_killed() {
    let db = TestDb::new().await;
    let mut rabbit = RabbitMq::start().await;
    rabbit.bind("all", "#").await;
    let mut relaying = relay(&db.url, &rabbit.url(), &["--batch", "40"]);
    relaying.wait_for_line("connected to").await;
    let writers = Writers::start(&db.pool);

    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        rabbit.kill().await;
        rabbit.start_again().await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        relaying.kill().await;
        relaying = relay(&db.url, &rabbit.url(), &["--batch", "40"]);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let written = writers.stop().await;
    caught_up(&db.pool).await;

    assert!(written > 500, "{written}");
    let repeats = assert_all_told_in_order(&db.pool, &rabbit.told("all").await).await;
    eprintln!("{written} events, {repeats} told again");
    assert!(!relaying.output().contains("guest"), "{}", relaying.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_no_queue_would_get_waits_for_one() {
    let db = TestDb::new().await;
    let rabbit = RabbitMq::start().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let new: Vec<_> = (0..8).map(|number| writers::event(0, number)).collect();
    events::record(&mut conn, &new).await.unwrap();
    let mut relaying = relay(&db.url, &rabbit.url(), &[]);
    relaying.wait_for_line("no queue is bound").await;

    rabbit.bind("all", "#").await;
    caught_up(&db.pool).await;
    assert_all_told_in_order(&db.pool, &rabbit.told("all").await).await;

    let args = ["--once", "--name", "other", "--unroutable", "drop", "--exchange", "elsewhere"];
    let mut dropping = relay(&db.url, &rabbit.url(), &args);
    assert!(dropping.wait_for_exit().await.success(), "{}", dropping.output());
}
