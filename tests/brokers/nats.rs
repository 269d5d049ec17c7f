//! The relay to NATS JetStream.

use std::time::{Duration, Instant};

use async_nats::jetstream::message::PublishMessage;
use sqlx::PgPool;
use surety::events;
use surety::events::reader::{self, Start};

use crate::nats_server::NatsServer;
use crate::support::{App, Binary as _, Signal, TestCluster, TestDb, eventually_async, migrated};
use crate::told::{assert_all_told_in_order, ids};
use crate::writers::{self, Writers};

const STREAM: &str = "SURETY";

fn relay(database_url: &str, broker_url: &str, args: &[&str]) -> App {
    App::command(["relay", "--create-stream", STREAM, "--from", "beginning", "--poll", "20ms"])
        .args(args)
        .env("DATABASE_URL", database_url)
        .env("APP_RELAY_TO", broker_url)
        .spawn()
}

/// Waits until the relay has nothing left.
pub(crate) async fn caught_up(pool: &PgPool) {
    eventually_async("all is relayed", async || {
        let lag = async { reader::lag(&mut *pool.acquire().await?, "relay:relay").await };
        let lag = lag.await.unwrap();
        // What was committed late has a lower number than the last one, and comes with the next
        // snapshot.
        let reading = "select taking is not null from events.readers where name = 'relay:relay'";
        let is_reading: bool = sqlx::query_scalar(reading).fetch_one(pool).await.unwrap();
        lag.events == 0 && !is_reading
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn none_is_lost_and_order_is_kept_whoever_is_killed() {
    let mut cluster = TestCluster::start().await;
    let pool = migrated(&cluster, "surety").await;
    let url = cluster.url("surety");
    let mut nats = NatsServer::start().await;
    let mut relaying = relay(&url, &nats.url(), &["--batch", "40", "--lease", "1s"]);
    relaying.wait_for_line("connected to").await;
    let writers = Writers::start(&pool);

    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        nats.kill().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        nats.start_again().await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        relaying.kill().await;
        relaying = relay(&url, &nats.url(), &["--batch", "40", "--lease", "1s"]);
        tokio::time::sleep(Duration::from_millis(700)).await;
        if round == 1 {
            cluster.stop_immediate().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            cluster.start_again().await;
        }
    }
    let written = writers.stop().await;
    caught_up(&pool).await;

    assert!(written > 500, "{written}");
    assert_eq!(ids(&pool).await.len() as u64, written);
    let told = nats.told(STREAM).await;
    let repeats = assert_all_told_in_order(&pool, &told).await;
    assert_eq!(repeats, 0, "the stream drops what it has: {}", relaying.output());
    assert!(!relaying.output().contains("hunter2"), "{}", relaying.output());
    relaying.signal(Signal::Terminate);
    assert!(relaying.wait_for_exit().await.success(), "{}", relaying.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_others_publish_to_keeps_the_order_too() {
    let db = TestDb::new().await;
    let nats = NatsServer::start().await;
    let writers = Writers::start(&db.pool);
    let mut relaying = relay(&db.url, &nats.url(), &["--batch", "40", "--lease", "1s"]);
    relaying.wait_for_line("connected to").await;
    let jetstream = nats.jetstream().await;
    for number in 0..300 {
        let other = PublishMessage::build().payload("{}".into()).message_id(format!("o{number}"));
        let subject = "surety.events.other";
        jetstream.send_publish(subject, other).await.unwrap().await.unwrap();
    }
    writers.stop().await;
    caught_up(&db.pool).await;

    let mut told = nats.told(STREAM).await;
    told.retain(|message| message.id.starts_with("evt_"));
    assert_eq!(assert_all_told_in_order(&db.pool, &told).await, 0, "{}", relaying.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_by_itself_relays_what_there_is_and_test_events_are_nobodys() {
    let db = TestDb::new().await;
    let nats = NatsServer::start().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let mut test_event = writers::event(0, 0);
    test_event.event_type = events::EventType::WebhookTest;
    events::record(&mut conn, &[writers::event(0, 0), writers::event(0, 1)]).await.unwrap();
    events::record(&mut conn, &[test_event]).await.unwrap();

    let mut first = relay(&db.url, &nats.url(), &["--once"]);
    assert!(first.wait_for_exit().await.success(), "{}", first.output());
    assert_eq!(nats.told(STREAM).await.len(), 2);
    events::record(&mut conn, &[writers::event(0, 2)]).await.unwrap();
    let mut second = relay(&db.url, &nats.url(), &["--once", "--batch", "1"]);
    assert!(second.wait_for_exit().await.success(), "{}", second.output());
    assert_eq!(nats.told(STREAM).await.len(), 3);

    // Without a stream, nobody has them.
    let mut other = App::command(["relay", "--once", "--name", "other", "--from", "beginning"])
        .args(["--subject", "nobody", "--to", &nats.url()])
        .env("DATABASE_URL", &db.url)
        .spawn();
    assert!(!other.wait_for_exit().await.success());
    assert!(other.output().contains("--create-stream"), "{}", other.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_relay_begins_with_the_events_from_now_on_unless_told_otherwise() {
    let db = TestDb::new().await;
    let mut conn = db.pool.acquire().await.unwrap();
    events::record(&mut conn, &[writers::event(0, 0)]).await.unwrap();
    assert!(reader::begin(&mut conn, "now", Start::Now).await.unwrap());
    assert!(!reader::begin(&mut conn, "now", Start::Beginning).await.unwrap());
    assert!(reader::begin(&mut conn, "all", Start::Beginning).await.unwrap());
    assert_eq!(reader::lag(&mut conn, "now").await.unwrap().events, 0);
    assert_eq!(reader::lag(&mut conn, "all").await.unwrap().events, 1);
    events::record(&mut conn, &[writers::event(0, 1)]).await.unwrap();

    for (name, expected) in [("now", 1), ("all", 2)] {
        let lease = Duration::from_secs(60);
        let held = reader::hold(&mut conn, name, lease).await.unwrap().unwrap();
        assert!(reader::hold(&mut conn, name, lease).await.unwrap().is_none());
        let peeked = held.peek(&mut conn, 10).await.unwrap();
        let reader::Peeked::Events(events) = peeked else { panic!("{peeked:?}") };
        assert_eq!(events.len(), expected, "{name}");
        let again = held.peek(&mut conn, 10).await.unwrap();
        assert!(matches!(again, reader::Peeked::Events(it) if it.len() == expected));
        assert!(held.move_on(&mut conn, events.last().unwrap().seq).await.unwrap());
        let rest = held.peek(&mut conn, 10).await.unwrap();
        assert!(matches!(rest, reader::Peeked::Events(it) if it.is_empty()), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_the_lease_neither_reads_nor_moves() {
    let db = TestDb::new().await;
    let mut conn = db.pool.acquire().await.unwrap();
    reader::begin(&mut conn, "relay", Start::Now).await.unwrap();
    events::record(&mut conn, &[writers::event(0, 0)]).await.unwrap();
    let short = Duration::from_millis(50);
    let former = reader::hold(&mut conn, "relay", short).await.unwrap().unwrap();
    let peeked = former.peek(&mut conn, 10).await.unwrap();
    let reader::Peeked::Events(events) = peeked else { panic!("{peeked:?}") };
    tokio::time::sleep(Duration::from_millis(100)).await;

    let latter = reader::hold(&mut conn, "relay", Duration::from_secs(60)).await.unwrap().unwrap();
    assert!(!former.move_on(&mut conn, events[0].seq).await.unwrap());
    let refused = former.peek(&mut conn, 10).await.unwrap();
    assert!(matches!(refused, reader::Peeked::HeldByAnother));
    let peeked = latter.peek(&mut conn, 10).await.unwrap();
    assert!(matches!(peeked, reader::Peeked::Events(it) if it.len() == 1));
    latter.let_go(&mut conn).await.unwrap();
    assert!(reader::hold(&mut conn, "relay", short).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_tell_the_lag_and_a_second_process_takes_over() {
    let db = TestDb::new().await;
    let mut nats = NatsServer::start().await;
    // Long enough for a machine that is busy: whoever is late loses the reader to the second one.
    let lease = ["--lease", "5s"];
    let mut first =
        relay(&db.url, &nats.url(), &[&lease[..], &["--probe-listen", "127.0.0.1:0"]].concat());
    let line = first.wait_for_line("/metrics").await;
    let metrics = line.split("http://").nth(1).unwrap().split("/metrics").next().unwrap();
    let metrics = format!("http://{metrics}/metrics");
    first.wait_for_line("connected to").await;
    let scrape = async || reqwest::get(&metrics).await.unwrap().text().await.unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    events::record(&mut conn, &[writers::event(0, 0)]).await.unwrap();
    eventually_async("it is counted", async || {
        scrape().await.contains("app_relay_published_total 1")
    })
    .await;
    assert!(scrape().await.contains("app_relay_connected 1"));

    nats.kill().await;
    events::record(&mut conn, &[writers::event(0, 1), writers::event(0, 2)]).await.unwrap();
    eventually_async("it is seen", async || {
        let figures = scrape().await;
        figures.contains("app_relay_lag_events 2") && figures.contains("_connected 0")
    })
    .await;
    nats.start_again().await;
    eventually_async("it is connected again", async || scrape().await.contains("_connected 1"))
        .await;
    let mut second = relay(&db.url, &nats.url(), &lease);
    second.wait_for_line("waiting to take over").await;
    first.signal(Signal::Stop);
    second.wait_for_line("connected to").await;
    first.signal(Signal::Continue);
    caught_up(&db.pool).await;
    assert_eq!(nats.told(STREAM).await.len(), 3);
}

/// A measurement, no test: `SURETY_RELAY_EVENTS=100000 cargo test --test brokers -- --ignored`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn rate_of_a_relay_to_nats() {
    let events: u64 =
        std::env::var("SURETY_RELAY_EVENTS").map_or(20_000, |text| text.parse().unwrap());
    let db = TestDb::new().await;
    let nats = NatsServer::start().await;
    let mut conn = db.pool.acquire().await.unwrap();
    for first in (0..events).step_by(1000) {
        let batch: Vec<_> = (first..first + 1000).map(|it| writers::event(0, it)).collect();
        events::record(&mut conn, &batch).await.unwrap();
    }
    let began = Instant::now();
    let mut relaying = relay(&db.url, &nats.url(), &["--once"]);
    assert!(relaying.wait_for_exit().await.success(), "{}", relaying.output());
    let took = began.elapsed();
    eprintln!("{events} events in {took:?}: {:.0}/s", events as f64 / took.as_secs_f64());
    assert_eq!(nats.told(STREAM).await.len() as u64, events);
}
